//! A whole node as a stage: `keelson demo --keep`, and ways into its namespaces.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");
/// The node's address as the demonstration has it.
pub const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// How long the whole demonstration may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks of a test at what it waits for.
pub const LOOK: Duration = Duration::from_millis(50);
/// The line that says where to look around.
const WAY_IN: &str = "nsenter --net=/proc/";

/// A running demonstration.
pub struct DemoNode {
    process: Child,
    /// Process 1 of the node's namespaces.
    pub init: i32,
    pub kubeconfig: PathBuf,
    /// What it has printed so far.
    pub said: Vec<String>,
}

impl DemoNode {
    /// Runs the demonstration and keeps its node.
    pub fn start(replicas: u32) -> DemoNode {
        let mut process = Command::new(KEELSON)
            .args(["demo", "--keep", "--replicas", &replicas.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("keelson runs");
        let output = process.stdout.take().expect("its output");
        let (lines, told) = mpsc::channel();
        // Ends with the demonstration.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        let mut said = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = told.recv_timeout(left).unwrap_or_else(|_| {
                let _ = process.kill();
                let _ = process.wait();
                panic!("the demonstration has not told its whole story: {said:#?}")
            });
            if let Some(rest) = line.trim().strip_prefix(WAY_IN) {
                let (pid, rest) = rest.split_once('/').expect("a PID");
                let kubeconfig = rest.split_whitespace().skip_while(|word| *word != "--kubeconfig").nth(1);
                let kubeconfig = PathBuf::from(kubeconfig.expect("a kubeconfig"));
                return DemoNode { process, init: pid.parse().expect("a PID"), kubeconfig, said };
            }
            said.push(line);
        }
    }

    /// kubectl, on the node.
    pub fn kubectl(&self, line: &str) -> Output {
        self.on_node("kubectl")
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(line.split_whitespace())
            .output()
            .expect("kubectl runs")
    }

    /// The same; it must succeed, and print JSON.
    pub fn json(&self, line: &str) -> Value {
        let output = self.kubectl(&format!("{line} -o json"));
        assert!(output.status.success(), "kubectl {line}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// A command in the node's network.
    pub fn on_node(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.init)).arg(program).stdin(Stdio::null());
        command
    }

    /// The network of the host outside the cluster.
    pub fn outside(&self) -> OwnedFd {
        let folder = self.kubeconfig.parent().expect("a folder");
        let path = format!("/proc/{}/root{}/ns/outside", self.init, folder.display());
        std::fs::File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}")).into()
    }

    /// A process of the node, as this test sees it: by the word behind `keelson`.
    pub fn process(&self, part: &str) -> Option<i32> {
        self.processes()
            .into_iter()
            .find(|(_, words)| words.get(1).is_some_and(|word| word == part))
            .map(|p| p.0)
    }

    /// Every process below process 1 of the node, with its command line.
    pub fn processes(&self) -> Vec<(i32, Vec<String>)> {
        let mut parents = BTreeMap::new();
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            // The name may hold anything, parentheses included.
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
            let Some(parent) = fields.split_whitespace().nth(1).and_then(|p| p.parse::<i32>().ok()) else {
                continue;
            };
            parents.insert(pid, parent);
        }
        let below = |pid: &i32| {
            let mut at = *pid;
            // Bounded: what is read one after the other could form a circle.
            for _ in 0..parents.len() {
                match parents.get(&at) {
                    Some(parent) if *parent == self.init => return true,
                    Some(parent) => at = *parent,
                    None => return false,
                }
            }
            false
        };
        let command = |pid: i32| {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split_terminator('\0').map(str::to_owned).collect()
        };
        parents.keys().filter(|pid| below(pid)).map(|pid| (*pid, command(*pid))).collect()
    }

    /// SIGKILL to one part, and waits for its successor where it has a supervisor.
    pub fn kill(&self, part: &str) {
        let pid = self.process(part).unwrap_or_else(|| panic!("no {part} runs"));
        kill_process(Pid::from_raw(pid).expect("a PID"), Signal::KILL).expect("it is killed");
    }

    /// Ends the demonstration by a signal; its exit code.
    pub fn end(mut self, signal: Signal) -> Option<i32> {
        let pid = Pid::from_raw(self.process.id().cast_signed()).expect("a PID");
        kill_process(pid, signal).expect("it runs");
        self.process.wait().expect("it ends").code()
    }
}

impl Drop for DemoNode {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            let pid = Pid::from_raw(self.process.id().cast_signed()).expect("a PID");
            let _ = kill_process(pid, Signal::INT);
            let _ = self.process.wait();
        }
    }
}

/// Runs `act` in a network namespace, on a thread of its own.
pub fn within<T: Send + 'static>(
    network: &OwnedFd,
    act: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    let network = network.try_clone().expect("a descriptor");
    std::thread::spawn(move || {
        rustix::thread::move_into_link_name_space(
            network.as_fd(),
            Some(rustix::thread::LinkNameSpaceType::Network),
        )
        .expect("entering a network");
        act()
    })
}
