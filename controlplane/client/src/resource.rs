//! Resources and the paths under which they are served.

use std::borrow::Cow;
use std::fmt;

/// One resource of the API: what a path, an `apiVersion` and a `kind` are made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// Empty for the core group.
    pub group: Cow<'static, str>,
    pub version: Cow<'static, str>,
    /// `deployments`
    pub plural: Cow<'static, str>,
    /// `Deployment`
    pub kind: Cow<'static, str>,
    pub namespaced: bool,
}

impl Resource {
    pub const NAMESPACES: Resource = cluster("", "v1", "namespaces", "Namespace");
    pub const NODES: Resource = cluster("", "v1", "nodes", "Node");
    pub const PODS: Resource = namespaced("", "v1", "pods", "Pod");
    pub const SERVICES: Resource = namespaced("", "v1", "services", "Service");
    pub const SERVICE_ACCOUNTS: Resource = namespaced("", "v1", "serviceaccounts", "ServiceAccount");
    pub const CONFIG_MAPS: Resource = namespaced("", "v1", "configmaps", "ConfigMap");
    pub const SECRETS: Resource = namespaced("", "v1", "secrets", "Secret");
    pub const EVENTS: Resource = namespaced("", "v1", "events", "Event");
    pub const DEPLOYMENTS: Resource = namespaced("apps", "v1", "deployments", "Deployment");
    pub const REPLICA_SETS: Resource = namespaced("apps", "v1", "replicasets", "ReplicaSet");
    pub const ENDPOINT_SLICES: Resource =
        namespaced("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice");
    pub const NETWORK_POLICIES: Resource =
        namespaced("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy");
    pub const STATEFUL_SETS: Resource = namespaced("apps", "v1", "statefulsets", "StatefulSet");
    pub const DAEMON_SETS: Resource = namespaced("apps", "v1", "daemonsets", "DaemonSet");
    pub const CONTROLLER_REVISIONS: Resource =
        namespaced("apps", "v1", "controllerrevisions", "ControllerRevision");
    pub const REPLICATION_CONTROLLERS: Resource =
        namespaced("", "v1", "replicationcontrollers", "ReplicationController");
    pub const JOBS: Resource = namespaced("batch", "v1", "jobs", "Job");
    pub const CRON_JOBS: Resource = namespaced("batch", "v1", "cronjobs", "CronJob");
    pub const DISRUPTION_BUDGETS: Resource =
        namespaced("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget");
    pub const RESOURCE_QUOTAS: Resource = namespaced("", "v1", "resourcequotas", "ResourceQuota");
    pub const ENDPOINTS: Resource = namespaced("", "v1", "endpoints", "Endpoints");
    pub const VOLUMES: Resource = cluster("", "v1", "persistentvolumes", "PersistentVolume");
    pub const VOLUME_CLAIMS: Resource =
        namespaced("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim");
    pub const CLUSTER_ROLES: Resource =
        cluster("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole");
    pub const LEASES: Resource = namespaced("coordination.k8s.io", "v1", "leases", "Lease");

    /// A resource known when this is compiled.
    pub const fn fixed(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
        namespaced: bool,
    ) -> Resource {
        Resource {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            plural: Cow::Borrowed(plural),
            kind: Cow::Borrowed(kind),
            namespaced,
        }
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone().into()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The path of all objects, or of one namespace's.
    pub fn collection(&self, namespace: &str) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if self.namespaced && !namespace.is_empty() {
            path.push_str("/namespaces/");
            path.push_str(&escape(namespace));
        }
        path.push('/');
        path.push_str(&self.plural);
        path
    }

    /// The path of one object.
    pub fn object(&self, namespace: &str, name: &str) -> String {
        format!("{}/{}", self.collection(namespace), escape(name))
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plural)?;
        if self.group.is_empty() { Ok(()) } else { write!(f, ".{}", self.group) }
    }
}

const fn namespaced(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
) -> Resource {
    Resource::fixed(group, version, plural, kind, true)
}

const fn cluster(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
) -> Resource {
    Resource::fixed(group, version, plural, kind, false)
}

/// Percent-encodes everything but the unreserved characters of RFC 3986.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(Resource::PODS.collection(""), "/api/v1/pods");
        assert_eq!(Resource::PODS.object("a", "b"), "/api/v1/namespaces/a/pods/b");
        assert_eq!(Resource::NODES.object("", "n"), "/api/v1/nodes/n");
        assert_eq!(
            Resource::DEPLOYMENTS.object("a", "../b"),
            "/apis/apps/v1/namespaces/a/deployments/..%2Fb"
        );
        assert_eq!(Resource::DEPLOYMENTS.to_string(), "deployments.apps");
        assert_eq!(Resource::DEPLOYMENTS.api_version(), "apps/v1");
    }
}
