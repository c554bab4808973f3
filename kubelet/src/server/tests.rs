//! Who is let in, over real TLS. The API is not there: what it has to say is tested with a real one, end to end.

use std::net::Ipv4Addr;

use client::{Config, Surroundings};
use harness::api::{Client as Asker, Credential};
use pki::{Authority, Kubeconfig, Profile, Usage};

use super::*;

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn issue(authority: &Authority, name: &str, usage: Usage) -> pki::Certificate {
    let profile = Profile {
        common_name: name.into(),
        organization: Some("testers".into()),
        names: vec!["127.0.0.1".into()],
        usage,
        lifetime_seconds: 3600,
    };
    authority.issue(&profile, now()).unwrap()
}

fn credential(certificate: &pki::Certificate) -> Credential {
    Credential::Certificate {
        chain: certificate.certificate_pem.clone(),
        key: certificate.key_pem().to_owned(),
    }
}

#[tokio::test]
async fn nobody_comes_in_without_the_api() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let (ours, theirs) =
        (Authority::create("ours", now()).unwrap(), Authority::create("theirs", now()).unwrap());
    let serving = issue(&ours, "node", Usage::Server);
    let kubelet = issue(&ours, "system:node:node", Usage::Client);
    let kubeconfig = Kubeconfig {
        server: "https://127.0.0.1:1",
        authority_pem: ours.certificate_pem(),
        user: "node",
        certificate: &kubelet,
    };
    let config = Config::read(&at("kubeconfig", &kubeconfig.to_yaml())).unwrap();
    let api = Client::new(config, "test", Surroundings::system()).unwrap();
    let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let address = listener.address;
    let options = ServerOptions {
        address,
        node: "node".into(),
        certificate: Some((at("crt", &serving.certificate_pem), at("key", serving.key_pem()))),
        root: folder.path().to_owned(),
        client_authorities: Some(at("ca", ours.certificate_pem())),
    };
    let stopping = CancellationToken::new();
    let runtime = Runtime::at("/nonexistent.sock").unwrap();
    let served =
        tokio::spawn(serve_on(listener, options, Directory::default(), runtime, api, stopping.clone()));
    let authority = ours.certificate_pem().to_owned();
    let ask = async |credential: Credential, path: &'static str| {
        let authority = authority.clone();
        tokio::task::spawn_blocking(move || {
            let answer = Asker::new(address, &authority, credential).get(path);
            (answer.code, answer.text())
        })
        .await
        .unwrap()
    };
    let unauthorized = (401, "Unauthorized".to_owned());
    for path in ["/healthz", "/pods", "/nothing", "/metrics"] {
        assert_eq!(ask(Credential::None, path).await, unauthorized, "{path}");
    }
    assert_eq!(ask(Credential::Token("x".into()), "/pods").await, unauthorized);
    assert_eq!(ask(credential(&issue(&theirs, "jane", Usage::Client)), "/pods").await, unauthorized);
    assert_eq!(ask(credential(&issue(&ours, "jane", Usage::Server)), "/pods").await, unauthorized);
    let doubt = "Authorization error (user=jane, verb=get, resource=nodes, subresource(s)=[pods proxy])";
    assert_eq!(ask(credential(&issue(&ours, "jane", Usage::Client)), "/pods").await, (500, doubt.to_owned()));
    stopping.cancel();
    served.await.unwrap().unwrap();
}
