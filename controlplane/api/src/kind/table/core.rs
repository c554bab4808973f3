//! core/v1.

use super::super::Verb::{Get, Update};
use super::super::fields;
use super::*;

pub(super) static KINDS: &[Kind] = &[
    Kind { namespaced: true, ..asked!("", "core", "v1", "Binding", "bindings", "binding") },
    Kind {
        short_names: &["cs"],
        verbs: READ,
        storage: None,
        ..at_cluster!("", "core", "v1", "ComponentStatus", "componentstatuses", "componentstatus")
    },
    Kind { short_names: &["cm"], ..stored!("", "core", "v1", "ConfigMap", "configmaps", "configmap") },
    Kind { short_names: &["ep"], ..stored!("", "core", "v1", "Endpoints", "endpoints", "endpoints") },
    Kind {
        short_names: &["ev"],
        selectable: fields::EVENT,
        ..stored!("", "core", "v1", "Event", "events", "event")
    },
    Kind { short_names: &["limits"], ..stored!("", "core", "v1", "LimitRange", "limitranges", "limitrange") },
    Kind {
        short_names: &["ns"],
        verbs: NO_COLLECTION,
        subresources: &[
            part!("finalize", "", "core", "v1", "Namespace", &[Update]),
            status!("", "core", "v1", "Namespace"),
        ],
        selectable: fields::NAMESPACE,
        ..at_cluster!("", "core", "v1", "Namespace", "namespaces", "namespace")
    },
    Kind {
        short_names: &["no"],
        subresources: &[connect("proxy", "NodeProxyOptions", PROXY), status!("", "core", "v1", "Node")],
        selectable: fields::NODE,
        ..at_cluster!("", "core", "v1", "Node", "nodes", "node")
    },
    Kind {
        short_names: &["pvc"],
        subresources: &[status!("", "core", "v1", "PersistentVolumeClaim")],
        selectable: fields::NAMED,
        ..stored!(
            "",
            "core",
            "v1",
            "PersistentVolumeClaim",
            "persistentvolumeclaims",
            "persistentvolumeclaim"
        )
    },
    Kind {
        short_names: &["pv"],
        subresources: &[status!("", "core", "v1", "PersistentVolume")],
        selectable: fields::NAMED_AT_CLUSTER,
        ..at_cluster!("", "core", "v1", "PersistentVolume", "persistentvolumes", "persistentvolume")
    },
    Kind {
        short_names: &["po"],
        categories: &["all"],
        subresources: &[
            connect("attach", "PodAttachOptions", STREAM),
            part!("binding", "", "core", "v1", "Binding", CREATE),
            part!("ephemeralcontainers", "", "core", "v1", "Pod", STATUS),
            part!("eviction", "policy", "policy", "v1", "Eviction", CREATE),
            connect("exec", "PodExecOptions", STREAM),
            Subresource { connects: true, ..own("log", "", "v1", "Pod", "", &[Get]) },
            connect("portforward", "PodPortForwardOptions", STREAM),
            connect("proxy", "PodProxyOptions", PROXY),
            part!("resize", "", "core", "v1", "Pod", STATUS),
            status!("", "core", "v1", "Pod"),
        ],
        selectable: fields::POD,
        ..stored!("", "core", "v1", "Pod", "pods", "pod")
    },
    stored!("", "core", "v1", "PodTemplate", "podtemplates", "podtemplate"),
    Kind {
        short_names: &["rc"],
        categories: &["all"],
        subresources: &[SCALE, status!("", "core", "v1", "ReplicationController")],
        selectable: fields::REPLICA_SET,
        ..stored!(
            "",
            "core",
            "v1",
            "ReplicationController",
            "replicationcontrollers",
            "replicationcontroller"
        )
    },
    Kind {
        short_names: &["quota"],
        subresources: &[status!("", "core", "v1", "ResourceQuota")],
        ..stored!("", "core", "v1", "ResourceQuota", "resourcequotas", "resourcequota")
    },
    Kind { selectable: fields::SECRET, ..stored!("", "core", "v1", "Secret", "secrets", "secret") },
    Kind {
        short_names: &["sa"],
        subresources: &[part!(
            "token",
            "authentication.k8s.io",
            "authentication",
            "v1",
            "TokenRequest",
            CREATE
        )],
        ..stored!("", "core", "v1", "ServiceAccount", "serviceaccounts", "serviceaccount")
    },
    Kind {
        short_names: &["svc"],
        categories: &["all"],
        subresources: &[connect("proxy", "ServiceProxyOptions", PROXY), status!("", "core", "v1", "Service")],
        selectable: fields::SERVICE,
        ..stored!("", "core", "v1", "Service", "services", "service")
    },
];
