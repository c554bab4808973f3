//! Descriptions of types and fields, from the schemas that k8s-openapi carries.

use std::collections::HashMap;

use k8s_openapi::schemars::SchemaGenerator;
use serde_json::Value;

use k8s_openapi::api::{
    admissionregistration::v1 as admission, apps::v1 as apps, authentication::v1 as authentication,
    authorization::v1 as authorization, autoscaling::v1 as autoscaling, autoscaling::v2 as autoscaling_v2,
    batch::v1 as batch, certificates::v1 as certificates, coordination::v1 as coordination, core::v1 as core,
    discovery::v1 as discovery, events::v1 as events, flowcontrol::v1 as flowcontrol,
    networking::v1 as networking, node::v1 as node, policy::v1 as policy, rbac::v1 as rbac,
    resource::v1 as resource, scheduling::v1 as scheduling, storage::v1 as storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as extensions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as registration;

pub struct Docs {
    definitions: serde_json::Map<String, Value>,
    text: String,
    known: HashMap<String, (usize, usize)>,
}

impl Docs {
    pub fn collect() -> Docs {
        let mut generator = SchemaGenerator::default();
        macro_rules! roots {
            ($($root:ty),* $(,)?) => { $( let _ = generator.subschema_for::<$root>(); )* };
        }
        roots!(
            core::Binding,
            core::ConfigMap,
            core::Endpoints,
            core::Event,
            core::Namespace,
            core::Node,
            core::Pod,
            core::Secret,
            core::ServiceAccount,
            core::Service,
            core::ComponentStatus,
            core::LimitRange,
            core::PersistentVolume,
            core::PersistentVolumeClaim,
            core::PodTemplate,
            core::ReplicationController,
            core::ResourceQuota,
            apps::ControllerRevision,
            apps::DaemonSet,
            apps::Deployment,
            apps::ReplicaSet,
            apps::StatefulSet,
            autoscaling::HorizontalPodAutoscaler,
            autoscaling_v2::HorizontalPodAutoscaler,
            batch::CronJob,
            batch::Job,
            certificates::CertificateSigningRequest,
            flowcontrol::FlowSchema,
            flowcontrol::PriorityLevelConfiguration,
            networking::Ingress,
            networking::IngressClass,
            networking::IPAddress,
            networking::NetworkPolicy,
            networking::ServiceCIDR,
            node::RuntimeClass,
            policy::PodDisruptionBudget,
            resource::DeviceClass,
            resource::ResourceClaim,
            resource::ResourceClaimTemplate,
            resource::ResourceSlice,
            scheduling::PriorityClass,
            storage::CSIDriver,
            storage::CSINode,
            storage::CSIStorageCapacity,
            storage::StorageClass,
            storage::VolumeAttachment,
            storage::VolumeAttributesClass,
            admission::MutatingAdmissionPolicy,
            admission::MutatingAdmissionPolicyBinding,
            admission::MutatingWebhookConfiguration,
            admission::ValidatingAdmissionPolicy,
            admission::ValidatingAdmissionPolicyBinding,
            admission::ValidatingWebhookConfiguration,
            extensions::CustomResourceDefinition,
            registration::APIService,
            events::Event,
            authentication::SelfSubjectReview,
            authentication::TokenReview,
            authentication::TokenRequest,
            authorization::LocalSubjectAccessReview,
            authorization::SelfSubjectAccessReview,
            authorization::SelfSubjectRulesReview,
            authorization::SubjectAccessReview,
            rbac::ClusterRoleBinding,
            rbac::ClusterRole,
            rbac::RoleBinding,
            rbac::Role,
            coordination::Lease,
            discovery::EndpointSlice,
            autoscaling::Scale,
            policy::Eviction,
            meta::Status,
            meta::DeleteOptions,
            meta::ListMeta,
            meta::ObjectMeta,
        );
        Docs { definitions: generator.take_definitions(true), text: String::new(), known: HashMap::new() }
    }

    pub fn has_type(&self, name: &str) -> bool {
        self.definitions.contains_key(name)
    }

    /// The fields k8s-openapi knows, to compare with the table.
    pub fn fields(&self, name: &str) -> Vec<String> {
        let properties = self.definitions.get(name).and_then(|schema| schema["properties"].as_object());
        properties.into_iter().flat_map(|map| map.keys().cloned()).collect()
    }

    pub fn of_type(&mut self, name: &str) -> (usize, usize) {
        let text = self
            .definitions
            .get(name)
            .and_then(|schema| schema["description"].as_str())
            .unwrap_or_default()
            .to_owned();
        self.keep(text)
    }

    pub fn of_field(&mut self, name: &str, field: &str) -> (usize, usize) {
        let schema = self.definitions.get(name).map(|schema| &schema["properties"][field]);
        let text = schema.and_then(|schema| schema["description"].as_str()).unwrap_or_default().to_owned();
        self.keep(text)
    }

    fn keep(&mut self, text: String) -> (usize, usize) {
        if let Some(place) = self.known.get(&text) {
            return *place;
        }
        let place = (self.text.len(), self.text.len() + text.len());
        self.text.push_str(&text);
        self.known.insert(text, place);
        place
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}
