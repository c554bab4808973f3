//! Plans as tables.

use cni_api::Attachment;

use super::*;

fn desired(addresses: &[&str]) -> Desired {
    let attachment = Attachment { container: "c1".to_owned(), ifname: "eth0".to_owned() };
    Desired {
        names: Names::of("pods", &attachment).unwrap(),
        ifname: "eth0".to_owned(),
        mtu: None,
        addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
    }
}

fn shown(desired: &Desired, observed: &Observed) -> Vec<String> {
    plan(desired, observed).iter().map(ToString::to_string).collect()
}

/// Both sides as a complete plan would have left them.
fn complete(desired: &Desired) -> Observed {
    let side = |objects: Vec<Object>| {
        let mut side = Side { link: Link { up: true, index: 7, ..Link::default() }, ..Side::default() };
        for object in objects {
            match object {
                Object::Address(address) => side.addresses.push(Address::new(7, address)),
                Object::Neighbour(ip, mac) => side.neighbours.push(Neighbour::permanent(7, ip, mac)),
                Object::Route { to, gateway } => side.routes.push(Route::new(to, gateway, 7)),
                Object::Alias(alias) => side.link.alias = Some(alias),
                Object::Up | Object::NoLinkLocal => {}
            }
        }
        Some(side)
    };
    Observed {
        host: side(desired.on_host(true)),
        pod: side(desired.in_pod()),
        sysctls: Vec::new(),
        ipv6: true,
    }
}

#[test]
fn a_new_pod_needs_everything_in_order() {
    let desired = desired(&["10.244.0.5", "fd00::5"]);
    let observed = Observed { sysctls: desired.sysctls(true, true), ipv6: true, ..Observed::default() };
    let link = &desired.names.link;
    let (host, pod) = (desired.names.host_mac, desired.names.pod_mac);
    assert_eq!(
        shown(&desired, &observed),
        [
            "the veth pair".to_owned(),
            format!("/proc/sys/net/ipv4/conf/{link}/forwarding=1"),
            format!("/proc/sys/net/ipv4/conf/{link}/rp_filter=1"),
            format!("/proc/sys/net/ipv6/conf/{link}/accept_ra=0"),
            format!("/proc/sys/net/ipv6/conf/{link}/force_forwarding=1"),
            format!(
                "on the host: alias \"keelson pods c1 eth0\", no link-local address, link up, neighbour 10.244.0.5 at {pod}, neighbour fd00::5 at {pod}, \
                 route to 10.244.0.5/32, route to fd00::5/128"
            ),
            format!(
                "in the pod: link up, address 10.244.0.5/32, address fd00::5/128, neighbour 169.254.1.1 at {host}, \
                 neighbour fe80::1 at {host}, route to 0.0.0.0/0 via 169.254.1.1, route to ::/0 via fe80::1"
            ),
        ]
    );
}

#[test]
fn without_ipv6_nothing_speaks_of_it() {
    let desired = desired(&["10.244.0.5"]);
    let observed = Observed { sysctls: desired.sysctls(false, false), ..Observed::default() };
    let all = shown(&desired, &observed).join("\n");
    assert!(!all.contains("ipv6") && !all.contains("fe80") && !all.contains("link-local"), "{all}");
}

#[test]
fn what_is_complete_needs_nothing() {
    let desired = desired(&["10.244.0.5", "fd00::5"]);
    assert_eq!(shown(&desired, &complete(&desired)), Vec::<String>::new());
}

#[test]
fn only_what_is_missing_is_planned() {
    let desired = desired(&["10.244.0.5", "fd00::5"]);
    let check = |damage: &dyn Fn(&mut Observed), expect: &str| {
        let mut observed = complete(&desired);
        damage(&mut observed);
        assert_eq!(shown(&desired, &observed).join("; "), expect);
    };
    let pod_mac = desired.names.pod_mac;
    check(&|o| o.pod.as_mut().unwrap().link.up = false, "in the pod: link up");
    check(&|o| o.pod.as_mut().unwrap().addresses.truncate(1), "in the pod: address fd00::5/128");
    check(&|o| o.host.as_mut().unwrap().routes.truncate(1), "on the host: route to fd00::5/128");
    check(
        &|o| o.host.as_mut().unwrap().neighbours[0].permanent = false,
        &format!("on the host: neighbour 10.244.0.5 at {pod_mac}"),
    );
}
