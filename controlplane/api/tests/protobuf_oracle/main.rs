//! The transcoder against prost's messages (Kubernetes 1.35): what we write they read, what they write we read, and
//! nothing is lost on the way, for every served type with every field filled. And against an encoder as one would write it
//! first (`plain`): the same bytes, in whatever order the text has its fields.

mod plain;

use k8s_pb::api as k8s;
use keelson_api::schema::{self, Shape, Type, canonical};
use keelson_api::wire::protobuf::{self, Encoder, Writer};
use prost::Message;
use serde_json::{Map, Value, json};

/// Fields that 1.36 added; prost's 1.35 messages would drop them.
const NEWER: &[(&str, &str)] = &[
    ("CSIDriverSpec", "preventPodSchedulingIfMissing"),
    ("Device", "nodeAllocatableResourceMappings"),
    ("DeviceAttribute", "bools"),
    ("DeviceAttribute", "ints"),
    ("DeviceAttribute", "strings"),
    ("DeviceAttribute", "versions"),
    ("ListMeta", "shardInfo"),
    ("PodSpec", "schedulingGroup"),
    ("PodStatus", "nodeAllocatableResourceClaimStatuses"),
    ("ResourceHealth", "message"),
    ("VolumeMountStatus", "volumeStatus"),
];

/// Seeds per type: the first fills everything, the others leave fields out.
const SEEDS: u64 = 12;

#[test]
fn every_type_survives_prost() {
    macro_rules! check {
        ($($name:literal => $message:ty),* $(,)?) => { $( round_trip::<$message>($name); )* };
    }
    check! {
        "io.k8s.api.core.v1.Binding" => k8s::core::v1::Binding,
        "io.k8s.api.core.v1.ConfigMap" => k8s::core::v1::ConfigMap,
        "io.k8s.api.core.v1.Endpoints" => k8s::core::v1::Endpoints,
        "io.k8s.api.core.v1.Event" => k8s::core::v1::Event,
        "io.k8s.api.core.v1.Namespace" => k8s::core::v1::Namespace,
        "io.k8s.api.core.v1.Node" => k8s::core::v1::Node,
        "io.k8s.api.core.v1.Pod" => k8s::core::v1::Pod,
        "io.k8s.api.core.v1.Secret" => k8s::core::v1::Secret,
        "io.k8s.api.core.v1.ServiceAccount" => k8s::core::v1::ServiceAccount,
        "io.k8s.api.core.v1.Service" => k8s::core::v1::Service,
        "io.k8s.api.apps.v1.Deployment" => k8s::apps::v1::Deployment,
        "io.k8s.api.apps.v1.ReplicaSet" => k8s::apps::v1::ReplicaSet,
        "io.k8s.api.events.v1.Event" => k8s::events::v1::Event,
        "io.k8s.api.authentication.v1.SelfSubjectReview" => k8s::authentication::v1::SelfSubjectReview,
        "io.k8s.api.authentication.v1.TokenReview" => k8s::authentication::v1::TokenReview,
        "io.k8s.api.authentication.v1.TokenRequest" => k8s::authentication::v1::TokenRequest,
        "io.k8s.api.authorization.v1.LocalSubjectAccessReview" => k8s::authorization::v1::LocalSubjectAccessReview,
        "io.k8s.api.authorization.v1.SelfSubjectAccessReview" => k8s::authorization::v1::SelfSubjectAccessReview,
        "io.k8s.api.authorization.v1.SelfSubjectRulesReview" => k8s::authorization::v1::SelfSubjectRulesReview,
        "io.k8s.api.authorization.v1.SubjectAccessReview" => k8s::authorization::v1::SubjectAccessReview,
        "io.k8s.api.rbac.v1.ClusterRoleBinding" => k8s::rbac::v1::ClusterRoleBinding,
        "io.k8s.api.rbac.v1.ClusterRole" => k8s::rbac::v1::ClusterRole,
        "io.k8s.api.rbac.v1.RoleBinding" => k8s::rbac::v1::RoleBinding,
        "io.k8s.api.rbac.v1.Role" => k8s::rbac::v1::Role,
        "io.k8s.api.coordination.v1.Lease" => k8s::coordination::v1::Lease,
        "io.k8s.api.discovery.v1.EndpointSlice" => k8s::discovery::v1::EndpointSlice,
        "io.k8s.api.autoscaling.v1.Scale" => k8s::autoscaling::v1::Scale,
        "io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration" => k8s::admissionregistration::v1::MutatingWebhookConfiguration,
        "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy" => k8s::admissionregistration::v1::ValidatingAdmissionPolicy,
        "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding" => k8s::admissionregistration::v1::ValidatingAdmissionPolicyBinding,
        "io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration" => k8s::admissionregistration::v1::ValidatingWebhookConfiguration,
        "io.k8s.api.policy.v1.Eviction" => k8s::policy::v1::Eviction,
        "io.k8s.api.core.v1.ComponentStatus" => k8s::core::v1::ComponentStatus,
        "io.k8s.api.core.v1.LimitRange" => k8s::core::v1::LimitRange,
        "io.k8s.api.core.v1.PersistentVolume" => k8s::core::v1::PersistentVolume,
        "io.k8s.api.core.v1.PersistentVolumeClaim" => k8s::core::v1::PersistentVolumeClaim,
        "io.k8s.api.core.v1.PodTemplate" => k8s::core::v1::PodTemplate,
        "io.k8s.api.core.v1.ReplicationController" => k8s::core::v1::ReplicationController,
        "io.k8s.api.core.v1.ResourceQuota" => k8s::core::v1::ResourceQuota,
        "io.k8s.api.apps.v1.ControllerRevision" => k8s::apps::v1::ControllerRevision,
        "io.k8s.api.apps.v1.DaemonSet" => k8s::apps::v1::DaemonSet,
        "io.k8s.api.apps.v1.StatefulSet" => k8s::apps::v1::StatefulSet,
        "io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler" => k8s::autoscaling::v1::HorizontalPodAutoscaler,
        "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler" => k8s::autoscaling::v2::HorizontalPodAutoscaler,
        "io.k8s.api.batch.v1.CronJob" => k8s::batch::v1::CronJob,
        "io.k8s.api.batch.v1.Job" => k8s::batch::v1::Job,
        "io.k8s.api.certificates.v1.CertificateSigningRequest" => k8s::certificates::v1::CertificateSigningRequest,
        "io.k8s.api.flowcontrol.v1.FlowSchema" => k8s::flowcontrol::v1::FlowSchema,
        "io.k8s.api.flowcontrol.v1.PriorityLevelConfiguration" => k8s::flowcontrol::v1::PriorityLevelConfiguration,
        "io.k8s.api.networking.v1.Ingress" => k8s::networking::v1::Ingress,
        "io.k8s.api.networking.v1.IngressClass" => k8s::networking::v1::IngressClass,
        "io.k8s.api.networking.v1.IPAddress" => k8s::networking::v1::IPAddress,
        "io.k8s.api.networking.v1.NetworkPolicy" => k8s::networking::v1::NetworkPolicy,
        "io.k8s.api.networking.v1.ServiceCIDR" => k8s::networking::v1::ServiceCIDR,
        "io.k8s.api.node.v1.RuntimeClass" => k8s::node::v1::RuntimeClass,
        "io.k8s.api.policy.v1.PodDisruptionBudget" => k8s::policy::v1::PodDisruptionBudget,
        "io.k8s.api.resource.v1.DeviceClass" => k8s::resource::v1::DeviceClass,
        "io.k8s.api.resource.v1.ResourceClaim" => k8s::resource::v1::ResourceClaim,
        "io.k8s.api.resource.v1.ResourceClaimTemplate" => k8s::resource::v1::ResourceClaimTemplate,
        "io.k8s.api.resource.v1.ResourceSlice" => k8s::resource::v1::ResourceSlice,
        "io.k8s.api.scheduling.v1.PriorityClass" => k8s::scheduling::v1::PriorityClass,
        "io.k8s.api.storage.v1.CSIDriver" => k8s::storage::v1::CSIDriver,
        "io.k8s.api.storage.v1.CSINode" => k8s::storage::v1::CSINode,
        "io.k8s.api.storage.v1.CSIStorageCapacity" => k8s::storage::v1::CSIStorageCapacity,
        "io.k8s.api.storage.v1.StorageClass" => k8s::storage::v1::StorageClass,
        "io.k8s.api.storage.v1.VolumeAttachment" => k8s::storage::v1::VolumeAttachment,
        "io.k8s.api.storage.v1.VolumeAttributesClass" => k8s::storage::v1::VolumeAttributesClass,
        "io.k8s.apimachinery.pkg.apis.meta.v1.Status" => k8s_pb::apimachinery::pkg::apis::meta::v1::Status,
        "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions" => k8s_pb::apimachinery::pkg::apis::meta::v1::DeleteOptions,
    }
}

#[test]
fn every_type_is_the_plain_encoders_to_the_byte() {
    let mut encoder = Encoder::default();
    for kind in schema::types() {
        for seed in 0..SEEDS {
            let value =
                canonical(filled(kind, seed), kind).unwrap_or_else(|error| panic!("{}: {error}", kind.name));
            let expect =
                plain::encode_value(&value, kind).unwrap_or_else(|error| panic!("{}: {error}", kind.name));
            let mut list = Writer::default();
            list.bytes(2, &expect);
            list.bytes(2, &expect);
            let mut items = Writer::default();
            for text in [value.to_string(), backwards(&value, kind).to_string()] {
                encoder
                    .list_item(text.as_bytes(), kind, &mut items)
                    .unwrap_or_else(|error| panic!("{text}: {error}"));
            }
            assert!(items.into_bytes() == list.into_bytes(), "{}, seed {seed}", kind.name);
        }
    }
}

/// The same with the fields of every type the other way round.
fn backwards(value: &Value, kind: &'static Type) -> Value {
    let entry = |(name, value): (&String, &Value)| {
        let shape = kind.field(name).map_or(&Shape::Raw, |field| &field.shape);
        (name.clone(), backwards_shape(value, shape))
    };
    match value {
        Value::Object(fields) => Value::Object(fields.iter().rev().map(entry).collect()),
        other => other.clone(),
    }
}

fn backwards_shape(value: &Value, shape: &'static Shape) -> Value {
    match (shape, value) {
        (Shape::List(inner), Value::Array(items)) => {
            items.iter().map(|item| backwards_shape(item, inner)).collect()
        }
        (Shape::Map(inner), Value::Object(map)) => {
            let entry = |(name, value): (&String, &Value)| (name.clone(), backwards_shape(value, inner));
            Value::Object(map.iter().rev().map(entry).collect())
        }
        (Shape::Object(kind) | Shape::OrBool(kind) | Shape::OrList(kind), Value::Object(_)) => {
            backwards(value, kind)
        }
        _ => value.clone(),
    }
}

fn filled(kind: &'static Type, seed: u64) -> Value {
    Fill { state: seed + 1, everything: seed == 0, within: Vec::new() }.object(kind)
}

fn round_trip<M: Message + Default>(name: &str) {
    let kind = schema::find(name).unwrap_or_else(|| panic!("{name} is served"));
    for seed in 0..SEEDS {
        let value = canonical(filled(kind, seed), kind).unwrap_or_else(|error| panic!("{name}: {error}"));
        let ours = protobuf::encode_value(&value, kind).unwrap_or_else(|error| panic!("{name}: {error}"));
        let message = M::decode(ours.as_slice()).unwrap_or_else(|error| panic!("{name}: prost: {error}"));
        let theirs = message.encode_to_vec();
        let back = protobuf::decode(&theirs, kind).unwrap_or_else(|error| panic!("{name}: {error}"));
        let back = canonical(back, kind).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_same(name, &value, &back);
        let direct = canonical(protobuf::decode(&ours, kind).expect("ours"), kind).expect("canonical");
        assert_same(name, &value, &direct);
        if seed == 0 {
            assert_eq!(direct.to_string(), value.to_string(), "{name}: the twin differs");
        }
    }
}

fn assert_same(name: &str, want: &Value, got: &Value) {
    let mut differences = Vec::new();
    compare(name, want, got, &mut differences);
    differences.dedup();
    assert!(differences.is_empty(), "{differences:#?}");
}

fn compare(path: &str, want: &Value, got: &Value, out: &mut Vec<String>) {
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => {
            for key in want.keys().chain(got.keys().filter(|key| !want.contains_key(*key))) {
                match (want.get(key), got.get(key)) {
                    (Some(want), Some(got)) => compare(&format!("{path}.{key}"), want, got, out),
                    (Some(want), None) => out.push(format!("{path}.{key} is lost: {want}")),
                    (_, got) => out.push(format!("{path}.{key} appears: {got:?}")),
                }
            }
        }
        (Value::Array(want), Value::Array(got)) if want.len() == got.len() => {
            want.iter().zip(got).for_each(|(want, got)| compare(&format!("{path}[]"), want, got, out));
        }
        // Protobuf has no empty list: upstream too reads it back as none.
        (Value::Array(want), Value::Null) if want.is_empty() => {}
        _ if want == got => {}
        _ => out.push(format!("{path}: {want} became {got}")),
    }
}

/// Fills a type from a small generator, reproducible by its seed.
struct Fill {
    state: u64,
    everything: bool,
    /// The types that the value is within.
    within: Vec<&'static str>,
}

impl Fill {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.state >> 33
    }

    fn object(&mut self, kind: &'static Type) -> Value {
        let mut out = Map::new();
        // Schemas hold schemas.
        if self.within.iter().filter(|name| **name == kind.name).count() < 2 {
            self.within.push(kind.name);
            self.fields(kind, &mut out);
            self.within.pop();
        }
        Value::Object(out)
    }

    fn fields(&mut self, kind: &'static Type, out: &mut Map<String, Value>) {
        for field in kind.fields {
            if let Some(part) = field.inline() {
                self.fields(part, out);
            } else if !NEWER.contains(&(kind.short_name(), field.name))
                && (self.everything || !self.next().is_multiple_of(3))
            {
                out.insert(field.name.into(), self.value(&field.shape));
            }
        }
    }

    fn value(&mut self, shape: &'static Shape) -> Value {
        let n = if self.everything { self.next() % 1000 + 1 } else { self.next() % 3 };
        match shape {
            Shape::Str => {
                if n == 0 {
                    json!("")
                } else {
                    json!(format!("s{n}é{}", ["", "\"\n\\\u{1}\u{1f600}"][n as usize % 2]))
                }
            }
            Shape::Enum(values) => json!(values[n as usize % values.len()]),
            Shape::Bool => json!(n != 0),
            Shape::I32 => json!(if n == 2 { -1 } else { n as i64 }),
            Shape::I64 => json!(if n == 2 { i64::MIN } else { n as i64 }),
            Shape::F64 => json!(0.5),
            Shape::Bytes => json!("aGk="),
            Shape::Time => json!("2026-01-02T03:04:05Z"),
            Shape::MicroTime => json!("2026-01-02T03:04:05.000006Z"),
            Shape::Quantity => json!(format!("{n}Mi")),
            Shape::IntOrString => {
                if n.is_multiple_of(2) {
                    json!(n)
                } else {
                    json!(format!("{n}%"))
                }
            }
            Shape::Raw => json!({"any": [n]}),
            Shape::FieldsV1 => json!({"f:metadata": {}}),
            Shape::Strings => json!(["a", "b"]),
            Shape::List(inner) => Value::Array((0..n.min(2)).map(|_| self.value(inner)).collect()),
            Shape::Map(inner) => Value::Object(
                (0..n.min(2)).map(|i| (["k\"\n", "k0"][i as usize].to_owned(), self.value(inner))).collect(),
            ),
            Shape::Object(kind) => self.object(kind),
            Shape::OrBool(_) if n.is_multiple_of(2) => json!(n != 0),
            Shape::OrList(kind) if n.is_multiple_of(2) => json!([self.object(kind), self.object(kind)]),
            Shape::OrBool(kind) | Shape::OrList(kind) => self.object(kind),
        }
    }
}
