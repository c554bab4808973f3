//! Three pretended machines with an API server each, and what can happen to them.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use harness::api::Client;
use harness::host::Guard;
use harness::netns::TestHost;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson");
/// How long a server may take to serve; it waits for the others.
pub const START_LIMIT: Duration = Duration::from_secs(60);
/// Keys that all servers of a cluster hold alike.
const SHARED: &[&str] = &[
    "ca.crt",
    "ca.key",
    "front-proxy-ca.crt",
    "front-proxy-ca.key",
    "peer-ca.crt",
    "peer-ca.key",
    "sa.key",
    "encryption.yaml",
];

struct Machine {
    host: TestHost,
    folder: PathBuf,
    child: Option<Child>,
    /// What its server has said.
    said: Arc<Mutex<String>>,
}

/// A disturbance of a process; ends when it drops.
pub struct Injected(Child);

impl Drop for Injected {
    fn drop(&mut self) {
        // It lets go of the process that it holds.
        let pid = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
        let _ = self.0.wait();
    }
}

/// The machines and the switch between them.
pub struct Machines {
    machines: Vec<Machine>,
    switch: TestHost,
    /// Each machine's store is on a filesystem of so many MiB, which it keeps over restarts of the server.
    disk_mib: Option<u32>,
}

/// The administrator of one machine's API server.
pub struct Admin {
    pub client: Client,
    namespace: File,
}

impl Admin {
    /// Moves this thread to the machine.
    pub fn enter(&self) {
        nix::sched::setns(&self.namespace, nix::sched::CloneFlags::CLONE_NEWNET).expect("entering a machine");
    }

    /// GET from a thread on the machine.
    pub fn get_inside(&self, path: &str) -> Value {
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| {
                self.enter();
                self.client.get(path).expect(200)
            });
            asked.join().expect("the answer")
        })
    }
}

fn address(at: usize) -> String {
    format!("198.18.0.{}", at + 1)
}

impl Machines {
    /// Starts the first, then has the others join it.
    pub fn start(guard: &Guard, folder: &Path) -> Machines {
        Machines::start_on(guard, folder, None)
    }

    /// The same, with a small filesystem for each store.
    pub fn start_on_small_disks(guard: &Guard, folder: &Path, mib: u32) -> Machines {
        Machines::start_on(guard, folder, Some(mib))
    }

    fn start_on(guard: &Guard, folder: &Path, disk_mib: Option<u32>) -> Machines {
        let switch = TestHost::create(guard.tag(), "sw");
        switch.ip(&["link", "add", "lan", "type", "bridge"]);
        switch.ip(&["link", "set", "lan", "up"]);
        let mut machines = Machines { machines: Vec::new(), switch, disk_mib };
        for at in 0..3 {
            let host = TestHost::create(guard.tag(), &format!("m{at}"));
            host.connect("e", &machines.switch, &format!("p{at}"));
            machines.switch.ip(&["link", "set", &format!("p{at}"), "master", "lan"]);
            host.address("e", &format!("{}/24", address(at)));
            let folder = folder.join(format!("m{at}"));
            std::fs::create_dir_all(folder.join("data/pki")).unwrap();
            if at > 0 {
                for name in SHARED {
                    let (from, to) = (&machines.machines[0].folder, &folder);
                    std::fs::copy(from.join("data/pki").join(name), to.join("data/pki").join(name)).unwrap();
                }
            }
            if let Some(mib) = disk_mib {
                mount_disk(&folder.join("data/store"), mib);
            }
            machines.machines.push(Machine { host, folder, child: None, said: Arc::default() });
            machines.launch(at);
        }
        machines
    }

    pub fn host(&self, at: usize) -> &TestHost {
        &self.machines[at].host
    }

    fn launch(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        let ip = address(at);
        let mut command = machine.host.command(PROGRAM);
        command
            .args(["apiserver", "--bind-address", &ip, "--advertise-address", &ip])
            .args(["--peer-name", &format!("m{at}"), "--peer-address", &format!("{ip}:2380")])
            .arg("--data-dir")
            .arg(machine.folder.join("data"))
            .arg("--write-kubeconfig")
            .arg(machine.folder.join("admin.conf"))
            .env("KEELSON_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if at > 0 {
            command.args(["--join-peer", &format!("{}:2380", address(0))]);
        }
        let mut child = command.spawn().expect("starting an API server");
        let said = BufReader::new(child.stderr.take().expect("its standard error"));
        let (ready, told) = mpsc::channel();
        let log = machine.said.clone();
        // Ends with the server.
        std::thread::spawn(move || {
            let mut all = String::new();
            for line in said.lines().map_while(Result::ok) {
                if line.contains("the API is served") {
                    let _ = ready.send(Ok(()));
                }
                if line.contains("ERROR") {
                    eprintln!("m{at}: {line}");
                }
                let mut log = log.lock().expect("what was said");
                log.push_str(&line);
                log.push('\n');
                all.push_str(&line);
                all.push('\n');
            }
            let _ = ready.send(Err(all));
        });
        machine.child = Some(child);
        match told.recv_timeout(START_LIMIT) {
            Ok(Ok(())) => {}
            Ok(Err(said)) => panic!("m{at} ended at its start:\n{said}"),
            Err(error) => panic!("m{at} does not serve: {error}"),
        }
    }

    pub fn admin(&self, at: usize) -> Arc<Admin> {
        let machine = &self.machines[at];
        let socket = format!("{}:6443", address(at)).parse().expect("an address");
        let client = harness::api::administrator(&machine.folder.join("admin.conf"), socket);
        Arc::new(Admin { client, namespace: File::open(machine.host.path()).expect("the machine") })
    }

    /// Runs `keelson store` on a machine.
    pub fn store(&self, at: usize, arguments: &[&str]) -> Output {
        let machine = &self.machines[at];
        let mut command = machine.host.command(PROGRAM);
        command.arg("store").args(arguments).arg("--data-dir").arg(machine.folder.join("data"));
        command.output().expect("running keelson store")
    }

    /// What a member says of a cluster that is well, once it is: it hears of the others only now and then.
    pub fn until_healthy(&self, at: usize) -> Value {
        let begun = Instant::now();
        loop {
            let status = self.store(at, &["status", "-o", "json"]);
            let told: Value = serde_json::from_slice(&status.stdout).expect("JSON");
            if (told["healthy"].as_bool(), status.status.code()) == (Some(true), Some(0)) {
                return told;
            }
            assert!(begun.elapsed() < START_LIMIT, "{told}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub fn restore(&self, at: usize, file: &Path) -> Output {
        self.store(at, &["restore", file.to_str().expect("a path")])
    }

    /// The machine whose member leads, by what the members themselves say.
    pub fn leader(&self) -> usize {
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            for at in (0..3).filter(|at| self.machines[*at].child.is_some()) {
                let told = self.store(at, &["status", "-o", "json"]);
                let told: Value = serde_json::from_slice(&told.stdout).unwrap_or_default();
                let leader = told["members"].as_array().into_iter().flatten().find(|m| m["role"] == "leader");
                if let Some(name) = leader.and_then(|member| member["name"].as_str()) {
                    return name.trim_start_matches('m').parse().expect("its number");
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("nobody leads");
    }

    pub fn signal(&self, at: usize, signal: &str) {
        let pid = self.machines[at].child.as_ref().expect("a running server").id();
        let signal = format!("SIG{signal}").parse::<nix::sys::signal::Signal>().expect("a signal");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), signal).expect("sending it");
    }

    pub fn kill(&mut self, at: usize) {
        if self.machines[at].child.is_some() {
            self.signal(at, "KILL");
        }
        if let Some(mut child) = self.machines[at].child.take() {
            child.wait().expect("its end");
        }
    }

    pub fn restart(&mut self, at: usize) {
        self.launch(at);
    }

    /// Plugs the machine's cable in or out.
    pub fn cable(&self, at: usize, plugged: bool) {
        let state = if plugged { "up" } else { "down" };
        self.switch.ip(&["link", "set", &format!("p{at}"), state]);
    }

    /// Whether the machine hears others; they hear it all the same.
    pub fn deaf(&self, at: usize, deaf: bool) {
        let host = &self.machines[at].host;
        if deaf {
            let rules =
                "table inet deaf { chain others { type filter hook input priority 0; iifname e drop; }; }";
            host.must("nft", &[rules]);
        } else {
            host.must("nft", &["delete", "table", "inet", "deaf"]);
        }
    }

    pub fn pid(&self, at: usize) -> u32 {
        self.machines[at].child.as_ref().expect("a running server").id()
    }

    /// Everything that a machine's servers have said.
    pub fn said(&self, at: usize) -> String {
        self.machines[at].said.lock().expect("what was said").clone()
    }

    fn filler(&self, at: usize) -> PathBuf {
        self.machines[at].folder.join("data/store/filler")
    }

    /// Leaves no byte free where a machine's store is.
    pub fn fill(&self, at: usize) {
        use std::io::Write as _;
        let mut filler = File::create(self.filler(at)).expect("a file");
        while filler.write_all(&[1; 4096]).is_ok() {}
    }

    pub fn free(&self, at: usize) {
        std::fs::remove_file(self.filler(at)).expect("the file goes");
    }

    /// Disturbs each sync of a machine's server, in strace's words.
    pub fn inject(&self, at: usize, what: &str) -> Injected {
        let mut child = Command::new("strace")
            .args(["-f", "-e", "trace=fdatasync,fsync", "-e", &format!("inject=fdatasync,fsync:{what}")])
            .args(["-o", "/dev/null", "-p", &self.pid(at).to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace runs");
        let said = child.stderr.take().expect("its standard error");
        let mut lines = BufReader::new(said).lines();
        // It says so once it has hold of the process.
        let attached = lines.by_ref().map_while(Result::ok).any(|line| line.contains("attached"));
        std::thread::spawn(move || lines.for_each(drop));
        assert!(attached, "strace got hold of the server");
        Injected(child)
    }

    /// Empties a stopped machine's store.
    pub fn empty(&self, at: usize) {
        std::fs::remove_dir_all(self.machines[at].folder.join("data/store")).expect("removing the store");
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for at in 0..self.machines.len() {
            self.kill(at);
            if self.disk_mib.is_some() {
                let store = self.machines[at].folder.join("data/store");
                nix::mount::umount2(&store, nix::mount::MntFlags::MNT_DETACH).expect("the disk goes");
            }
        }
    }
}

fn mount_disk(path: &Path, mib: u32) {
    std::fs::create_dir_all(path).expect("a folder");
    let size = format!("size={mib}m");
    let none = None::<&str>;
    nix::mount::mount(none, path, Some("tmpfs"), nix::mount::MsFlags::empty(), Some(size.as_str()))
        .expect("a disk");
}
