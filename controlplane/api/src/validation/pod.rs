//! Pods and pod templates: the PodSpec as a whole, and what differs between a pod and a template.
//!
//! Not what admission adds (service accounts, tolerations), nor what needs other objects.
//! Reference: `pkg/apis/core/validation` of Kubernetes 1.36 with its default feature gates, by behaviour.

mod affinity;
mod annotations;
mod container;
mod environment;
mod ephemeral;
mod mount;
mod network;
mod probe;
mod projected;
mod qos;
mod resize;
mod resources;
mod scheduling;
mod security;
mod status;
mod update;
mod volume;
mod windows;

pub(super) use affinity::node_selector;
pub(super) use network::node_name;
pub use qos::class as qos_class;
pub(super) use resize::resize;
pub(super) use resources::{
    class_overhead, container_name as container_resource, may_overcommit, name as resource_name,
    quantity as resource_quantity,
};
pub(super) use scheduling::{taint_effect, tolerations};
pub(super) use status::status;
pub(super) use update::{ephemeral_containers, update};
pub(super) use volume::{host_path, nfs, no_backsteps};

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::fields::{Fields, items};
use super::labels;
use super::metadata::{self, NameRule};
use super::report::Report;
use crate::field::Path;

/// A pod that is bound to be the reflection of a static one.
const MIRROR: &str = "kubernetes.io/config.mirror";
const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// What the rules about the parts of a PodSpec need to know of the whole.
struct Whole<'a> {
    spec: &'a Value,
    /// Metadata of the pod; `None` in a template.
    metadata: Option<&'a Value>,
    /// The volumes that are fine, by name.
    volumes: HashMap<&'a str, &'a Value>,
    /// Names in `resourceClaims`.
    claims: HashSet<&'a str>,
}

impl Whole<'_> {
    fn is_pod(&self) -> bool {
        self.metadata.is_some()
    }

    fn host_users(&self) -> bool {
        self.spec.get("hostUsers").and_then(Value::as_bool).unwrap_or(true)
    }

    fn volume(&self, name: &str) -> Option<&Value> {
        self.volumes.get(name).copied()
    }

    fn restart_policy(&self) -> &str {
        self.spec.text("restartPolicy")
    }

    fn grace_seconds(&self) -> Option<i64> {
        self.spec.number("terminationGracePeriodSeconds")
    }

    fn is_for(&self, os: &str) -> bool {
        self.spec["os"].text("name") == os
    }
}

/// A pod that is to be created.
pub(super) fn create(report: &mut Report, pod: &Value) {
    metadata_and_spec(report, pod);
    let path = Path::new("spec");
    let spec = &pod["spec"];
    if !spec.list("ephemeralContainers").is_empty() {
        report.forbidden(&path.child("ephemeralContainers"), "cannot be set on create");
    }
    if !spec.text("nodeName").is_empty() && !spec.list("schedulingGates").is_empty() {
        let why = "cannot be set until all schedulingGates have been cleared";
        report.forbidden(&path.child("nodeName"), why);
    }
    annotations::agree(report, &pod["metadata"]["annotations"], spec, &path);
}

/// A template at `path`, as in a ReplicaSet.
pub(super) fn template(report: &mut Report, template: &Value, path: &Path) {
    let (metadata, spec) = (&template["metadata"], path.child("spec"));
    labels::labels(report, &metadata["labels"], &path.child("labels"));
    let annotations_path = path.child("annotations");
    labels::annotations(report, &metadata["annotations"], &annotations_path);
    annotations::check(report, &metadata["annotations"], &template["spec"], &annotations_path);
    self::spec(report, &template["spec"], None, &spec);
    annotations::agree(report, &metadata["annotations"], &template["spec"], &spec);
    if !template["spec"].list("ephemeralContainers").is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        report.forbidden(&spec.child("ephemeralContainers"), why);
    }
}

/// What holds for a pod at every time.
fn metadata_and_spec(report: &mut Report, pod: &Value) {
    let path = Path::new("metadata");
    metadata::create(report, &pod["metadata"], true, NameRule::Subdomain, &path);
    let annotations_path = path.child("annotations");
    annotations::check(report, &pod["metadata"]["annotations"], &pod["spec"], &annotations_path);
    let path = Path::new("spec");
    spec(report, &pod["spec"], Some(&pod["metadata"]), &path);
    if pod["spec"].text("serviceAccountName").is_empty() {
        for (path, volume) in items(&pod["spec"], "volumes", &path) {
            for (path, source) in items(&volume["projected"], "sources", &path.child("projected")) {
                if source.part("serviceAccountToken").is_some() {
                    let why = "must not be specified when serviceAccountName is not set";
                    report.forbidden(&path.child("serviceAccountToken"), why);
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        for (path, container) in items(&pod["spec"], list, &path) {
            container::image_in_pod(report, container, &path);
        }
    }
}

fn spec(report: &mut Report, spec: &Value, metadata: Option<&Value>, path: &Path) {
    if spec.part("terminationGracePeriodSeconds").is_none() {
        report.required(&path.child("terminationGracePeriodSeconds"), "");
    }
    let volumes = volume::all(report, spec, metadata, path);
    let claims = spec.list("resourceClaims").iter().map(|claim| claim.text("name"));
    let claims = claims.filter(|name| !name.is_empty()).collect();
    let whole = Whole { spec, metadata, volumes, claims };
    resources::pod_claims(report, &whole, path);
    container::all(report, &whole, path);
    container::init(report, &whole, path);
    ephemeral::all(report, &whole, path);
    resources::of_pod(report, &whole, path);
    network::host_network(report, &whole, path);
    report.one_of(&path.child("restartPolicy"), whole.restart_policy(), &["Always", "OnFailure", "Never"]);
    network::dns_policy(report, spec, path);
    labels::labels(report, &spec["nodeSelector"], &path.child("nodeSelector"));
    security::of_pod(report, spec, path);
    affinity::check(report, &spec["affinity"], &path.child("affinity"));
    network::dns_config(report, spec, &path.child("dnsConfig"));
    scheduling::gates(report, spec, path);
    scheduling::spread(report, spec, path);
    windows::host_processes(report, &whole, path);
    security::host_users(report, &whole, path);
    network::hostname_override(report, spec, path);
    names(report, spec, path);
    network::hostnames(report, spec, path);
    scheduling::tolerations(report, spec.list("tolerations"), &path.child("tolerations"));
    network::host_aliases(report, spec, path);
    classes(report, &whole, path);
    os(report, spec, path);
    environment::file_volumes(report, spec, path);
}

fn names(report: &mut Report, spec: &Value, path: &Path) {
    for name in ["serviceAccountName", "nodeName"] {
        if !spec.text(name).is_empty() {
            report.dns_subdomain(&path.child(name), spec.text(name));
        }
    }
    if let Some(seconds) = spec.number("activeDeadlineSeconds") {
        report.in_range(&path.child("activeDeadlineSeconds"), seconds, 1, i64::from(i32::MAX));
    }
}

fn classes(report: &mut Report, whole: &Whole<'_>, path: &Path) {
    let spec = whole.spec;
    if !spec.text("priorityClassName").is_empty() {
        report.dns_subdomain(&path.child("priorityClassName"), spec.text("priorityClassName"));
    }
    if spec.part("runtimeClassName").is_some() {
        report.dns_subdomain(&path.child("runtimeClassName"), spec.text("runtimeClassName"));
    }
    if spec.part("preemptionPolicy").is_some() {
        let known = &["PreemptLowerPriority", "Never"];
        report.one_of(&path.child("preemptionPolicy"), spec.text("preemptionPolicy"), known);
    }
    if spec.part("overhead").is_some() {
        resources::overhead(report, whole, &path.child("overhead"));
    }
}

fn os(report: &mut Report, spec: &Value, path: &Path) {
    let Some(os) = spec.part("os") else { return };
    match os.text("name") {
        "" => report.required(&path.child("os").child("name"), ""),
        "linux" => windows::none(report, spec, path),
        "windows" => windows::only(report, spec, path),
        _ => report.not_supported(&path.child("os"), os.text("name"), &["linux", "windows"]),
    }
}

/// Every container with its path, in the order upstream visits them.
fn containers<'a>(spec: &'a Value, path: &Path) -> impl Iterator<Item = (Path, &'a Value)> {
    let path = path.clone();
    LISTS.into_iter().flat_map(move |list| items(spec, list, &path).collect::<Vec<_>>())
}
