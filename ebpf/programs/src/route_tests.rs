//! Who may be handed what.

use super::*;
use crate::world_tests::{ELSEWHERE, Fake, NODE, OUTSIDE, PEER, PENDING, POD, ip, settings};

#[test]
fn packets_find_their_way() {
    let check = |origin: Origin,
                 source: [u8; 4],
                 pending: bool,
                 destination: [u8; 4],
                 expect: Result<Way, Counter>| {
        let world = Fake::new();
        let found = route(&world, &settings(), &ip(source), &ip(source), &ip(destination), origin, pending);
        let expected = match expect {
            Ok(way) => way,
            Err(counter) => {
                assert_eq!(found.counter, counter as u32, "{source:?} to {destination:?}");
                Way::Drop
            }
        };
        assert_eq!(found.way, expected, "{origin:?} {source:?} to {destination:?}");
    };
    check(Origin::Pod, POD, false, PEER, Ok(Way::Pod));
    check(Origin::Pod, POD, false, NODE, Ok(Way::Node));
    check(Origin::Pod, POD, false, [169, 254, 1, 1], Ok(Way::Node));
    check(Origin::Pod, POD, false, OUTSIDE, Ok(Way::Outside));
    check(Origin::Pod, POD, false, ELSEWHERE, Ok(Way::Outside));
    check(Origin::Uplink, OUTSIDE, false, PEER, Ok(Way::Pod));
    check(Origin::Node, NODE, false, PEER, Ok(Way::Pod));
    check(Origin::Node, NODE, false, ELSEWHERE, Ok(Way::Outside));
    check(Origin::Node, NODE, false, [10, 244, 0, 99], Err(Counter::NoEndpoint));
    // A pod that has a link and a route, but nothing of its policies yet.
    check(Origin::Pod, POD, false, [10, 244, 0, 99], Err(Counter::NoEndpoint));
    check(Origin::Uplink, OUTSIDE, false, [10, 244, 0, 99], Err(Counter::NoEndpoint));
    // PENDING, on either side.
    check(Origin::Pod, POD, false, PENDING, Err(Counter::Pending));
    check(Origin::Uplink, OUTSIDE, false, PENDING, Err(Counter::Pending));
    check(Origin::Node, NODE, false, PENDING, Ok(Way::Pod));
    check(Origin::Pod, PENDING, true, PEER, Err(Counter::Pending));
    check(Origin::Pod, PENDING, true, OUTSIDE, Err(Counter::Pending));
    check(Origin::Pod, PENDING, true, NODE, Ok(Way::Node));
}

#[test]
fn a_pod_is_reached_by_its_link_and_its_ethernet_address() {
    let found = route(&Fake::new(), &settings(), &ip(POD), &ip(POD), &ip(PEER), Origin::Pod, false);
    assert_eq!((found.link, <[u8; 6]>::from(found.mac)), (6, [2, 0, 0, 0, 0, 12]));
}

#[test]
fn a_hop_that_is_known_is_gone_by_where_nobody_here_is_meant() {
    let world = Fake::new();
    world.hops.borrow_mut().extend([(ip(NODE), ip(OUTSIDE)), (ip(POD), ip(PEER))]);
    let check = |named: [u8; 4], to: [u8; 4], pending: bool, expect: (Way, u32)| {
        let found = route(&world, &settings(), &ip(POD), &ip(named), &ip(to), Origin::Pod, pending);
        assert_eq!((found.way, found.link), expect, "{named:?} to {to:?}");
    };
    check(NODE, OUTSIDE, false, (Way::Hop, 0));
    check(POD, OUTSIDE, false, (Way::Outside, 0));
    check(NODE, OUTSIDE, true, (Way::Drop, 0));
    check(POD, PEER, false, (Way::Pod, 6));
}
