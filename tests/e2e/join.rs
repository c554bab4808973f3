//! How a machine joins: tokens, refusals, certificates by request, renewal. The API and the controllers run; no node does.

use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use client::Surroundings;
use harness::api::{Credential, Server};
use join::Machine;
use pki::{Authority, Certificate, JoinToken, Profile, Usage};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the dying certificate lives, in seconds: it must be shown before.
const LIFE: i64 = 15;
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const FACTS: [&str; 4] = [
    "--tell-nodes=cluster-cidr=10.244.0.0/16",
    "--tell-nodes=service-cidr=10.96.0.0/16",
    "--tell-nodes=cluster-domain=cluster.local",
    "--tell-nodes=cluster-dns=10.96.0.10",
];

/// The API, and the controllers that approve and sign.
struct Cluster {
    controllers: Child,
    server: Server,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.controllers.kill();
        let _ = self.controllers.wait();
    }
}

impl Cluster {
    fn start() -> Cluster {
        let server = Server::start_with(KEELSON, &FACTS);
        let key = |name: &str| server.data().join("pki").join(name).display().to_string();
        let controllers = Command::new(KEELSON)
            .arg("controllers")
            .arg("--kubeconfig")
            .arg(server.kubeconfig())
            .args(["--cluster-signing-cert-file", &key("ca.crt")])
            .args(["--cluster-signing-key-file", &key("ca.key")])
            .stdin(Stdio::null())
            .spawn()
            .expect("the controllers start");
        Cluster { controllers, server }
    }

    fn url(&self) -> String {
        format!("https://{}", self.server.address())
    }

    fn token(&self, arguments: &[&str]) -> Output {
        Command::new(KEELSON)
            .arg("token")
            .args(arguments)
            .arg("--kubeconfig")
            .arg(self.server.kubeconfig())
            .output()
            .expect("keelson runs")
    }

    fn new_token(&self) -> JoinToken {
        let text = said(&self.token(&["create", "--description", "a test"]));
        JoinToken::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// A machine's files in a folder of their own.
    fn machine(&self, folder: &Path, name: &str) -> Machine {
        Machine {
            folder: folder.to_owned(),
            server: self.url(),
            name: name.into(),
            addresses: vec![IpAddr::from([198, 51, 100, 7])],
            certificate_seconds: None,
        }
    }

    fn authority(&self) -> Authority {
        let read =
            |name: &str| std::fs::read_to_string(self.server.data().join("pki").join(name)).expect(name);
        Authority::from_pem("ca", &read("ca.crt"), &read("ca.key")).expect("the authority")
    }
}

/// Standard output of a command that must succeed.
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// `keelson agent` as somebody types it, in folders of its own; what it says to a refusal, for which it has all the time.
fn refused(server: &str, token: &str, code: i32) -> String {
    refused_within(PATIENCE, server, token, code)
}

fn refused_within(limit: Duration, server: &str, token: &str, code: i32) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let output = Command::new(KEELSON)
        .args([
            "agent",
            "--server",
            server,
            "--token",
            token,
            "--node-name",
            "n1",
            "--node-ip",
            "198.51.100.7",
        ])
        .args(["--join-seconds", &limit.as_secs().to_string()])
        .args(["--data-dir", &at("data"), "--state-dir", &at("run")])
        .env("KEELSON_LOG", "error")
        .output()
        .expect("keelson runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(!folder.path().join("data/node/kubelet-client-current.pem").exists(), "it is no node");
    text
}

#[test]
fn who_does_not_join_is_told_why() {
    if !harness::root_or_skip("who_does_not_join_is_told_why") {
        return;
    }
    let cluster = Cluster::start();
    let (url, token) = (cluster.url(), cluster.new_token());
    let check = |server: &str, token: &str, code, part: &str| {
        let text = refused(server, token, code);
        assert!(text.contains(part), "{part:?} is not in {text}");
        assert!(!text.contains(token.rsplit('.').next().unwrap_or_default()), "the secret is told: {text}");
    };
    check(&url, "abcdef.0123456789abcdef", 2, "--token: not a join token");
    let wrong = format!(
        "K1{}.{}.0000000000000000",
        token.authority.map(|byte| format!("{byte:02x}")).concat(),
        token.id
    );
    check(&url, &wrong, 1, &format!("token {} is not accepted: it is wrong, or was revoked", token.id));
    let foreign = format!("K1{}.{}", "ab".repeat(32), token.bearer());
    check(&url, &foreign, 1, "is not the one in the token");
    let nobody = format!("https://127.0.0.1:{}", harness::api::free_port());
    let text = refused_within(Duration::from_secs(1), &nobody, &token.reveal(), 1);
    assert!(text.contains("does not answer"), "{text}");
    let port = cluster.server.address().port();
    check(&format!("https://other.localhost:{port}"), &token.reveal(), 1, "is for other names");
    check("http://127.0.0.1:1", &token.reveal(), 1, "a URL such as https://10.0.0.1:6443 is wanted");

    let late = JoinToken::create(token.authority, |below| below / 2);
    let data =
        json!({"token-id": late.id, "token-secret": late.secret(), "usage-bootstrap-authentication": "true"});
    let mut secret = json!({"metadata": {"name": format!("bootstrap-token-{}", late.id)},
        "type": "bootstrap.kubernetes.io/token", "stringData": data});
    let before = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(60);
    secret["stringData"]["expiration"] = before.to_string().into();
    let admin = cluster.server.admin();
    admin.post("/api/v1/namespaces/kube-system/secrets", &secret).expect(201);
    check(&url, &late.reveal(), 1, &format!("token {} has expired", late.id));

    admin.post("/api/v1/nodes", &json!({"metadata": {"name": "n1"}})).expect(201);
    check(&url, &token.reveal(), 1, "a Node named n1 exists already");
    let printed = String::from_utf8_lossy(&cluster.server.kubectl(["get", "csr"]).stdout).into_owned();
    assert!(printed.contains("system:bootstrap:") && printed.contains("Denied"), "{printed}");
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let cluster = Cluster::start();
    let token = cluster.new_token();
    let command = said(&cluster.token(&["create", "--ttl", "0", "--print-join-command"]));
    assert!(
        command.starts_with("keelson agent --server https://") && command.contains(" --token K1"),
        "{command}"
    );
    let listed = said(&cluster.token(&["list"]));
    let line =
        listed.lines().find(|line| line.contains(&token.bearer())).unwrap_or_else(|| panic!("{listed}"));
    assert!(
        line.contains("23h") && line.contains("a test") && line.contains("authentication,signing"),
        "{line}"
    );
    assert!(listed.contains("<forever>"), "{listed}");
    let gone = said(&cluster.token(&["revoke", &token.reveal()]));
    assert_eq!(gone, format!("bootstrap token {:?} deleted", token.id));
    let again = cluster.token(&["revoke", &token.id]);
    assert_eq!(again.status.code(), Some(1));
    let told = refused(&cluster.url(), &token.reveal(), 1);
    assert!(told.contains("was revoked"), "{told}");
    // What a bootstrap token may, and nothing else.
    let bearer = JoinToken::parse(command.rsplit(' ').next().unwrap_or_default()).expect("a token").bearer();
    let joining = cluster.server.client(Credential::Token(bearer));
    joining.get(REQUESTS).expect(200);
    joining.get("/api/v1/nodes").refused(403, "Forbidden", "system:bootstrap:");
    joining.get("/api/v1/namespaces/kube-system/secrets").refused(403, "Forbidden", "system:bootstrap:");
}

#[test]
fn a_machine_becomes_a_node_by_its_own_keys() {
    let cluster = Cluster::start();
    let token = cluster.new_token();
    let folder = tempfile::tempdir().expect("a folder");
    let machine = cluster.machine(folder.path(), "n1");
    let told = wait(machine.ensure(Some(&token), Surroundings::system(), PATIENCE)).expect("a node");
    assert_eq!((told.domain.as_str(), told.dns.len()), ("cluster.local", 1));
    // The token is not needed again.
    wait(machine.ensure(None, Surroundings::system(), PATIENCE)).expect("still a node");
    for name in [
        "kubelet-client-current.pem",
        "parts-client-current.pem",
        "kubelet-serving-current.pem",
        "kubelet.conf",
    ] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(folder.path().join(name)).expect(name).permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
    let requests = cluster.server.admin().get(REQUESTS).expect(200);
    assert_eq!(requests["items"].as_array().map(Vec::len), Some(3), "{requests}");
    assert!(!requests.to_string().contains("PRIVATE"));
    let printed = String::from_utf8_lossy(&cluster.server.kubectl(["get", "csr"]).stdout).into_owned();
    assert_eq!(printed.matches("Approved,Issued").count(), 3, "{printed}");

    // Who it is: a node, confined to itself; its parts read what they need and write what is theirs.
    let credential = |name: &str| {
        let pair = std::fs::read_to_string(folder.path().join(name)).expect(name);
        let certificate = Certificate::from_pem(name, pair.clone(), pair).expect(name);
        let leaf = certificate.certificate_pem.split_inclusive("-----END CERTIFICATE-----\n").next();
        let key = certificate.key_pem().split_inclusive("-----END CERTIFICATE-----\n").last();
        Credential::Certificate {
            chain: leaf.unwrap_or_default().to_owned(),
            key: key.unwrap_or_default().to_owned(),
        }
    };
    let kubelet = cluster.server.client(credential("kubelet-client-current.pem"));
    kubelet.post("/api/v1/nodes", &json!({"metadata": {"name": "n1"}})).expect(201);
    kubelet.get("/api/v1/nodes").refused(403, "Forbidden", "cannot read all nodes");
    let parts = cluster.server.client(credential("parts-client-current.pem"));
    parts.get("/api/v1/nodes").expect(200);
    parts.get("/apis/discovery.k8s.io/v1/endpointslices").expect(200);
    parts.get("/api/v1/secrets").refused(403, "Forbidden", "system:node:n1");
    cluster.server.admin().post("/api/v1/nodes", &json!({"metadata": {"name": "n2"}})).expect(201);
    let status = json!({"status": {"conditions": [{"type": "NetworkUnavailable", "status": "False"}]}});
    parts.patch("/api/v1/nodes/n1/status", "strategic-merge", &status).expect(200);
    parts.patch("/api/v1/nodes/n2/status", "strategic-merge", &status).refused(
        403,
        "Forbidden",
        "not allowed to modify node \"n2\"",
    );
    // Another machine cannot take the name, and this one cannot take another.
    let second = tempfile::tempdir().expect("a folder");
    let error =
        wait(cluster.machine(second.path(), "n1").ensure(Some(&token), Surroundings::system(), PATIENCE));
    assert!(error.unwrap_err().to_string().contains("a Node named n1 exists already"));
    let error =
        wait(cluster.machine(folder.path(), "n2").ensure(Some(&token), Surroundings::system(), PATIENCE));
    assert!(error.unwrap_err().to_string().starts_with("this machine is node n1, not n2"));
}

#[test]
fn certificates_are_renewed_and_clients_notice() {
    let cluster = Cluster::start();
    let token = cluster.new_token();
    let folder = tempfile::tempdir().expect("a folder");
    let machine = cluster.machine(folder.path(), "n1");
    wait(machine.ensure(Some(&token), Surroundings::system(), PATIENCE)).expect("a node");
    // A certificate at the end of its life, in the place of the node's own.
    let now = jiff::Timestamp::now().as_second();
    let profile = Profile {
        common_name: "system:node:n1".into(),
        organization: Some("system:nodes".into()),
        names: vec![],
        usage: Usage::Client,
        lifetime_seconds: LIFE,
    };
    let path = folder.path().join("kubelet-client-current.pem");
    let dying = cluster.authority().issue(&profile, now).expect("a certificate").pair_pem();
    std::fs::write(&path, &dying).expect("written");
    let config = client::Config::read(&folder.path().join("kubelet.conf")).expect("a kubeconfig");
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        let living = client::Client::new(config, "a test", Surroundings::system()).expect("a client");
        let own = client::Resource::fixed("", "v1", "services", "Service", true);
        living.list(&own, "", &[]).await.expect("an answer to the dying certificate");
        let stopping = CancellationToken::new();
        let renewing = tokio::spawn(join::keep(machine, Surroundings::system(), stopping.clone()));
        let begun = Instant::now();
        while std::fs::read_to_string(&path).expect("the file") == dying {
            assert!(begun.elapsed() < PATIENCE, "not renewed");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let over = now + LIFE + 2;
        while jiff::Timestamp::now().as_second() < over {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // The old one is over: the connection that it made is given up, and the next request shows the new one.
        let first = living.list(&own, "", &[]).await;
        if let Err(error) = first {
            assert_eq!(error.status().map(|status| status.code), Some(401), "{error}");
            living.list(&own, "", &[]).await.expect("an answer to the new certificate");
        }
        stopping.cancel();
        renewing.await.expect("it ends");
    });
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().expect("threads").block_on(future)
}
