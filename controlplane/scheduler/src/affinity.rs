//! Which nodes a pod wants: `nodeSelector` and node affinity.
//!
//! Reference: upstream's `component-helpers/scheduling/corev1/nodeaffinity`.

use std::collections::BTreeSet;

use api::selector::{Operator, Requirement};
use serde_json::Value;

use crate::node::{Node, NodeName};

/// The pod's wishes for its node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeAffinity {
    /// `nodeSelector`: all must hold.
    selector: Vec<(String, String)>,
    /// Required terms: one must hold.
    required: Option<Vec<Term>>,
    /// Terms with their weights.
    preferred: Vec<(i64, Term)>,
}

/// All requirements must hold. A term without any, or with one that cannot be understood, matches nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    labels: Vec<Requirement>,
    names: Vec<Requirement>,
    broken: bool,
}

/// The nodes that can come into question, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    Any,
    Only(BTreeSet<String>),
    /// Every term contradicts itself.
    Conflict,
}

impl Names {
    pub fn has(&self, node: &NodeName) -> bool {
        match self {
            Names::Any => true,
            Names::Only(names) => names.contains(node.as_str()),
            Names::Conflict => false,
        }
    }
}

impl NodeAffinity {
    /// Of a pod's `spec`.
    pub fn read(spec: &Value) -> NodeAffinity {
        let affinity = &spec["affinity"]["nodeAffinity"];
        let selector = spec["nodeSelector"].as_object().into_iter().flatten();
        let required = &affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
        let preferred =
            affinity["preferredDuringSchedulingIgnoredDuringExecution"].as_array().into_iter().flatten();
        NodeAffinity {
            selector: selector
                .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect(),
            required: required.as_array().map(|terms| terms.iter().map(Term::read).collect()),
            preferred: preferred
                .map(|term| (term["weight"].as_i64().unwrap_or_default(), Term::read(&term["preference"])))
                .collect(),
        }
    }

    /// Of a volume's `nodeAffinity`: where it can be reached.
    pub fn of_volume(affinity: &Value) -> NodeAffinity {
        let terms = affinity["required"]["nodeSelectorTerms"].as_array();
        NodeAffinity {
            required: terms.map(|terms| terms.iter().map(Term::read).collect()),
            ..NodeAffinity::default()
        }
    }

    pub fn admits(&self, node: &Node) -> bool {
        self.selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
            && self.required.as_ref().is_none_or(|terms| terms.iter().any(|term| term.matches(node)))
    }

    /// Whether the pod prefers any node to another.
    pub fn prefers(&self) -> bool {
        !self.preferred.is_empty()
    }

    /// Weights of the preferred terms that hold.
    pub fn preference(&self, node: &Node) -> i64 {
        self.preferred.iter().filter(|(_, term)| term.matches(node)).map(|(weight, _)| weight).sum()
    }

    /// The nodes named by the required terms, where every term names some.
    pub fn names(&self) -> Names {
        let Some(terms) = self.required.as_ref().filter(|terms| !terms.is_empty()) else { return Names::Any };
        let mut all = BTreeSet::new();
        for term in terms {
            match term.named() {
                Some(names) => all.extend(names),
                None => return Names::Any,
            }
        }
        if all.is_empty() { Names::Conflict } else { Names::Only(all) }
    }
}

impl Term {
    fn read(term: &Value) -> Term {
        let mut broken = false;
        let mut read = |field: &str| -> Vec<Requirement> {
            let mut requirements = Vec::new();
            for requirement in term[field].as_array().into_iter().flatten() {
                match read_requirement(requirement) {
                    Some(requirement) => requirements.push(requirement),
                    None => broken = true,
                }
            }
            requirements
        };
        let (labels, names) = (read("matchExpressions"), read("matchFields"));
        Term { labels, names, broken }
    }

    fn matches(&self, node: &Node) -> bool {
        let empty = self.labels.is_empty() && self.names.is_empty();
        let name = [("metadata.name", node.name.as_str())];
        !empty
            && !self.broken
            && self.labels.iter().all(|requirement| requirement.matches(&node.labels))
            && self.names.iter().all(|requirement| requirement.matches(name.as_slice()))
    }

    /// The node names that `matchFields` allows; `None` where it says nothing.
    fn named(&self) -> Option<BTreeSet<String>> {
        let named =
            self.names.iter().filter(|names| names.key == "metadata.name" && names.operator == Operator::In);
        let sets = named.map(|names| names.values.iter().cloned().collect::<BTreeSet<_>>());
        sets.reduce(|mine, other| &mine & &other)
    }
}

fn read_requirement(requirement: &Value) -> Option<Requirement> {
    let operator = match requirement["operator"].as_str()? {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::GreaterThan,
        "Lt" => Operator::LessThan,
        _ => return None,
    };
    let values = requirement["values"].as_array().into_iter().flatten();
    let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
    Requirement::new(requirement["key"].as_str()?, operator, values).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn required(terms: Value) -> NodeAffinity {
        let wanted = json!({"nodeSelectorTerms": terms});
        NodeAffinity::read(
            &json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": wanted}}}),
        )
    }

    fn expression(key: &str, operator: &str, values: &[&str]) -> Value {
        json!({"key": key, "operator": operator, "values": values})
    }

    #[test]
    fn terms() {
        let node = Node::read(&json!({"metadata": {"name": "n1", "labels": {"disk": "ssd", "cores": "8"}}}));
        let label = |key, operator, values| json!({"matchExpressions": [expression(key, operator, values)]});
        let field =
            |operator, values| json!({"matchFields": [expression("metadata.name", operator, values)]});
        for (terms, expect) in [
            (json!([label("disk", "In", &["ssd", "nvme"])]), true),
            (json!([label("disk", "NotIn", &["ssd"])]), false),
            (json!([label("gpu", "Exists", &[])]), false),
            (json!([label("gpu", "DoesNotExist", &[])]), true),
            (json!([label("cores", "Gt", &["7"])]), true),
            (json!([label("cores", "Lt", &["8"])]), false),
            (json!([label("gpu", "Exists", &[]), label("disk", "Exists", &[])]), true),
            (json!([label("disk", "Nearly", &["ssd"])]), false),
            (json!([{}]), false),
            (json!([]), false),
            (json!([field("In", &["n1"])]), true),
            (json!([field("NotIn", &["n1"])]), false),
        ] {
            assert_eq!(required(terms.clone()).admits(&node), expect, "{terms}");
        }
        let selector = |value: &str| NodeAffinity::read(&json!({"nodeSelector": {"disk": value}}));
        assert!(selector("ssd").admits(&node) && !selector("hdd").admits(&node));
    }

    #[test]
    fn names() {
        let only = |names: &[&str]| Names::Only(names.iter().map(|name| (*name).to_owned()).collect());
        let named = |names: &[&str]| expression("metadata.name", "In", names);
        for (terms, expect) in [
            (json!([{"matchFields": [named(&["a"])]}]), only(&["a"])),
            (json!([{"matchFields": [named(&["a"])]}, {"matchFields": [named(&["b"])]}]), only(&["a", "b"])),
            (
                json!([{"matchFields": [named(&["a"])]}, {"matchExpressions": [expression("x", "Exists", &[])]}]),
                Names::Any,
            ),
            (json!([{"matchFields": [named(&["a"]), named(&["b"])]}]), Names::Conflict),
        ] {
            assert_eq!(required(terms.clone()).names(), expect, "{terms}");
        }
    }
}
