//! HTTPS registries: authorities and client certificates of the hosts file, and none of them.

use std::io::{BufReader, Write as _};
use std::net::TcpListener;
use std::sync::Arc;

use harness::image::BuiltImage;
use harness::registry::Message;
use image::PullError;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::{Ground, shown, small};

/// A certificate for 127.0.0.1 and its key.
struct Identity {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
    pem: String,
    key_pem: String,
}

fn identity() -> Identity {
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    Identity {
        certificate: certificate.der().clone(),
        key: key.serialize_der(),
        pem: certificate.pem(),
        key_pem: key.serialize_pem(),
    }
}

/// Serves an image over TLS; returns the port. The threads end with the process.
fn serve(image: &BuiltImage, server: &Identity, client: Option<&Identity>) -> u16 {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let mut roots = RootCertStore::empty();
            roots.add(client.certificate.clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(server.key.clone()));
    let config = Arc::new(builder.with_single_cert(vec![server.certificate.clone()], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let image = image.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, image) = (config.clone(), image.clone());
            std::thread::spawn(move || {
                let mut tls =
                    BufReader::new(StreamOwned::new(ServerConnection::new(config).unwrap(), stream));
                while let Ok(Some(request)) = Message::read(&mut tls) {
                    let name =
                        request.target().split('?').next().unwrap().rsplit('/').next().unwrap().to_owned();
                    let body = &image.blobs[if name == "1" { &image.manifest } else { &name }];
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    let stream = tls.get_mut();
                    if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn trust_is_what_the_hosts_file_says() {
    if !harness::root_or_skip("trust_is_what_the_hosts_file_says") {
        return;
    }
    let (server, client) = (identity(), identity());
    let image = small("tls").build();
    let open = serve(&image, &server, None);
    let closed = serve(&image, &server, Some(&client));
    for (port, settings, said) in [
        (open, "", Err("UnknownIssuer")),
        (open, "ca = 'ca.pem'", Ok(())),
        (open, "ca = ['ca.pem']", Ok(())),
        (open, "skip_verify = true", Ok(())),
        (open, "ca = 'client.pem'", Err("certificate")),
        (open, "ca = 'missing.pem'", Err("missing.pem")),
        (closed, "ca = 'ca.pem'", Err("")),
        (closed, "ca = 'ca.pem'\nclient = ['client.pem', 'client.key']", Ok(())),
        (closed, "ca = 'ca.pem'\nclient = 'both.pem'", Ok(())),
    ] {
        let ground = Ground::fresh();
        let registry = format!("127.0.0.1:{port}");
        ground.hosts(&registry, &format!("server = 'https://{registry}'\n{settings}\n"));
        let folder = ground.folder.path().join("certs.d").join(&registry);
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write("ca.pem", &server.pem);
        write("client.pem", &client.pem);
        write("client.key", &client.key_pem);
        write("both.pem", &format!("{}{}", client.pem, client.key_pem));
        match (ground.store.pull(&format!("{registry}/a:1"), None).await, said) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(said)) => {
                let text = shown(&error);
                assert!(
                    matches!(error, PullError::Unreachable { .. }) && text.contains(said),
                    "{settings}: {text}"
                );
            }
            (got, wanted) => panic!("{settings}: {got:?}, wanted {wanted:?}"),
        }
    }
}
