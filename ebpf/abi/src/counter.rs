//! Why packets were dropped, and a little of what was done.

macro_rules! counters {
    ($($(#[$meta:meta])* $name:ident = $label:literal,)*) => {
        /// Index into the map COUNTERS.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Counter { $($(#[$meta])* $name,)* }

        /// Every counter with its stable name; those that begin with `drop_` count dropped packets.
        pub const COUNTERS: &[(Counter, &str)] = &[$((Counter::$name, $label),)*];
    };
}

counters! {
    /// The source address is not the pod's own.
    Spoofed = "drop_spoofed_source",
    /// The pod, or the pod it talks to, is not READY.
    Pending = "drop_endpoint_pending",
    /// No room in FLOWS.
    FlowsFull = "drop_flows_full",
    /// No free source port was found.
    PortsExhausted = "drop_ports_exhausted",
    /// The service has no backend.
    NoBackend = "drop_service_without_backend",
    /// An address of the service range that is no service.
    UnknownService = "drop_unknown_service",
    /// Headers that do not fit the packet.
    Malformed = "drop_malformed",
    /// A later fragment whose first one was not seen.
    Fragment = "drop_fragment_without_first",
    /// No route, or the kernel refused to forward.
    NoRoute = "drop_no_route",
    /// A pod that no longer exists.
    NoEndpoint = "drop_endpoint_unknown",
    /// A protocol that cannot be translated.
    Untranslatable = "drop_untranslatable",
    /// The kernel refused to change the packet.
    Rewrite = "drop_rewrite_failed",
    /// A policy that selects the sender does not allow it.
    PolicyEgress = "drop_policy_egress",
    /// A policy that selects the receiver does not allow it.
    PolicyIngress = "drop_policy_ingress",
    /// The service has endpoints, but none of this node, and its policy is Local.
    NoLocalBackend = "drop_service_without_local_backend",
    /// The client is in none of the service's loadBalancerSourceRanges.
    SourceRange = "drop_source_range",
    /// The packet has been forwarded too often.
    HopLimit = "drop_hop_limit",
    /// A flow entered conntrack.
    FlowsMade = "flows_made",
    /// A source port was changed because of a collision.
    PortsMoved = "ports_moved",
    /// A flow was masqueraded.
    Masqueraded = "flows_masqueraded",
    /// A socket was translated.
    Sockets = "sockets_translated",
    /// Handed to a pod.
    ToPod = "packets_to_pods",
    /// Handed to the node itself.
    ToNode = "packets_to_node",
    /// Sent out of a link of the node.
    ToOutside = "packets_to_outside",
    /// Reports of packets that were not made: too many, or nobody reads them.
    ReportsLost = "reports_lost",
    /// A sender was told that its packet was dropped: by a reset or an ICMP error.
    Refusals = "refusals_sent",
    /// Sent on by the program of the uplink's driver, before the node's network stack saw it.
    Early = "packets_forwarded_early",
    /// The packet is longer than the way to its receiver takes.
    TooBig = "drop_too_big",
}

impl Counter {
    /// The reason that a report or a metric names.
    #[must_use]
    pub fn at(index: u32) -> Option<(Counter, &'static str)> {
        COUNTERS.get(index as usize).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_numbered_as_listed() {
        for (at, (counter, _)) in COUNTERS.iter().enumerate() {
            assert_eq!(*counter as usize, at);
        }
    }
}
