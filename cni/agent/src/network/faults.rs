//! An end after every step of the node's network and of its tunnel, in a real namespace: what was begun is finished by the
//! next look, and taken away whole.

use harness::netns::TestHost;
use ipnet::IpNet;

use super::{Desired, Host, PROTOCOL, Tunnel, plan};
use crate::names::Names;
use crate::node::Node;
use crate::overlay::{self, Mode};
use crate::uplink::Uplink;

/// A node with one neighbour on its network and one behind the tunnel.
struct World {
    names: Names,
    own: Node,
    others: Vec<Node>,
    uplink: Uplink,
}

fn node(name: &str, range: &str, address: &str) -> Node {
    Node {
        name: name.into(),
        ranges: vec![range.parse().unwrap()],
        addresses: vec![address.parse().unwrap()],
    }
}

impl World {
    fn new(tag: &str, uplink: u32) -> World {
        World {
            names: Names::of(tag).unwrap(),
            own: node("a", "10.244.0.0/22", "192.0.2.1"),
            others: vec![node("b", "10.244.4.0/22", "192.0.2.2"), node("c", "10.244.8.0/22", "198.51.100.3")],
            uplink: Uplink {
                index: uplink,
                name: "eth0".into(),
                mtu: 1500,
                addresses: vec!["192.0.2.1/24".parse().unwrap()],
            },
        }
    }

    /// As the agent does it, up to so many steps; how many were done.
    fn look(&self, host: &mut Host, most: usize) -> usize {
        let mut done = 0;
        let tunnel =
            overlay::Desired::new(&self.names, Mode::Auto, &self.own, &self.others, Some(&self.uplink), None)
                .unwrap();
        let observed = host.observe_tunnel(&self.names.tunnel).unwrap();
        for step in overlay::plan(Some(&tunnel), &observed, true) {
            if done == most {
                return done;
            }
            host.execute_tunnel(Some(&tunnel), &step).unwrap();
            done += 1;
        }
        let index = host.0.link_named(&self.names.tunnel).unwrap().unwrap().index;
        let ranges: Vec<IpNet> = ["10.244.0.0/16", "10.96.0.0/16"].map(|range| range.parse().unwrap()).into();
        let through = Some(Tunnel { index, always: false });
        let desired =
            Desired::new(&self.names, &self.own, &ranges, &self.others, Some(&self.uplink), through);
        let observed = host.observe(&desired).unwrap();
        for step in plan(&desired, &observed) {
            if done == most {
                return done;
            }
            host.execute(&desired, &step).unwrap();
            done += 1;
        }
        done
    }

    /// What there is of ours.
    fn left(&self, host: &mut Host) -> Vec<String> {
        let links = host.0.links().unwrap().into_iter().map(|link| link.name);
        let mut left: Vec<String> = links.filter(|name| self.names.is_ours(name)).collect();
        let routes = host.0.routes().unwrap().into_iter().filter(|route| route.protocol == PROTOCOL);
        left.extend(routes.map(|route| route.destination.to_string()));
        left.sort();
        left
    }
}

#[test]
fn an_end_after_any_step_is_mended_and_leaves_nothing() {
    let test = "agent: an_end_after_any_step_is_mended_and_leaves_nothing";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let (host, other) = (TestHost::create(guard.tag(), "host"), TestHost::create(guard.tag(), "other"));
    host.connect("eth0", &other, "eth0");
    host.address("eth0", "192.0.2.1/24");
    host.inside(|| {
        let mut kernel = Host::open().unwrap();
        let uplink = kernel.0.link_named("eth0").unwrap().unwrap().index;
        let world = World::new(guard.tag(), uplink);
        let steps = world.look(&mut kernel, usize::MAX);
        let whole = world.left(&mut kernel);
        assert!(steps >= 8 && whole.len() == 7, "{steps} steps: {whole:?}");
        assert_eq!(world.look(&mut kernel, usize::MAX), 0, "nothing is missing");
        kernel.remove(&world.names).unwrap();
        for most in 0..steps {
            assert_eq!(world.look(&mut kernel, most), most);
            kernel.remove(&world.names).unwrap();
            assert_eq!(world.left(&mut kernel), Vec::<String>::new(), "after {most} steps");
            assert_eq!(world.look(&mut kernel, most), most);
            world.look(&mut kernel, usize::MAX);
            assert_eq!(world.left(&mut kernel), whole, "begun by {most} steps");
            assert_eq!(world.look(&mut kernel, usize::MAX), 0, "begun by {most} steps");
            kernel.remove(&world.names).unwrap();
        }
    });
    drop((host, other));
    guard.finish();
}
