//! One connected socket in a pod, a Service of datagrams, and backends that go: resolvers hold such sockets for good.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::Pair;
use super::within::{Server, ask, connected};
use crate::machines::PATIENCE;

const PORT: u16 = 5300;
/// The client's own: to the programs it is one flow for as long as it talks.
const FROM: u16 = 40_053;
const ANSWER: Duration = Duration::from_millis(200);

/// Whichever of the two backends leaves, here or on the other node: the very same socket is answered by the one that is left.
pub(super) fn connected_sockets_follow(pair: &Pair) {
    let answers = |pod: &str, word: &str| {
        pair.a.must(&["label", "--overwrite", "pod", pod, word]);
    };
    let servers = ["web-a", "web-b"].map(|pod| {
        answers(pod, "answers=yes");
        Server::of_datagrams(pair, pod, PORT)
    });
    pair.a.apply(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: names}}\nspec: {{selector: {{answers: \"yes\"}}, \
         ports: [{{port: 53, targetPort: {PORT}, protocol: UDP}}]}}\n"
    ));
    let address: IpAddr = pair.of_service("names", "{.spec.clusterIP}").parse().expect("an address");
    let service = SocketAddr::new(address, 53);
    let both = ["web-a", "web-b"].map(|pod| format!("{}:{PORT}", pair.pod_ip(pod)));
    let both_there =
        || pair.leads(&pair.a, &format!("UDP {service}"), "cluster", &both.each_ref().map(String::as_str));
    both_there();
    let socket = pair.within("client-a", || connected(FROM, service, ANSWER));
    let mut asked = 0;
    let (mut here, _) = answered(pair, &socket, &mut asked, |_| true);
    for round in ["first", "second"] {
        both_there();
        stays(&socket, &mut asked, &here);
        answers(&here, "answers-");
        let (next, after) = answered(pair, &socket, &mut asked, |who| who != here);
        println!(
            "{round} backend of a pod's connected socket gone: {next} answers after {} ms",
            after.as_millis()
        );
        stays(&socket, &mut asked, &next);
        answers(&here, "answers=yes");
        here = next;
    }
    drop(servers);
    pair.a.must(&["delete", "service", "names"]);
}

/// Asks until somebody of that kind answers; who, and when.
fn answered(
    pair: &Pair,
    socket: &UdpSocket,
    asked: &mut u32,
    kind: impl Fn(&str) -> bool,
) -> (String, Duration) {
    let began = Instant::now();
    loop {
        *asked += 1;
        let who = ask(socket, *asked, 0).and_then(|words| words.into_iter().next());
        match who {
            Some(who) if kind(&who) => return (who, began.elapsed()),
            // It was answered too soon by the other one; not at once again.
            Some(_) => std::thread::sleep(Duration::from_millis(1)),
            None => {}
        }
        assert!(began.elapsed() < PATIENCE, "nobody else answers\n{}", pair.a.last_lines());
    }
}

/// Nobody else answers, however often it asks.
fn stays(socket: &UdpSocket, asked: &mut u32, who: &str) {
    let (mut heard, began) = (0, Instant::now());
    while heard < 20 {
        *asked += 1;
        if let Some(words) = ask(socket, *asked, 0) {
            assert_eq!(words[0], who, "{words:?}");
            heard += 1;
        }
        assert!(began.elapsed() < PATIENCE, "{who} answers no more");
    }
}
