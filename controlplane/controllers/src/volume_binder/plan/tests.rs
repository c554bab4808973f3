//! Claims and volumes as tables: which fit, the way to being bound, what a claim is told.

use super::*;
use client::Resource;

fn pv(name: &str, size: &str, class: &str) -> Arc<Object> {
    Arc::new(Object::of(
        &Resource::VOLUMES,
        json!({"metadata": {"name": name}, "spec": {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"],
            "storageClassName": class}, "status": {"phase": "Available"}}),
    ))
}

fn pvc(class: &str) -> Value {
    json!({"metadata": {"name": "c", "namespace": "n", "uid": "C"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "storageClassName": class, "resources": {"requests": {"storage": "2Gi"}}}, "status": {"phase": "Pending"}})
}

#[test]
fn the_smallest_that_fits() {
    let volumes =
        [pv("big", "9Gi", "s"), pv("small", "1Gi", "s"), pv("right", "3Gi", "s"), pv("other", "2Gi", "t")];
    assert_eq!(best(&pvc("s"), &volumes, false).map(|volume| volume.key.name.as_str()), Some("right"));
    assert!(best(&pvc("u"), &volumes, false).is_none());
    let mut block = pvc("s");
    block["spec"]["volumeMode"] = "Block".into();
    assert!(best(&block, &volumes, false).is_none());
    let mut meant = pv("meant", "5Gi", "s").value().clone();
    meant["spec"]["claimRef"] = json!({"namespace": "n", "name": "c"});
    let volumes = [pv("right", "3Gi", "s"), Arc::new(Object::of(&Resource::VOLUMES, meant))];
    assert_eq!(best(&pvc("s"), &volumes, false).map(|volume| volume.key.name.as_str()), Some("meant"));
}

#[test]
fn step_by_step_to_bound() {
    let (mut there, mut wanted) = (pv("v", "3Gi", "s").value().clone(), pvc("s"));
    let mut rounds = 0;
    loop {
        let volumes = [Arc::new(Object::of(&Resource::VOLUMES, there.clone()))];
        let mut steps = claim(&wanted, &volumes, None, &Vec::new);
        steps.extend(volume(&there, Some(&wanted)));
        if steps.is_empty() || rounds > 9 {
            break;
        }
        rounds += 1;
        for step in steps {
            match step {
                Step::Volume(fresh) | Step::VolumeStatus(fresh) => there = fresh,
                Step::Claim(fresh) | Step::ClaimStatus(fresh) => wanted = fresh,
                Step::Tell { .. } => {}
            }
        }
    }
    assert_eq!((&there["status"]["phase"], &wanted["status"]["phase"]), (&json!("Bound"), &json!("Bound")));
    assert_eq!(
        (&wanted["spec"]["volumeName"], &wanted["status"]["capacity"]["storage"]),
        (&json!("v"), &json!("3Gi"))
    );
    let released = volume(&there, None);
    assert!(
        matches!(released.as_slice(), [Step::VolumeStatus(fresh)] if fresh["status"]["phase"] == "Released")
    );
}

fn check(claim: Value, class: Option<Value>, pods: &[&str], expected: &str) {
    let waiting = || pods.iter().map(|pod| (*pod).to_owned()).collect();
    let volumes = [pv("v", "3Gi", "s")];
    let steps = super::claim(&claim, &volumes, class.as_ref(), &waiting);
    let told = match steps.as_slice() {
        [Step::Tell { warning, reason, message, .. }] => {
            format!("{} {reason}: {message}", if *warning { "Warning" } else { "Normal" })
        }
        [Step::Claim(fresh)] => fresh["metadata"]["annotations"].to_string(),
        [Step::Volume(fresh)] => format!("bind {}", fresh["metadata"]["name"]),
        steps => format!("{steps:?}"),
    };
    assert_eq!(told, expected, "{claim}");
}

#[test]
fn a_claim_that_waits_says_why() {
    let none =
        "Normal FailedBinding: no persistent volumes available for this claim and no storage class is set";
    check(pvc(""), None, &[], none);
    check(pvc("t"), None, &[], "Warning ProvisioningFailed: storageclass.storage.k8s.io \"t\" not found");
    let class =
        |provisioner: &str, mode: &str| Some(json!({"provisioner": provisioner, "volumeBindingMode": mode}));
    // However well a volume fits: the scheduler chooses.
    let waits = || class("p", "WaitForFirstConsumer");
    let first = "Normal WaitForFirstConsumer: waiting for first consumer to be created before binding";
    check(pvc("s"), waits(), &[], first);
    check(pvc("s"), waits(), &["a"], "Normal WaitForPodScheduled: waiting for pod a to be scheduled");
    check(pvc("s"), waits(), &["a", "b"], "Normal WaitForPodScheduled: waiting for pods a,b to be scheduled");
    let mut chosen = pvc("t");
    chosen["metadata"]["annotations"] = json!({SELECTED_NODE: "n"});
    let written = "{\"volume.kubernetes.io/selected-node\":\"n\",\"volume.beta.kubernetes.io/storage-provisioner\":\"p\",\
                   \"volume.kubernetes.io/storage-provisioner\":\"p\"}";
    check(chosen.clone(), waits(), &["a"], written);
    chosen["metadata"]["annotations"] = serde_json::from_str(written).unwrap();
    check(
        chosen,
        waits(),
        &["a"],
        "Normal ExternalProvisioning: Waiting for a volume to be created either by the external provisioner 'p' or manually \
         by the system administrator. If volume creation is delayed, please verify that the provisioner is running and \
         correctly registered.",
    );
    let local = "kubernetes.io/no-provisioner";
    check(pvc("s"), class(local, "Immediate"), &[], "bind \"v\"");
    let no_plugin = format!("Warning ProvisioningFailed: no volume plugin matched name: {local}");
    check(pvc("t"), class(local, "Immediate"), &[], &no_plugin);
}

#[test]
fn a_volume_that_is_named_must_fit() {
    let named = |pointer: &str, value: Value| {
        let mut claim = pvc("s");
        claim["spec"]["volumeName"] = "v".into();
        if let Some(field) = claim.pointer_mut(pointer) {
            *field = value;
        }
        claim
    };
    let no = |why: &str| format!("Warning VolumeMismatch: Cannot bind to requested volume \"v\": {why}");
    check(named("/none", json!(null)), None, &[], "bind \"v\"");
    check(
        named("/spec/resources/requests/storage", json!("9Gi")),
        None,
        &[],
        &no("requested PV is too small"),
    );
    check(named("/spec/storageClassName", json!("t")), None, &[], &no("storageClassName does not match"));
    check(named("/spec/accessModes", json!(["ReadWriteMany"])), None, &[], &no("incompatible accessMode"));
}
