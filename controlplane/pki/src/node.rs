//! What a node needs to be one: a client certificate in a kubeconfig, and what its kubelet serves with.
//!
//! ```text
//! kubelet.conf                 system:node:<name> in system:nodes, at the API
//! kubelet-client.crt .key      the certificate in it
//! kubelet.crt .key             what the kubelet presents on its port
//! ca.crt                       whom both sides trust
//! ```
//!
//! Kept and renewed like the rest of the folder: see `folder`.

use std::path::{Path, PathBuf};

use crate::folder::{PUBLIC, SECRET, SERVING_SECONDS, certificate, create_private, write};
use crate::{Folder, FolderError, Kubeconfig, Profile, Usage};

/// Whose identity.
#[derive(Clone, Debug)]
pub struct NodeRequest<'a> {
    /// Where the node finds the API: `https://host:port`.
    pub server: &'a str,
    /// The Node's name.
    pub name: &'a str,
    /// Further names and addresses that the kubelet answers to; the API dials the Node's addresses.
    pub addresses: &'a [String],
    /// Seconds since 1970.
    pub now: i64,
}

/// The files of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// Who the node is to the API.
    pub kubeconfig: PathBuf,
    /// What its kubelet presents.
    pub serving_certificate: PathBuf,
    /// The key of that.
    pub serving_key: PathBuf,
    /// Whose client certificates its kubelet believes.
    pub client_authority: PathBuf,
}

impl Folder {
    /// Makes what is missing in a node's own folder.
    pub fn ensure_node(&self, path: &Path, request: &NodeRequest<'_>) -> Result<NodeIdentity, FolderError> {
        create_private(path)?;
        let at = |name: &str| path.join(name);
        let user = format!("system:node:{}", request.name);
        let client = Profile {
            common_name: user.clone(),
            organization: Some("system:nodes".into()),
            names: vec![],
            usage: Usage::Client,
            lifetime_seconds: SERVING_SECONDS,
        };
        let mut names = vec![request.name.to_owned()];
        names.extend(request.addresses.iter().filter(|name| *name != request.name).cloned());
        let server = Profile { names, usage: Usage::Server, ..client.clone() };
        let files = (at("kubelet-client.crt"), at("kubelet-client.key"));
        let client = certificate((&files.0, &files.1), &self.cluster, &client, request.now)?;
        let (serving_certificate, serving_key) = (at("kubelet.crt"), at("kubelet.key"));
        certificate((&serving_certificate, &serving_key), &self.cluster, &server, request.now)?;
        let client_authority = at("ca.crt");
        write(&client_authority, self.cluster.certificate_pem(), PUBLIC)?;
        let kubeconfig = Kubeconfig {
            server: request.server,
            authority_pem: self.cluster.certificate_pem(),
            user: &user,
            certificate: &client,
        };
        let content = kubeconfig.to_yaml();
        let kubeconfig = at("kubelet.conf");
        write(&kubeconfig, &content, SECRET)?;
        Ok(NodeIdentity { kubeconfig, serving_certificate, serving_key, client_authority })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Certificate, ClientTrust, FolderRequest};

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn a_node_is_itself_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let request = FolderRequest { serving_names: vec!["localhost".into()], now: NOW };
        let keys = Folder::ensure(&folder.path().join("pki"), &request).unwrap();
        let addresses = ["10.0.0.5".to_owned(), "n1".to_owned()];
        let request =
            |now| NodeRequest { server: "https://127.0.0.1:6443", name: "n1", addresses: &addresses, now };
        let path = folder.path().join("node");
        let made = keys.ensure_node(&path, &request(NOW)).unwrap();
        let read = |name: &str| std::fs::read_to_string(path.join(name)).unwrap();
        let client =
            Certificate::from_pem("client", read("kubelet-client.crt"), read("kubelet-client.key")).unwrap();
        let trust = ClientTrust::from_bundle("ca", &read("ca.crt")).unwrap();
        let identity = trust.identify(&client.chain("client").unwrap(), NOW).unwrap();
        assert_eq!(
            (identity.user.as_str(), identity.groups),
            ("system:node:n1", vec!["system:nodes".to_owned()])
        );
        // What serves cannot log in.
        let serving = Certificate::from_pem("serving", read("kubelet.crt"), read("kubelet.key")).unwrap();
        assert!(trust.identify(&serving.chain("serving").unwrap(), NOW).is_err());
        let before = (read("kubelet.crt"), read("kubelet.conf"));
        assert_eq!(keys.ensure_node(&path, &request(NOW + 86_400)).unwrap(), made);
        assert_eq!((read("kubelet.crt"), read("kubelet.conf")), before, "what is good is kept");
    }
}
