//! The eBPF kube-proxy: Services and EndpointSlices become maps.
