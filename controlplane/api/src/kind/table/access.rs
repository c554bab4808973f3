//! Who is who and who may what: authentication, authorization, certificates, RBAC.

use super::super::fields;
use super::*;

const AUTHENTICATION_GROUP: &str = "authentication.k8s.io";
const AUTHORIZATION_GROUP: &str = "authorization.k8s.io";
const CERTIFICATES_GROUP: &str = "certificates.k8s.io";
const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

pub(super) static AUTHENTICATION: &[Kind] = &[
    asked!(
        AUTHENTICATION_GROUP,
        "authentication",
        "v1",
        "SelfSubjectReview",
        "selfsubjectreviews",
        "selfsubjectreview"
    ),
    asked!(AUTHENTICATION_GROUP, "authentication", "v1", "TokenReview", "tokenreviews", "tokenreview"),
];

pub(super) static AUTHORIZATION: &[Kind] = &[
    Kind {
        namespaced: true,
        ..asked!(
            AUTHORIZATION_GROUP,
            "authorization",
            "v1",
            "LocalSubjectAccessReview",
            "localsubjectaccessreviews",
            "localsubjectaccessreview"
        )
    },
    asked!(
        AUTHORIZATION_GROUP,
        "authorization",
        "v1",
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        "selfsubjectaccessreview"
    ),
    asked!(
        AUTHORIZATION_GROUP,
        "authorization",
        "v1",
        "SelfSubjectRulesReview",
        "selfsubjectrulesreviews",
        "selfsubjectrulesreview"
    ),
    asked!(
        AUTHORIZATION_GROUP,
        "authorization",
        "v1",
        "SubjectAccessReview",
        "subjectaccessreviews",
        "subjectaccessreview"
    ),
];

pub(super) static CERTIFICATES: &[Kind] = &[Kind {
    short_names: &["csr"],
    subresources: &[
        part!("approval", CERTIFICATES_GROUP, "certificates", "v1", "CertificateSigningRequest", STATUS),
        part!("status", CERTIFICATES_GROUP, "certificates", "v1", "CertificateSigningRequest", STATUS),
    ],
    selectable: fields::CERTIFICATE_SIGNING_REQUEST,
    ..at_cluster!(
        CERTIFICATES_GROUP,
        "certificates",
        "v1",
        "CertificateSigningRequest",
        "certificatesigningrequests",
        "certificatesigningrequest"
    )
}];

pub(super) static RBAC: &[Kind] = &[
    at_cluster!(RBAC_GROUP, "rbac", "v1", "ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding"),
    at_cluster!(RBAC_GROUP, "rbac", "v1", "ClusterRole", "clusterroles", "clusterrole"),
    stored!(RBAC_GROUP, "rbac", "v1", "RoleBinding", "rolebindings", "rolebinding"),
    stored!(RBAC_GROUP, "rbac", "v1", "Role", "roles", "role"),
];
