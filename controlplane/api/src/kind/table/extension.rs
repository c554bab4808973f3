//! What extends the API itself: admissionregistration.k8s.io, apiextensions.k8s.io and apiregistration.k8s.io.

use super::*;

const ADMISSION_GROUP: &str = "admissionregistration.k8s.io";
const EXTENSIONS: &[&str] = &["api-extensions"];
const DEFINITION: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition";
const SERVICE: &str = "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService";

pub(super) static ADMISSION: &[Kind] = &[
    at_cluster!(
        ADMISSION_GROUP,
        "admissionregistration",
        "v1",
        "MutatingAdmissionPolicy",
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicy"
    ),
    at_cluster!(
        ADMISSION_GROUP,
        "admissionregistration",
        "v1",
        "MutatingAdmissionPolicyBinding",
        "mutatingadmissionpolicybindings",
        "mutatingadmissionpolicybinding"
    ),
    Kind {
        categories: EXTENSIONS,
        ..at_cluster!(
            ADMISSION_GROUP,
            "admissionregistration",
            "v1",
            "MutatingWebhookConfiguration",
            "mutatingwebhookconfigurations",
            "mutatingwebhookconfiguration"
        )
    },
    Kind {
        categories: EXTENSIONS,
        subresources: &[status!(ADMISSION_GROUP, "admissionregistration", "v1", "ValidatingAdmissionPolicy")],
        ..at_cluster!(
            ADMISSION_GROUP,
            "admissionregistration",
            "v1",
            "ValidatingAdmissionPolicy",
            "validatingadmissionpolicies",
            "validatingadmissionpolicy"
        )
    },
    at_cluster!(
        ADMISSION_GROUP,
        "admissionregistration",
        "v1",
        "ValidatingAdmissionPolicyBinding",
        "validatingadmissionpolicybindings",
        "validatingadmissionpolicybinding"
    ),
    Kind {
        categories: EXTENSIONS,
        ..at_cluster!(
            ADMISSION_GROUP,
            "admissionregistration",
            "v1",
            "ValidatingWebhookConfiguration",
            "validatingwebhookconfigurations",
            "validatingwebhookconfiguration"
        )
    },
];

pub(super) static DEFINITIONS: &[Kind] = &[Kind {
    short_names: &["crd", "crds"],
    categories: EXTENSIONS,
    subresources: &[own(
        "status",
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        DEFINITION,
        STATUS,
    )],
    schema: DEFINITION,
    ..at_cluster!(
        "apiextensions.k8s.io",
        "apiextensions",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        "customresourcedefinition"
    )
}];

pub(super) static SERVICES: &[Kind] = &[Kind {
    categories: EXTENSIONS,
    subresources: &[own("status", "apiregistration.k8s.io", "v1", "APIService", SERVICE, STATUS)],
    schema: SERVICE,
    ..at_cluster!(
        "apiregistration.k8s.io",
        "apiregistration",
        "v1",
        "APIService",
        "apiservices",
        "apiservice"
    )
}];
