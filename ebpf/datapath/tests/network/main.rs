//! The programs on real packets: pods, node and outside in network namespaces of their own.

mod cgroup;
mod echo;
mod mtu;
mod narrow;
mod node;
mod paths;
mod policies;
mod ports;
mod refusals;
mod sctp;
mod services;
mod six;
mod sockets;
mod survival;
mod wire;
