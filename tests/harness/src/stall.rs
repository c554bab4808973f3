//! How long the machine itself stands still beside a test that measures a gap.
//!
//! A machine that is stopped for a while, or that has more to run than cores, delays whoever waits for an answer, whatever
//! the product does. Two threads that talk over loopback see the same: their longest round is the control.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(5);

/// Two threads that talk until they are asked how it went.
#[must_use = "it says how long the longest round was"]
#[derive(Debug)]
pub struct Control {
    stop: Arc<AtomicBool>,
    talk: JoinHandle<Duration>,
}

impl Control {
    /// # Panics
    /// Without a loopback.
    pub fn start() -> Control {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let mut asking =
            TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
        let (mut answering, _) = listener.accept().expect("its other end");
        for stream in [&asking, &answering] {
            stream.set_nodelay(true).expect("an option");
        }
        // Ends with the connection.
        std::thread::spawn(move || {
            let mut byte = [0];
            while answering.read_exact(&mut byte).and_then(|()| answering.write_all(&byte)).is_ok() {}
        });
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let talk = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !stopped.load(Ordering::Relaxed) {
                let begun = Instant::now();
                // What a sleep lasts too long counts as well.
                std::thread::sleep(EVERY);
                asking.write_all(&[0]).and_then(|()| asking.read_exact(&mut [0])).expect("an answer");
                longest = longest.max(begun.elapsed());
            }
            longest
        });
        Control { stop, talk }
    }

    /// Ends it: how long the longest round was.
    ///
    /// # Panics
    /// When the talk has failed.
    #[must_use]
    pub fn longest(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        self.talk.join().expect("a talk")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_takes_its_pause_at_least() {
        let control = Control::start();
        std::thread::sleep(2 * EVERY);
        assert!(control.longest() >= EVERY);
    }
}
