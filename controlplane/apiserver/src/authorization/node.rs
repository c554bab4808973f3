//! The node authorizer: what a kubelet may, narrowed to its own node and to what the pods on it need.
//!
//! ```text
//!   node <- pod <- secret, configMap, claim <- volume, ServiceAccount
//! ```
//!
//! Where it has no opinion RBAC decides. A node's credential is taken to be in foreign hands: it reads nothing that a
//! pod of its own does not already give it. What it writes is narrowed further by admission (`node_restriction`),
//! which sees the objects.
//!
//! Reference: Kubernetes "Using Node Authorization"; KEP-4601 (field selectors).

use api::selector::FieldSelector;

use super::references;
use super::rules::{Attributes, Rule};
use crate::cache::Caches;
use crate::user::User;

const GROUP: &str = "system:nodes";
const PREFIX: &str = "system:node:";
/// The agent, proxy and DNS of joined nodes.
const PARTS: &str = "system:keelson:node-parts";
/// Where the leases of nodes are.
const LEASES: &str = "kube-node-lease";

/// What the authorizer says to a node's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opinion {
    /// Go on.
    Allowed,
    /// Not by these rules; the reason may be empty.
    None(String),
}

/// What of a pod something else is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The pod itself.
    Pod,
    /// A secret that it names.
    Secret,
    /// A configMap that it names.
    ConfigMap,
    /// A claim that it names.
    Claim,
    /// A volume that is for a claim that it names.
    Volume,
    /// The account that it runs as.
    ServiceAccount,
}

/// The name of the node that a user is; empty where the user is in the group without being one.
pub fn node_of(user: &User) -> Option<&str> {
    user.is_in(GROUP).then(|| user.name.strip_prefix(PREFIX).unwrap_or_default())
}

/// The node that a user is, or whose agent, proxy and DNS it is: what it writes is confined to that node.
pub fn confined_to(user: &User) -> Option<&str> {
    let of_parts = || user.is_in(PARTS).then(|| user.name.strip_prefix(PREFIX).unwrap_or_default());
    node_of(user).or_else(of_parts)
}

/// Decides by `rules` and by what is related to the node.
pub fn opinion(
    user: &User,
    asked: &Attributes<'_>,
    rules: &[Rule],
    related: &dyn Fn(Relation, &str, &str) -> bool,
) -> Option<Opinion> {
    let node = node_of(user)?;
    if node.is_empty() {
        return Some(none(format!("unknown node for user {}", api::field::quote(&user.name))));
    }
    let request = Asked { node, asked, related };
    Some(match (asked.path.is_empty(), asked.group, asked.resource) {
        (true, "", "secrets") => request.read(Relation::Secret),
        (true, "", "configmaps") => request.read(Relation::ConfigMap),
        (true, "", "persistentvolumeclaims") => request.get(Relation::Claim),
        (true, "", "persistentvolumes") => request.get(Relation::Volume),
        // Nothing here serves attachments yet.
        (true, "storage.k8s.io", "volumeattachments") => request.unrelated(),
        (true, "", "serviceaccounts") => request.service_account(),
        (true, "", "nodes") => request.node(),
        (true, "", "pods") => request.pod(),
        (true, "coordination.k8s.io", "leases") => request.own("a node lease", "node lease", LEASES),
        (true, "storage.k8s.io", "csinodes") => request.own("a CSINode", "CSINode", ""),
        _ if rules.iter().any(|rule| rule.allows(asked)) => Opinion::Allowed,
        _ => none(""),
    })
}

/// Whether something in a namespace belongs to a pod that is bound to the node.
pub fn is_related(caches: &Caches, node: &str, relation: Relation, namespace: &str, name: &str) -> bool {
    let Some(pods) = caches.named("", "pods") else { return false };
    if relation == Relation::Pod {
        let pod = pods.get(&format!("{namespace}/{name}"));
        return pod.is_some_and(|pod| pod.field("spec.nodeName") == node);
    }
    if relation == Relation::Volume {
        let volume = caches.named("", "persistentvolumes").and_then(|volumes| volumes.get(name));
        let Some(volume) = volume.map(|volume| volume.value()) else { return false };
        let claim = &volume["spec"]["claimRef"];
        let (Some(namespace), Some(name)) = (claim["namespace"].as_str(), claim["name"].as_str()) else {
            return false;
        };
        return is_related(caches, node, Relation::Claim, namespace, name);
    }
    let (pods, _) = pods.list(namespace);
    pods.iter().filter(|pod| pod.field("spec.nodeName") == node).any(|pod| {
        let pod = pod.value();
        if references::is_mirror(&pod) {
            return false;
        }
        match relation {
            Relation::Pod | Relation::Volume => false,
            Relation::Secret => references::secrets(&pod).contains(&name),
            Relation::ConfigMap => references::config_maps(&pod).contains(&name),
            Relation::Claim => references::claims(&pod).iter().any(|claim| claim == name),
            Relation::ServiceAccount => pod["spec"]["serviceAccountName"] == name,
        }
    })
}

fn none(why: impl Into<String>) -> Opinion {
    Opinion::None(why.into())
}

/// One request of one node.
struct Asked<'a> {
    node: &'a str,
    asked: &'a Attributes<'a>,
    related: &'a dyn Fn(Relation, &str, &str) -> bool,
}

impl Asked<'_> {
    /// Only what belongs to the node.
    fn relation(&self, relation: Relation) -> Opinion {
        if self.asked.name.is_empty() {
            return none("No Object name found");
        }
        match (self.related)(relation, self.asked.namespace, self.asked.name) {
            true => Opinion::Allowed,
            false => self.unrelated(),
        }
    }

    fn unrelated(&self) -> Opinion {
        none(format!("no relationship found between node '{}' and this object", self.node))
    }

    /// One object of a kind that pods name, also as a list or watch of that one.
    fn read(&self, relation: Relation) -> Opinion {
        if !matches!(self.asked.verb, "get" | "list" | "watch") {
            return none("can only read resources of this type");
        }
        if !self.asked.subresource.is_empty() {
            return none("cannot read subresource");
        }
        if self.asked.namespace.is_empty() {
            return none("can only read namespaced object of this type");
        }
        self.relation(relation)
    }

    fn get(&self, relation: Relation) -> Opinion {
        if self.asked.verb != "get" {
            return none("can only get individual resources of this type");
        }
        if !self.asked.subresource.is_empty() {
            return none("cannot get subresource");
        }
        self.relation(relation)
    }

    /// Tokens of the accounts that its pods run as, and those accounts.
    fn service_account(&self) -> Opinion {
        match (self.asked.verb, self.asked.subresource) {
            ("get", "") => self.relation(Relation::ServiceAccount),
            ("create", "token") if !self.asked.name.is_empty() => self.relation(Relation::ServiceAccount),
            ("create", _) if !self.asked.name.is_empty() => {
                none("can only create token subresource of serviceaccount")
            }
            _ => none("can only create tokens for individual service accounts"),
        }
    }

    /// Itself. Admission sees to what it may change.
    fn node(&self) -> Opinion {
        match (self.asked.subresource, self.asked.verb, self.asked.name) {
            ("", "create" | "update" | "patch", _) | ("status", "update" | "patch", _) => Opinion::Allowed,
            ("", "get" | "list" | "watch", name) if name == self.node => Opinion::Allowed,
            ("", "get" | "list" | "watch", "") => {
                none(format!("node '{}' cannot read all nodes, only its own Node object", self.node))
            }
            ("", "get" | "list" | "watch", other) => {
                none(format!("node '{}' cannot read '{other}', only its own Node object", self.node))
            }
            _ => none(""),
        }
    }

    /// The pods that are bound to it. Admission sees to whose status it writes.
    fn pod(&self) -> Opinion {
        match (self.asked.subresource, self.asked.verb) {
            ("", "get") => self.get(Relation::Pod),
            ("", "list" | "watch") => {
                let selector = FieldSelector::parse(self.asked.fields).ok();
                let own = selector.and_then(|all| all.exact("spec.nodeName").map(|node| node == self.node));
                match (own, self.asked.name) {
                    (Some(true), _) => Opinion::Allowed,
                    (_, "") => none("can only list/watch pods with spec.nodeName field selector"),
                    _ => self.relation(Relation::Pod),
                }
            }
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
                Opinion::Allowed
            }
            _ => none(""),
        }
    }

    /// The object that bears its name.
    fn own(&self, one: &str, kind: &str, namespace: &str) -> Opinion {
        if !matches!(self.asked.verb, "get" | "create" | "update" | "patch" | "delete") {
            return none(format!("can only get, create, update, patch, or delete {one}"));
        }
        if self.asked.namespace != namespace {
            return none(format!(
                "can only access leases in the {} system namespace",
                api::field::quote(namespace)
            ));
        }
        if !self.asked.subresource.is_empty() {
            return none(format!("cannot authorize {kind} subresources"));
        }
        // A create names nothing yet; admission looks at the object.
        if self.asked.verb != "create" && self.asked.name != self.node {
            return none(format!("can only access {kind} with the same name as the requesting node"));
        }
        Opinion::Allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> User {
        User { name: name.into(), groups: vec![GROUP.into()], ..User::default() }
    }

    /// `verb group/resource[/subresource] namespace name selector`, `-` for nothing.
    fn ask(user: &User, request: &str) -> Option<Opinion> {
        let words: Vec<&str> = request.split(' ').map(|word| if word == "-" { "" } else { word }).collect();
        let [verb, kind, namespace, name, fields] = words[..] else { panic!("{request}") };
        let (group, resource) = kind.split_once('/').unwrap();
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let asked = Attributes {
            verb,
            group,
            version: "v1",
            resource,
            subresource,
            namespace,
            name,
            path: "",
            fields,
        };
        // What is named `mine` in `ns` belongs to a pod of node `n`, and so does the volume `mine`.
        let related = |relation: Relation, namespace: &str, name: &str| {
            name == "mine" && namespace == if relation == Relation::Volume { "" } else { "ns" }
        };
        opinion(user, &asked, &crate::bootstrap::node_rules(), &related)
    }

    #[test]
    fn a_rule_for_each_thing_a_node_may() {
        let unrelated = "no relationship found between node 'n' and this object";
        for (request, expect) in [
            ("get /secrets ns mine -", Ok(())),
            ("watch /secrets ns mine -", Ok(())),
            ("get /secrets ns other -", Err(unrelated)),
            ("get /secrets other mine -", Err(unrelated)),
            ("list /secrets ns - -", Err("No Object name found")),
            ("list /secrets - - -", Err("can only read namespaced object of this type")),
            ("update /secrets ns mine -", Err("can only read resources of this type")),
            ("get /configmaps ns mine -", Ok(())),
            ("delete /configmaps ns mine -", Err("can only read resources of this type")),
            ("get /persistentvolumeclaims ns mine -", Ok(())),
            ("list /persistentvolumeclaims ns - -", Err("can only get individual resources of this type")),
            ("get /persistentvolumes - pv -", Err(unrelated)),
            ("get /persistentvolumes - mine -", Ok(())),
            ("list /persistentvolumes - - -", Err("can only get individual resources of this type")),
            ("create /serviceaccounts/token ns mine -", Ok(())),
            ("create /serviceaccounts/token ns other -", Err(unrelated)),
            ("create /serviceaccounts ns - -", Err("can only create tokens for individual service accounts")),
            ("get /serviceaccounts ns mine -", Ok(())),
            ("list /serviceaccounts ns - -", Err("can only create tokens for individual service accounts")),
            ("get /nodes - n -", Ok(())),
            ("watch /nodes - n -", Ok(())),
            ("get /nodes - m -", Err("node 'n' cannot read 'm', only its own Node object")),
            ("list /nodes - - -", Err("node 'n' cannot read all nodes, only its own Node object")),
            ("create /nodes - - -", Ok(())),
            ("patch /nodes/status - m -", Ok(())),
            ("delete /nodes - n -", Err("")),
            ("get /nodes/proxy - n -", Err("")),
            ("get /pods ns mine -", Ok(())),
            ("get /pods ns other -", Err(unrelated)),
            ("list /pods - - spec.nodeName=n", Ok(())),
            ("watch /pods - - spec.nodeName=n", Ok(())),
            ("watch /pods - - spec.nodeName=n,status.phase!=Failed", Ok(())),
            (
                "list /pods - - spec.nodeName=m",
                Err("can only list/watch pods with spec.nodeName field selector"),
            ),
            (
                "list /pods - - spec.nodeName!=n",
                Err("can only list/watch pods with spec.nodeName field selector"),
            ),
            ("list /pods ns - -", Err("can only list/watch pods with spec.nodeName field selector")),
            ("patch /pods/status ns other -", Ok(())),
            ("create /pods/eviction ns other -", Ok(())),
            ("delete /pods ns other -", Ok(())),
            ("create /pods/exec ns mine -", Err("")),
            ("update /pods ns mine -", Err("")),
            ("deletecollection /pods ns - -", Err("")),
            ("create /pods/binding ns mine -", Err("")),
            ("get coordination.k8s.io/leases kube-node-lease n -", Ok(())),
            ("create coordination.k8s.io/leases kube-node-lease - -", Ok(())),
            (
                "update coordination.k8s.io/leases kube-node-lease m -",
                Err("can only access node lease with the same name as the requesting node"),
            ),
            (
                "get coordination.k8s.io/leases kube-system n -",
                Err("can only access leases in the \"kube-node-lease\" system namespace"),
            ),
            (
                "list coordination.k8s.io/leases kube-node-lease - -",
                Err("can only get, create, update, patch, or delete a node lease"),
            ),
            ("create authentication.k8s.io/tokenreviews - - -", Ok(())),
            ("create authorization.k8s.io/subjectaccessreviews - - -", Ok(())),
            ("list /services - - -", Ok(())),
            ("create /events ns - -", Ok(())),
            ("delete /events ns e -", Err("")),
            ("list apps/deployments - - -", Err("")),
            ("create rbac.authorization.k8s.io/clusterrolebindings - - -", Err("")),
        ] {
            let expect = match expect {
                Ok(()) => Opinion::Allowed,
                Err(why) => Opinion::None(why.into()),
            };
            assert_eq!(ask(&user("system:node:n"), request), Some(expect), "{request}");
        }
    }

    #[test]
    fn who_is_a_node() {
        assert_eq!(ask(&User::default(), "get /nodes - n -"), None);
        let alone = User { name: "system:node:n".into(), ..User::default() };
        assert_eq!(ask(&alone, "get /nodes - n -"), None, "the name without the group");
        let why = "unknown node for user \"jane\"";
        assert_eq!(ask(&user("jane"), "get /nodes - n -"), Some(Opinion::None(why.into())));
    }
}
