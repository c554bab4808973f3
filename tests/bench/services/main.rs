//! What ten thousand Services cost a node: `cargo bench --bench services`, on demand, on a quiet machine.
//!
//! ```text
//! API with the Services ─► proxy starts: spawn to maps ─► one EndpointSlice changes: request answered to map entry ─► memory
//! kube-proxy's rules for the same Services: one load by iptables and by nft, where they are installed
//! ```
//!
//! Everything is real: API server, watch, proxy, maps. A change is timed from the moment its request is sent until the entry
//! of its Service in the map leads to another set, which this process looks for without pause; the API's write is part of it
//! and told beside it. `KEELSON_BENCH_SERVICES` (10000), `KEELSON_BENCH_CHANGES` (100), and `KEELSON_BENCH_PROGRAM`, an
//! executable other than the one built for this, change what is run.

#[path = "../../e2e/identity.rs"]
mod identity;
#[path = "../packet/rules.rs"]
mod rules;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use datapath::{Config, Datapath, Frontend, Scope, Tables, Transport};
use harness::api::{Client, Server, free_address};
use harness::host::Guard;
use harness::netns::TestHost;
use harness::process;
use serde_json::{Value, json};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
/// Requests in flight while the Services are made.
const WRITERS: usize = 8;
/// Cold starts, and loads of rules; the best counts.
const STARTS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    if !harness::root_or_skip("bench services") {
        return;
    }
    let guard = harness::host::exclusive("bench services");
    let program =
        std::env::var("KEELSON_BENCH_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_keelson").to_owned());
    let count = number("KEELSON_BENCH_SERVICES", 10_000);
    let server = Server::start_under(&guard, &program, &["--service-cluster-ip-range=10.96.0.0/16"]);
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config { bpffs: folder.path().join("bpf"), ..Config::default() };
    let datapath = Datapath::ensure(&config).expect("a data path");
    let kubeconfig = identity::kubeconfig(&server, "proxy", "system:kube-proxy");
    let start = || Proxy::start(&program, &kubeconfig, &config);

    let empty = start();
    let (memory_of_none, _) = (empty.memory(), empty.stop());
    let took = populate(&server.admin(), count);
    println!("| of {count} Services with two endpoints each | |\n|---|---|");
    row("made through the API", &format!("{:.1} s", took.as_secs_f64()));
    let mut proxy = start();
    let (mut wall, mut work) = (proxy.wall, proxy.work());
    for _ in 1..STARTS {
        proxy.stop();
        // Its maps with it: the next start is as cold as the first.
        datapath::unload(&config).expect("unloading");
        Datapath::ensure(&config).expect("a data path");
        proxy = start();
        (wall, work) = (wall.min(proxy.wall), work.min(proxy.work()));
    }
    drop(datapath);
    row("cold start: from exec to the last map entry", &format!("{:.0} ms", wall.as_secs_f64() * 1e3));
    row("of which planning and writing all maps", &format!("{:.0} ms", work * 1e3));
    changes(&server.admin(), &proxy, &config, count);
    memory(&proxy, memory_of_none, &config);
    proxy.stop();
    writes(&config);
    datapath::unload(&config).expect("unloading");
    drop(server);
    load(&guard, count);
    guard.finish();
}

fn row(what: &str, value: &str) {
    println!("| {what} | {value} |");
}

fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 4, 0)) + number as u32)
}

fn endpoints(number: usize) -> [Ipv4Addr; 2] {
    let first = u32::from(Ipv4Addr::new(10, 200, 0, 0)) + number as u32 * 2;
    [first.into(), (first + 1).into()]
}

fn slice(number: usize, addresses: &[Ipv4Addr]) -> Value {
    let name = format!("s{number}");
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|one| json!({"addresses": [one.to_string()], "conditions": {"ready": true}}))
        .collect();
    json!({"metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}}, "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}], "endpoints": endpoints})
}

fn populate(admin: &Client, count: usize) -> Duration {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                for number in (0..count).filter(|number| number % WRITERS == writer) {
                    let name = format!("s{number}");
                    let spec = json!({"clusterIP": address(number).to_string(), "ports": [{"port": 80, "targetPort": 8080}]});
                    let service = json!({"metadata": {"name": name}, "spec": spec});
                    admin.post(SERVICES, &service).expect(201);
                    admin.post(SLICES, &slice(number, &endpoints(number))).expect(201);
                }
            });
        }
    });
    begun.elapsed()
}

/// `keelson proxy`, whose maps are right.
struct Proxy {
    process: Child,
    metrics: SocketAddr,
    wall: Duration,
}

impl Proxy {
    fn start(program: &str, kubeconfig: &str, config: &Config) -> Proxy {
        let metrics = free_address();
        let begun = Instant::now();
        let mut process = Command::new(program)
            .args(["proxy", "--kubeconfig", kubeconfig, "--hostname-override", "n1", "--bpffs"])
            .arg(&config.bpffs)
            .args(["--healthz-bind-address=127.0.0.1:0", &format!("--metrics-bind-address={metrics}")])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starting the proxy");
        let mut words = BufReader::new(process.stderr.take().expect("its log"));
        let mut line = String::new();
        while !line.contains("the maps are right") {
            line.clear();
            assert!(words.read_line(&mut line).expect("a line") > 0, "the proxy ended");
        }
        let wall = begun.elapsed();
        // Nobody reads on: what it says later must not stop it.
        std::thread::spawn(move || std::io::copy(&mut words, &mut std::io::sink()));
        Proxy { process, metrics, wall }
    }

    fn sample(&self, name: &str) -> f64 {
        let mut stream = TcpStream::connect(self.metrics).expect("its metrics");
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .expect("a request");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}: {text}"))
    }

    /// Seconds in which the maps were written so far.
    fn work(&self) -> f64 {
        let begun = Instant::now();
        // It says that the maps are right a moment before it counts that.
        while self.sample("kubeproxy_sync_proxy_rules_duration_seconds_count") == 0.0 {
            assert!(begun.elapsed() < PATIENCE, "the first look at all Services is never counted");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.sample("kubeproxy_sync_proxy_rules_duration_seconds_sum")
    }

    /// Proportional set size in kilobytes.
    fn memory(&self) -> u64 {
        process::proportional(self.process.id())
    }

    /// CPU seconds of all its threads.
    fn cpu(&self) -> f64 {
        let path = format!("/proc/{}/task", self.process.id());
        let threads = std::fs::read_dir(path).expect("its threads").flatten();
        let times = threads.filter_map(|thread| {
            let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<f64>().ok()
        });
        times.sum::<f64>() / 1e9
    }

    fn stop(mut self) {
        self.process.kill().expect("SIGKILL");
        self.process.wait().expect("its end");
    }
}

/// One EndpointSlice after the other, each of another Service.
fn changes(admin: &Client, proxy: &Proxy, config: &Config, count: usize) {
    let tables = Tables::open(config).expect("the maps");
    let services = tables.services().expect("frontends");
    let wanted = number("KEELSON_BENCH_CHANGES", 100);
    let (mut whole, mut after) = (Vec::new(), Vec::new());
    let (cpu, work) = (proxy.cpu(), proxy.work());
    for change in 0..wanted {
        let which = (change * 97) % count;
        let there = Frontend {
            address: IpAddr::V4(address(which)),
            port: 80,
            transport: Transport::Tcp,
            scope: Scope::Cluster,
        };
        let set = || services.get(&there).expect("the map").map(|service| service.set);
        let before = set().expect("the Service");
        let body = slice(which, &[endpoints(which)[0], Ipv4Addr::new(10, 250, 0, (change % 250) as u8 + 1)]);
        let begun = Instant::now();
        let (changed, answered) = std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                admin.put(&format!("{SLICES}/s{which}"), &body).expect(200);
                Instant::now()
            });
            while set() == Some(before) {
                assert!(begun.elapsed() < PATIENCE, "a change does not come");
                std::hint::spin_loop();
            }
            (Instant::now(), writing.join().expect("an answer"))
        });
        whole.push((changed - begun).as_secs_f64() * 1e3);
        after.push(changed.saturating_duration_since(answered).as_secs_f64() * 1e3);
        // Let the API and the proxy come to rest.
        std::thread::sleep(Duration::from_millis(10));
    }
    let (cpu, work) = ((proxy.cpu() - cpu) / wanted as f64, (proxy.work() - work) / wanted as f64);
    row(
        "one EndpointSlice changed: request sent to map entry",
        &format!(
            "p50 {:.2} ms, p99 {:.2} ms of {wanted}",
            quantile(&mut whole, 0.5),
            quantile(&mut whole, 0.99)
        ),
    );
    row(
        "of which after the API's answer",
        &format!("p50 {:.2} ms, p99 {:.2} ms", quantile(&mut after, 0.5), quantile(&mut after, 0.99)),
    );
    row(
        "of which planning and writing maps",
        &format!("{:.0} µs; CPU of the whole proxy, watch included, {:.0} µs", work * 1e6, cpu * 1e6),
    );
}

/// CPU of what a change writes: a set of two, the frontend that leads to it, and the set before removed.
fn writes(config: &Config) {
    let tables = Tables::open(config).expect("the maps");
    let (mut services, mut backends) =
        (tables.services().expect("frontends"), tables.backends().expect("backends"));
    let transport = Transport::Tcp;
    let there = Frontend { address: IpAddr::V4(address(1)), port: 80, transport, scope: Scope::Cluster };
    let mut service = services.get(&there).expect("the map").expect("the Service");
    let mut times: Vec<f64> = (0..number("KEELSON_BENCH_CHANGES", 100))
        .map(|change| {
            let endpoints =
                [1, 2].map(|net| SocketAddr::from((Ipv4Addr::new(10, 250, net, change as u8), 80)));
            let begun = thread_cpu();
            let before = service.set.replace(backends.install(&endpoints).expect("a set"));
            services.put(&there, &service).expect("the frontend");
            before.into_iter().for_each(|set| backends.remove(set).expect("the set before"));
            (thread_cpu() - begun).as_secs_f64() * 1e6
        })
        .collect();
    let (median, worst) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    row("CPU of a change's map writes", &format!("p50 {median:.1} µs, p99 {worst:.1} µs"));
}

fn thread_cpu() -> Duration {
    let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
    nix::time::clock_gettime(clock).map(Duration::from).expect("a clock")
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * share).ceil() as usize;
    values[at.clamp(1, values.len()) - 1]
}

fn memory(proxy: &Proxy, of_none: u64, config: &Config) {
    let now = proxy.memory();
    let megabytes = |bytes: f64| format!("{:.1} MB", bytes / 1e6);
    row("proxy, proportional memory without Services", &megabytes(of_none as f64 * 1024.0));
    row("the same with them", &megabytes(now as f64 * 1024.0));
    let maps = Tables::open(config).and_then(|tables| tables.memory()).expect("the maps' memory");
    let of_services = ["SERVICES", "BACKENDS", "MEMBERS", "TABLES", "SOURCES"];
    let is_of = |name: &str| of_services.iter().any(|part| name.starts_with(part));
    let part: u64 = maps.iter().filter(|(name, _)| is_of(name)).map(|(_, bytes)| bytes).sum();
    let all: u64 = maps.iter().map(|(_, bytes)| bytes).sum();
    row("kernel: maps of Services", &megabytes(part as f64));
    row("kernel: all maps, whatever is in them", &megabytes(all as f64));
}

/// What kube-proxy's rules cost to load once, in a network of their own.
fn load(guard: &Guard, count: usize) {
    let services: Vec<rules::Service> = (0..count)
        .map(|number| rules::Service {
            name: format!("ns/s{number}/tcp"),
            address: address(number),
            protocol: "tcp",
            node_port: None,
            endpoints: endpoints(number).to_vec(),
        })
        .collect();
    let own = [Ipv4Addr::new(192, 0, 2, 1)];
    let (iptables, nftables) = (rules::iptables(&services), rules::nftables(&services, &own));
    for (what, program, flags, text) in [
        ("kube-proxy iptables: one load of all rules", rules::iptables_restore(), &[][..], iptables),
        ("kube-proxy nftables: one load of all rules", "nft", &["-f", "-"][..], nftables),
    ] {
        let host = TestHost::create(guard.tag(), "rules");
        let mut command = host.command(program);
        command.args(flags).stdin(Stdio::piped()).stdout(Stdio::null());
        let begun = Instant::now();
        let Ok(mut process) = command.spawn() else {
            row(what, "not installed");
            continue;
        };
        process.stdin.take().expect("its input").write_all(text.as_bytes()).expect("the rules are read");
        let ended = process.wait().expect("its end");
        assert!(ended.success(), "{program}: {ended}");
        row(what, &format!("{:.1} s by {program}", begun.elapsed().as_secs_f64()));
    }
}
