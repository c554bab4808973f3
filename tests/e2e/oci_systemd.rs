//! `keelson oci --systemd-cgroup`: what it asks of systemd, heard by a stand-in on a real bus.
//!
//! ```text
//! keelson oci ──system bus protocol──► dbus-daemon (Debian's, private) ──► stand-in for org.freedesktop.systemd1
//!                                                                            │ makes and removes the cgroups
//! ```
//!
//! The stand-in is no systemd: it notes the calls and does to cgroups what systemd does. It shows what goes over the wire,
//! and that a container lives in the cgroup it is given. The runtime sees cgroup2 alone, in a mount namespace.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use zbus::object_server::SignalEmitter;
use zbus::zvariant::{ObjectPath, OwnedObjectPath, OwnedValue, Value};

use super::oci_bundle::{Bundle, ready, text};

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq)]
enum Call {
    Start { name: String, mode: String, properties: Vec<(String, OwnedValue)> },
    Stop(String),
    Forget(String),
}

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.freedesktop.systemd1")]
enum Refusal {
    #[zbus(error)]
    Bus(zbus::Error),
    NoSuchUnit(String),
}

/// What the stand-in shares with the test.
#[derive(Default)]
struct Heard {
    calls: Vec<Call>,
    /// How the next job ends.
    result: String,
}

struct StandIn {
    heard: Arc<Mutex<Heard>>,
    /// The cgroup2 mount of this host.
    root: PathBuf,
    slice: String,
}

impl StandIn {
    fn scope(&self, name: &str) -> PathBuf {
        self.root.join(&self.slice).join(name)
    }
}

fn property<'a>(properties: &'a [(String, OwnedValue)], name: &str) -> Option<&'a Value<'static>> {
    properties.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
}

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl StandIn {
    fn subscribe(&self) {}

    async fn start_transient_unit(
        &self,
        name: String,
        mode: String,
        properties: Vec<(String, OwnedValue)>,
        _others: Vec<(String, Vec<(String, OwnedValue)>)>,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<OwnedObjectPath, Refusal> {
        let result = self.heard.lock().expect("no panic").result.clone();
        if result == "done" {
            std::fs::create_dir_all(self.scope(&name)).expect("a cgroup");
            if let Some(Value::Array(pids)) = property(&properties, "PIDs") {
                for pid in pids.iter().filter_map(|pid| u32::try_from(pid).ok()) {
                    let procs = self.scope(&name).join("cgroup.procs");
                    std::fs::write(procs, pid.to_string()).expect("a process is moved");
                }
            }
        }
        self.heard.lock().expect("no panic").calls.push(Call::Start { name: name.clone(), mode, properties });
        let job = ObjectPath::try_from("/org/freedesktop/systemd1/job/7").expect("a path");
        StandIn::job_removed(&emitter, 7, job.clone(), &name, &result).await?;
        Ok(job.into())
    }

    async fn stop_unit(
        &self,
        name: String,
        _mode: String,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<OwnedObjectPath, Refusal> {
        self.heard.lock().expect("no panic").calls.push(Call::Stop(name.clone()));
        // The runtime removes the cgroup it has emptied; its slice is systemd's.
        if std::fs::remove_dir(self.root.join(&self.slice)).is_err() {
            return Err(Refusal::NoSuchUnit(format!("Unit {name} not loaded.")));
        }
        let job = ObjectPath::try_from("/org/freedesktop/systemd1/job/8").expect("a path");
        StandIn::job_removed(&emitter, 8, job.clone(), &name, "done").await?;
        Ok(job.into())
    }

    fn reset_failed_unit(&self, name: String) {
        self.heard.lock().expect("no panic").calls.push(Call::Forget(name));
    }

    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: ObjectPath<'_>,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()>;
}

/// A bus of its own, for as long as it lives.
struct PrivateBus {
    process: Child,
    address: String,
}

impl PrivateBus {
    fn start(folder: &Path) -> PrivateBus {
        let socket = folder.join("bus");
        let configuration = format!(
            "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
             \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\
             <busconfig><type>system</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\"><allow send_destination=\"*\"/><allow receive_sender=\"*\"/>\
             <allow own=\"*\"/><allow user=\"*\"/></policy></busconfig>",
            socket.display()
        );
        std::fs::write(folder.join("bus.conf"), configuration).expect("a file");
        let process = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", folder.join("bus.conf").display()))
            .args(["--nofork", "--nopidfile"])
            .stdin(Stdio::null())
            .spawn()
            .expect("dbus-daemon starts");
        let bus = PrivateBus { process, address: format!("unix:path={}", socket.display()) };
        let began = Instant::now();
        // Its file is there a moment before it listens.
        while UnixStream::connect(&socket).is_err() {
            assert!(began.elapsed() < PATIENCE, "dbus-daemon does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        bus
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _ended = self.process.wait();
    }
}

/// `keelson oci --systemd-cgroup` where cgroup2 is the only hierarchy.
fn oci(bundle: &Bundle, address: &str, arguments: &[&str]) -> Output {
    let line = "umount -R -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", line, env!("CARGO_BIN_EXE_keelson")]);
    command.arg("oci").arg("--root").arg(bundle.path().join("state")).arg("--systemd-cgroup").args(arguments);
    command.current_dir(bundle.path()).env("DBUS_SYSTEM_BUS_ADDRESS", address).stdin(Stdio::null());
    // A container keeps the streams that create had: only errors are waited for to their end.
    let errors = std::fs::File::create(bundle.path().join("errors")).expect("a file");
    let output = command.stdout(Stdio::null()).stderr(errors).output().expect("unshare starts");
    let stderr = std::fs::read(bundle.path().join("errors")).expect("a file");
    Output { stderr, ..output }
}

#[test]
fn without_systemd_the_flag_says_what_is_missing() {
    const TEST: &str = "without_systemd_the_flag_says_what_is_missing";
    if !ready(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let mut bundle = Bundle::new(guard.tag());
    let id = bundle.id.clone();
    let mut refused = |path: &str, words: &str| {
        bundle.edit(|spec| spec["linux"]["cgroupsPath"] = json!(path));
        let output = oci(&bundle, "unix:path=/nowhere/bus", &["create", &id]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(words), "{said}");
        assert!(!bundle.path().join("state/v1").join(&id).exists(), "nothing is left");
    };
    refused("system.slice:box:x", "no system bus at unix:path=/nowhere/bus");
    refused("/some/path", "expected cgroupsPath to be of format \"slice:prefix:name\"");
    guard.finish();
}

#[test]
fn a_container_is_a_unit_of_systemds() {
    const TEST: &str = "a_container_is_a_unit_of_systemds";
    if !ready(TEST) {
        return;
    }
    if !Path::new("/usr/bin/dbus-daemon").exists() {
        return harness::skip(TEST, "no dbus-daemon (package dbus-daemon)");
    }
    let guard = harness::host::exclusive(TEST);
    let mut bundle = Bundle::new(guard.tag());
    let id = bundle.id.clone();
    let root = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].into_iter().map(PathBuf::from);
    let root = root.into_iter().find(|path| path.join("cgroup.procs").exists()).expect("cgroup2");
    let slice = format!("kt{}.slice", guard.tag());
    let bus = PrivateBus::start(bundle.path());
    let heard = Arc::new(Mutex::new(Heard { calls: Vec::new(), result: "done".into() }));
    let stand_in = StandIn { heard: heard.clone(), root: root.clone(), slice: slice.clone() };
    let systemd = zbus::blocking::connection::Builder::address(bus.address.as_str())
        .and_then(|builder| builder.serve_at("/org/freedesktop/systemd1", stand_in))
        .and_then(|builder| builder.name("org.freedesktop.systemd1"))
        .and_then(|builder| builder.build())
        .expect("the stand-in is on the bus");
    bundle.shell("sleep 1000").edit(|spec| {
        spec["linux"]["cgroupsPath"] = json!(format!("{slice}:box:{id}"));
        spec["linux"]["resources"] = json!({});
        spec["annotations"] = json!({ "org.systemd.property.TimeoutStopSec": "7" });
    });
    let unit = format!("box-{id}.scope");
    let must = |arguments: &[&str]| {
        let output = oci(&bundle, &bus.address, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    };

    must(&["create", "--pid-file", "pid", &id]);
    let pid = std::fs::read_to_string(bundle.path().join("pid")).expect("a PID");
    let scope = root.join(&slice).join(&unit);
    let inside = std::fs::read_to_string(scope.join("cgroup.procs")).expect("the unit's cgroup");
    assert_eq!(inside.trim(), pid, "the container alone: what stood in for it is gone");
    let calls = std::mem::take(&mut heard.lock().expect("no panic").calls);
    let [Call::Start { name, mode, properties }] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!((name, mode.as_str()), (&unit, "replace"));
    for (name, value) in [
        ("Slice", Value::from(slice.clone())),
        ("Delegate", true.into()),
        ("TasksAccounting", true.into()),
        ("DefaultDependencies", false.into()),
        ("TimeoutStopUSec", 7_000_000_u64.into()),
    ] {
        assert_eq!(property(properties, name), Some(&value), "{name}");
    }
    must(&["start", &id]);
    must(&["exec", &id, "true"]);
    must(&["kill", &id, "KILL"]);
    must(&["delete", "--force", &id]);
    let calls = std::mem::take(&mut heard.lock().expect("no panic").calls);
    assert_eq!(calls, [Call::Stop(unit.clone()), Call::Forget(unit.clone())]);
    assert!(!scope.exists(), "the cgroup is gone");

    heard.lock().expect("no panic").result = "failed".into();
    let output = oci(&bundle, &bus.address, &["create", &id]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("ended with `failed`"), "{}", text(&output));
    assert!(!bundle.path().join("state/v1").join(&id).exists(), "nothing is left");
    drop(systemd);
    drop(bus);
    guard.finish();
}
