//! The files by which a machine is a node.
//!
//! ```text
//! ca.crt                          whom to trust
//! kubelet-client-current.pem      system:node:<name>, system:nodes                 certificate and key
//! parts-client-current.pem        system:node:<name>, system:keelson:node-parts    the agent's, proxy's and DNS'
//! kubelet-serving-current.pem     what the kubelet presents
//! kubelet.conf agent.conf proxy.conf dns.conf     kubeconfigs that point at the two client certificates
//! cluster.json                    what the server told of the cluster
//! ```

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use client::{Backoff, Client, Config, Resource, Surroundings};
use pki::{Certificate, FileKubeconfig, JoinToken};
use serde_json::json;
use tokio::time::Instant;

use crate::cluster::CONFIG_MAP;
use crate::discover::{discover, unreachable};
use crate::request::{Ask, ask};
use crate::{Cluster, JoinError};

const PROGRAM: &str = "keelson agent";
const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A machine that is, or becomes, a node.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The files' folder.
    pub folder: PathBuf,
    /// `https://ADDRESS:PORT`
    pub server: String,
    /// Name of its Node.
    pub name: String,
    /// What its kubelet answers to.
    pub addresses: Vec<IpAddr>,
    /// Life of its certificates; the signer's own unless given.
    pub certificate_seconds: Option<i64>,
}

/// Where the files are.
#[derive(Clone, Debug)]
pub struct Paths<'a>(pub &'a Path);

/// The three certificates of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Kubelet,
    Parts,
    Serving,
}

pub(crate) const KINDS: [Kind; 3] = [Kind::Kubelet, Kind::Parts, Kind::Serving];

impl Paths<'_> {
    pub fn authorities(&self) -> PathBuf {
        self.0.join("ca.crt")
    }

    /// Certificate and key that the kubelet presents.
    pub fn serving(&self) -> PathBuf {
        self.of(Kind::Serving)
    }

    fn cluster(&self) -> PathBuf {
        self.0.join("cluster.json")
    }

    pub(crate) fn of(&self, kind: Kind) -> PathBuf {
        self.0.join(match kind {
            Kind::Kubelet => "kubelet-client-current.pem",
            Kind::Parts => "parts-client-current.pem",
            Kind::Serving => "kubelet-serving-current.pem",
        })
    }

    /// What the server told last.
    pub fn read_cluster(&self) -> Result<Cluster, JoinError> {
        let path = self.cluster();
        let text = std::fs::read_to_string(&path).map_err(|source| file(&path, source))?;
        let data = serde_json::from_str(&text)
            .map_err(|error| JoinError::Facts(format!("{}: {error}", path.display())))?;
        Cluster::read(&data)
    }
}

impl Machine {
    /// Makes what is missing; asks again where the server does not answer, until `limit` is over.
    pub async fn ensure(
        &self,
        token: Option<&JoinToken>,
        surroundings: Surroundings,
        limit: Duration,
    ) -> Result<Cluster, JoinError> {
        patiently(limit, surroundings, "not a node yet", || self.ensure_once(token, surroundings)).await
    }

    async fn ensure_once(
        &self,
        token: Option<&JoinToken>,
        surroundings: Surroundings,
    ) -> Result<Cluster, JoinError> {
        std::fs::create_dir_all(&self.folder).map_err(|source| file(&self.folder, source))?;
        let now = (surroundings.now)().as_second();
        if !self.is_node(token.is_some(), now)? {
            self.join(token.ok_or(JoinError::NoToken)?, surroundings).await?;
        }
        self.write_kubeconfigs()?;
        let client = self.client(surroundings)?;
        for kind in [Kind::Parts, Kind::Serving] {
            if !self.is_good(kind, now) {
                self.renew(&client, kind).await?;
            }
        }
        self.learn(&client).await
    }

    /// Whether the certificate is there, good, and of this name.
    fn is_node(&self, can_join: bool, now: i64) -> Result<bool, JoinError> {
        let paths = Paths(&self.folder);
        let Some(pair) = self.read(Kind::Kubelet).filter(|_| paths.authorities().exists()) else {
            return Ok(false);
        };
        let (_, end) = pair.validity("kubelet-client-current.pem")?;
        let known = pair.common_name("kubelet-client-current.pem")?;
        if known != self.subject() {
            return Err(JoinError::AnotherNode {
                known: known.trim_start_matches("system:node:").to_owned(),
                wanted: self.name.clone(),
                folder: self.folder.clone(),
            });
        }
        if end > now {
            return Ok(true);
        }
        if can_join { Ok(false) } else { Err(JoinError::Ended { node: self.name.clone() }) }
    }

    /// From a token to the first certificate.
    async fn join(&self, token: &JoinToken, surroundings: Surroundings) -> Result<(), JoinError> {
        let config = discover(&self.server, token, surroundings).await?;
        let authorities = config.authorities_pem();
        let client = Client::new(config.with_token(token.bearer()), PROGRAM, surroundings)?;
        let pair = self.ask(&client, Kind::Kubelet).await.map_err(|error| of_token(error, token))?;
        let paths = Paths(&self.folder);
        write(&paths.authorities(), &authorities, PUBLIC)?;
        write(&paths.of(Kind::Kubelet), &pair.pair_pem(), SECRET)?;
        tracing::info!(node = %self.name, server = %self.server, "this machine is a node of the cluster");
        Ok(())
    }

    /// The node's own client.
    pub(crate) fn client(&self, surroundings: Surroundings) -> Result<Client, JoinError> {
        let config = Config::read(&self.folder.join("kubelet.conf"))?;
        Ok(Client::new(config, PROGRAM, surroundings)?)
    }

    pub(crate) async fn renew(&self, client: &Client, kind: Kind) -> Result<(), JoinError> {
        let pair = self.ask(client, kind).await?;
        write(&Paths(&self.folder).of(kind), &pair.pair_pem(), SECRET)
    }

    async fn ask(&self, client: &Client, kind: Kind) -> Result<Certificate, JoinError> {
        let subject = self.subject();
        let names = if kind == Kind::Serving { self.names() } else { Vec::new() };
        let (signer, organization, purpose) = match kind {
            Kind::Kubelet => ("kubernetes.io/kube-apiserver-client-kubelet", "system:nodes", "client auth"),
            Kind::Parts => ("keelson.dev/node-parts", "system:keelson:node-parts", "client auth"),
            Kind::Serving => ("kubernetes.io/kubelet-serving", "system:nodes", "server auth"),
        };
        let seconds = self.certificate_seconds;
        ask(client, &Ask { signer, common_name: &subject, organization, names: &names, purpose, seconds })
            .await
    }

    fn subject(&self) -> String {
        format!("system:node:{}", self.name)
    }

    fn names(&self) -> Vec<String> {
        std::iter::once(self.name.clone()).chain(self.addresses.iter().map(IpAddr::to_string)).collect()
    }

    pub(crate) fn read(&self, kind: Kind) -> Option<Certificate> {
        let text = std::fs::read_to_string(Paths(&self.folder).of(kind)).ok()?;
        Certificate::from_pem("the node's certificate", text.clone(), text).ok()
    }

    /// Whether a certificate is there, has time left and names what it must.
    fn is_good(&self, kind: Kind, now: i64) -> bool {
        let Some(pair) = self.read(kind) else { return false };
        let named = kind != Kind::Serving || pair.names_all("it", &self.names());
        named && pair.validity("it").is_ok_and(|(_, end)| end > now)
    }

    fn write_kubeconfigs(&self) -> Result<(), JoinError> {
        let paths = Paths(&self.folder);
        let path = paths.authorities();
        let authority_pem = std::fs::read_to_string(&path).map_err(|source| file(&path, source))?;
        for (name, kind) in
            [("kubelet", Kind::Kubelet), ("agent", Kind::Parts), ("proxy", Kind::Parts), ("dns", Kind::Parts)]
        {
            let pair = paths.of(kind);
            let kubeconfig = FileKubeconfig {
                server: &self.server,
                authority_pem: &authority_pem,
                user: &self.subject(),
                pair: &pair,
            };
            write(&self.folder.join(format!("{name}.conf")), &kubeconfig.to_yaml(), SECRET)?;
        }
        Ok(())
    }

    /// What the server tells of the cluster; what it told last where it does not answer.
    async fn learn(&self, client: &Client) -> Result<Cluster, JoinError> {
        let paths = Paths(&self.folder);
        match client.get(&Resource::CONFIG_MAPS, "kube-system", CONFIG_MAP).await {
            Ok(map) => {
                let cluster = Cluster::read(&map["data"])?;
                write(&paths.cluster(), &json!(cluster.facts()).to_string(), PUBLIC)?;
                Ok(cluster)
            }
            Err(error) if error.status().is_none() => {
                paths.read_cluster().map_err(|_| unreachable(&self.server, &error))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Tries again what may go better in a while, until `limit` is over.
pub(crate) async fn patiently<T, F: Future<Output = Result<T, JoinError>>>(
    limit: Duration,
    surroundings: Surroundings,
    said: &str,
    mut once: impl FnMut() -> F,
) -> Result<T, JoinError> {
    let deadline = Instant::now() + limit;
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    loop {
        let error = match once().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let wait = backoff.next(surroundings.random);
        if !error.is_passing() || Instant::now() + wait >= deadline {
            return Err(error);
        }
        tracing::warn!(%error, wait = ?wait, "{said}");
        tokio::time::sleep(wait).await;
    }
}

/// What a refusal says about the token that was shown.
pub(crate) fn of_token(error: JoinError, token: &JoinToken) -> JoinError {
    let JoinError::Client(refusal) = &error else { return error };
    match refusal.status() {
        Some(status) if status.code == 401 && status.message.contains("expired") => {
            JoinError::TokenExpired { id: token.id.clone() }
        }
        Some(status) if status.code == 401 => JoinError::TokenRefused { id: token.id.clone() },
        _ => error,
    }
}

pub(crate) fn write(path: &Path, content: &str, mode: u32) -> Result<(), JoinError> {
    if std::fs::read_to_string(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    pki::write_whole(path, content.as_bytes(), mode).map_err(|source| file(path, source))
}

fn file(path: &Path, source: std::io::Error) -> JoinError {
    JoinError::File { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use pki::{Authority, Profile, Usage};

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn machine(folder: &Path, name: &str) -> Machine {
        Machine {
            folder: folder.to_owned(),
            server: "https://192.0.2.1:6443".into(),
            name: name.into(),
            addresses: vec!["192.0.2.7".parse().unwrap()],
            certificate_seconds: None,
        }
    }

    #[test]
    fn who_has_joined_is_known_by_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let machine = |name| machine(folder.path(), name);
        assert!(!machine("n1").is_node(false, NOW).unwrap(), "nothing there");
        let authority = Authority::create("ca", NOW).unwrap();
        let profile = Profile {
            common_name: "system:node:n1".into(),
            organization: Some("system:nodes".into()),
            names: vec!["n1".into(), "192.0.2.7".into()],
            usage: Usage::Client,
            lifetime_seconds: 3600,
        };
        let pair = authority.issue(&profile, NOW).unwrap().pair_pem();
        let paths = Paths(folder.path());
        write(&paths.authorities(), authority.certificate_pem(), PUBLIC).unwrap();
        write(&paths.of(Kind::Kubelet), &pair, SECRET).unwrap();
        assert!(machine("n1").is_node(false, NOW).unwrap());
        assert!(machine("n1").is_node(false, NOW + 3599).unwrap());
        let ended = machine("n1").is_node(false, NOW + 3601).unwrap_err().to_string();
        assert!(ended.contains("kubectl delete node n1"), "{ended}");
        assert!(!machine("n1").is_node(true, NOW + 3601).unwrap(), "with a token it joins anew");
        let other = machine("n2").is_node(true, NOW).unwrap_err().to_string();
        assert!(other.starts_with("this machine is node n1, not n2"), "{other}");
        write(&paths.of(Kind::Serving), &pair, SECRET).unwrap();
        assert!(machine("n1").is_good(Kind::Serving, NOW));
        let moved = Machine { addresses: vec!["192.0.2.9".parse().unwrap()], ..machine("n1") };
        assert!(!moved.is_good(Kind::Serving, NOW), "another address wants another certificate");
    }

    #[test]
    fn kubeconfigs_point_at_files_and_hold_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create("ca", NOW).unwrap();
        write(&Paths(folder.path()).authorities(), authority.certificate_pem(), PUBLIC).unwrap();
        machine(folder.path(), "n1").write_kubeconfigs().unwrap();
        let text = std::fs::read_to_string(folder.path().join("proxy.conf")).unwrap();
        assert!(text.contains("parts-client-current.pem") && !text.contains("PRIVATE"), "{text}");
        let error = Config::read(&folder.path().join("proxy.conf")).err().unwrap().to_string();
        assert!(error.contains("parts-client-current.pem"), "{error}");
    }

    #[test]
    fn a_refused_token_is_told_apart() {
        let token = JoinToken::create([0; 32], |_| 0);
        let check = |message: &str, part: &str| {
            let status =
                api::status::Status { message: message.into(), ..api::status::Status::unauthorized() };
            let error = JoinError::Client(client::ClientError::Refused(Box::new(status)));
            let told = of_token(error, &token).to_string();
            assert!(told.contains(part) && !told.contains(token.secret()), "{told}");
        };
        check("Unauthorized", "token 000000 is not accepted");
        check("the bootstrap token has expired", "token 000000 has expired");
    }
}
