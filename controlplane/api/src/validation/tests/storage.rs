//! Volumes, claims, classes, drivers, what nodes say of them, and attachments.

use serde_json::{Value, json};

use super::{Case, UpdateCase, created, expect, updated, with};

const GROUP: &str = "storage.k8s.io";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of";

fn volume(changes: &[(&str, Value)]) -> Value {
    with(
        &json!({"metadata": {"name": "v"}, "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": "/data"}}}),
        changes,
    )
}

fn claim(changes: &[(&str, Value)]) -> Value {
    with(
        &json!({"metadata": {"name": "c", "namespace": "default"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "2Gi"}}}}),
        changes,
    )
}

fn cases(group: &str, kind: &str, base: impl Fn(&[(&str, Value)]) -> Value, cases: &[Case<'_>]) {
    for (what, changes, wanted) in cases {
        expect(what, &created(group, kind, base(changes)), wanted);
    }
}

fn updates(group: &str, kind: &str, cases: &[UpdateCase<'_>]) {
    for (what, old, changes, wanted) in cases {
        expect(what, &updated(group, kind, "", with(old, changes), (*old).clone()), wanted);
    }
}

#[test]
fn volumes() {
    let csi = |csi: Value| vec![("/spec/hostPath", Value::Null), ("/spec/csi", csi)];
    cases(
        "",
        "PersistentVolume",
        volume,
        &[
            ("fine", vec![], &[]),
            (
                "nothing",
                vec![("/spec", json!({}))],
                &[
                    "spec.accessModes: Required value",
                    "spec.capacity: Required value",
                    "spec.capacity: Unsupported value: null: supported values: \"storage\"",
                    "spec: Required value: must specify a volume type",
                ],
            ),
            (
                "modes",
                vec![("/spec/accessModes", json!(["ReadWriteOncePod", "ReadWriteMany", "Some"]))],
                &[
                    "spec.accessModes: Unsupported value: \"Some\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"",
                    "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
                ],
            ),
            (
                "one mode twice",
                vec![("/spec/accessModes", json!(["ReadWriteOncePod", "ReadWriteOncePod"]))],
                &[],
            ),
            (
                "amounts",
                vec![("/spec/capacity", json!({"storage": "-1"}))],
                &[
                    "spec.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
                    "spec.capacity[storage]: Invalid value: \"-1\": must be greater than zero",
                ],
            ),
            (
                "policies",
                vec![("/spec/persistentVolumeReclaimPolicy", json!("Keep"))],
                &[
                    "spec.persistentVolumeReclaimPolicy: Unsupported value: \"Keep\": supported values: \"Delete\", \"Recycle\", \"Retain\"",
                ],
            ),
            (
                "the whole host",
                vec![
                    ("/spec/hostPath/path", json!("/")),
                    ("/spec/persistentVolumeReclaimPolicy", json!("Recycle")),
                ],
                &[
                    "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
                ],
            ),
            (
                "two sources",
                vec![("/spec/nfs", json!({"server": "s", "path": "/p"})), ("/spec/csi", json!({}))],
                &[
                    "spec.nfs: Forbidden: may not specify more than 1 volume type",
                    "spec.csi: Forbidden: may not specify more than 1 volume type",
                ],
            ),
            (
                "steps back",
                vec![("/spec/hostPath/path", json!("/a/../b"))],
                &["spec.hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"],
            ),
            (
                "local",
                vec![("/spec/hostPath", Value::Null), ("/spec/local", json!({"path": ""}))],
                &[
                    "spec.local.path: Required value",
                    "spec.nodeAffinity: Required value: Local volume requires node affinity",
                ],
            ),
            (
                "nowhere",
                vec![("/spec/nodeAffinity", json!({}))],
                &["spec.nodeAffinity.required: Required value: must specify required node constraints"],
            ),
            (
                "no term",
                vec![("/spec/nodeAffinity", json!({"required": {"nodeSelectorTerms": []}}))],
                &[
                    "spec.nodeAffinity.required.nodeSelectorTerms: Required value: must have at least one node selector term",
                ],
            ),
            (
                "driver",
                csi(json!({"driver": "Some_Driver", "nodePublishSecretRef": {"name": "s"}})),
                &[
                    "spec.csi.driver: Invalid value: \"Some_Driver\": a lowercase RFC 1123 subdomain...",
                    "spec.csi.volumeHandle: Required value",
                    "spec.csi.nodePublishSecretRef.namespace: Required value",
                ],
            ),
            (
                "modes and classes",
                vec![
                    ("/spec/storageClassName", json!("A")),
                    ("/spec/volumeMode", json!("Tape")),
                    ("/spec/volumeAttributesClassName", json!("gold")),
                ],
                &[
                    &format!("spec.storageClassName: Invalid value: \"A\": {SUBDOMAIN}..."),
                    "spec.volumeMode: Unsupported value: \"Tape\": supported values: \"Block\", \"Filesystem\"",
                    "spec.csi: Required value: has to be specified when using volumeAttributesClassName",
                ],
            ),
        ],
    );
    let old = volume(&[(
        "/spec/nodeAffinity",
        json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "a", "operator": "Exists"}]}]}}),
    )]);
    updates(
        "",
        "PersistentVolume",
        &[
            ("the same", &old, vec![], &[]),
            (
                "another source",
                &old,
                vec![("/spec/hostPath/path", json!("/other"))],
                &[
                    "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation",
                ],
            ),
            (
                "another mode",
                &old,
                vec![("/spec/volumeMode", json!("Block"))],
                &["volumeMode: Invalid value: \"Block\": field is immutable"],
            ),
            (
                "elsewhere",
                &old,
                vec![("/spec/nodeAffinity/required/nodeSelectorTerms/0/matchExpressions/0/key", json!("b"))],
                &["nodeAffinity: Invalid value: {..."],
            ),
            ("bigger", &old, vec![("/spec/capacity/storage", json!("5Gi"))], &[]),
        ],
    );
}

#[test]
fn claims() {
    cases(
        "",
        "PersistentVolumeClaim",
        claim,
        &[
            ("fine", vec![], &[]),
            (
                "nothing",
                vec![("/spec", json!({}))],
                &[
                    "spec.accessModes: Required value: at least 1 access mode is required",
                    "spec.resources[storage]: Required value",
                ],
            ),
            (
                "none of it",
                vec![("/spec/resources/requests/storage", json!("0"))],
                &["spec.resources[storage]: Invalid value: \"0\": must be greater than zero"],
            ),
            (
                "from what",
                vec![("/spec/dataSourceRef", json!({"kind": "Pod", "name": ""}))],
                &[
                    "spec.dataSourceRef.name: Required value",
                    "spec.dataSourceRef: Invalid value: \"Pod\": must be 'PersistentVolumeClaim' when referencing the default apiGroup",
                ],
            ),
            (
                "from two",
                vec![
                    ("/spec/dataSource", json!({"kind": "PersistentVolumeClaim", "name": "a"})),
                    ("/spec/dataSourceRef", json!({"kind": "PersistentVolumeClaim", "name": "b"})),
                ],
                &["spec: Invalid value: {}: must match dataSourceRef"],
            ),
        ],
    );
    let pending = claim(&[]);
    let bound = claim(&[("/status", json!({"phase": "Bound", "capacity": {"storage": "1Gi"}}))]);
    const ONLY: &str = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
    updates(
        "",
        "PersistentVolumeClaim",
        &[
            ("bound to", &pending, vec![("/spec/volumeName", json!("v"))], &[]),
            ("a class at last", &pending, vec![("/spec/storageClassName", json!("fast"))], &[]),
            ("grows too early", &pending, vec![("/spec/resources/requests/storage", json!("3Gi"))], &[ONLY]),
            ("grows", &bound, vec![("/spec/resources/requests/storage", json!("3Gi"))], &[]),
            (
                "growth is taken back",
                &bound,
                vec![("/spec/resources/requests/storage", json!("1500Mi"))],
                &[],
            ),
            (
                "shrinks",
                &bound,
                vec![("/spec/resources/requests/storage", json!("1Gi"))],
                &["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"],
            ),
            ("another mode", &bound, vec![("/spec/accessModes", json!(["ReadWriteMany"]))], &[ONLY]),
            (
                "of blocks",
                &bound,
                vec![("/spec/volumeMode", json!("Block"))],
                &[ONLY, "volumeMode: Invalid value: \"Block\": field is immutable"],
            ),
        ],
    );
    // Stored when one field for the source did not bring the other yet.
    let source = |name: &str| json!({"kind": "PersistentVolumeClaim", "name": name});
    let cloned = with(&pending, &[("/spec/dataSource", source("a"))]);
    updates(
        "",
        "PersistentVolumeClaim",
        &[
            ("its source twice", &cloned, vec![("/spec/dataSourceRef", source("a"))], &[]),
            (
                "another source",
                &cloned,
                vec![("/spec/dataSource", source("b")), ("/spec/dataSourceRef", source("b"))],
                &[ONLY],
            ),
        ],
    );
    let gold = with(&bound, &[("/spec/volumeAttributesClassName", json!("gold"))]);
    updates(
        "",
        "PersistentVolumeClaim",
        &[
            ("another class", &gold, vec![("/spec/volumeAttributesClassName", json!("silver"))], &[]),
            (
                "no class",
                &gold,
                vec![("/spec/volumeAttributesClassName", Value::Null)],
                &["spec.volumeAttributesClassName: Forbidden: update from non-nil value to nil is forbidden"],
            ),
        ],
    );
    let grown = with(
        &bound,
        &[(
            "/status",
            json!({"capacity": {"storage": "-1"}, "allocatedResources": {"cpu": "1"},
            "allocatedResourceStatuses": {"storage": "Lost"}}),
        )],
    );
    let said = updated("", "PersistentVolumeClaim", "status", grown, bound.clone());
    let wanted = [
        "status.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
        "status.allocatedResourceStatus: Unsupported value: \"storage\": supported values: \"ControllerResizeFailed\"...",
        "status.allocatedResources: Unsupported value: \"cpu\": supported values: \"storage\"",
    ];
    expect("status", &said, &wanted);
}

#[test]
fn classes() {
    let class = |changes: &[(&str, Value)]| {
        with(&json!({"metadata": {"name": "c"}, "provisioner": "example.com/disk"}), changes)
    };
    let term = |values: Value| json!({"matchLabelExpressions": [{"key": "zone", "values": values}]});
    cases(
        GROUP,
        "StorageClass",
        class,
        &[
            ("fine", vec![], &[]),
            ("nobody", vec![("/provisioner", json!(""))], &["provisioner: Required value"]),
            (
                "unknown",
                vec![("/reclaimPolicy", json!("Recycle")), ("/volumeBindingMode", json!("Never"))],
                &[
                    "reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\"",
                    "volumeBindingMode: Unsupported value: \"Never\": supported values: \"Immediate\", \"WaitForFirstConsumer\"",
                ],
            ),
            (
                "parameters",
                vec![("/parameters", json!({"": "x", "a": "y".repeat(256 * 1024)}))],
                &[
                    "parameters: Invalid value: \"\": field can not be empty.",
                    "parameters: Too long: may not be more than 262144 bytes",
                ],
            ),
            (
                "places",
                vec![(
                    "/allowedTopologies",
                    json!([term(json!(["a", "a"])), term(json!(["a"])), term(json!([]))]),
                )],
                &[
                    "allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: \"a\"",
                    "allowedTopologies[1].matchLabelExpressions: Duplicate value: \"\"",
                    "allowedTopologies[2].matchLabelExpressions[0].values: Required value",
                ],
            ),
        ],
    );
    let old = class(&[]);
    let changes = vec![
        ("/provisioner", json!("example.com/other")),
        ("/parameters", json!({"a": "b"})),
        ("/reclaimPolicy", json!("Retain")),
        ("/volumeBindingMode", json!("WaitForFirstConsumer")),
    ];
    let wanted = [
        "parameters: Forbidden: updates to parameters are forbidden.",
        "provisioner: Forbidden: updates to provisioner are forbidden.",
        "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.",
        "volumeBindingMode: Invalid value: \"WaitForFirstConsumer\": field is immutable",
    ];
    updates(GROUP, "StorageClass", &[("fixed", &old, changes, &wanted)]);
    let attributes = json!({"metadata": {"name": "gold"}, "driverName": "", "parameters": {}});
    let wanted = [
        "driverName: Required value",
        "parameters: Required value: must contain at least one key/value pair",
    ];
    expect("attributes", &created(GROUP, "VolumeAttributesClass", attributes), &wanted);
}

#[test]
fn drivers() {
    let driver = |changes: &[(&str, Value)]| with(&json!({"metadata": {"name": "d"}, "spec": {}}), changes);
    cases(
        GROUP,
        "CSIDriver",
        driver,
        &[
            ("by defaults", vec![], &[]),
            (
                "unknown",
                vec![
                    ("/spec/fsGroupPolicy", json!("All")),
                    ("/spec/volumeLifecycleModes", json!(["Sometimes"])),
                    ("/spec/nodeAllocatableUpdatePeriodSeconds", json!(9)),
                ],
                &[
                    "spec.fsGroupPolicy: Unsupported value: \"All\": supported values: \"File\", \"None\", \"ReadWriteOnceWithFSType\"",
                    "spec.volumeLifecycleModes: Unsupported value: \"Sometimes\": supported values: \"Persistent\", \"Ephemeral\"",
                    "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds",
                ],
            ),
            (
                "tokens",
                vec![(
                    "/spec/tokenRequests",
                    json!([{"audience": ""}, {"audience": ""}, {"audience": "a", "expirationSeconds": 1}]),
                )],
                &[
                    "spec.tokenRequests[1].audience: Duplicate value: \"\"",
                    "spec.tokenRequests[2].expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
                ],
            ),
        ],
    );
    let old = driver(&[]);
    updates(
        GROUP,
        "CSIDriver",
        &[
            (
                "fixed",
                &old,
                vec![
                    ("/spec/attachRequired", json!(false)),
                    ("/spec/volumeLifecycleModes", json!(["Ephemeral"])),
                ],
                &[
                    "spec.attachedRequired: Invalid value: false: field is immutable",
                    "spec.volumeLifecycleModes: Invalid value: [\"Ephemeral\"]: field is immutable",
                ],
            ),
            ("not fixed", &old, vec![("/spec/requiresRepublish", json!(true))], &[]),
        ],
    );
    let node = json!({"metadata": {"name": "n"}, "spec": {"drivers": [
        {"name": "a", "nodeID": "", "topologyKeys": ["k", "k"], "allocatable": {"count": -1}}, {"name": "a", "nodeID": "x"}]}});
    let wanted = [
        "spec.drivers[0].nodeID: Required value",
        "spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0",
        "spec.drivers[0]: Duplicate value: \"k\"",
        "spec.drivers[1].name: Duplicate value: \"a\"",
    ];
    expect("node", &created(GROUP, "CSINode", node), &wanted);
    let node = json!({"metadata": {"name": "n"}, "spec": {"drivers": [{"name": "a", "nodeID": "x", "topologyKeys": []}]}});
    let limits = vec![("/spec/drivers/0/allocatable", json!({"count": 3}))];
    let other = vec![("/spec/drivers/0/nodeID", json!("y"))];
    updates(
        GROUP,
        "CSINode",
        &[
            ("how many fit", &node, limits, &[]),
            ("who it is", &node, other, &["spec.drivers: Invalid value: {..."]),
        ],
    );
    let capacity =
        json!({"metadata": {"name": "c", "namespace": "default"}, "storageClassName": "A", "capacity": "-1"});
    let wanted = [
        &*format!("storageClassName: Invalid value: \"A\": {SUBDOMAIN}..."),
        "capacity: Invalid value: \"-1\": must be greater than or equal to 0",
    ];
    expect("capacity", &created(GROUP, "CSIStorageCapacity", capacity), &wanted);
}

#[test]
fn attachments() {
    let attachment = |changes: &[(&str, Value)]| {
        with(
            &json!({"metadata": {"name": "a"}, "spec": {"attacher": "d", "nodeName": "n", "source": {"persistentVolumeName": "v"}}}),
            changes,
        )
    };
    let inline =
        json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/"}});
    cases(
        GROUP,
        "VolumeAttachment",
        attachment,
        &[
            ("fine", vec![], &[]),
            (
                "nothing",
                vec![("/spec/source", json!({})), ("/spec/attacher", json!(""))],
                &[
                    "spec.attacher: Required value",
                    "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName",
                    "spec.attacher: Invalid value: \"\": a lowercase RFC 1123 subdomain...",
                ],
            ),
            (
                "inline",
                vec![("/spec/source", json!({"inlineVolumeSpec": inline}))],
                &[
                    "spec.source.inlineVolumeSpec.capacity: Forbidden: may not be specified in the context of inline volumes",
                    "spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes",
                ],
            ),
        ],
    );
    let old = attachment(&[]);
    let failed = with(
        &old,
        &[(
            "/status",
            json!({"attached": false, "attachError": {"message": "x".repeat(1025), "errorCode": -1}}),
        )],
    );
    let wanted = [
        "status.attachError.message: Too long: may not be more than 1024 bytes",
        "status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive",
    ];
    expect("status", &updated(GROUP, "VolumeAttachment", "status", failed, old), &wanted);
}
