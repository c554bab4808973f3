//! Which part of Keelson a command line asks for.
//!
//! Pure: the table below is the whole command surface that exists. A command that is not in it is
//! refused with the names that are.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;

/// A part that the executable can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A node of a cluster that runs elsewhere, and its process.
    Agent,
    AgentNode,
    /// The Kubernetes API with its store.
    Apiserver,
    /// The CRI server.
    Cri,
    /// An OCI runtime with runc's command line.
    Oci,
    /// The CNI plugin.
    Cni,
    /// The process that clones and reaps; started by the daemon, not by users.
    Keeper,
    /// The controllers.
    Controllers,
    /// The scheduler.
    Scheduler,
    /// The demonstration, and what it starts: namespaces, their process 1, its pods' program.
    Demo,
    DemoCage,
    DemoInit,
    DemoWorkload,
    /// The images of this node, by hand.
    Image,
    /// Cluster names.
    Dns,
    /// What runs a node's pods.
    Kubelet,
    /// Services to maps.
    Proxy,
    /// The network of this node, shown.
    Net,
    /// The node's network agent.
    NetAgent,
    /// A whole node.
    Server,
    /// The control plane's process of a server; started by it.
    Control,
    /// The node's process of a server; started by it.
    Node,
    /// Whether this host will do.
    Check,
    /// Whether the cluster is well.
    Status,
    /// What became of packets.
    Flows,
    /// Whether the network does what it should.
    Connectivity,
    /// The store's members and snapshots.
    Store,
    /// What machines join with.
    Token,
    /// `keelson version`
    Version,
    /// `keelson help`, `-h`, `--help`
    Help,
}

impl Part {
    /// Whether it prints what is asked for and ends, and leaves nothing to take away.
    pub fn prints_and_ends(self) -> bool {
        matches!(
            self,
            Part::Help
                | Part::Version
                | Part::Check
                | Part::Status
                | Part::Flows
                | Part::Image
                | Part::Net
                | Part::Store
                | Part::Token
        )
    }
}

/// Commands as users type them: name, part, one line for the help (none: not shown).
const COMMANDS: &[(&str, Part, &str)] = &[
    ("agent", Part::Agent, "join this machine to a cluster and run its pods"),
    ("apiserver", Part::Apiserver, "serve the Kubernetes API"),
    ("check", Part::Check, "tell whether this host can run Keelson, and what to do where it cannot"),
    ("connectivity", Part::Connectivity, "try the network of a running cluster"),
    ("controllers", Part::Controllers, "make what objects ask for: pods of deployments, slices of services"),
    ("cri", Part::Cri, "serve containers to a kubelet or crictl (CRI v1)"),
    ("demo", Part::Demo, "run a node with a workload in namespaces of its own, call it, leave nothing"),
    ("dns", Part::Dns, "answer cluster names"),
    ("flows", Part::Flows, "show what became of packets on this node"),
    ("image", Part::Image, "list, pull, push, import, export, prune and inspect the images of this node"),
    ("kubelet", Part::Kubelet, "run the pods of a node through any CRI server"),
    ("net", Part::Net, "show the network of this node: endpoints, routes, tunnel, services"),
    ("net-agent", Part::NetAgent, "connect the pods of a node: programs, routes, the plugin's other end"),
    ("oci", Part::Oci, "run OCI bundles, with runc's commands and flags"),
    ("proxy", Part::Proxy, "carry Services on the eBPF data path"),
    ("scheduler", Part::Scheduler, "give pods their nodes"),
    ("server", Part::Server, "run a whole node: all of the parts, supervised"),
    ("status", Part::Status, "tell whether the cluster is as it should be"),
    ("store", Part::Store, "list the store's members, save it, restore it"),
    ("token", Part::Token, "make, list and revoke what machines join with"),
    ("version", Part::Version, "print the version of Keelson and what it speaks"),
    ("keeper", Part::Keeper, ""),
    ("agent-node", Part::AgentNode, ""),
    ("control", Part::Control, ""),
    ("demo-cage", Part::DemoCage, ""),
    ("demo-init", Part::DemoInit, ""),
    ("demo-workload", Part::DemoWorkload, ""),
    ("node", Part::Node, ""),
];

/// Names that the file may be called by.
const NAMES: &[(&str, Part)] = &[("keelson-oci", Part::Oci), ("keelson-cni", Part::Cni)];

/// Why no part was picked.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No command given.
    Nothing,
    /// A command that does not exist.
    Unknown(String),
}

impl Refusal {
    /// 2: usage, as for every command of ours.
    pub fn exit_code(&self) -> u8 {
        2
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Nothing => write!(f, "{}", usage()),
            Refusal::Unknown(name) => {
                let known: Vec<&str> = shown().map(|(name, _)| name).collect();
                write!(f, "keelson: there is no command {name:?}; commands are: {}", known.join(", "))
            }
        }
    }
}

/// What `keelson help` prints.
pub fn usage() -> String {
    let mut text = String::from(
        "Kubernetes for bare-metal Linux in one file.\n\nUsage: keelson COMMAND [ARGUMENTS]\n\n",
    );
    for (name, about) in shown() {
        text.push_str(&format!("  {name:<12} {about}\n"));
    }
    text.push_str("\n`keelson COMMAND --help` tells the flags of a command.\n");
    text
}

fn shown() -> impl Iterator<Item = (&'static str, &'static str)> {
    COMMANDS.iter().filter(|(.., about)| !about.is_empty()).map(|(name, _, about)| (*name, *about))
}

/// Picks the part from the arguments (the executable's name first) and whether a container runtime
/// called us as its CNI plugin. The rest begins with the name for the part's own usage lines.
pub fn pick(arguments: &[OsString], cni_command_set: bool) -> Result<(Part, Vec<OsString>), Refusal> {
    let called = arguments.first().map(|a| base_name(a)).unwrap_or_default();
    if let Some((name, part)) = NAMES.iter().find(|(name, _)| *name == called) {
        return Ok((*part, rest(name, arguments.get(1..))));
    }
    let Some(first) = arguments.get(1) else {
        return if cni_command_set {
            Ok((Part::Cni, rest("keelson-cni", None)))
        } else {
            Err(Refusal::Nothing)
        };
    };
    let name = match first.to_string_lossy().as_ref() {
        "help" | "-h" | "--help" => return Ok((Part::Help, Vec::new())),
        "-V" | "--version" => "version".to_owned(),
        name => name.to_owned(),
    };
    match COMMANDS.iter().find(|(command, ..)| *command == name) {
        Some((_, part, _)) => Ok((*part, rest(&format!("keelson {name}"), arguments.get(2..)))),
        None => Err(Refusal::Unknown(name)),
    }
}

fn rest(name: &str, arguments: Option<&[OsString]>) -> Vec<OsString> {
    let mut rest = vec![OsString::from(name)];
    rest.extend_from_slice(arguments.unwrap_or_default());
    rest
}

fn base_name(path: &OsStr) -> String {
    Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(arguments: &[&str], cni_command_set: bool) -> Result<(Part, Vec<String>), Refusal> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        pick(&arguments, cni_command_set).map(|(part, rest)| {
            (part, rest.into_iter().map(|a| a.into_string().unwrap_or_default()).collect())
        })
    }

    #[test]
    fn names_commands_and_the_environment_pick_a_part() {
        let rest = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        for (arguments, cni, expected) in [
            (
                &["keelson", "oci", "--root", "/r"][..],
                false,
                (Part::Oci, rest(&["keelson oci", "--root", "/r"])),
            ),
            (
                &["/usr/bin/keelson-oci", "state", "a"],
                false,
                (Part::Oci, rest(&["keelson-oci", "state", "a"])),
            ),
            (&["/opt/cni/bin/keelson-cni"], true, (Part::Cni, rest(&["keelson-cni"]))),
            (&["keelson"], true, (Part::Cni, rest(&["keelson-cni"]))),
            (&["keelson", "oci"], true, (Part::Oci, rest(&["keelson oci"]))),
            (&["keelson", "--version"], false, (Part::Version, rest(&["keelson version"]))),
            (&["keelson", "--help"], false, (Part::Help, rest(&[]))),
        ] {
            assert_eq!(picked(arguments, cni), Ok(expected), "{arguments:?}");
        }
        assert_eq!(picked(&["keelson"], false), Err(Refusal::Nothing));
        let refusal = picked(&["keelson", "frobnicate"], false).unwrap_err();
        assert!(
            refusal
                .to_string()
                .contains("no command \"frobnicate\"; commands are: agent, apiserver, check, connectivity, controllers, cri, demo, dns, flows, image, kubelet, net, net-agent, oci, proxy, scheduler, server, status, store, token, version"),
            "{refusal}"
        );
    }
}
