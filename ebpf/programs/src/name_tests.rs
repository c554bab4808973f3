//! Which sockets are translated.

use super::*;
use crate::world_tests::{Fake, NODE, NODE_PORT, VIP, ip, settings};

#[test]
fn sockets_that_are_translated() {
    let (tcp, udp) = (Protocol::TCP, Protocol::UDP);
    let check =
        |gateway: bool, of_the_node: bool, protocol: u8, bound: bool, to: ([u8; 4], u16), expect: bool| {
            let world = Fake::new();
            world.serve(1, (VIP, 80), Scope::Cluster, &[([10, 244, 0, 12], 8080)], 0);
            world.serve(1, ([0; 4], NODE_PORT), Scope::Cluster, &[([10, 244, 0, 12], 8080)], 0);
            let mut settings = settings();
            if !gateway {
                settings.flags &= !SettingsFlag::GATEWAY;
            }
            let call = Call { address: ip(to.0), port: to.1.to_be(), protocol, bound, of_the_node };
            assert_eq!(service(&world, &settings, &call).is_some(), expect, "{gateway} {call:?}");
        };
    let loopback = [127, 0, 0, 1];
    // Pods: TCP sockets without a port.
    check(true, false, tcp, false, (VIP, 80), true);
    check(true, false, tcp, true, (VIP, 80), false);
    check(true, false, udp, true, (VIP, 80), false);
    check(true, false, tcp, false, (VIP, 81), false);
    check(true, false, tcp, false, (NODE, NODE_PORT), true);
    check(true, false, tcp, false, (loopback, NODE_PORT), false);
    check(true, false, udp, true, (NODE, NODE_PORT), false);
    // The node: what passes no program, and all of it without a gateway.
    check(true, true, tcp, false, (VIP, 80), true);
    check(true, true, udp, true, (VIP, 80), false);
    check(true, true, udp, true, (NODE, NODE_PORT), true);
    check(true, true, tcp, true, (loopback, NODE_PORT), true);
    check(true, true, tcp, false, (loopback, 80), false);
    check(false, true, udp, true, (VIP, 80), true);
    check(false, true, tcp, true, (VIP, 80), true);
    check(false, false, udp, true, (VIP, 80), false);
    // Neither TCP nor UDP.
    check(false, true, 132, true, (VIP, 80), false);
}

#[test]
fn host_ports_are_for_the_nodes_own_sockets() {
    let check = |of_the_node: bool, to: ([u8; 4], u16), expect: bool| {
        let world = Fake::new();
        let key = |address, port: u16| abi::ServiceKey {
            address: ip(address),
            port: port.to_be(),
            protocol: Protocol::TCP,
            scope: Scope::Cluster as u8,
        };
        world.map_host_port(key([0; 4], 8080), ([10, 244, 0, 12], 80));
        world.map_host_port(key(NODE, 8081), ([10, 244, 0, 12], 80));
        let mut settings = settings();
        settings.flags |= SettingsFlag::HOST_PORTS;
        let (protocol, port) = (Protocol::TCP, to.1.to_be());
        let call = Call { address: ip(to.0), port, protocol, bound: false, of_the_node };
        assert_eq!(host_port(&world, &settings, &call).is_some(), expect, "{call:?}");
    };
    check(true, (NODE, 8080), true);
    check(true, ([127, 0, 0, 1], 8080), true);
    check(true, (NODE, 8081), true);
    check(true, ([127, 0, 0, 1], 8081), false);
    check(true, (VIP, 8080), false);
    // Packets of pods are translated on their way.
    check(false, (NODE, 8080), false);
}
