//! Machines on one kernel: each has network, mounts, processes and BPF filesystem of its own, and runs `keelson server` or
//! `keelson agent` as a user would. A switch connects them: two networks, and a router between those.
//!
//! ```text
//!   machine ── uplink ─┐                        ┌─ uplink ── machine
//!   machine ── uplink ─┴─ near (192.0.2.0/24)   └─ far (198.51.100.0/24)
//!                              └──── router .254 ────┘
//! ```

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use harness::host::Guard;
use harness::netns::TestHost;
use rustix::process::{Pid, Signal, kill_process};

pub const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");
/// What pods name the busybox that every machine has.
pub const IMAGE: &str = "keelson.dev/busybox:test";
/// How long a change may take to show on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);

/// Which network of the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    Near,
    Far,
}

impl Segment {
    fn bridge(self) -> &'static str {
        match self {
            Segment::Near => "near",
            Segment::Far => "far",
        }
    }

    /// The address of a machine by its last byte.
    pub fn address(self, last: u8) -> Ipv4Addr {
        match self {
            Segment::Near => Ipv4Addr::new(192, 0, 2, last),
            Segment::Far => Ipv4Addr::new(198, 51, 100, last),
        }
    }

    pub fn address6(self, last: u8) -> String {
        let network = if self == Segment::Near { 1 } else { 2 };
        format!("2001:db8:{network}::{last:x}")
    }
}

/// The router's last byte on both networks.
pub const ROUTER: u8 = 254;

/// What connects the machines; also a host outside of the cluster.
pub struct Switch {
    pub host: TestHost,
}

impl Switch {
    pub fn new(guard: &Guard) -> Switch {
        let host = TestHost::create(guard.tag(), "net");
        host.sysctl("ipv4/ip_forward", "1");
        host.sysctl("ipv6/conf/all/forwarding", "1");
        for segment in [Segment::Near, Segment::Far] {
            let bridge = segment.bridge();
            host.ip(&["link", "add", bridge, "type", "bridge"]);
            host.ip(&["link", "set", bridge, "up"]);
            host.address(bridge, &format!("{}/24", segment.address(ROUTER)));
            host.address(bridge, &format!("{}/64", segment.address6(ROUTER)));
        }
        Switch { host }
    }

    /// A cable from a machine to one of the networks, with its addresses and default routes.
    pub fn connect(&self, machine: &TestHost, segment: Segment, last: u8, has_ipv4: bool) {
        let port = format!("{}{last}", segment.bridge());
        self.host.connect(&port, machine, "uplink");
        self.host.ip(&["link", "set", &port, "master", segment.bridge()]);
        machine.address("uplink", &format!("{}/64", segment.address6(last)));
        if has_ipv4 {
            machine.address("uplink", &format!("{}/24", segment.address(last)));
            machine.ip(&["route", "add", "default", "via", &segment.address(ROUTER).to_string()]);
        }
        machine.ip(&["-6", "route", "add", "default", "via", &segment.address6(ROUTER)]);
    }
}

/// One machine.
pub struct Machine {
    pub name: String,
    pub segment: Segment,
    pub host: TestHost,
    last: u8,
    has_ipv4: bool,
    /// Several nodes on one kernel: in the names of links and pins.
    instance: String,
    folder: tempfile::TempDir,
    init: Option<Child>,
    words: Vec<String>,
}

impl Machine {
    /// A machine with power, on which nothing runs. `letter` names it, `last` is its address.
    pub fn new(guard: &Guard, switch: &Switch, letter: char, segment: Segment, last: u8) -> Machine {
        Machine::make(guard, switch, (letter, segment, last), true)
    }

    /// The same without any address of IPv4.
    pub fn of_ipv6(guard: &Guard, switch: &Switch, letter: char, segment: Segment, last: u8) -> Machine {
        Machine::make(guard, switch, (letter, segment, last), false)
    }

    fn make(guard: &Guard, switch: &Switch, who: (char, Segment, u8), has_ipv4: bool) -> Machine {
        let (letter, segment, last) = who;
        let host = TestHost::create(guard.tag(), &letter.to_string());
        switch.connect(&host, segment, last, has_ipv4);
        let folder = tempfile::Builder::new()
            .prefix(&format!("keelson-{}-{letter}-", guard.tag()))
            .tempdir()
            .expect("a folder");
        let machine = Machine {
            name: format!("node-{letter}"),
            segment,
            host,
            last,
            has_ipv4,
            instance: format!("{}{letter}", guard.tag()),
            folder,
            init: None,
            words: Vec::new(),
        };
        machine.fill();
        machine
    }

    /// Its disk: the image, the plugin, folders.
    fn fill(&self) {
        use std::os::unix::fs::PermissionsExt as _;
        // The control plane's own user passes through.
        std::fs::set_permissions(self.folder.path(), std::fs::Permissions::from_mode(0o711))
            .expect("its mode");
        for name in ["bin", "data", "registries", "bpf"] {
            std::fs::create_dir_all(self.path(name)).expect(name);
        }
        std::os::unix::fs::symlink(KEELSON, self.path("bin/keelson-cni")).expect("the plugin");
        let layout = self.path("image");
        harness::image::busybox().expect("busybox-static").build().write_layout(&layout, IMAGE);
        let options = image::ImageOptions::new(self.path("data/images"), self.path("registries"));
        let store = image::Store::open(options).expect("a store");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a thread");
        runtime.block_on(store.import(&layout)).expect("the image");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where others reach it.
    pub fn address(&self) -> IpAddr {
        if self.has_ipv4 {
            self.segment.address(self.last).into()
        } else {
            self.address6().parse().expect("an address")
        }
    }

    pub fn address6(&self) -> String {
        self.segment.address6(self.last)
    }

    fn cgroup(&self) -> String {
        format!("/keelson-test-{}", self.instance)
    }

    /// What every node's command has.
    fn node_flags(&self) -> Vec<String> {
        let at = |name: &str| self.path(name).display().to_string();
        [
            ("data-dir", at("data")),
            ("state-dir", at("run")),
            ("node-name", self.name.clone()),
            ("root-dir", at("kubelet")),
            ("pod-logs-dir", at("logs")),
            ("cni-conf-dir", at("net.d")),
            ("cni-bin-dir", at("bin")),
            ("registries", at("registries")),
            ("cgroup-root", self.cgroup()),
            ("keeper-cgroup", "none".to_owned()),
            ("eviction-hard", "memory.available<10Mi".to_owned()),
            ("bpffs", at("bpf")),
            ("instance", self.instance.clone()),
        ]
        .map(|(name, value)| format!("--{name}={value}"))
        .into()
    }

    /// `keelson server`, with further flags.
    pub fn start_server(&mut self, more: &[&str]) {
        let mut words =
            vec!["server".to_owned(), format!("--write-kubeconfig={}", self.kubeconfig().display())];
        words.extend(self.node_flags());
        words.extend(self.own_address(more));
        words.extend(more.iter().map(|word| (*word).to_owned()));
        self.words = words;
        self.power_on();
    }

    /// `keelson agent` of a server.
    pub fn start_agent(&mut self, server: &Machine, token: &str, more: &[&str]) {
        // By its name, as a file says it: certificates of servers are for that too.
        let known = format!("127.0.0.1 localhost\n{} {}\n", server.address(), server.name);
        std::fs::write(self.path("hosts"), known).expect("a file");
        let mut words = vec!["agent".to_owned(), format!("--server=https://{}:6443", server.name)];
        words.push(format!("--token={token}"));
        words.extend(self.node_flags());
        words.extend(self.own_address(more));
        words.extend(more.iter().map(|word| (*word).to_owned()));
        self.words = words;
        self.power_on();
    }

    fn own_address(&self, more: &[&str]) -> Option<String> {
        let given = more.iter().any(|word| word.starts_with("--node-ip"));
        (!given).then(|| format!("--node-ip={}", self.address()))
    }

    /// Runs what it ran before, in namespaces of its own; process 1 reaps.
    pub fn power_on(&mut self) {
        assert!(self.init.is_none(), "{} runs", self.name);
        let log =
            std::fs::File::options().create(true).append(true).open(self.path("node.log")).expect("a log");
        let script = format!(
            "mount --make-rprivate / && mount -t bpf bpf {bpf} && hostname {name} && \
             {{ [ ! -e {hosts} ] || mount --bind {hosts} /etc/hosts; }} && {{ {program} \"$@\" & wait; }}",
            hosts = self.path("hosts").display(),
            bpf = self.path("bpf").display(),
            name = self.name,
            program = KEELSON,
        );
        let mut command = self.host.command("unshare");
        command
            .args(["--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", &script, "sh"])
            .args(&self.words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.init = Some(command.spawn().expect("unshare runs"));
    }

    /// As if somebody pulled the plug: all processes, mounts, programs and links are gone; the disk stays.
    pub fn power_off(&mut self) {
        self.end_processes();
        for name in ["run", "net.d"] {
            let _ = std::fs::remove_dir_all(self.path(name));
        }
        let links = self.host.ip(&["-o", "link"]);
        for link in links.lines().filter_map(|line| line.split(": ").nth(1)) {
            let name = link.split('@').next().unwrap_or(link);
            if name != "lo" && name != "uplink" {
                let _ = self.host.run("ip", &["link", "delete", name]);
            }
        }
    }

    fn end_processes(&mut self) {
        if let Some(mut init) = self.init.take() {
            // The child of `unshare` is process 1 in there, and is killed with it.
            let _ = init.kill();
            let _ = init.wait();
            let began = Instant::now();
            while !self.processes().is_empty() && began.elapsed() < PATIENCE {
                std::thread::sleep(LOOK);
            }
        }
    }

    /// Every process of this machine that is ours, with its command line.
    pub fn processes(&self) -> Vec<(i32, Vec<String>)> {
        let mark = format!("--data-dir={}", self.path("data").display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<String> = line.split_terminator('\0').map(str::to_owned).collect();
            if words.contains(&mark) {
                found.push((pid, words));
            }
        }
        found
    }

    /// A process by the word behind `keelson`.
    pub fn process(&self, part: &str) -> Option<i32> {
        let is_it = |words: &[String]| {
            words.first().is_some_and(|w| w.ends_with("keelson"))
                && words.get(1).is_some_and(|word| word == part)
        };
        self.processes().into_iter().find(|(_, words)| is_it(words)).map(|(pid, _)| pid)
    }

    /// SIGKILL to one part.
    pub fn kill(&self, part: &str) {
        let pid = self.process(part).unwrap_or_else(|| panic!("no {part} runs on {}", self.name));
        kill_process(Pid::from_raw(pid).expect("a PID"), Signal::KILL).expect("it is killed");
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.path("admin.conf")
    }

    /// `keelson` on this machine.
    pub fn keelson(&self, arguments: &[&str]) -> Output {
        self.host.command(KEELSON).args(arguments).output().expect("keelson runs")
    }

    /// `keelson net WHAT` as JSON, among the mounts of this machine.
    pub fn net(&self, part: &str, what: &str) -> serde_json::Value {
        let pid = self.process(part).expect("the part runs").to_string();
        let output = std::process::Command::new("nsenter")
            .args(["--target", &pid, "--net", "--mount", KEELSON, "net", what, "-o", "json"])
            .arg(format!("--bpffs={}", self.path("bpf").display()))
            .arg(format!("--instance={}", self.instance))
            .output()
            .expect("nsenter runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// What `keelson token create` prints here.
    pub fn token(&self) -> String {
        let kubeconfig = self.kubeconfig().display().to_string();
        let output = self.keelson(&["token", "create", "--kubeconfig", &kubeconfig]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// What `keelson token create --server` prints here.
    pub fn server_token(&self) -> String {
        let (kubeconfig, data) =
            (self.kubeconfig().display().to_string(), self.path("data").display().to_string());
        let output =
            self.keelson(&["token", "create", "--server", "--kubeconfig", &kubeconfig, "--data-dir", &data]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// kubectl as the administrator.
    pub fn kubectl(&self, arguments: &[&str]) -> Output {
        self.kubectl_within("120", arguments)
    }

    /// The same, ended after so many seconds.
    pub fn kubectl_within(&self, seconds: &str, arguments: &[&str]) -> Output {
        self.host
            .command("timeout")
            .args([seconds, "kubectl", "--kubeconfig"])
            .arg(self.kubeconfig())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("kubectl runs")
    }

    /// The same; it must succeed.
    pub fn must(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments);
        assert!(
            output.status.success(),
            "kubectl {arguments:?}: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.last_lines()
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Makes objects of YAML.
    pub fn apply(&self, yaml: &str) {
        let file = self.path("apply.yaml");
        std::fs::write(&file, yaml).expect("a file");
        self.must(&["apply", "-f", &file.display().to_string()]);
    }

    /// Waits; shows the end of the log where it does not come.
    pub fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}\n{}", self.last_lines());
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until a node is ready.
    pub fn until_ready(&self, node: &str) {
        self.until(&format!("{node} is ready"), || {
            let path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
            let output = self.kubectl(&["get", "node", node, "-o", path]);
            output.stdout == b"True"
        });
    }

    /// Waits until pods are ready.
    pub fn until_pods(&self, pods: &[&str]) {
        let mut words = vec!["wait", "--for=condition=Ready", "--timeout=120s"];
        let names: Vec<String> = pods.iter().map(|pod| format!("pod/{pod}")).collect();
        words.extend(names.iter().map(String::as_str));
        let output = self.kubectl(&words);
        if !output.status.success() {
            let shown =
                String::from_utf8_lossy(&self.kubectl(&["get", "pods,events", "-A", "-o", "wide"]).stdout)
                    .into_owned();
            panic!("{pods:?}: {}\n{shown}\n{}", String::from_utf8_lossy(&output.stderr), self.last_lines());
        }
    }

    /// The end of the node's log, for verdicts.
    pub fn last_lines(&self) -> String {
        let log = std::fs::read_to_string(self.path("node.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!("{}:\n{}", self.name, lines[lines.len().saturating_sub(40)..].join("\n"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.end_processes();
        if let Err(error) = remove_cgroup(&self.cgroup()) {
            eprintln!("{}: {error}", self.cgroup());
        }
    }
}

fn remove_cgroup(path: &str) -> Result<(), sys::cgroup::CgroupError> {
    let layout = sys::cgroup::Layout::detect()?;
    match sys::cgroup::Cgroup::open(&layout, path) {
        Ok(group) => group.kill()?,
        Err(sys::cgroup::CgroupError::Missing(_)) => {}
        Err(error) => return Err(error),
    }
    layout.delete(path)
}

/// Whether a test of several machines can run here.
pub fn can_run(test: &str) -> bool {
    if !harness::root_or_skip(test) {
        return false;
    }
    for program in ["kubectl", "unshare", "nsenter"] {
        if !on_path(program) {
            harness::skip(test, &format!("no {program}"));
            return false;
        }
    }
    if harness::image::busybox().is_none() {
        harness::skip(test, "no busybox-static");
        return false;
    }
    true
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| Path::new(&folder).join(program).exists())
}
