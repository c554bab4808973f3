//! The other end is a thread that speaks the protocol with zbus's messages, byte by byte, as a bus daemon would.

use std::thread::JoinHandle;

use super::*;

#[test]
fn addresses_of_the_bus() {
    for (text, expect) in [
        ("unix:path=/run/bus", Some("path /run/bus")),
        ("unix:path=/run/a%20b,guid=0123", Some("path /run/a b")),
        ("tcp:host=x;unix:abstract=name", Some("abstract name")),
        ("tcp:host=x", None),
        ("unix:runtime=yes", None),
        ("unix:path=%zz", None),
        ("/run/bus", None),
    ] {
        let found = parse(text).map(|address| match (address.as_pathname(), address.as_abstract_name()) {
            (Some(path), _) => format!("path {}", path.display()),
            (_, Some(name)) => format!("abstract {}", String::from_utf8_lossy(name)),
            _ => String::new(),
        });
        assert_eq!(found.as_deref(), expect, "{text}");
    }
}

/// A connection whose other end answers the handshake and `Hello`, and then what `serve` does.
fn connected(serve: impl FnOnce(&mut Bus) + Send + 'static) -> (Result<Bus, BusError>, JoinHandle<()>) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let daemon = std::thread::spawn(move || {
        let mut end = Bus { socket: theirs, ended: Vec::new() };
        let deadline = Instant::now() + CALL_TIMEOUT;
        let greeting = end.line(deadline).expect("a line");
        assert_eq!(greeting, format!("\0AUTH EXTERNAL {}", hex_of_own_uid()));
        end.socket.write_all(b"OK 0123456789abcdef\r\n").expect("written");
        assert_eq!(end.line(deadline).expect("a line"), "BEGIN");
        let hello = end.receive(deadline, "hello").expect("a message");
        assert_eq!(member(&hello), "Hello");
        answer(&mut end, &hello, &":1.7");
        serve(&mut end);
    });
    (Bus::over(ours), daemon)
}

fn hex_of_own_uid() -> String {
    let uid = rustix::process::geteuid().as_raw().to_string();
    uid.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn answer<B: Serialize + DynamicType>(end: &mut Bus, call: &Incoming, body: &B) {
    let message =
        call.header(|header| Message::method_return(header).and_then(|builder| builder.build(body)));
    end.socket.write_all(message.expect("a header").expect("an answer").data()).expect("written");
}

fn member(message: &Incoming) -> String {
    message.header(|header| header.member().map(ToString::to_string)).expect("a header").unwrap_or_default()
}

fn job_removed(end: &mut Bus, job: &str, result: &str) {
    let path = OwnedObjectPath::try_from(job).expect("a path");
    let signal = Message::signal(MANAGER_PATH, MANAGER, "JobRemoved")
        .and_then(|builder| builder.build(&(1_u32, path, "u.scope", result)));
    end.socket.write_all(signal.expect("a signal").data()).expect("written");
}

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn a_job_is_followed_to_its_end() {
    let (bus, daemon) = connected(|end| {
        let call = end.receive(Instant::now() + DEADLINE, "start").expect("a message");
        assert_eq!(member(&call), "StartTransientUnit");
        let (destination, signature) = call
            .header(|header| {
                (header.destination().map(ToString::to_string), header.signature().to_string_no_parens())
            })
            .expect("a header");
        assert_eq!((destination.as_deref(), signature.as_str()), (Some(SYSTEMD), "ssa(sv)a(sa(sv))"));
        type Others = Vec<(String, Vec<(String, zbus::zvariant::OwnedValue)>)>;
        type Body = (String, String, Vec<(String, zbus::zvariant::OwnedValue)>, Others);
        let ((name, mode, properties, others), _): (Body, usize) =
            call.body().deserialize().expect("the body");
        assert_eq!((name.as_str(), mode.as_str(), others.len()), ("u.scope", "replace", 0));
        assert_eq!(properties[0].0, "PIDs");
        assert_eq!(*properties[0].1, Value::from(vec![7_u32]));
        // The end of ours comes before the answer that names it, between others.
        job_removed(end, "/org/freedesktop/systemd1/job/1", "done");
        job_removed(end, "/org/freedesktop/systemd1/job/2", "failed");
        answer(end, &call, &OwnedObjectPath::try_from("/org/freedesktop/systemd1/job/2").expect("a path"));
    });
    let mut bus = bus.expect("connected");
    let job = bus.start_unit("u.scope", &[("PIDs", vec![7_u32].into())]).expect("a job");
    assert_eq!(bus.wait_for_job(&job, "u.scope").expect("an end"), "failed");
    daemon.join().expect("the other end");
}

#[test]
fn a_refusal_is_told_with_its_words() {
    let (bus, daemon) = connected(|end| {
        let call = end.receive(Instant::now() + DEADLINE, "stop").expect("a message");
        let message = call.header(|header| {
            Message::error(header, NO_SUCH_UNIT).and_then(|builder| builder.build(&"not loaded"))
        });
        end.socket.write_all(message.expect("a header").expect("an error").data()).expect("written");
    });
    let error = bus.expect("connected").stop_unit("u.scope").unwrap_err();
    assert_eq!(error.to_string(), "StopUnit of systemd: org.freedesktop.systemd1.NoSuchUnit: not loaded");
    daemon.join().expect("the other end");
}

#[test]
fn what_is_no_message_is_an_error() {
    for bytes in [&b"x000000000000000"[..], b"l\x02\x00\x01\xff\xff\xff\xff\x01\x00\x00\x00\x00\x00\x00\x00"]
    {
        let (bus, daemon) = connected(move |end| {
            let _call = end.receive(Instant::now() + DEADLINE, "stop").expect("a message");
            end.socket.write_all(bytes).expect("written");
        });
        assert!(matches!(bus.expect("connected").stop_unit("u"), Err(BusError::Garbled)));
        daemon.join().expect("the other end");
    }
}
