//! What `kubectl get` shows of objects in the states that people look at.

use serde_json::{Value, json};

use super::{cells, columns};
use crate::kind::Registry;

const NOW: &str = "2026-01-01T01:00:00Z";

/// The cells that are shown without `-o wide`, with spaces between them.
#[track_caller]
fn check(group: &str, resource: &str, mut object: Value, expect: &str) {
    let registry = Registry::builtin();
    let kind = registry.by_resource(group, "v1", resource).expect("a built-in kind");
    object["metadata"]["name"] = "it".into();
    object["metadata"]["creationTimestamp"] = "2026-01-01T00:58:00Z".into();
    let cells = cells(kind, &object, NOW.parse().unwrap());
    let columns = columns(kind);
    assert_eq!(columns.as_array().map(Vec::len), Some(cells.len()), "a cell per column");
    let shown: Vec<String> = columns
        .as_array()
        .into_iter()
        .flatten()
        .zip(&cells)
        .filter(|(column, _)| column["priority"] == 0)
        .map(|(_, cell)| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned))
        .collect();
    assert_eq!(shown.join(" "), expect);
}

#[test]
fn a_pod_says_what_is_wrong_with_it() {
    let pod =
        |status: Value| json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}, "status": status});
    let running =
        |name: &str| json!({"name": name, "ready": true, "restartCount": 0, "state": {"running": {}}});
    check("", "pods", pod(json!({"phase": "Pending"})), "it 0/2 Pending 0 2m");
    check(
        "",
        "pods",
        pod(json!({"phase": "Running", "containerStatuses": [running("a"), running("b")]})),
        "it 2/2 Running 0 2m",
    );
    let crashing = json!({"name": "b", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"finishedAt": "2026-01-01T00:59:50Z"}}});
    check(
        "",
        "pods",
        pod(json!({"phase": "Running", "containerStatuses": [running("a"), crashing]})),
        "it 1/2 CrashLoopBackOff 3 (10s ago) 2m",
    );
    let completed = json!({"name": "b", "state": {"terminated": {"reason": "Completed", "exitCode": 0}}});
    check(
        "",
        "pods",
        pod(json!({"phase": "Succeeded", "containerStatuses": [completed]})),
        "it 0/2 Completed 0 2m",
    );
    let killed = json!({"name": "b", "state": {"terminated": {"signal": 9, "exitCode": 137}}});
    check("", "pods", pod(json!({"phase": "Failed", "containerStatuses": [killed]})), "it 0/2 Signal:9 0 2m");
    let mut going = pod(json!({"phase": "Running", "containerStatuses": [running("a"), running("b")]}));
    going["metadata"]["deletionTimestamp"] = NOW.into();
    check("", "pods", going, "it 2/2 Terminating 0 2m");
    let init = json!({"spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "j"}]},
        "status": {"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 0}}},
            {"name": "j", "state": {"waiting": {"reason": "PodInitializing"}}}],
            "containerStatuses": [{"name": "a", "state": {"waiting": {"reason": "PodInitializing"}}}]}});
    check("", "pods", init, "it 0/1 Init:1/2 0 2m");
}

#[test]
fn workloads_nodes_and_services() {
    check(
        "apps",
        "deployments",
        json!({"spec": {"replicas": 4}, "status": {"readyReplicas": 3, "updatedReplicas": 4, "availableReplicas": 3}}),
        "it 3/4 4 3 2m",
    );
    check("apps", "replicasets", json!({"spec": {"replicas": 4}, "status": {"replicas": 4}}), "it 4 4 0 2m");
    check(
        "",
        "nodes",
        json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}, "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1.36.0"}}}),
        "it Ready,SchedulingDisabled control-plane 2m v1.36.0",
    );
    check(
        "",
        "services",
        json!({"spec": {"type": "NodePort", "clusterIP": "10.96.0.9", "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}}),
        "it NodePort 10.96.0.9 <none> 80:30080/TCP,53/UDP 2m",
    );
    check(
        "discovery.k8s.io",
        "endpointslices",
        json!({"addressType": "IPv4", "ports": [{"port": 80}], "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}, {"addresses": ["10.0.0.3"]}, {"addresses": ["10.0.0.4"]}]}),
        "it IPv4 80 10.0.0.1,10.0.0.2,10.0.0.3 + 1 more... 2m",
    );
}

#[test]
fn the_small_kinds() {
    check("", "configmaps", json!({"data": {"a": ""}, "binaryData": {"b": "", "c": ""}}), "it 3 2m");
    check("", "secrets", json!({"type": "Opaque", "data": {"a": ""}}), "it Opaque 1 2m");
    check("", "namespaces", json!({"status": {"phase": "Active"}}), "it Active 2m");
    check("", "serviceaccounts", json!({}), "it 0 2m");
    let policy = json!({"spec": {"podSelector": {"matchLabels": {"app": "web"}}}});
    check("networking.k8s.io", "networkpolicies", policy, "it app=web 2m");
    check("networking.k8s.io", "networkpolicies", json!({"spec": {"podSelector": {}}}), "it <none> 2m");
    check(
        "rbac.authorization.k8s.io",
        "rolebindings",
        json!({"roleRef": {"kind": "Role", "name": "r"}}),
        "it Role/r 2m",
    );
    let asked = |status: Value| {
        let spec = json!({"signerName": "kubernetes.io/kubelet-serving", "username": "system:node:n", "expirationSeconds": 3600});
        json!({"spec": spec, "status": status})
    };
    let decided = |of: &str| json!([{"type": of, "status": "True"}]);
    for (status, condition) in [
        (json!({}), "Pending"),
        (json!({"conditions": decided("Denied")}), "Denied"),
        (json!({"conditions": decided("Approved"), "certificate": "eA=="}), "Approved,Issued"),
    ] {
        let expect = format!("it 2m kubernetes.io/kubelet-serving system:node:n 60m {condition}");
        check("certificates.k8s.io", "certificatesigningrequests", asked(status), &expect);
    }
    check(
        "",
        "events",
        json!({"lastTimestamp": "2026-01-01T00:59:30Z", "type": "Normal", "reason": "Pulled", "message": "done ", "involvedObject": {"kind": "Pod", "name": "web"}}),
        "30s Normal Pulled pod/web done",
    );
}

/// Upstream's heads, one kind after the other: `+` stands before those of `-o wide`, `#` and `?` before numbers and yes or no.
#[test]
fn heads_of_every_kind() {
    const POD: &str = "Name|Ready|Status|Restarts|Age|+IP|+Node|+Nominated Node|+Readiness Gates";
    const SETS: &str = "Name|#Desired|#Current|#Ready|Age|+Containers|+Images|+Selector";
    const EVENT: &str = "Last Seen|Type|Reason|Object|+Subobject|+Source|Message|+First Seen|+Count|+Name";
    const BINDING: &str = "Name|Role|Age|+Users|+Groups|+ServiceAccounts";
    const POLICY_BINDING: &str = "Name|PolicyName|ParamRef|Age";
    const MADE: &str = "Name|Created At";
    let heads = [
        ("pods", POD),
        ("podtemplates", "Name|Containers|Images|Pod Labels"),
        ("replicationcontrollers", SETS),
        ("services", "Name|Type|Cluster-IP|External-IP|Port(s)|Age|+Selector"),
        ("endpoints", "Name|Endpoints|Age"),
        (
            "nodes",
            "Name|Status|Roles|Age|Version|+Internal-IP|+External-IP|+OS-Image|+Kernel-Version|+Container-Runtime",
        ),
        ("events", EVENT),
        ("namespaces", "Name|Status|Age"),
        ("secrets", "Name|Type|Data|Age"),
        ("serviceaccounts", "Name|Secrets|Age"),
        ("configmaps", "Name|Data|Age"),
        ("limitranges", MADE),
        ("resourcequotas", "Name|Request|Limit|Age"),
        ("componentstatuses", "Name|Status|Message|Error"),
        (
            "persistentvolumes",
            "Name|Capacity|Access Modes|Reclaim Policy|Status|Claim|StorageClass|VolumeAttributesClass|Reason|Age|+VolumeMode",
        ),
        (
            "persistentvolumeclaims",
            "Name|Status|Volume|Capacity|Access Modes|StorageClass|VolumeAttributesClass|Age|+VolumeMode",
        ),
        ("deployments.apps", "Name|Ready|Up-to-date|Available|Age|+Containers|+Images|+Selector"),
        ("replicasets.apps", SETS),
        ("statefulsets.apps", "Name|Ready|Age|+Containers|+Images"),
        (
            "daemonsets.apps",
            "Name|#Desired|#Current|#Ready|#Up-to-date|#Available|Node Selector|Age|+Containers|+Images|+Selector",
        ),
        ("controllerrevisions.apps", "Name|Controller|Revision|Age"),
        ("jobs.batch", "Name|Status|Completions|Duration|Age|+Containers|+Images|+Selector"),
        (
            "cronjobs.batch",
            "Name|Schedule|Timezone|?Suspend|#Active|Last Schedule|Age|+Containers|+Images|+Selector",
        ),
        ("horizontalpodautoscalers.autoscaling", "Name|Reference|Targets|MinPods|MaxPods|Replicas|Age"),
        ("poddisruptionbudgets.policy", "Name|Min Available|Max Unavailable|#Allowed Disruptions|Age"),
        ("ingresses.networking.k8s.io", "Name|Class|Hosts|Address|Ports|Age"),
        ("ingressclasses.networking.k8s.io", "Name|Controller|Parameters|Age"),
        ("networkpolicies.networking.k8s.io", "Name|Pod-Selector|Age"),
        ("servicecidrs.networking.k8s.io", "Name|CIDRs|Age"),
        ("ipaddresses.networking.k8s.io", "Name|ParentRef"),
        ("endpointslices.discovery.k8s.io", "Name|AddressType|Ports|Endpoints|Age"),
        ("events.events.k8s.io", EVENT),
        ("leases.coordination.k8s.io", "Name|Holder|Age"),
        ("roles.rbac.authorization.k8s.io", MADE),
        ("clusterroles.rbac.authorization.k8s.io", MADE),
        ("rolebindings.rbac.authorization.k8s.io", BINDING),
        ("clusterrolebindings.rbac.authorization.k8s.io", BINDING),
        (
            "certificatesigningrequests.certificates.k8s.io",
            "Name|Age|SignerName|Requestor|RequestedDuration|Condition",
        ),
        (
            "storageclasses.storage.k8s.io",
            "Name|Provisioner|ReclaimPolicy|VolumeBindingMode|AllowVolumeExpansion|Age",
        ),
        ("volumeattributesclasses.storage.k8s.io", "Name|DriverName|Age"),
        ("volumeattachments.storage.k8s.io", "Name|Attacher|PV|Node|?Attached|Age"),
        ("csinodes.storage.k8s.io", "Name|#Drivers|Age"),
        (
            "csidrivers.storage.k8s.io",
            "Name|?AttachRequired|?PodInfoOnMount|?StorageCapacity|TokenRequests|?RequiresRepublish|Modes|Age",
        ),
        ("csistoragecapacities.storage.k8s.io", "Name|StorageClassName|Capacity"),
        ("deviceclasses.resource.k8s.io", "Name|Age"),
        ("resourceclaims.resource.k8s.io", "Name|State|Age"),
        ("resourceclaimtemplates.resource.k8s.io", "Name|Age"),
        ("resourceslices.resource.k8s.io", "Name|Node|Driver|Pool|Age"),
        ("mutatingwebhookconfigurations.admissionregistration.k8s.io", "Name|#Webhooks|Age"),
        ("validatingwebhookconfigurations.admissionregistration.k8s.io", "Name|#Webhooks|Age"),
        ("validatingadmissionpolicies.admissionregistration.k8s.io", "Name|#Validations|ParamKind|Age"),
        ("mutatingadmissionpolicies.admissionregistration.k8s.io", "Name|#Mutations|ParamKind|Age"),
        ("validatingadmissionpolicybindings.admissionregistration.k8s.io", POLICY_BINDING),
        ("mutatingadmissionpolicybindings.admissionregistration.k8s.io", POLICY_BINDING),
        ("customresourcedefinitions.apiextensions.k8s.io", MADE),
        ("apiservices.apiregistration.k8s.io", "Name|Service|Available|Age"),
        ("priorityclasses.scheduling.k8s.io", "Name|#Value|?Global-Default|Age|PreemptionPolicy"),
        ("runtimeclasses.node.k8s.io", "Name|Handler|Age"),
        (
            "flowschemas.flowcontrol.apiserver.k8s.io",
            "Name|PriorityLevel|MatchingPrecedence|DistinguisherMethod|Age|MissingPL",
        ),
        (
            "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
            "Name|Type|NominalConcurrencyShares|Queues|HandSize|QueueLengthLimit|Age",
        ),
    ];
    for kind in Registry::builtin().kinds().filter(|kind| kind.storage.is_some()) {
        let name = match kind.group {
            "" => kind.resource.to_owned(),
            group => format!("{}.{group}", kind.resource),
        };
        let expect = heads.iter().find(|(known, _)| *known == name).map(|(_, heads)| *heads);
        let columns = columns(kind);
        let shown = columns.as_array().into_iter().flatten().map(|column| {
            let wide = if column["priority"] == 1 { "+" } else { "" };
            let of = match column["type"].as_str() {
                Some("integer") => "#",
                Some("boolean") => "?",
                _ => "",
            };
            format!("{wide}{of}{}", column["name"].as_str().unwrap_or_default())
        });
        assert_eq!(Some(shown.collect::<Vec<_>>().join("|").as_str()), expect, "{name} {}", kind.version);
    }
}

#[test]
fn admission_shows_what_it_is_about() {
    const GROUP: &str = "admissionregistration.k8s.io";
    check(GROUP, "validatingwebhookconfigurations", json!({"webhooks": [{}, {}]}), "it 2 2m");
    let policy =
        json!({"spec": {"validations": [{}], "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}});
    check(GROUP, "validatingadmissionpolicies", policy, "it 1 v1/ConfigMap 2m");
    check(GROUP, "mutatingadmissionpolicies", json!({"spec": {}}), "it 0 <unset> 2m");
    for (given, expect) in [
        (json!({}), "it p <unset> 2m"),
        (json!({"name": "m", "namespace": "n"}), "it p n/m 2m"),
        (json!({"name": "m"}), "it p */m 2m"),
    ] {
        let binding = json!({"spec": {"policyName": "p", "paramRef": given}});
        check(GROUP, "validatingadmissionpolicybindings", binding, expect);
    }
    check(
        "storage.k8s.io",
        "csistoragecapacities",
        json!({"storageClassName": "s", "capacity": "1Gi"}),
        "it s 1Gi",
    );
}
