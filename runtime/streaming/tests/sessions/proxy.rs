//! The chain that kubelet and API server are: client, proxy, streaming server.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use keelson_streaming::client::remotecommand;
use keelson_streaming::remotecommand::status::Outcome;
use keelson_streaming::{client, proxy};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::exec::{INPUT, OUTPUT, exec};
use crate::{Running, text, within};

/// Passes every request on to `to`; gives its own address.
async fn start(to: http::Uri) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let to = to.clone();
            let service = service_fn(move |request: http::Request<Incoming>| {
                let to = to.clone();
                async move {
                    let io =
                        TcpStream::connect(to.authority().expect("a host").as_str()).await.expect("dialled");
                    let (answer, splice) = proxy::forward(request, &to, io).await.expect("forwarded");
                    if let Some(splice) = splice {
                        tokio::spawn(splice.run());
                    }
                    Ok::<http::Response<Full<Bytes>>, Infallible>(answer)
                }
            });
            tokio::spawn(
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades(),
            );
        }
    });
    address
}

#[tokio::test]
async fn sessions_pass_a_proxy() {
    let running = Running::start();
    for websocket in [false, true] {
        let address = start(running.url(exec("cat", INPUT))).await;
        let url: http::Uri = format!("http://{address}/api/v1/pods/p/exec").parse().expect("a uri");
        let io = TcpStream::connect(&address).await.expect("dialled");
        let mut session = if websocket {
            remotecommand::websocket(io, &url, &["v5.channel.k8s.io"], INPUT).await
        } else {
            remotecommand::spdy(io, &url, &["v4.channel.k8s.io"], INPUT).await
        }
        .expect("a session");
        let mut stdin = session.stdin.take().expect("in");
        stdin.write_all(b"through").await.expect("written");
        drop(stdin);
        assert_eq!(text(session.stdout.take().expect("out")).await, "through");
        assert_eq!(within(session.outcome()).await.expect("an outcome"), Outcome::Exited(0));
    }
    running.stop().await;
}

#[tokio::test]
async fn refusals_pass_a_proxy() {
    let running = Running::start();
    let address = start(running.url(exec("both", OUTPUT))).await;
    let url: http::Uri = format!("http://{address}/").parse().expect("a uri");
    let io = TcpStream::connect(&address).await.expect("dialled");
    match client::spdy(io, &url, &["v9"]).await {
        Err(client::ClientError::Refused { status, text }) => {
            assert_eq!(status, 403);
            assert!(text.contains("client supports [v9]"), "{text}");
        }
        other => panic!("{:?}", other.map(|_| ())),
    }
    running.stop().await;
}
