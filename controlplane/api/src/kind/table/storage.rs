//! storage.k8s.io/v1 and resource.k8s.io/v1: volumes and devices.

use super::super::fields;
use super::*;

const GROUP: &str = "storage.k8s.io";
const RESOURCE_GROUP: &str = "resource.k8s.io";

pub(super) static STORAGE: &[Kind] = &[
    at_cluster!(GROUP, "storage", "v1", "CSIDriver", "csidrivers", "csidriver"),
    at_cluster!(GROUP, "storage", "v1", "CSINode", "csinodes", "csinode"),
    stored!(GROUP, "storage", "v1", "CSIStorageCapacity", "csistoragecapacities", "csistoragecapacity"),
    Kind {
        short_names: &["sc"],
        ..at_cluster!(GROUP, "storage", "v1", "StorageClass", "storageclasses", "storageclass")
    },
    Kind {
        subresources: &[status!(GROUP, "storage", "v1", "VolumeAttachment")],
        ..at_cluster!(GROUP, "storage", "v1", "VolumeAttachment", "volumeattachments", "volumeattachment")
    },
    Kind {
        short_names: &["vac"],
        ..at_cluster!(
            GROUP,
            "storage",
            "v1",
            "VolumeAttributesClass",
            "volumeattributesclasses",
            "volumeattributesclass"
        )
    },
];

pub(super) static RESOURCE: &[Kind] = &[
    at_cluster!(RESOURCE_GROUP, "resource", "v1", "DeviceClass", "deviceclasses", "deviceclass"),
    Kind {
        subresources: &[status!(RESOURCE_GROUP, "resource", "v1", "ResourceClaim")],
        ..stored!(RESOURCE_GROUP, "resource", "v1", "ResourceClaim", "resourceclaims", "resourceclaim")
    },
    stored!(
        RESOURCE_GROUP,
        "resource",
        "v1",
        "ResourceClaimTemplate",
        "resourceclaimtemplates",
        "resourceclaimtemplate"
    ),
    Kind {
        selectable: fields::RESOURCE_SLICE,
        ..at_cluster!(RESOURCE_GROUP, "resource", "v1", "ResourceSlice", "resourceslices", "resourceslice")
    },
];
