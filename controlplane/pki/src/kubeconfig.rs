//! kubeconfig files: where the API is, whom to trust, who one is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Certificate;

/// What goes into a kubeconfig.
#[derive(Debug)]
pub struct Kubeconfig<'a> {
    /// `https://host:port`
    pub server: &'a str,
    /// The authorities that the server's certificate may come from, PEM.
    pub authority_pem: &'a str,
    /// Name of the user entry.
    pub user: &'a str,
    /// The user's certificate and key.
    pub certificate: &'a Certificate,
}

impl Kubeconfig<'_> {
    /// The file's content. It holds a private key: write it 0600.
    pub fn to_yaml(&self) -> String {
        let base64 = |text: &str| STANDARD.encode(text);
        format!(
            "apiVersion: v1\n\
             kind: Config\n\
             clusters:\n\
             - name: keelson\n  cluster:\n    server: {server}\n    certificate-authority-data: {authority}\n\
             contexts:\n\
             - name: {user}@keelson\n  context:\n    cluster: keelson\n    user: {user}\n\
             current-context: {user}@keelson\n\
             users:\n\
             - name: {user}\n  user:\n    client-certificate-data: {certificate}\n    client-key-data: {key}\n",
            server = self.server,
            user = self.user,
            authority = base64(self.authority_pem),
            certificate = base64(&self.certificate.certificate_pem),
            key = base64(self.certificate.key_pem()),
        )
    }
}

/// A kubeconfig whose certificate and key are in a file that is replaced now and then.
#[derive(Debug)]
pub struct FileKubeconfig<'a> {
    /// `https://host:port`
    pub server: &'a str,
    /// The authorities that the server's certificate may come from, PEM.
    pub authority_pem: &'a str,
    /// Name of the user entry.
    pub user: &'a str,
    /// Holds the certificate and its key.
    pub pair: &'a std::path::Path,
}

impl FileKubeconfig<'_> {
    /// The file's content. It holds no key.
    pub fn to_yaml(&self) -> String {
        let authority = STANDARD.encode(self.authority_pem);
        // JSON is YAML; a path may hold anything.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let pair = quoted(&self.pair.display().to_string());
        format!(
            "apiVersion: v1\n\
             kind: Config\n\
             clusters:\n\
             - name: keelson\n  cluster:\n    server: {server}\n    certificate-authority-data: {authority}\n\
             contexts:\n\
             - name: keelson\n  context:\n    cluster: keelson\n    user: {user}\n\
             current-context: keelson\n\
             users:\n\
             - name: {user}\n  user:\n    client-certificate: {pair}\n    client-key: {pair}\n",
            server = self.server,
            user = self.user,
        )
    }
}
