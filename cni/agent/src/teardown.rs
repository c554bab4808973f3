//! What the agent leaves on a host, and how it is taken away.

use anyhow::Context as _;
use sys::footprint::Footprint;

use crate::command::Options;
use crate::conflist;
use crate::names::Names;
use crate::network::Host;

/// What is there while a node has this network.
#[must_use]
pub fn footprint(options: &Options) -> Footprint {
    let state = &options.state_dir;
    let files = ["endpoints", "net.lock", "policies"].map(|name| state.join(name));
    let names = Names::of(&options.instance).ok();
    let own = Footprint {
        files: files.into_iter().chain([options.cni_conf_dir.join(conflist::FILE)]).collect(),
        links: names.into_iter().flat_map(|names| [names.gateway, names.peer, names.tunnel]).collect(),
        sockets: vec![state.join(cni_api::agent::SOCKET), state.join(crate::flows::SOCKET)],
        ..Footprint::default()
    };
    own.and(datapath::footprint(&options.settings().bare_config()))
}

/// Takes all of it away: first what invites new pods, last the programs. The agent must not run, and pods should be
/// gone: those that are not lose the network. Nothing there is success; goes on where something fails and tells
/// the first failure. To be called in the node's network namespace.
pub fn teardown(options: &Options) -> anyhow::Result<()> {
    let mut outcome = conflist::remove(&options.cni_conf_dir).context("removing the CNI configuration");
    let names = Names::of(&options.instance).context("--instance")?;
    let links = Host::open().and_then(|mut host| host.remove(&names)).context("removing links and routes");
    outcome = outcome.and(links);
    let unloaded = datapath::unload(&options.settings().bare_config()).context("unloading the datapath");
    outcome = outcome.and(unloaded);
    for name in ["endpoints", "net.lock", "policies", cni_api::agent::SOCKET, crate::flows::SOCKET] {
        let path = options.state_dir.join(name);
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                outcome = outcome.and(Err(error).with_context(|| format!("removing {}", path.display())));
            }
            _ => {}
        }
    }
    outcome
}
