//! ServiceAccount tokens bound to a pod: requested, kept, renewed before they end.
