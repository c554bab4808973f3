//! A node as far as scheduling looks at it.

use std::fmt;

use api::meta::Meta;
use serde_json::Value;

use crate::peers::{Labels, labels};
use crate::resources::Resources;
use crate::taint::Taint;

/// A node's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(String);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: NodeName,
    pub labels: Labels,
    pub unschedulable: bool,
    pub taints: Vec<Taint>,
    pub allocatable: Resources,
}

/// What of a node has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    pub labels: bool,
    pub unschedulable: bool,
    pub taints: bool,
    pub allocatable: bool,
}

impl NodeName {
    pub fn new(name: impl Into<String>) -> NodeName {
        NodeName(name.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Node {
    pub fn read(node: &Value) -> Node {
        let meta = Meta::of(node);
        Node {
            name: NodeName::new(meta.name()),
            labels: labels(meta),
            unschedulable: node["spec"]["unschedulable"] == true,
            taints: Taint::read_all(&node["spec"]["taints"]),
            allocatable: Resources::read(&node["status"]["allocatable"]),
        }
    }

    pub fn differences(&self, other: &Node) -> Differences {
        Differences {
            labels: self.labels != other.labels,
            unschedulable: self.unschedulable != other.unschedulable,
            taints: self.taints != other.taints,
            allocatable: self.allocatable != other.allocatable,
        }
    }
}
