//! What the datapath has of the pods of this node, for people and for tests.

use std::net::IpAddr;

use anyhow::Context as _;
use datapath::{EndpointState, Tables};

use crate::command::Options;

/// One address of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodEntry {
    pub address: IpAddr,
    /// Index of the host's end of its link.
    pub link: u32,
    /// Others than its own node may talk to it.
    pub ready: bool,
}

/// Reads the pinned maps; an agent need not run.
pub fn pods(options: &Options) -> anyhow::Result<Vec<PodEntry>> {
    let tables = Tables::open(&options.settings().bare_config())?;
    let observed = tables.endpoints()?.observed().context("reading the pods of the datapath")?;
    let entry = |(address, endpoint): (IpAddr, datapath::Endpoint)| PodEntry {
        address,
        link: endpoint.link,
        ready: endpoint.state == EndpointState::Ready,
    };
    let mut pods: Vec<PodEntry> = observed.into_iter().map(entry).collect();
    pods.sort_by_key(|pod| pod.address);
    Ok(pods)
}
