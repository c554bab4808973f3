//! The node's network as it is in the kernel now: endpoints, ways to other nodes, the tunnel, programs and how full maps are.
//!
//! Read from links, routes and pinned maps; an agent need not run. For people and scripts; nothing here changes anything.

use anyhow::Context as _;
use datapath::{EndpointState, Tables};
use netlink::MAIN_TABLE;
use serde_json::{Value, json};

use crate::command::Options;
use crate::names::Names;
use crate::network::{Host, PROTOCOL};

/// Everything, as one document. To be called in the node's network namespace.
pub fn picture(options: &Options) -> anyhow::Result<Value> {
    let names = Names::of(&options.instance).context("--instance")?;
    let mut host = Host::open()?;
    let tables = Tables::open(&options.settings().bare_config())
        .context("no data path is loaded: does the node run, and are --bpffs and --instance its own?")?;
    Ok(json!({
        "links": links(&mut host, &names)?,
        "routes": routes(&mut host)?,
        "tunnel": tunnel(&mut host, &names)?,
        "endpoints": endpoints(&tables)?,
        "prefixes": prefixes(&tables)?,
        "programs": tables.attached()?,
        "maps": maps(&tables)?,
        "counters": counters(&tables)?,
    }))
}

fn links(host: &mut Host, names: &Names) -> anyhow::Result<Vec<Value>> {
    let links = host.0.links().context("listing links")?;
    let wanted = [&names.gateway, &names.peer, &names.tunnel];
    let ours = links.iter().filter(|link| wanted.contains(&&link.name));
    Ok(ours
        .map(|link| json!({"name": link.name, "index": link.index, "up": link.up, "mtu": link.mtu}))
        .collect())
}

/// Those that the agent made.
fn routes(host: &mut Host) -> anyhow::Result<Vec<Value>> {
    let links = host.0.links().context("listing links")?;
    let name = |index: Option<u32>| {
        let link = links.iter().find(|link| Some(link.index) == index);
        link.map(|link| link.name.clone())
    };
    let routes = host.0.routes().context("listing routes")?;
    let ours = routes.iter().filter(|route| route.protocol == PROTOCOL && route.table == MAIN_TABLE);
    Ok(ours
        .map(|route| {
            json!({"to": route.destination.to_string(), "via": route.gateway.map(|via| via.to_string()),
                "link": name(route.link), "source": route.source.map(|source| source.to_string())})
        })
        .collect())
}

fn tunnel(host: &mut Host, names: &Names) -> anyhow::Result<Value> {
    let observed = host.observe_tunnel(&names.tunnel)?;
    let Some(link) = &observed.link else { return Ok(Value::Null) };
    let peers: Vec<Value> = observed
        .forwards
        .iter()
        .map(|there| json!({"node": there.to.to_string(), "mac": there.mac.to_string()}))
        .collect();
    Ok(json!({"link": link.name, "up": link.up, "mtu": link.mtu, "carries": link.alias, "peers": peers}))
}

fn endpoints(tables: &Tables) -> anyhow::Result<Vec<Value>> {
    let mut all = tables.endpoints()?.observed().context("reading the pods of the data path")?;
    all.sort_by_key(|(address, _)| *address);
    Ok(all
        .iter()
        .map(|(address, endpoint)| {
            let state = if endpoint.state == EndpointState::Ready { "READY" } else { "PENDING" };
            json!({"address": address.to_string(), "link": endpoint.link, "identity": endpoint.identity, "state": state})
        })
        .collect())
}

fn prefixes(tables: &Tables) -> anyhow::Result<Vec<Value>> {
    let mut all = tables.nodes()?.observed().context("reading the nodes of the data path")?;
    all.sort_by_key(|(prefix, _)| *prefix);
    Ok(all
        .iter()
        .map(|(prefix, node)| {
            json!({"prefix": prefix.to_string(), "identity": node.identity, "node": node.node,
                "keepsSource": node.keeps_source})
        })
        .collect())
}

fn maps(tables: &Tables) -> anyhow::Result<Vec<Value>> {
    let fill = tables.fill().context("counting entries")?;
    Ok(fill
        .iter()
        .map(|map| json!({"name": map.name, "entries": map.entries, "capacity": map.capacity}))
        .collect())
}

/// What is not zero.
fn counters(tables: &Tables) -> anyhow::Result<Value> {
    let counters = tables.counters().context("reading counters")?;
    let told: serde_json::Map<String, Value> = counters
        .named()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| (name.to_owned(), count.into()))
        .collect();
    Ok(told.into())
}
