//! What of Services is in the maps, for people: read from the pins, a proxy need not run.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use datapath::{Config, Scope, Tables, Transport};

/// One frontend with its backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `TCP 10.96.0.10:53`; a node port has no address.
    pub frontend: String,
    /// `cluster` or `external`: whose packets it is for.
    pub scope: &'static str,
    /// None: connections are refused.
    pub backends: Vec<SocketAddr>,
    pub affinity_seconds: Option<u32>,
}

/// Every frontend, sorted.
pub fn frontends(bpffs: &Path, instance: &str) -> anyhow::Result<Vec<Row>> {
    let config = Config { bpffs: bpffs.to_owned(), instance: instance.to_owned(), ..Config::default() };
    let tables = Tables::open(&config)
        .context("no data path is loaded: does the node run, and are --bpffs and --instance its own?")?;
    let sets = tables.backends()?.observed().context("reading backends")?;
    let mut found = tables.services()?.observed().context("reading services")?;
    found.sort_by_key(|(frontend, _)| (frontend.address, frontend.port));
    Ok(found
        .iter()
        .map(|(frontend, service)| {
            let transport = if frontend.transport == Transport::Tcp { "TCP" } else { "UDP" };
            let place = if frontend.address.is_unspecified() {
                let family = if frontend.address.is_ipv4() { "IPv4" } else { "IPv6" };
                format!("node port {} ({family})", frontend.port)
            } else {
                SocketAddr::new(frontend.address, frontend.port).to_string()
            };
            Row {
                frontend: format!("{transport} {place}"),
                scope: if frontend.scope == Scope::External { "external" } else { "cluster" },
                backends: service.set.and_then(|set| sets.get(&set)).cloned().unwrap_or_default(),
                affinity_seconds: service.affinity_seconds,
            }
        })
        .collect())
}
