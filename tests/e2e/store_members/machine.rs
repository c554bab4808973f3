//! Three pretended machines with an API server each, and what can happen to them.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use harness::api::Client;
use harness::host::Guard;
use harness::netns::TestHost;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson");
/// How long a server may take to serve; it waits for the others.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Keys that all servers of a cluster hold alike.
const SHARED: &[&str] =
    &["ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "peer-ca.crt", "peer-ca.key", "sa.key"];

struct Machine {
    host: TestHost,
    folder: PathBuf,
    child: Option<Child>,
}

/// The machines and the switch between them.
pub struct Machines {
    machines: Vec<Machine>,
    switch: TestHost,
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
        let switch = TestHost::create(guard.tag(), "sw");
        switch.ip(&["link", "add", "lan", "type", "bridge"]);
        switch.ip(&["link", "set", "lan", "up"]);
        let mut machines = Machines { machines: Vec::new(), switch };
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
            machines.machines.push(Machine { host, folder, child: None });
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

    /// Empties a stopped machine's store.
    pub fn empty(&self, at: usize) {
        std::fs::remove_dir_all(self.machines[at].folder.join("data/store")).expect("removing the store");
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for at in 0..self.machines.len() {
            self.kill(at);
        }
    }
}
