//! Behaviours that Kubernetes' conformance suite asks of the API and its controllers, each by a test of ours.
//!
//! One API server with the controllers serves them all; each behaviour works in a namespace of its own and is told by
//! the documentation, not by the suite's code. What fails is named at the end, with how many hold.
//!
//! Not here: what needs a kubelet. Pods that must run are said to run by the test.

mod apps;
mod cluster;
mod configuration;
mod events;
mod kinds;
mod limits;
mod machinery;
mod namespaces;
mod network;
mod quotas;
mod storage;

use std::panic::{AssertUnwindSafe, catch_unwind};

use cluster::Cluster;

/// A behaviour: what it is, and the test of it, in a namespace that is made for it.
type Behaviour = (&'static str, fn(&Cluster, &str));

#[test]
#[ignore = "on demand until every behaviour holds: cargo test --test conformance -- --ignored"]
fn behaviours() {
    let cluster = Cluster::start();
    let suites: [&[Behaviour]; 10] = [
        kinds::ALL,
        machinery::ALL,
        configuration::ALL,
        events::ALL,
        namespaces::ALL,
        limits::ALL,
        quotas::ALL,
        network::ALL,
        storage::ALL,
        apps::ALL,
    ];
    let (mut held, mut failed) = (0, Vec::new());
    for (number, (what, test)) in suites.into_iter().flatten().enumerate() {
        let namespace = format!("b{number}");
        cluster.make_namespace(&namespace);
        match catch_unwind(AssertUnwindSafe(|| test(&cluster, &namespace))) {
            Ok(()) => held += 1,
            Err(_) => failed.push(*what),
        }
    }
    println!("conformance: {held} behaviours hold");
    assert!(failed.is_empty(), "{held} behaviours hold; these do not: {failed:#?}");
}
