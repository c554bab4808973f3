//! ADD: reserve addresses, wire the pod, register it with the agent, tell what it got. All or nothing.
//!
//! The agent is asked for first, told at once whose pod comes, and told last that it is wired: where there is none, nothing is touched; when it does not take the
//! pod, everything is undone, and the agent forgets it as the link goes. The order is the protection: an address is reserved before anything carries it, and the link is gone
//! before the address is given back. A kill in between leaves what DEL and GC find by name.
//!
//! Reference: CNI 1.1 section 2, "ADD: Add container to network, or apply modifications".

use std::net::IpAddr;

use cni_api::agent::{AgentCall, PodName};
use cni_api::{Attachment, Environment, Interface, Ip, Route, Success};
use ipnet::IpNet;

use super::{desired, endpoint, names, namespace};
use crate::agent::{Agent, PATIENCE};
use crate::config::{Config, refuse_port_mappings};
use crate::failure::Failure;
use crate::ipam::Store;
use crate::wiring::{Desired, Ipv6, Observed, Wires, everywhere, gateway, plan};

pub fn add(config: &Config, environment: &Environment) -> Result<Success, Failure> {
    add_with(config, environment, &mut || Ok(()))
}

/// `before` is called before each thing that is done; a test makes it fail.
fn add_with(
    config: &Config,
    environment: &Environment,
    before: &mut dyn FnMut() -> Result<(), Failure>,
) -> Result<Success, Failure> {
    let attachment = &environment.attachment;
    let pod = namespace(&environment.netns)?;
    if config.has_ipv6() {
        Ipv6::of_this_host().can_forward()?;
    }
    let mut agent = Agent::of(config, PATIENCE)?;
    match &mut agent {
        None => refuse_port_mappings(&config.port_mappings)?,
        Some(agent) => {
            let link = names(config, attachment)?.link;
            agent.announce(&AgentCall::Announce { link, pod: PodName::of_args(&environment.args) });
        }
    }
    before()?;
    let addresses = Store::lock(&config.state)?.reserve(attachment, &config.sets, &config.requested)?;
    let made = desired(config, attachment, addresses).and_then(|desired| {
        let mut wires = Wires::open(Some(pod))?;
        wire(&desired, attachment, &mut wires, before)?;
        if let Some(agent) = agent {
            let registered =
                before().and_then(|()| register(agent, config, environment, &desired, &mut wires));
            if let Err(failure) = registered {
                let _ = wires.delete(&desired.names.link, &desired.names.alias);
                return Err(failure);
            }
        }
        Ok(desired)
    });
    match made {
        Ok(desired) => Ok(success(config, environment, &desired)),
        Err(failure) => {
            // The first failure is the one to tell. If this fails too, DEL or GC gives the addresses back.
            let _ = Store::lock(&config.state).and_then(|store| store.release(attachment));
            Err(failure)
        }
    }
}

/// Makes the connection, or leaves nothing of it.
fn wire(
    desired: &Desired,
    attachment: &Attachment,
    wires: &mut Wires,
    before: &mut dyn FnMut() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let observed = wires.observe(desired)?;
    refuse_existing(desired, attachment, &observed)?;
    for step in plan(desired, &observed) {
        if let Err(failure) = before().and_then(|()| wires.execute(desired, &step)) {
            let _ = wires.delete(&desired.names.link, &desired.names.alias);
            return Err(failure);
        }
    }
    Ok(())
}

/// Returns when the pod's packets are let through.
fn register(
    agent: Agent,
    config: &Config,
    environment: &Environment,
    desired: &Desired,
    wires: &mut Wires,
) -> Result<(), Failure> {
    let endpoint = endpoint(config, environment, desired, wires)?;
    Ok(agent.ask(&AgentCall::Register { endpoint }, PATIENCE)?)
}

fn refuse_existing(desired: &Desired, attachment: &Attachment, observed: &Observed) -> Result<(), Failure> {
    let alias = observed.host.as_ref().and_then(|side| side.link.alias.clone());
    if let Some(alias) = alias.filter(|alias| *alias != desired.names.alias) {
        return Err(Failure::ForeignLink { link: desired.names.link.clone(), alias });
    }
    if observed.host.is_some() || observed.pod.is_some() {
        return Err(Failure::AlreadyAttached(attachment.clone()));
    }
    Ok(())
}

/// What was there before this plugin in the chain, and what it made.
fn success(config: &Config, environment: &Environment, desired: &Desired) -> Success {
    let mut success = config.prev_result.clone().unwrap_or_default();
    success.interfaces.push(Interface {
        name: desired.names.link.clone(),
        mac: Some(desired.names.host_mac.to_string()),
        mtu: desired.mtu,
        ..Interface::default()
    });
    success.interfaces.push(Interface {
        name: desired.ifname.clone(),
        mac: Some(desired.names.pod_mac.to_string()),
        mtu: desired.mtu,
        sandbox: Some(environment.netns.clone()),
        ..Interface::default()
    });
    let eth0 = success.interfaces.len() - 1;
    let ip =
        |ip: &IpAddr| Ip { address: IpNet::from(*ip), gateway: Some(gateway(*ip)), interface: Some(eth0) };
    success.ips.extend(desired.addresses.iter().map(ip));
    success
        .routes
        .extend(desired.gateways().into_iter().map(|gateway| Route::new(everywhere(gateway), Some(gateway))));
    if config.dns != cni_api::Dns::default() {
        success.dns = config.dns.clone();
    }
    success
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use cni_api::{Command, Network};
    use harness::netns::TestHost;

    use super::*;

    fn environment(netns: &std::path::Path) -> Environment {
        let attachment = Attachment { container: "c1".to_owned(), ifname: "eth0".to_owned() };
        let netns = netns.display().to_string();
        Environment { command: Command::Add, attachment, netns, args: Vec::new(), path: String::new() }
    }

    fn config(state: &std::path::Path) -> Config {
        let text = format!(
            r#"{{"cniVersion":"1.1.0","name":"pods","type":"keelson-cni","mode":"plain",
                "ipam":{{"ranges":[[{{"subnet":"10.1.0.0/24"}}],[{{"subnet":"fd00::/64"}}]],"dataDir":"{}"}}}}"#,
            state.display()
        );
        Config::read(Network::parse(text.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn an_error_before_any_step_leaves_nothing() {
        let test = "cni plugin: an_error_before_any_step_leaves_nothing";
        if !harness::root_or_skip(test) {
            return;
        }
        let guard = harness::host::exclusive(test);
        let state = tempfile::tempdir().unwrap();
        let (host, pod) = (TestHost::create(guard.tag(), "host"), TestHost::create(guard.tag(), "pod"));
        let (config, environment) = (config(state.path()), environment(pod.path()));
        let run = |fail_at: usize| {
            let mut count = 0;
            let mut before = || {
                count += 1;
                if count > fail_at { Err(Failure::Injected) } else { Ok(()) }
            };
            host.inside(|| add_with(&config, &environment, &mut before))
                .map_err(|failure| failure.to_string())
        };
        let seen = || {
            let links: BTreeSet<String> = [host.ip(&["-br", "link"]), pod.ip(&["-br", "link"])].into();
            let addresses = host.inside(|| Store::lock(&config.state).unwrap().reservations().unwrap().len());
            (links, addresses)
        };
        let before = seen();
        let mut steps = 0;
        while let Err(error) = run(steps) {
            assert_eq!(error, "injected", "step {steps}");
            assert_eq!(seen(), before, "step {steps}");
            steps += 1;
        }
        assert!(steps >= 8, "reserve, veth, four sysctls and two batches: {steps}");
        assert!(run(usize::MAX).unwrap_err().contains("reserving"), "a second ADD is refused");
        let (_, addresses) = seen();
        assert_eq!(addresses, 2);
        drop((host, pod));
        guard.finish();
    }
}
