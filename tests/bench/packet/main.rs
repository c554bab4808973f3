//! What a packet costs: run it with `cargo bench --bench packet`, on demand, on a quiet machine.
//!
//! ```text
//! beds: loopback · routed · bridge · kube-proxy's rules (iptables, nftables) · ours, at 1 to 30,000 services
//! rounds: every bed once, in an order by chance ─► ratio of each to the routed one of its round ─► median
//! ```
//!
//! Client and server are processes on one core, so the median time of a transaction is CPU time of the whole path, and
//! noise of the machine falls on all beds of a round alike. Absolute figures of two runs cannot be compared; ratios
//! can. A table is printed and a plot written (`KEELSON_BENCH_PLOT`, otherwise target/packet.svg).
//!
//! `KEELSON_BENCH_ROUNDS` (12), `KEELSON_BENCH_SECONDS` of one measurement (0.2) and `KEELSON_BENCH_ONLY`
//! (rr, crr, udp, nodes, port, runs, update) shorten it; `KEELSON_BENCH_THEIRS` (1,10000) and `KEELSON_BENCH_OURS`
//! (1,1000,10000,30000) are for how many services. Needs root; iptables and nft where they are to be compared.

mod bed;
mod plot;
mod rules;
mod runs;
mod talk;
mod update;

use std::collections::BTreeMap;
use std::time::Duration;

use bed::{Bed, Kind, Target};
use talk::Talk;

/// The rows of the peer that the last column compares with.
const PEER: &str = "kube-proxy nftables";

/// What one row is: a bed, who calls, and what it calls.
struct Row {
    label: String,
    bed: usize,
    target: Target,
}

/// Ratios of every row to the first one, and to kube-proxy's nftables rules, and its own times.
#[derive(Default)]
struct Result {
    microseconds: Vec<f64>,
    ratios: Vec<f64>,
    to_nftables: Vec<f64>,
    errors: u64,
}

fn main() {
    if let Some(role) = talk::role() {
        return talk::play(&role);
    }
    if !harness::root_or_skip("bench packet") {
        return;
    }
    let only = std::env::var("KEELSON_BENCH_ONLY").unwrap_or_default();
    let wanted = |part: &str| only.is_empty() || only.split(',').any(|word| word == part);
    if wanted("runs") {
        runs::print();
    }
    if wanted("update") {
        update::print();
    }
    let parts = [
        ("rr", Talk::TcpRr),
        ("crr", Talk::TcpCrr),
        ("udp", Talk::UdpRr),
        ("nodes", Talk::TcpRr),
        ("port", Talk::TcpRr),
    ];
    if !parts.iter().any(|(part, _)| wanted(part)) {
        return;
    }
    let guard = harness::host::exclusive("bench packet");
    println!("\niptables' rules are loaded by {}.", rules::iptables_restore());
    let beds: Vec<Bed> = kinds().into_iter().filter_map(|kind| Bed::make(guard.tag(), kind)).collect();
    let mut charts = Vec::new();
    for (part, talk) in parts.into_iter().filter(|(part, _)| wanted(part)) {
        let groups = match part {
            "port" => vec![
                ("NodePort, pod here", ports(&beds, false)),
                ("NodePort, pod elsewhere", ports(&beds, true)),
            ],
            "nodes" => vec![("TCP_RR between nodes", between(&beds))],
            "rr" => vec![("TCP_RR", rows(&beds))],
            "crr" => vec![("TCP_CRR", rows(&beds))],
            _ => vec![("UDP_RR", rows(&beds))],
        };
        for (title, rows) in groups {
            charts.push((title, measure(title, &beds, &rows, talk)));
        }
    }
    let path = std::env::var("KEELSON_BENCH_PLOT").unwrap_or_else(|_| "target/packet.svg".to_owned());
    let folder = std::path::Path::new(&path).parent().map_or(Ok(()), std::fs::create_dir_all);
    match folder.and_then(|()| std::fs::write(&path, plot::svg(&charts))) {
        Ok(()) => println!("\nplot: {path}"),
        Err(error) => println!("\nno plot: {path}: {error}"),
    }
    for bed in beds {
        bed.finish();
    }
    guard.finish();
}

fn kinds() -> Vec<Kind> {
    let counts = |text: &str| text.split(',').filter_map(|word| word.parse().ok()).collect::<Vec<usize>>();
    let theirs = std::env::var("KEELSON_BENCH_THEIRS").map_or(vec![1, 10_000], |text| counts(&text));
    let ours =
        std::env::var("KEELSON_BENCH_OURS").map_or(vec![1, 1_000, 10_000, 30_000], |text| counts(&text));
    let mut kinds = vec![Kind::Routed, Kind::Bridge];
    kinds.extend(theirs.iter().map(|count| Kind::Iptables(*count)));
    kinds.extend(theirs.iter().map(|count| Kind::Nftables(*count)));
    kinds.extend(ours.iter().map(|count| Kind::Ours { services: *count, sockets: false }));
    kinds.extend([Kind::Allowed, Kind::Told, Kind::Both]);
    kinds.push(Kind::Ours { services: ours.last().copied().unwrap_or(1).min(10_000), sockets: true });
    kinds
}

/// From a pod: the routed bed first, which all are compared with.
fn rows(beds: &[Bed]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |bed: usize, label: String, target| rows.push(Row { label, bed, target });
    for (at, bed) in beds.iter().enumerate() {
        match bed.kind {
            Kind::Routed => {
                add(at, "routed, pod directly".into(), Target::Pod);
                add(at, "loopback".into(), Target::Loopback);
            }
            Kind::Bridge => add(at, "bridge, pod directly".into(), Target::Pod),
            Kind::Iptables(count) => add(at, format!("kube-proxy iptables, {count}"), Target::Service(count)),
            Kind::Nftables(count) => add(at, format!("kube-proxy nftables, {count}"), Target::Service(count)),
            Kind::Ours { services, sockets: false } => {
                if services == 1 {
                    add(at, "keelson, pod directly".into(), Target::Pod);
                }
                add(at, format!("keelson packets, {services}"), Target::Service(services));
            }
            Kind::Allowed => add(at, "keelson packets, 1, allowed by policies".into(), Target::Service(1)),
            Kind::Told => add(at, "keelson packets, 1, all flows told".into(), Target::Service(1)),
            Kind::Both => {}
            Kind::Ours { services, sockets: true } => {
                add(at, format!("keelson sockets, {services}"), Target::Service(services));
                add(at, "keelson sockets, pod directly".into(), Target::Pod);
            }
        }
    }
    rows
}

/// From a pod to one of the other node, by native routes.
fn between(beds: &[Bed]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |bed: usize, label: &str, target| rows.push(Row { label: label.to_owned(), bed, target });
    for (at, bed) in beds.iter().enumerate() {
        match bed.kind {
            Kind::Routed => add(at, "routed, pod directly", Target::PodElsewhere),
            Kind::Bridge => add(at, "bridge, pod directly", Target::PodElsewhere),
            Kind::Iptables(10_000) => add(at, "kube-proxy iptables, 10000", Target::ServiceElsewhere),
            Kind::Nftables(10_000) => add(at, "kube-proxy nftables, 10000", Target::ServiceElsewhere),
            Kind::Both => {
                add(at, "keelson, pod directly", Target::PodElsewhere);
                add(at, "keelson packets, 1", Target::ServiceElsewhere);
            }
            _ => {}
        }
    }
    rows
}

/// From outside to a node port; the first calls the pod itself.
fn ports(beds: &[Bed], elsewhere: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for (at, bed) in beds.iter().enumerate() {
        let label = match bed.kind {
            Kind::Routed => {
                let target = if elsewhere { Target::OutsideToPodElsewhere } else { Target::OutsideToPod };
                rows.push(Row { label: "routed, pod directly".into(), bed: at, target });
                continue;
            }
            Kind::Bridge | Kind::Allowed | Kind::Told | Kind::Both | Kind::Ours { sockets: true, .. } => {
                continue;
            }
            Kind::Iptables(count) => format!("kube-proxy iptables, {count}"),
            Kind::Nftables(count) => format!("kube-proxy nftables, {count}"),
            Kind::Ours { services, .. } => format!("keelson, {services}"),
        };
        let target = if elsewhere { Target::NodePortElsewhere } else { Target::NodePort };
        rows.push(Row { label, bed: at, target });
    }
    rows
}

/// Rounds of all rows, in an order by chance; prints a table.
fn measure(title: &str, beds: &[Bed], rows: &[Row], talk: Talk) -> Vec<plot::Bar> {
    let rounds = number("KEELSON_BENCH_ROUNDS", 12.0) as usize;
    let length = Duration::from_secs_f64(number("KEELSON_BENCH_SECONDS", 0.2));
    let peer = rows.iter().position(|row| row.label.starts_with(PEER));
    let mut results: BTreeMap<usize, Result> = BTreeMap::new();
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let mut chance = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..rounds {
        for at in (1..order.len()).rev() {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(at, (chance >> 33) as usize % (at + 1));
        }
        let mut times = vec![None; rows.len()];
        for at in &order {
            let row = &rows[*at];
            let told = beds[row.bed].call(talk, row.target, length);
            let result = results.entry(*at).or_default();
            result.errors += told.errors;
            if told.count > 20 {
                times[*at] = Some(told.median_microseconds);
                result.microseconds.push(told.median_microseconds);
            }
        }
        let Some(base) = times[0] else { continue };
        for (at, time) in times.iter().enumerate() {
            let ratio = time.map(|time| time / base);
            let result = results.entry(at).or_default();
            result.ratios.extend(ratio);
            result
                .to_nftables
                .extend(peer.and_then(|peer| times[peer]).and_then(|peer| Some((*time)? / peer)));
        }
    }
    println!(
        "\n| {title} | p50, µs | to routed: median | quartiles | to nftables | errors |\n|---|---|---|---|---|---|"
    );
    let mut bars = Vec::new();
    let mut ours = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let result = results.entry(at).or_default();
        if result.ratios.is_empty() {
            println!("| {} | - | no answer | - | - | {} |", row.label, result.errors);
            continue;
        }
        let ratio = quantile(&mut result.ratios, 0.5);
        let (low, high) = (quantile(&mut result.ratios, 0.25), quantile(&mut result.ratios, 0.75));
        let time = quantile(&mut result.microseconds, 0.5);
        let peer = match result.to_nftables.is_empty() {
            true => "-".to_owned(),
            false => format!("{:.3}", quantile(&mut result.to_nftables, 0.5)),
        };
        println!(
            "| {} | {time:.2} | {ratio:.3} | {low:.3} to {high:.3} | {peer} | {} |",
            row.label, result.errors
        );
        let counts = ["keelson packets, ", "keelson, "].iter().find_map(|ours| row.label.strip_prefix(ours));
        if counts.is_some_and(|count| count.parse::<usize>().is_ok()) {
            ours.push(ratio);
        }
        bars.push(plot::Bar { label: row.label.clone(), ratio, low, high });
    }
    let (least, most) =
        ours.iter().fold((f64::MAX, 0.0_f64), |(least, most), ratio| (least.min(*ratio), most.max(*ratio)));
    if ours.len() > 1 {
        println!(
            "\nOurs, from the fewest to the most Services: {:.1} % apart.",
            (most / least - 1.0) * 100.0
        );
    }
    bars
}

fn number(variable: &str, otherwise: f64) -> f64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Sorts, and takes the value below which a share of all is.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * share).ceil() as usize;
    values[at.clamp(1, values.len()) - 1]
}
