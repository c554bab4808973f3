//! Volumes of every kind, mounts and devices.

use serde_json::{Value, json};

use super::{created, expect};

fn pod(volumes: Value, container: Value) -> Value {
    let mut one = json!({"name": "c", "image": "i"});
    for (key, value) in container.as_object().into_iter().flatten() {
        one[key] = value.clone();
    }
    json!({"metadata": {"name": "p", "namespace": "default"},
        "spec": {"serviceAccountName": "default", "containers": [one], "volumes": volumes}})
}

#[test]
fn volumes() {
    let cases: Vec<(Value, &[&str])> = vec![
        (json!({"name": "v", "emptyDir": {}}), &[]),
        (json!({"emptyDir": {}}), &["spec.volumes[0].name: Required value"]),
        (
            json!({"name": "A", "emptyDir": {}}),
            &["spec.volumes[0].name: Invalid value: \"A\": a lowercase RFC 1123 label..."],
        ),
        (
            json!({"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}),
            &["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            json!({"name": "v", "emptyDir": {"sizeLimit": "-1"}}),
            &[
                "spec.volumes[0].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity",
            ],
        ),
        (json!({"name": "v", "hostPath": {"path": ""}}), &["spec.volumes[0].hostPath.path: Required value"]),
        (
            json!({"name": "v", "hostPath": {"path": "/a/../b", "type": "Odd"}}),
            &[
                "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
                "spec.volumes[0].hostPath.type: Unsupported value: \"Odd\": supported values: \"\", \"BlockDevice\", \"CharDevice\", \"Directory\", \"DirectoryOrCreate\", \"File\", \"FileOrCreate\", \"Socket\"",
            ],
        ),
        (
            json!({"name": "v", "secret": {"defaultMode": 1000, "items": [{"key": "", "path": "/a", "mode": -1}]}}),
            &[
                "spec.volumes[0].secret.secretName: Required value",
                "spec.volumes[0].secret.defaultMode: Invalid value: 1000: must be a number between 0 and 0777 (octal), both inclusive",
                "spec.volumes[0].secret.items[0].key: Required value",
                "spec.volumes[0].secret.items[0].path: Invalid value: \"/a\": must be a relative path",
                "spec.volumes[0].secret.items[0].mode: Invalid value: -1: must be a number between 0 and 0777 (octal), both inclusive",
            ],
        ),
        (
            json!({"name": "v", "configMap": {"items": [{"key": "k", "path": "..x"}]}}),
            &[
                "spec.volumes[0].configMap.name: Required value",
                "spec.volumes[0].configMap.items[0].path: Invalid value: \"..x\": must not start with '..'",
            ],
        ),
        (
            json!({"name": "v", "nfs": {"server": "", "path": "x"}}),
            &[
                "spec.volumes[0].nfs.server: Required value",
                "spec.volumes[0].nfs.path: Invalid value: \"x\": must be an absolute path",
            ],
        ),
        (
            json!({"name": "v", "persistentVolumeClaim": {"claimName": ""}}),
            &["spec.volumes[0].persistentVolumeClaim.claimName: Required value"],
        ),
        (
            json!({"name": "v", "csi": {"driver": "", "nodePublishSecretRef": {}}}),
            &[
                "spec.volumes[0].csi.driver: Required value",
                "spec.volumes[0].csi.driver: Invalid value: \"\": a lowercase RFC 1123 subdomain...",
                "spec.volumes[0].csi.nodePublishSecretRef.name: Required value",
            ],
        ),
        (
            json!({"name": "v", "image": {"reference": "", "pullPolicy": "Odd"}}),
            &[
                "spec.volumes[0].image.reference: Required value",
                "spec.volumes[0].image.pullPolicy: Unsupported value: \"Odd\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
            ],
        ),
        (
            json!({"name": "v", "iscsi": {"targetPortal": "", "iqn": "", "lun": 0}}),
            &[
                "spec.volumes[0].iscsi.targetPortal: Required value",
                "spec.volumes[0].iscsi.iqn: Required value",
            ],
        ),
        (
            json!({"name": "v", "ephemeral": {}}),
            &["spec.volumes[0].ephemeral.volumeClaimTemplate: Required value"],
        ),
        (
            json!({"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}),
            &[
                "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.accessModes: Required value: at least 1 access mode is required",
                "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources[storage]: Required value",
            ],
        ),
        (
            json!({"name": "v", "downwardAPI": {"items": [
                {"path": "a"},
                {"path": "b", "fieldRef": {"fieldPath": "spec.nodeName"}},
                {"path": "c", "resourceFieldRef": {"resource": "limits.cpu", "divisor": "5m"}}]}}),
            &[
                "spec.volumes[0].downwardAPI: Required value: one of fieldRef and resourceFieldRef is required",
                "spec.volumes[0].downwardAPI.fieldRef.fieldPath: Unsupported value: \"spec.nodeName\": supported values: \"metadata.annotations\", \"metadata.labels\", \"metadata.name\", \"metadata.namespace\", \"metadata.uid\"",
                "spec.volumes[0].downwardAPI.resourceFieldRef.containerName: Required value",
                "spec.volumes[0].downwardAPI.resourceFieldRef.divisor: Invalid value: \"limits.cpu\": only divisor's values 1m and 1 are supported with the cpu resource",
            ],
        ),
        (
            json!({"name": "v", "projected": {"sources": [
                {"secret": {"items": [{"key": "k", "path": "a"}]}, "configMap": {"name": "m", "items": [{"key": "k", "path": "a"}]}},
                {"serviceAccountToken": {"path": "", "expirationSeconds": 5}},
                {"clusterTrustBundle": {"path": "t"}}]}}),
            &[
                "spec.volumes[0].projected.sources[0].secret.name: Required value",
                "spec.volumes[0].projected: Invalid value: \"m\": conflicting duplicate paths",
                "spec.volumes[0].projected.sources[0]: Forbidden: may not specify more than 1 volume type per source",
                "spec.volumes[0].projected.sources[1].serviceAccountToken.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes",
                "spec.volumes[0].projected.path: Required value",
                "spec.volumes[0].projected.sources[2].clusterTrustBundle: Required value: either name or signerName must be specified",
            ],
        ),
    ];
    for (volume, wanted) in cases {
        expect(&volume.to_string(), &created("", "Pod", pod(json!([volume.clone()]), json!({}))), wanted);
    }
    let twice = json!([{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]);
    let wanted = ["spec.volumes[1].name: Duplicate value: \"v\""];
    expect("twice", &created("", "Pod", pod(twice, json!({}))), &wanted);
    let own = json!([{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}},
        {"name": "w", "persistentVolumeClaim": {"claimName": "p-v"}}]);
    let wanted = [
        "spec.volumes[1].persistentVolumeClaim.claimName: Invalid value: \"p-v\": must not reference a PVC that gets created for an ephemeral volume",
    ];
    expect("own claim", &created("", "Pod", pod(own, json!({}))), &wanted);
}

#[test]
fn token_without_account() {
    let mut object = pod(
        json!([{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]),
        json!({}),
    );
    object["spec"].as_object_mut().expect("an object").shift_remove("serviceAccountName");
    let wanted = [
        "spec.volumes[0].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set",
    ];
    expect("token", &created("", "Pod", object), &wanted);
}

#[test]
fn mounts() {
    let volumes =
        json!([{"name": "v", "emptyDir": {}}, {"name": "d", "persistentVolumeClaim": {"claimName": "x"}}]);
    let cases: Vec<(Value, &[&str])> = vec![
        (json!([{"name": "v", "mountPath": "/a"}]), &[]),
        (
            json!([{"name": "x", "mountPath": "/a"}]),
            &["spec.containers[0].volumeMounts[0].name: Not found: \"x\""],
        ),
        (
            json!([{"name": "v", "mountPath": ""}, {"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/a"}]),
            &[
                "spec.containers[0].volumeMounts[0].mountPath: Required value",
                "spec.containers[0].volumeMounts[2].mountPath: Invalid value: \"/a\": must be unique",
            ],
        ),
        (
            json!([{"name": "v", "mountPath": "/a", "subPath": "/x", "subPathExpr": "../y"}]),
            &[
                "spec.containers[0].volumeMounts.subPath: Invalid value: \"/x\": must be a relative path",
                "spec.containers[0].volumeMounts[0].subPathExpr: Invalid value: \"../y\": subPathExpr and subPath are mutually exclusive",
                "spec.containers[0].volumeMounts.subPathExpr: Invalid value: \"../y\": must not contain '..'",
            ],
        ),
        (
            json!([{"name": "v", "mountPath": "/a", "mountPropagation": "Bidirectional", "recursiveReadOnly": "Enabled"}]),
            &[
                "spec.containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers",
                "spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
                "spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or not specified",
            ],
        ),
        (
            json!([{"name": "v", "mountPath": "/a", "mountPropagation": "Odd"}]),
            &[
                "spec.containers[0].volumeMounts.mountPropagation: Unsupported value: \"Odd\": supported values: \"Bidirectional\", \"HostToContainer\", \"None\"",
            ],
        ),
    ];
    for (mounts, wanted) in cases {
        let object = pod(volumes.clone(), json!({"volumeMounts": mounts.clone()}));
        expect(&mounts.to_string(), &created("", "Pod", object), wanted);
    }
    let devices = json!([{"name": "v", "devicePath": "/dev/x"}, {"name": "n", "devicePath": ""}, {"name": "d", "devicePath": "/a/../b"}]);
    let object = pod(
        volumes,
        json!({"volumeDevices": devices, "volumeMounts": [{"name": "v", "mountPath": "/dev/x"}]}),
    );
    let wanted = [
        "spec.containers[0].volumeMounts[0].name: Invalid value: \"v\": must not already exist in volumeDevices",
        "spec.containers[0].volumeMounts[0].mountPath: Invalid value: \"/dev/x\": must not already exist as a path in volumeDevices",
        "spec.containers[0].volumeDevices[0].name: Invalid value: \"v\": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
        "spec.containers[0].volumeDevices[0].name: Invalid value: \"v\": must not already exist in volumeMounts",
        "spec.containers[0].volumeDevices[0].devicePath: Invalid value: \"/dev/x\": must not already exist as a path in volumeMounts",
        "spec.containers[0].volumeDevices[1].name: Not found: \"n\"",
        "spec.containers[0].volumeDevices[1].devicePath: Required value",
        "spec.containers[0].volumeDevices[2].devicePath: Invalid value: \"/a/../b\": can not contain backsteps ('..')",
    ];
    expect("devices", &created("", "Pod", object), &wanted);
}
