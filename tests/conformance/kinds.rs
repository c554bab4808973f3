//! The whole life of an object of each kind: made, read, listed, watched, patched, replaced, its status, its end alone
//! and with others.

use serde_json::{Value, json};

use super::Behaviour;
use super::cluster::{Cluster, path, pod_spec, template};

/// What is lived through.
struct Life {
    api: &'static str,
    plural: &'static str,
    namespaced: bool,
    object: Value,
    /// Has a status that can be patched on its own.
    status: Option<Value>,
}

impl Life {
    fn new(api: &'static str, plural: &'static str, object: Value) -> Life {
        Life { api, plural, namespaced: true, object, status: None }
    }

    fn at_cluster(self) -> Life {
        Life { namespaced: false, ..self }
    }

    fn with_status(self, status: Value) -> Life {
        Life { status: Some(status), ..self }
    }

    fn live(&self, cluster: &Cluster, namespace: &str) {
        let collection = path(self.api, if self.namespaced { namespace } else { "" }, self.plural);
        let label = format!("life-{namespace}");
        // Names that are addresses, and the like, are given; others are the namespace's.
        let name =
            self.object["metadata"]["name"].as_str().map_or_else(|| format!("{namespace}-a"), str::to_owned);
        let mut object = self.object.clone();
        object["metadata"]["name"] = name.as_str().into();
        object["metadata"]["labels"] = json!({"life": label});
        let one = format!("{collection}/{name}");
        let selected = format!("{collection}?labelSelector=life%3D{label}");

        let made = cluster.create(&collection, &object);
        assert!(made["metadata"]["uid"].is_string() && made["metadata"]["creationTimestamp"].is_string());
        assert_eq!(cluster.admin.post(&collection, &object).code, 409, "a second one of that name");
        assert_eq!(cluster.get(&one)["metadata"]["uid"], made["metadata"]["uid"]);
        let list = cluster.get(&selected);
        assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{list}");
        let revision = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        let mut watch = cluster.admin.watch(&format!("{selected}&watch=true&resourceVersion={revision}"));

        let patched = cluster.merge(&one, &json!({"metadata": {"annotations": {"patched": "yes"}}}));
        assert_eq!(patched["metadata"]["annotations"]["patched"], "yes");
        let strategic = json!({"metadata": {"annotations": {"strategic": "yes"}}});
        cluster.admin.patch(&one, "strategic-merge", &strategic).expect(200);
        cluster.retried(&one, &json!({"updated": "yes"}));
        if let Some(status) = &self.status {
            let at = format!("{one}/status");
            let shown = cluster.merge(&at, &json!({"status": status}));
            for (field, value) in status.as_object().into_iter().flatten() {
                assert!(contains(&shown["status"][field], value), "{field}: {shown}");
            }
            assert_eq!(cluster.get(&at)["metadata"]["uid"], made["metadata"]["uid"]);
        }
        cluster.everywhere(self, &label);

        cluster.delete(&one);
        cluster.until("its end", || cluster.is_gone(&one));
        let mut seen = Vec::new();
        while seen.last().is_none_or(|kind| kind != "DELETED") {
            seen.push(watch.next_named().0);
        }
        assert!(seen.len() >= 4 && seen[..seen.len() - 1].iter().all(|kind| kind == "MODIFIED"), "{seen:?}");

        if self.object["metadata"]["name"].is_null() {
            for suffix in ["b", "c"] {
                object["metadata"]["name"] = format!("{namespace}-{suffix}").into();
                cluster.create(&collection, &object);
            }
            cluster.delete(&selected);
            cluster.until("the end of all", || cluster.items(&selected).is_empty());
        }
    }
}

impl Cluster {
    /// Replaces an object with more annotations, again where somebody else wrote between.
    fn retried(&self, one: &str, annotations: &Value) {
        self.until("an update", || {
            let mut fresh = self.get(one);
            for (name, value) in annotations.as_object().into_iter().flatten() {
                fresh["metadata"]["annotations"][name] = value.clone();
            }
            let answer = self.admin.put(one, &fresh);
            assert!(matches!(answer.code, 200 | 409), "{} {}", answer.code, answer.text());
            answer.code == 200
        });
    }

    /// In the list of all namespaces too.
    fn everywhere(&self, life: &Life, label: &str) {
        let all = path(life.api, "", life.plural);
        assert_eq!(self.items(&format!("{all}?labelSelector=life%3D{label}")).len(), 1);
    }
}

macro_rules! lives {
    ($($what:literal => $life:expr),* $(,)?) => {
        pub(super) const ALL: &[Behaviour] = &[$(($what, |cluster, namespace| $life.live(cluster, namespace))),*];
    };
}

/// Everything that is wanted is there; the server may say more.
fn contains(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            wanted.iter().all(|(name, value)| there.get(name).is_some_and(|there| contains(there, value)))
        }
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() == wanted.len()
                && there.iter().zip(wanted).all(|(there, wanted)| contains(there, wanted))
        }
        (there, wanted) => there == wanted,
    }
}

fn selector(app: &str) -> Value {
    json!({"matchLabels": {"app": app}})
}

fn job_template() -> Value {
    let mut template = template("j");
    template["spec"]["restartPolicy"] = "Never".into();
    template
}

/// Constraints of a policy that no request of any test fulfils.
fn nothing_matches() -> Value {
    json!({"resourceRules": [{"apiGroups": ["none.example.test"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nothings"]}]})
}

lives! {
    "a ConfigMap lives" => Life::new("v1", "configmaps", json!({"data": {"a": "b"}})),
    "a Secret lives" => Life::new("v1", "secrets", json!({"stringData": {"a": "b"}})),
    "a Lease lives" => Life::new("coordination.k8s.io/v1", "leases", json!({"spec": {"holderIdentity": "x", "leaseDurationSeconds": 30}})),
    "a PodTemplate lives" => Life::new("v1", "podtemplates", json!({"template": template("t")})),
    "a ServiceAccount lives" => Life::new("v1", "serviceaccounts", json!({"automountServiceAccountToken": false})),
    "Endpoints live" => Life::new("v1", "endpoints", json!({"subsets": [{"addresses": [{"ip": "10.0.0.5"}], "ports": [{"port": 80}]}]})),
    "an EndpointSlice lives" => Life::new("discovery.k8s.io/v1", "endpointslices",
        json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.5"]}]})),
    "a Service lives" => Life::new("v1", "services", json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}))
        .with_status(json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}})),
    "an Ingress lives" => Life::new("networking.k8s.io/v1", "ingresses",
        json!({"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}}))
        .with_status(json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}})),
    "an IngressClass lives" => Life::new("networking.k8s.io/v1", "ingressclasses", json!({"spec": {"controller": "example.test/c"}})).at_cluster(),
    "a NetworkPolicy lives" => Life::new("networking.k8s.io/v1", "networkpolicies", json!({"spec": {"podSelector": {}}})),
    "an IPAddress lives" => Life::new("networking.k8s.io/v1", "ipaddresses",
        json!({"metadata": {"name": "192.0.2.7"}, "spec": {"parentRef": {"resource": "services", "namespace": "x", "name": "y"}}})).at_cluster(),
    "a ServiceCIDR lives" => Life::new("networking.k8s.io/v1", "servicecidrs", json!({"spec": {"cidrs": ["198.51.100.0/24"]}})).at_cluster()
        .with_status(json!({"conditions": [{"type": "Odd", "status": "True", "reason": "Told", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]})),
    "a LimitRange lives" => Life::new("v1", "limitranges", json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}})),
    "a ResourceQuota lives" => Life::new("v1", "resourcequotas", json!({"spec": {"hard": {"count/nothing.example.test": "1"}}})),
    "a PodDisruptionBudget lives" => Life::new("policy/v1", "poddisruptionbudgets", json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}})),
    "a HorizontalPodAutoscaler lives as v2" => Life::new("autoscaling/v2", "horizontalpodautoscalers",
        json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}}))
        .with_status(json!({"desiredReplicas": 2})),
    "a HorizontalPodAutoscaler lives as v1" => Life::new("autoscaling/v1", "horizontalpodautoscalers",
        json!({"spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 70, "scaleTargetRef": {"kind": "Deployment", "name": "d"}}}))
        .with_status(json!({"desiredReplicas": 2})),
    "a PriorityClass lives" => Life::new("scheduling.k8s.io/v1", "priorityclasses", json!({"value": 7})).at_cluster(),
    "a RuntimeClass lives" => Life::new("node.k8s.io/v1", "runtimeclasses", json!({"handler": "h"})).at_cluster(),
    "a StorageClass lives" => Life::new("storage.k8s.io/v1", "storageclasses", json!({"provisioner": "example.test/p"})).at_cluster(),
    "a VolumeAttributesClass lives" => Life::new("storage.k8s.io/v1", "volumeattributesclasses",
        json!({"driverName": "example.test", "parameters": {"a": "b"}})).at_cluster(),
    "a CSIDriver lives" => Life::new("storage.k8s.io/v1", "csidrivers", json!({"spec": {}})).at_cluster(),
    "a CSINode lives" => Life::new("storage.k8s.io/v1", "csinodes", json!({"spec": {"drivers": []}})).at_cluster(),
    "a CSIStorageCapacity lives" => Life::new("storage.k8s.io/v1", "csistoragecapacities", json!({"storageClassName": "s", "capacity": "1Gi"})),
    "a VolumeAttachment lives" => Life::new("storage.k8s.io/v1", "volumeattachments",
        json!({"spec": {"attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "v"}}})).at_cluster()
        .with_status(json!({"attached": true})),
    "a PersistentVolume lives" => Life::new("v1", "persistentvolumes",
        json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "none-such",
            "hostPath": {"path": "/tmp/x"}}})).at_cluster().with_status(json!({"message": "m"})),
    "a PersistentVolumeClaim lives" => Life::new("v1", "persistentvolumeclaims",
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none-such", "resources": {"requests": {"storage": "1Gi"}}}}))
        .with_status(json!({"conditions": [{"type": "Odd", "status": "True", "reason": "r", "message": "m"}]})),
    "a Job lives" => Life::new("batch/v1", "jobs", json!({"spec": {"suspend": true, "template": job_template()}})),
    "a CronJob lives" => Life::new("batch/v1", "cronjobs",
        json!({"spec": {"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": {"template": job_template()}}}}))
        .with_status(json!({"lastScheduleTime": "2026-01-01T00:00:00Z"})),
    "a Deployment lives" => Life::new("apps/v1", "deployments", json!({"spec": {"replicas": 0, "selector": selector("d"), "template": template("d")}})),
    "a ReplicaSet lives" => Life::new("apps/v1", "replicasets", json!({"spec": {"replicas": 0, "selector": selector("r"), "template": template("r")}})),
    "a StatefulSet lives" => Life::new("apps/v1", "statefulsets",
        json!({"spec": {"replicas": 0, "serviceName": "s", "selector": selector("s"), "template": template("s")}})),
    "a DaemonSet lives" => Life::new("apps/v1", "daemonsets", json!({"spec": {"selector": selector("ds"), "template": template("ds")}})),
    "a ControllerRevision lives" => Life::new("apps/v1", "controllerrevisions", json!({"revision": 1, "data": {"a": "b"}})),
    "a ReplicationController lives" => Life::new("v1", "replicationcontrollers", json!({"spec": {"replicas": 0, "template": template("rc")}})),
    "a Pod lives" => Life::new("v1", "pods", json!({"spec": pod_spec()})).with_status(json!({"message": "m"})),
    "a Role lives" => Life::new("rbac.authorization.k8s.io/v1", "roles", json!({"rules": []})),
    "a FlowSchema lives" => Life::new("flowcontrol.apiserver.k8s.io/v1", "flowschemas", json!({"spec": {"matchingPrecedence": 9000,
        "priorityLevelConfiguration": {"name": "x"}, "rules": [{"subjects": [{"kind": "User", "user": {"name": "u"}}],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]}]}})).at_cluster()
        .with_status(json!({"conditions": [{"type": "Dangling", "status": "True", "reason": "r", "message": "m"}]})),
    "a PriorityLevelConfiguration lives" => Life::new("flowcontrol.apiserver.k8s.io/v1", "prioritylevelconfigurations",
        json!({"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}})).at_cluster()
        .with_status(json!({"conditions": [{"type": "Odd", "status": "True", "reason": "r", "message": "m"}]})),
    "a DeviceClass lives" => Life::new("resource.k8s.io/v1", "deviceclasses", json!({"spec": {"selectors": [{"cel": {"expression": "true"}}]}})).at_cluster(),
    "a ResourceClaim lives" => Life::new("resource.k8s.io/v1", "resourceclaims",
        json!({"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}})),
    "a ResourceClaimTemplate lives" => Life::new("resource.k8s.io/v1", "resourceclaimtemplates",
        json!({"spec": {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}}})),
    "a ResourceSlice lives" => Life::new("resource.k8s.io/v1", "resourceslices",
        json!({"spec": {"driver": "example.test", "nodeName": "n", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}})).at_cluster(),
    "a ValidatingAdmissionPolicy lives" => Life::new("admissionregistration.k8s.io/v1", "validatingadmissionpolicies",
        json!({"spec": {"matchConstraints": nothing_matches(), "validations": [{"expression": "true"}]}})).at_cluster()
        .with_status(json!({"conditions": [{"type": "Odd", "status": "True", "reason": "r", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]})),
    "a ValidatingAdmissionPolicyBinding lives" => Life::new("admissionregistration.k8s.io/v1", "validatingadmissionpolicybindings",
        json!({"spec": {"policyName": "none-such", "validationActions": ["Deny"]}})).at_cluster(),
    "a MutatingAdmissionPolicy lives" => Life::new("admissionregistration.k8s.io/v1", "mutatingadmissionpolicies",
        json!({"spec": {"matchConstraints": nothing_matches(), "reinvocationPolicy": "Never", "mutations": [{"patchType": "ApplyConfiguration",
            "applyConfiguration": {"expression": "Object{}"}}]}})).at_cluster(),
    "a MutatingAdmissionPolicyBinding lives" => Life::new("admissionregistration.k8s.io/v1", "mutatingadmissionpolicybindings",
        json!({"spec": {"policyName": "none-such"}})).at_cluster(),
}
