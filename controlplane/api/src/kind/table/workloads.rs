//! apps/v1, autoscaling, batch/v1, policy/v1.

use super::super::fields;
use super::*;

pub(super) static APPS: &[Kind] = &[
    stored!("apps", "apps", "v1", "ControllerRevision", "controllerrevisions", "controllerrevision"),
    Kind {
        short_names: &["ds"],
        categories: &["all"],
        subresources: &[status!("apps", "apps", "v1", "DaemonSet")],
        ..stored!("apps", "apps", "v1", "DaemonSet", "daemonsets", "daemonset")
    },
    Kind {
        short_names: &["deploy"],
        categories: &["all"],
        subresources: &[SCALE, status!("apps", "apps", "v1", "Deployment")],
        ..stored!("apps", "apps", "v1", "Deployment", "deployments", "deployment")
    },
    Kind {
        short_names: &["rs"],
        categories: &["all"],
        subresources: &[SCALE, status!("apps", "apps", "v1", "ReplicaSet")],
        selectable: fields::REPLICA_SET,
        ..stored!("apps", "apps", "v1", "ReplicaSet", "replicasets", "replicaset")
    },
    Kind {
        short_names: &["sts"],
        categories: &["all"],
        subresources: &[SCALE, status!("apps", "apps", "v1", "StatefulSet")],
        ..stored!("apps", "apps", "v1", "StatefulSet", "statefulsets", "statefulset")
    },
];

/// `v2` is how an autoscaler is stored; `v1` is another face of it.
pub(super) static AUTOSCALING: &[Kind] = &[
    Kind {
        short_names: &["hpa"],
        categories: &["all"],
        subresources: &[status!("autoscaling", "autoscaling", "v2", "HorizontalPodAutoscaler")],
        ..stored!(
            "autoscaling",
            "autoscaling",
            "v2",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            "horizontalpodautoscaler"
        )
    },
    Kind {
        short_names: &["hpa"],
        categories: &["all"],
        subresources: &[status!("autoscaling", "autoscaling", "v1", "HorizontalPodAutoscaler")],
        storage: Some(Storage {
            group: "autoscaling",
            version: "v2",
            kind: "HorizontalPodAutoscaler",
            resource: "horizontalpodautoscalers",
        }),
        ..stored!(
            "autoscaling",
            "autoscaling",
            "v1",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            "horizontalpodautoscaler"
        )
    },
];

pub(super) static BATCH: &[Kind] = &[
    Kind {
        short_names: &["cj"],
        categories: &["all"],
        subresources: &[status!("batch", "batch", "v1", "CronJob")],
        ..stored!("batch", "batch", "v1", "CronJob", "cronjobs", "cronjob")
    },
    Kind {
        categories: &["all"],
        subresources: &[status!("batch", "batch", "v1", "Job")],
        selectable: fields::JOB,
        ..stored!("batch", "batch", "v1", "Job", "jobs", "job")
    },
];

pub(super) static POLICY: &[Kind] = &[Kind {
    short_names: &["pdb"],
    subresources: &[status!("policy", "policy", "v1", "PodDisruptionBudget")],
    ..stored!("policy", "policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget")
}];
