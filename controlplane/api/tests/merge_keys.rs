//! The list types and keys of the schema against k8s-openapi's `DeepMerge`, which knows them from another source.
//!
//! For every list that can be reached from a kind: two documents that differ in that list alone are merged; how many
//! items come out tells whether k8s-openapi treats the list as a map with our keys, as a set, or as one piece.

use k8s_openapi::DeepMerge;
use k8s_openapi::api::{
    apps::v1 as apps, autoscaling::v2 as autoscaling, batch::v1 as batch, core::v1 as core,
    discovery::v1 as discovery, flowcontrol::v1 as flowcontrol, networking::v1 as networking,
    policy::v1 as policy, rbac::v1 as rbac, resource::v1 as resource, storage::v1 as storage,
};
use k8s_openapi::serde::{Serialize, de::DeserializeOwned};
use keelson_api::schema::{self, Field, ListType, Shape, Type};
use serde_json::{Value, json};

/// One step from an object towards a list.
#[derive(Clone, Copy)]
enum Step {
    Object(&'static str),
    /// Into an item of a list that is merged by keys.
    Item(&'static Field, &'static [&'static str]),
}

#[test]
fn lists_merge_alike() {
    let mut found = Findings::default();
    found.kind::<core::Pod>("io.k8s.api.core.v1.Pod");
    found.kind::<core::Node>("io.k8s.api.core.v1.Node");
    found.kind::<core::Service>("io.k8s.api.core.v1.Service");
    found.kind::<core::ServiceAccount>("io.k8s.api.core.v1.ServiceAccount");
    found.kind::<core::Namespace>("io.k8s.api.core.v1.Namespace");
    found.kind::<core::Endpoints>("io.k8s.api.core.v1.Endpoints");
    found.kind::<apps::Deployment>("io.k8s.api.apps.v1.Deployment");
    found.kind::<apps::ReplicaSet>("io.k8s.api.apps.v1.ReplicaSet");
    found.kind::<discovery::EndpointSlice>("io.k8s.api.discovery.v1.EndpointSlice");
    found.kind::<rbac::ClusterRole>("io.k8s.api.rbac.v1.ClusterRole");
    found.kind::<core::PersistentVolume>("io.k8s.api.core.v1.PersistentVolume");
    found.kind::<core::PersistentVolumeClaim>("io.k8s.api.core.v1.PersistentVolumeClaim");
    found.kind::<core::ResourceQuota>("io.k8s.api.core.v1.ResourceQuota");
    found.kind::<core::LimitRange>("io.k8s.api.core.v1.LimitRange");
    found.kind::<core::ReplicationController>("io.k8s.api.core.v1.ReplicationController");
    found.kind::<apps::StatefulSet>("io.k8s.api.apps.v1.StatefulSet");
    found.kind::<apps::DaemonSet>("io.k8s.api.apps.v1.DaemonSet");
    found.kind::<batch::Job>("io.k8s.api.batch.v1.Job");
    found.kind::<batch::CronJob>("io.k8s.api.batch.v1.CronJob");
    found.kind::<autoscaling::HorizontalPodAutoscaler>("io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler");
    found.kind::<policy::PodDisruptionBudget>("io.k8s.api.policy.v1.PodDisruptionBudget");
    found.kind::<networking::Ingress>("io.k8s.api.networking.v1.Ingress");
    found.kind::<networking::ServiceCIDR>("io.k8s.api.networking.v1.ServiceCIDR");
    found.kind::<storage::CSINode>("io.k8s.api.storage.v1.CSINode");
    found.kind::<flowcontrol::FlowSchema>("io.k8s.api.flowcontrol.v1.FlowSchema");
    found.kind::<resource::ResourceClaim>("io.k8s.api.resource.v1.ResourceClaim");
    found.kind::<resource::ResourceSlice>("io.k8s.api.resource.v1.ResourceSlice");
    assert!(found.checked > 300, "only {} lists were reached", found.checked);
    assert!(found.wrong.is_empty(), "{:#?}", found.wrong);
}

#[derive(Default)]
struct Findings {
    checked: usize,
    wrong: Vec<String>,
}

impl Findings {
    fn kind<T: DeepMerge + Serialize + DeserializeOwned>(&mut self, name: &str) {
        let kind = schema::find(name).expect("served");
        self.walk::<T>(kind, &mut Vec::new());
    }

    fn walk<T: DeepMerge + Serialize + DeserializeOwned>(
        &mut self,
        kind: &'static Type,
        path: &mut Vec<Step>,
    ) {
        for field in kind.fields {
            if let Some(part) = field.inline() {
                self.walk::<T>(part, path);
                continue;
            }
            match &field.shape {
                Shape::Object(inner) => {
                    path.push(Step::Object(field.name));
                    self.walk::<T>(inner, path);
                    path.pop();
                }
                Shape::List(inner) => {
                    self.list::<T>(kind, field, inner, path);
                    if let (Shape::Object(item), ListType::Map(keys)) = (inner, field.list) {
                        path.push(Step::Item(field, keys));
                        self.walk::<T>(item, path);
                        path.pop();
                    }
                }
                _ => {}
            }
        }
    }

    fn list<T: DeepMerge + Serialize + DeserializeOwned>(
        &mut self,
        kind: &'static Type,
        field: &'static Field,
        inner: &'static Shape,
        path: &[Step],
    ) {
        let keys = match field.list {
            ListType::Map(keys) => keys,
            _ => &[],
        };
        let (Some(first), Some(second)) = (sample(inner, keys, 1), sample(inner, keys, 2)) else { return };
        let merged = |other: &Value| -> usize {
            let mut left: T = document(path, field, &first);
            left.merge_from(document(path, field, other));
            let merged = serde_json::to_value(left).expect("serializes");
            let list = path.iter().fold(&merged, |at, step| match step {
                Step::Object(name) => &at[*name],
                Step::Item(field, _) => &at[field.name][0],
            });
            list[field.name].as_array().map_or(0, Vec::len)
        };
        let got = (merged(&first), merged(&second));
        let expect = match field.list {
            ListType::Map(_) | ListType::Set => (1, 2),
            // A list of scalars that only patches merge is a set to k8s-openapi too.
            ListType::Unset if field.merge => (1, 2),
            ListType::Atomic | ListType::Unset => (1, 1),
        };
        self.checked += 1;
        if got != expect {
            let sentence = format!("{}.{}: {:?} merges to {got:?}", kind.name, field.name, field.list);
            if !self.wrong.contains(&sentence) {
                self.wrong.push(sentence);
            }
        }
    }
}

/// An item that is told apart by its keys, or by its value.
fn sample(shape: &'static Shape, keys: &[&str], n: u32) -> Option<Value> {
    Some(match shape {
        Shape::Str | Shape::Enum(_) => json!(format!("s{n}")),
        Shape::I32 | Shape::I64 => json!(n),
        Shape::Object(kind) => {
            let mut item = json!({});
            for key in keys {
                item[*key] = sample(&kind.field(key)?.shape, &[], n)?;
            }
            times(kind, &mut item);
            item
        }
        _ => return None,
    })
}

/// k8s-openapi insists on required times.
fn times(kind: &Type, item: &mut Value) {
    for field in kind
        .fields
        .iter()
        .filter(|field| field.required && matches!(field.shape, Shape::Time | Shape::MicroTime))
    {
        item[field.name] = json!("2026-01-02T03:04:05Z");
    }
}

fn document<T: DeserializeOwned>(path: &[Step], field: &Field, item: &Value) -> T {
    let mut out = json!({ field.name: [item] });
    for step in path.iter().rev() {
        out = match step {
            Step::Object(name) => json!({ *name: out }),
            Step::Item(field, keys) => {
                let Shape::List(Shape::Object(kind)) = field.shape else {
                    unreachable!("only objects have keys")
                };
                for key in *keys {
                    out[*key] =
                        kind.field(key).and_then(|field| sample(&field.shape, &[], 1)).expect("a scalar key");
                }
                json!({ field.name: [out] })
            }
        };
    }
    serde_json::from_value(out).expect("fits the type")
}
