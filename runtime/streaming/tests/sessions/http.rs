//! What is answered before there is a session: tokens, paths, methods, protocols.

use keelson_streaming::Request;
use keelson_streaming::client::{self, ClientError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::exec::{OUTPUT, exec};
use crate::{Running, within};

/// Sends one request and gives the whole answer.
async fn ask(running: &Running, head: &str) -> String {
    let mut connection = running.dial().await;
    let request = format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    within(connection.read_to_string(&mut answer)).await.expect("an answer");
    answer
}

fn fresh(running: &Running) -> String {
    running.url(exec("both", OUTPUT)).path().to_string()
}

#[tokio::test]
async fn answers_without_a_session() {
    let running = Running::start();
    let path = fresh(&running);
    let check = async |head: &str, status: &str, body: &str| {
        let answer = ask(&running, head).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{head}: {answer}");
        assert!(answer.contains(body), "{head}: {answer}");
    };
    check("GET / HTTP/1.1", "404", "404 page not found").await;
    check("GET /exec/ HTTP/1.1", "404", "404 page not found").await;
    check("GET /exec/AAAAAAAAAAAAAAAAAAAAAA HTTP/1.1", "404", "404 page not found").await;
    check(&format!("DELETE {path} HTTP/1.1"), "405", "").await;
    check(&format!("GET {path} HTTP/1.1"), "400", "X-Stream-Protocol-Version does not exist").await;
    check(&format!("GET {path} HTTP/1.1"), "404", "404 page not found").await;
    let wrong_kind = fresh(&running).replace("/exec/", "/attach/");
    check(&format!("POST {wrong_kind} HTTP/1.1"), "404", "").await;
    check(&format!("POST {} HTTP/1.1", wrong_kind.replace("/attach/", "/exec/")), "404", "").await;
    let offer = "X-Stream-Protocol-Version: v9.channel.k8s.io";
    let answer = ask(&running, &format!("GET {} HTTP/1.1\r\n{offer}", fresh(&running))).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(answer.contains("x-accepted-stream-protocol-versions: v4.channel.k8s.io"), "{answer}");
    running.stop().await;
}

#[tokio::test]
async fn clients_say_why_there_is_no_session() {
    let running = Running::start();
    let refused = |result: Result<_, ClientError>| match result {
        Err(ClientError::Refused { status, text }) => (status.as_u16(), text),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("a session"),
    };
    let url = running.url(exec("both", OUTPUT));
    let spdy = refused(client::spdy(running.dial().await, &url, &["v9.channel.k8s.io"]).await);
    assert_eq!(spdy.0, 403);
    assert!(
        spdy.1.contains("client supports [v9.channel.k8s.io], server accepts [v4.channel.k8s.io"),
        "{spdy:?}"
    );
    let spent = refused(client::spdy(running.dial().await, &url, &["v4.channel.k8s.io"]).await);
    assert_eq!(spent, (404, "404 page not found".to_string()));
    let url = running.url(exec("both", OUTPUT));
    assert_eq!(refused(client::websocket(running.dial().await, &url, &["v9"]).await).0, 403);
    running.stop().await;
}

#[tokio::test]
async fn requests_are_checked_before_a_token_is_given() {
    let running = Running::start();
    let nothing = Request::Exec(Default::default());
    let error = running.server.url_for(nothing).expect_err("no container");
    assert_eq!(error.to_string(), "missing required container_id");
    let url = running.server.url_for(exec("both", OUTPUT)).expect("a url");
    assert!(url.starts_with(&format!("http://{}/exec/", running.server.address())), "{url}");
    running.stop().await;
}

#[test]
fn only_loopback_is_served() {
    let fake = std::sync::Arc::new(crate::backend::Fake::default());
    let error =
        keelson_streaming::Server::bind("0.0.0.0:0", fake, Default::default()).err().expect("an error");
    assert!(error.to_string().contains("not on loopback"), "{error}");
}
