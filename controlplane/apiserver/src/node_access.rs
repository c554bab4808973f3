//! How the API server reaches kubelets: TLS with a client certificate of its own, and the serving certificate
//! of each kubelet verified against the authority that kubelets are known by.
//!
//! Not what is asked there (`connect`). Every request has a connection of its own, because most of them stop
//! being HTTP or stay open for hours. Names are not resolved: a node is dialled at an address that its status
//! tells, of the preferred types, the first that is an IP address.
//!
//! Reference: Kubernetes, "Communication between Nodes and the Control Plane".

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use serve::Anybody;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// For TCP and TLS together: upstream's dial timeout.
const DIAL: Duration = Duration::from_secs(30);
/// Where a kubelet listens that does not say so.
const KUBELET_PORT: u16 = 10250;

/// Our side of the connections to kubelets.
#[derive(Clone)]
pub struct KubeletAccess {
    tls: TlsConnector,
    preferred: Vec<String>,
}

/// What keeps the access from being set up.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The bundle of authorities is unusable.
    #[error("the authority of the kubelets' certificates: {0}")]
    Authority(String),
    /// The client certificate or its key is unusable.
    #[error("the client certificate for kubelets: {0}")]
    Certificate(rustls::Error),
}

/// Why a kubelet or pod cannot be reached, in the words of a Go dialer.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No TCP connection.
    #[error("dial tcp {address}: {why}")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// Why not.
        why: String,
    },
    /// The other side is not who it should be.
    #[error("tls: failed to verify certificate: {0}")]
    Tls(std::io::Error),
    /// The other side does not speak TLS.
    #[error("tls: handshake failure: {0}")]
    Handshake(std::io::Error),
}

impl KubeletAccess {
    /// A client certificate with its key, the authorities of the kubelets as PEM, and the types of address to
    /// try, best first.
    pub fn new(
        (chain, key): (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
        authorities_pem: &str,
        preferred: Vec<String>,
    ) -> Result<KubeletAccess, AccessError> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(authorities_pem.as_bytes()) {
            let authority = authority.map_err(|error| AccessError::Authority(error.to_string()))?;
            roots.add(authority).map_err(|error| AccessError::Authority(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(AccessError::Authority("no certificate in it".into()));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(AccessError::Certificate)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(AccessError::Certificate)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(KubeletAccess { tls: TlsConnector::from(Arc::new(config)), preferred })
    }

    /// Where a node's kubelet listens; why that is not known, otherwise.
    pub fn address(&self, node: &Value) -> Result<SocketAddr, String> {
        let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
        let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
        Ok(SocketAddr::new(self.host(node)?, port.unwrap_or(KUBELET_PORT)))
    }

    /// The address of a node.
    pub fn host(&self, node: &Value) -> Result<IpAddr, String> {
        let known: Vec<&Value> = node["status"]["addresses"].as_array().into_iter().flatten().collect();
        let of_type = |wanted: &String| {
            known
                .iter()
                .filter(|address| address["type"] == wanted.as_str())
                .find_map(|address| address["address"].as_str()?.parse().ok())
        };
        self.preferred.iter().find_map(of_type).ok_or_else(|| {
            let shown: Vec<String> = known.iter().map(|address| address.to_string()).collect();
            format!("no preferred addresses found; known addresses: [{}]", shown.join(" "))
        })
    }

    /// A connection to a kubelet.
    pub async fn dial(&self, address: SocketAddr) -> Result<TlsStream<TcpStream>, DialError> {
        let slow = |_| DialError::Connect { address, why: "i/o timeout".into() };
        timeout(DIAL, async {
            let stream = connect(address).await?;
            let name = ServerName::IpAddress(address.ip().into());
            self.tls.connect(name, stream).await.map_err(DialError::Tls)
        })
        .await
        .map_err(slow)?
    }
}

/// A connection without TLS, to a pod.
pub async fn dial_plain(address: SocketAddr) -> Result<TcpStream, DialError> {
    let slow = |_| DialError::Connect { address, why: "i/o timeout".into() };
    timeout(DIAL, connect(address)).await.map_err(slow)?
}

/// A connection over TLS to a pod or to a port of a node, whose certificate nobody vouches for.
pub async fn dial_unverified(address: SocketAddr) -> Result<TlsStream<TcpStream>, DialError> {
    let tls = unverified().map_err(|error| DialError::Handshake(std::io::Error::other(error)))?;
    let slow = |_| DialError::Connect { address, why: "i/o timeout".into() };
    timeout(DIAL, async {
        let stream = connect(address).await?;
        let name = ServerName::IpAddress(address.ip().into());
        tls.connect(name, stream).await.map_err(DialError::Handshake)
    })
    .await
    .map_err(slow)?
}

fn unverified() -> Result<TlsConnector, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn connect(address: SocketAddr) -> Result<TcpStream, DialError> {
    let stream = TcpStream::connect(address).await.map_err(|error| {
        let why = match error.kind() {
            ErrorKind::ConnectionRefused => "connect: connection refused".into(),
            ErrorKind::HostUnreachable => "connect: no route to host".into(),
            ErrorKind::NetworkUnreachable => "connect: network is unreachable".into(),
            ErrorKind::TimedOut => "i/o timeout".into(),
            _ => format!("connect: {error}"),
        };
        DialError::Connect { address, why }
    })?;
    // A keystroke must not wait for the next one; a socket that refuses this works without.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

impl std::fmt::Debug for KubeletAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeletAccess").field("preferred", &self.preferred).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pki::{Authority, Profile, Usage};
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const NOW: i64 = 1_800_000_000;

    fn access() -> KubeletAccess {
        let authority = Authority::create("ca", NOW).unwrap();
        let profile = Profile {
            common_name: "kube-apiserver-kubelet-client".into(),
            organization: Some("system:masters".into()),
            names: vec![],
            usage: Usage::Client,
            lifetime_seconds: 3600,
        };
        let client = authority.issue(&profile, NOW).unwrap();
        let identity = (client.chain("client").unwrap(), client.key("client").unwrap());
        let preferred = vec!["InternalIP".into(), "ExternalIP".into(), "Hostname".into()];
        KubeletAccess::new(identity, authority.certificate_pem(), preferred).unwrap()
    }

    #[test]
    fn a_kubelet_is_where_its_node_says() {
        let address = |kind: &str, address: &str| json!({"type": kind, "address": address});
        let node = |addresses: Vec<Value>, port: Value| json!({"status": {"addresses": addresses, "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
        for (node, expect) in [
            (
                node(vec![address("Hostname", "n"), address("InternalIP", "10.0.0.5")], json!(11250)),
                "10.0.0.5:11250",
            ),
            (
                node(vec![address("ExternalIP", "1.2.3.4"), address("InternalIP", "fd00::5")], json!(0)),
                "[fd00::5]:10250",
            ),
            (node(vec![address("ExternalIP", "1.2.3.4")], Value::Null), "1.2.3.4:10250"),
        ] {
            assert_eq!(access().address(&node).unwrap().to_string(), expect, "{node}");
        }
        let nameless = node(vec![address("Hostname", "n")], Value::Null);
        assert_eq!(
            access().address(&nameless).unwrap_err(),
            r#"no preferred addresses found; known addresses: [{"type":"Hostname","address":"n"}]"#
        );
    }

    #[tokio::test]
    async fn who_is_not_there_is_named() {
        // Bound, so that it is nobody else's, and never listened at.
        let silent = tokio::net::TcpSocket::new_v4().unwrap();
        silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = silent.local_addr().unwrap();
        let error = access().dial(address).await.unwrap_err();
        assert_eq!(error.to_string(), format!("dial tcp {address}: connect: connection refused"));
    }

    #[tokio::test]
    async fn over_tls_whoever_answers_is_believed_but_he_must_speak_it() {
        let authority = Authority::create("nobody's", NOW).unwrap();
        let profile = Profile {
            common_name: "nobody".into(),
            organization: None,
            names: vec!["nobody.example".into()],
            usage: Usage::Server,
            lifetime_seconds: 3600,
        };
        let made = authority.issue(&profile, NOW).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(made.chain("nobody").unwrap(), made.key("nobody").unwrap())
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            let mut stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
            stream.write_all(b"yes").await.unwrap();
            stream.shutdown().await.unwrap();
            listener.accept().await.unwrap().0.write_all(b"plain text\n").await.unwrap();
        };
        let ask = async {
            let mut said = String::new();
            dial_unverified(address).await.unwrap().read_to_string(&mut said).await.unwrap();
            (said, dial_unverified(address).await.unwrap_err())
        };
        let ((), (said, refused)) = tokio::join!(serve, ask);
        assert_eq!(said, "yes");
        assert!(matches!(refused, DialError::Handshake(_)), "{refused}");
    }
}
