//! The rows of the built-in kinds, in discovery order: core first, then groups by upstream's priority.
//!
//! To add a kind, add its row here and its type to the schema's roots in `build.rs`; nothing else names kinds.

use super::Verb::{Create, Delete, DeleteCollection, Get, List, Patch, Update, Watch};
use super::fields::{self, Selectable};
use super::{Kind, Storage, Subresource, Verb};

const ALL: &[Verb] = &[Create, Delete, DeleteCollection, Get, List, Patch, Update, Watch];
const NO_COLLECTION: &[Verb] = &[Create, Delete, Get, List, Patch, Update, Watch];
const CREATE: &[Verb] = &[Create];
const STATUS: &[Verb] = &[Get, Patch, Update];
const STREAM: &[Verb] = &[Create, Get];
const PROXY: &[Verb] = &[Create, Delete, Get, Patch, Update];

const NONE: &[Selectable] = &[];

pub static KINDS: &[Kind] = &[
    // core/v1
    asked("", "v1", "Binding", "bindings", "binding", "io.k8s.api.core.v1.Binding", true),
    Kind {
        short_names: &["cm"],
        ..stored(
            "",
            "v1",
            "ConfigMap",
            "ConfigMapList",
            "configmaps",
            "configmap",
            "io.k8s.api.core.v1.ConfigMap",
        )
    },
    Kind {
        short_names: &["ep"],
        ..stored(
            "",
            "v1",
            "Endpoints",
            "EndpointsList",
            "endpoints",
            "endpoints",
            "io.k8s.api.core.v1.Endpoints",
        )
    },
    Kind {
        short_names: &["ev"],
        selectable: fields::EVENT,
        ..stored("", "v1", "Event", "EventList", "events", "event", "io.k8s.api.core.v1.Event")
    },
    Kind {
        short_names: &["ns"],
        namespaced: false,
        verbs: NO_COLLECTION,
        subresources: &[
            own("finalize", "", "v1", "Namespace", "io.k8s.api.core.v1.Namespace", &[Update]),
            own("status", "", "v1", "Namespace", "io.k8s.api.core.v1.Namespace", STATUS),
        ],
        selectable: fields::NAMESPACE,
        ..stored(
            "",
            "v1",
            "Namespace",
            "NamespaceList",
            "namespaces",
            "namespace",
            "io.k8s.api.core.v1.Namespace",
        )
    },
    Kind {
        short_names: &["no"],
        namespaced: false,
        subresources: &[
            connect("proxy", "NodeProxyOptions", PROXY),
            own("status", "", "v1", "Node", "io.k8s.api.core.v1.Node", STATUS),
        ],
        selectable: fields::NODE,
        ..stored("", "v1", "Node", "NodeList", "nodes", "node", "io.k8s.api.core.v1.Node")
    },
    Kind {
        short_names: &["po"],
        categories: &["all"],
        subresources: &[
            connect("attach", "PodAttachOptions", STREAM),
            own("binding", "", "v1", "Binding", "io.k8s.api.core.v1.Binding", CREATE),
            own("ephemeralcontainers", "", "v1", "Pod", "io.k8s.api.core.v1.Pod", STATUS),
            own("eviction", "policy", "v1", "Eviction", "io.k8s.api.policy.v1.Eviction", CREATE),
            connect("exec", "PodExecOptions", STREAM),
            Subresource { connects: true, ..own("log", "", "v1", "Pod", "", &[Get]) },
            connect("portforward", "PodPortForwardOptions", STREAM),
            connect("proxy", "PodProxyOptions", PROXY),
            own("resize", "", "v1", "Pod", "io.k8s.api.core.v1.Pod", STATUS),
            own("status", "", "v1", "Pod", "io.k8s.api.core.v1.Pod", STATUS),
        ],
        selectable: fields::POD,
        ..stored("", "v1", "Pod", "PodList", "pods", "pod", "io.k8s.api.core.v1.Pod")
    },
    Kind {
        selectable: fields::SECRET,
        ..stored("", "v1", "Secret", "SecretList", "secrets", "secret", "io.k8s.api.core.v1.Secret")
    },
    Kind {
        short_names: &["sa"],
        subresources: &[own(
            "token",
            "authentication.k8s.io",
            "v1",
            "TokenRequest",
            "io.k8s.api.authentication.v1.TokenRequest",
            CREATE,
        )],
        ..stored(
            "",
            "v1",
            "ServiceAccount",
            "ServiceAccountList",
            "serviceaccounts",
            "serviceaccount",
            "io.k8s.api.core.v1.ServiceAccount",
        )
    },
    Kind {
        short_names: &["svc"],
        categories: &["all"],
        subresources: &[
            connect("proxy", "ServiceProxyOptions", PROXY),
            own("status", "", "v1", "Service", "io.k8s.api.core.v1.Service", STATUS),
        ],
        selectable: fields::SERVICE,
        ..stored("", "v1", "Service", "ServiceList", "services", "service", "io.k8s.api.core.v1.Service")
    },
    // apps/v1
    Kind {
        short_names: &["deploy"],
        categories: &["all"],
        subresources: &[
            SCALE,
            own("status", "apps", "v1", "Deployment", "io.k8s.api.apps.v1.Deployment", STATUS),
        ],
        ..stored(
            "apps",
            "v1",
            "Deployment",
            "DeploymentList",
            "deployments",
            "deployment",
            "io.k8s.api.apps.v1.Deployment",
        )
    },
    Kind {
        short_names: &["rs"],
        categories: &["all"],
        subresources: &[
            SCALE,
            own("status", "apps", "v1", "ReplicaSet", "io.k8s.api.apps.v1.ReplicaSet", STATUS),
        ],
        selectable: fields::REPLICA_SET,
        ..stored(
            "apps",
            "v1",
            "ReplicaSet",
            "ReplicaSetList",
            "replicasets",
            "replicaset",
            "io.k8s.api.apps.v1.ReplicaSet",
        )
    },
    // events.k8s.io/v1: another face of the core Event.
    Kind {
        short_names: &["ev"],
        selectable: fields::EVENT_V1,
        storage: Some(Storage { group: "", version: "v1", kind: "Event", resource: "events" }),
        ..stored("events.k8s.io", "v1", "Event", "EventList", "events", "event", "io.k8s.api.events.v1.Event")
    },
    // authentication.k8s.io/v1
    asked(
        "authentication.k8s.io",
        "v1",
        "SelfSubjectReview",
        "selfsubjectreviews",
        "selfsubjectreview",
        "io.k8s.api.authentication.v1.SelfSubjectReview",
        false,
    ),
    asked(
        "authentication.k8s.io",
        "v1",
        "TokenReview",
        "tokenreviews",
        "tokenreview",
        "io.k8s.api.authentication.v1.TokenReview",
        false,
    ),
    // authorization.k8s.io/v1
    asked(
        "authorization.k8s.io",
        "v1",
        "LocalSubjectAccessReview",
        "localsubjectaccessreviews",
        "localsubjectaccessreview",
        "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
        true,
    ),
    asked(
        "authorization.k8s.io",
        "v1",
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        "selfsubjectaccessreview",
        "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
        false,
    ),
    asked(
        "authorization.k8s.io",
        "v1",
        "SelfSubjectRulesReview",
        "selfsubjectrulesreviews",
        "selfsubjectrulesreview",
        "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
        false,
    ),
    asked(
        "authorization.k8s.io",
        "v1",
        "SubjectAccessReview",
        "subjectaccessreviews",
        "subjectaccessreview",
        "io.k8s.api.authorization.v1.SubjectAccessReview",
        false,
    ),
    // networking.k8s.io/v1
    Kind {
        short_names: &["netpol"],
        ..stored(
            "networking.k8s.io",
            "v1",
            "NetworkPolicy",
            "NetworkPolicyList",
            "networkpolicies",
            "networkpolicy",
            "io.k8s.api.networking.v1.NetworkPolicy",
        )
    },
    // rbac.authorization.k8s.io/v1
    cluster(
        "rbac.authorization.k8s.io",
        "v1",
        "ClusterRoleBinding",
        "ClusterRoleBindingList",
        "clusterrolebindings",
        "clusterrolebinding",
        "io.k8s.api.rbac.v1.ClusterRoleBinding",
    ),
    cluster(
        "rbac.authorization.k8s.io",
        "v1",
        "ClusterRole",
        "ClusterRoleList",
        "clusterroles",
        "clusterrole",
        "io.k8s.api.rbac.v1.ClusterRole",
    ),
    stored(
        "rbac.authorization.k8s.io",
        "v1",
        "RoleBinding",
        "RoleBindingList",
        "rolebindings",
        "rolebinding",
        "io.k8s.api.rbac.v1.RoleBinding",
    ),
    stored("rbac.authorization.k8s.io", "v1", "Role", "RoleList", "roles", "role", "io.k8s.api.rbac.v1.Role"),
    // coordination.k8s.io/v1
    stored(
        "coordination.k8s.io",
        "v1",
        "Lease",
        "LeaseList",
        "leases",
        "lease",
        "io.k8s.api.coordination.v1.Lease",
    ),
    // discovery.k8s.io/v1
    stored(
        "discovery.k8s.io",
        "v1",
        "EndpointSlice",
        "EndpointSliceList",
        "endpointslices",
        "endpointslice",
        "io.k8s.api.discovery.v1.EndpointSlice",
    ),
    // admissionregistration.k8s.io/v1
    admission(
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyList",
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicy",
        "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicy",
    ),
    admission(
        "MutatingAdmissionPolicyBinding",
        "MutatingAdmissionPolicyBindingList",
        "mutatingadmissionpolicybindings",
        "mutatingadmissionpolicybinding",
        "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicyBinding",
    ),
    Kind {
        categories: &["api-extensions"],
        ..admission(
            "MutatingWebhookConfiguration",
            "MutatingWebhookConfigurationList",
            "mutatingwebhookconfigurations",
            "mutatingwebhookconfiguration",
            "io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration",
        )
    },
    Kind {
        categories: &["api-extensions"],
        subresources: &[own(
            "status",
            "admissionregistration.k8s.io",
            "v1",
            "ValidatingAdmissionPolicy",
            "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy",
            STATUS,
        )],
        ..admission(
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyList",
            "validatingadmissionpolicies",
            "validatingadmissionpolicy",
            "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy",
        )
    },
    admission(
        "ValidatingAdmissionPolicyBinding",
        "ValidatingAdmissionPolicyBindingList",
        "validatingadmissionpolicybindings",
        "validatingadmissionpolicybinding",
        "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding",
    ),
    Kind {
        categories: &["api-extensions"],
        ..admission(
            "ValidatingWebhookConfiguration",
            "ValidatingWebhookConfigurationList",
            "validatingwebhookconfigurations",
            "validatingwebhookconfiguration",
            "io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration",
        )
    },
    // apiextensions.k8s.io/v1
    Kind {
        short_names: &["crd", "crds"],
        categories: &["api-extensions"],
        subresources: &[own(
            "status",
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
            STATUS,
        )],
        ..cluster(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            "CustomResourceDefinitionList",
            "customresourcedefinitions",
            "customresourcedefinition",
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
        )
    },
    // apiregistration.k8s.io/v1
    Kind {
        categories: &["api-extensions"],
        subresources: &[own(
            "status",
            "apiregistration.k8s.io",
            "v1",
            "APIService",
            "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService",
            STATUS,
        )],
        ..cluster(
            "apiregistration.k8s.io",
            "v1",
            "APIService",
            "APIServiceList",
            "apiservices",
            "apiservice",
            "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService",
        )
    },
];

/// A kind of admissionregistration.k8s.io/v1, all of which are at cluster scope.
const fn admission(
    kind: &'static str,
    list_kind: &'static str,
    resource: &'static str,
    singular: &'static str,
    schema: &'static str,
) -> Kind {
    cluster("admissionregistration.k8s.io", "v1", kind, list_kind, resource, singular, schema)
}

const SCALE: Subresource =
    own("scale", "autoscaling", "v1", "Scale", "io.k8s.api.autoscaling.v1.Scale", STATUS);

/// A namespaced, stored kind with every verb.
const fn stored(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    list_kind: &'static str,
    resource: &'static str,
    singular: &'static str,
    schema: &'static str,
) -> Kind {
    Kind {
        group,
        version,
        kind,
        list_kind,
        resource,
        singular,
        short_names: &[],
        categories: &[],
        namespaced: true,
        verbs: ALL,
        subresources: &[],
        storage: Some(Storage { group, version, kind, resource }),
        selectable: NONE,
        schema,
    }
}

/// The same at cluster scope.
const fn cluster(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    list_kind: &'static str,
    resource: &'static str,
    singular: &'static str,
    schema: &'static str,
) -> Kind {
    Kind { namespaced: false, ..stored(group, version, kind, list_kind, resource, singular, schema) }
}

/// A kind that is posted and answered, never stored.
const fn asked(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    resource: &'static str,
    singular: &'static str,
    schema: &'static str,
    namespaced: bool,
) -> Kind {
    Kind {
        namespaced,
        verbs: CREATE,
        storage: None,
        ..stored(group, version, kind, "", resource, singular, schema)
    }
}

/// A subresource with a body.
const fn own(
    name: &'static str,
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    schema: &'static str,
    verbs: &'static [Verb],
) -> Subresource {
    Subresource { name, group, version, kind, verbs, schema, connects: false }
}

/// A subresource that is a connection.
const fn connect(name: &'static str, kind: &'static str, verbs: &'static [Verb]) -> Subresource {
    Subresource { connects: true, ..own(name, "", "v1", kind, "", verbs) }
}
