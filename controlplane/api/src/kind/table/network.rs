//! networking.k8s.io/v1 and discovery.k8s.io/v1.

use super::super::fields;
use super::*;

const GROUP: &str = "networking.k8s.io";

pub(super) static NETWORKING: &[Kind] = &[
    at_cluster!(GROUP, "networking", "v1", "IngressClass", "ingressclasses", "ingressclass"),
    Kind {
        short_names: &["ing"],
        subresources: &[status!(GROUP, "networking", "v1", "Ingress")],
        ..stored!(GROUP, "networking", "v1", "Ingress", "ingresses", "ingress")
    },
    Kind {
        short_names: &["ip"],
        selectable: fields::IP_ADDRESS,
        ..at_cluster!(GROUP, "networking", "v1", "IPAddress", "ipaddresses", "ipaddress")
    },
    Kind {
        short_names: &["netpol"],
        ..stored!(GROUP, "networking", "v1", "NetworkPolicy", "networkpolicies", "networkpolicy")
    },
    Kind {
        subresources: &[status!(GROUP, "networking", "v1", "ServiceCIDR")],
        ..at_cluster!(GROUP, "networking", "v1", "ServiceCIDR", "servicecidrs", "servicecidr")
    },
];

pub(super) static DISCOVERY: &[Kind] =
    &[stored!("discovery.k8s.io", "discovery", "v1", "EndpointSlice", "endpointslices", "endpointslice")];
