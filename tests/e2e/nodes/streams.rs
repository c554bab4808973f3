//! A connection between pods of two nodes that stands while other things happen.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Pair;

const ANSWER: Duration = Duration::from_secs(30);
const REPEATS: u16 = 8_089;

/// A connection between pods of the two nodes that stands; it repeats what it is told.
pub(super) fn held(pair: &Pair) -> TcpStream {
    let listener = pair.within("web-b", || TcpListener::bind(("0.0.0.0", REPEATS))).expect("a listener");
    std::thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let mut room = [0; 64];
        // Until the other end is closed.
        while let Ok(length @ 1..) = stream.read(&mut room) {
            if stream.write_all(&room[..length]).is_err() {
                return;
            }
        }
    });
    let to = SocketAddr::new(pair.pod_ip("web-b").parse().expect("an address"), REPEATS);
    pair.within("client-a", || TcpStream::connect_timeout(&to, ANSWER)).expect("a connection")
}

/// Talks on it without a pause; how often it was answered, and the longest time between two answers.
pub(super) fn talk(mut stream: TcpStream, stop: &AtomicBool) -> (u32, Duration) {
    stream.set_read_timeout(Some(ANSWER)).expect("a limit");
    let (mut count, mut longest, mut last) = (0_u32, Duration::ZERO, Instant::now());
    while !stop.load(Ordering::SeqCst) {
        count += 1;
        stream.write_all(&count.to_be_bytes()).expect("a connection that stands");
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).expect("a connection that stands");
        assert_eq!(u32::from_be_bytes(answer), count);
        longest = longest.max(last.elapsed());
        last = Instant::now();
        std::thread::sleep(Duration::from_millis(10));
    }
    (count, longest)
}
