//! Behaviours that Kubernetes' conformance suite asks of the API and its controllers, each by a test of ours.
//!
//! One API server with the controllers serves them all; each behaviour works in a namespace of its own and is told by
//! the documentation, not by the suite's code. A few run at a time, for most of them wait. What fails is named at the
//! end, with how many hold; `CONFORMANCE=words` in the environment runs those whose name has the words in it.
//!
//! [`covered`] says which of the suite's tests stands for which behaviour here, so that none is lost.
//!
//! Not here: what needs a kubelet. Pods that must run are said to run by the test.

mod apps;
mod certificates;
mod cluster;
mod command_line;
mod configuration;
mod covered;
mod definitions;
mod events;
mod kinds;
mod limits;
mod lists;
mod machinery;
mod namespaces;
mod network;
mod owners;
mod plugins;
mod policies;
mod published;
mod quotas;
mod storage;

use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use cluster::Cluster;

/// A behaviour: what it is, and the test of it, in a namespace that is made for it.
type Behaviour = (&'static str, fn(&Cluster, &str));

/// Behaviours at work at a time.
const AT_ONCE: usize = 6;
/// The slowest ones are named after a run.
const SLOWEST: usize = 5;

fn all() -> impl Iterator<Item = &'static Behaviour> {
    let suites = [
        // What waits longest first.
        machinery::ALL,
        lists::ALL,
        apps::ALL,
        owners::ALL,
        quotas::ALL,
        namespaces::ALL,
        network::ALL,
        storage::ALL,
        definitions::ALL,
        published::ALL,
        policies::ALL,
        command_line::ALL,
        configuration::ALL,
        certificates::ALL,
        limits::ALL,
        plugins::ALL,
        events::ALL,
        kinds::ALL,
    ];
    suites.into_iter().flatten()
}

#[test]
fn behaviours() {
    let words = std::env::var("CONFORMANCE").unwrap_or_default();
    let cluster = Cluster::start();
    let chosen = all().filter(|(what, _)| what.contains(&words));
    let waiting = Mutex::new(chosen.enumerate());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().expect("nothing panics with it").next();
                    let Some((number, behaviour)) = next else { break };
                    let begun = Instant::now();
                    let held = holds(&cluster, &format!("b{number}"), behaviour);
                    done.lock().expect("nothing panics with it").push((begun.elapsed(), behaviour.0, held));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("nothing panics with it");
    done.sort();
    for (took, what, _) in done.iter().rev().take(SLOWEST) {
        println!("conformance: {:.1} s: {what}", took.as_secs_f64());
    }
    let failed: Vec<&str> = done.iter().filter(|(_, _, held)| !held).map(|(_, what, _)| *what).collect();
    let held = done.len() - failed.len();
    println!("conformance: {held} behaviours hold");
    assert!(failed.is_empty(), "{held} behaviours hold; these do not: {failed:#?}");
}

/// Runs a behaviour in a thread of its name, which says whose a failure is.
fn holds(cluster: &Cluster, namespace: &str, (what, test): &Behaviour) -> bool {
    let cluster = cluster.beside();
    let run = move || {
        cluster.make_namespace(namespace);
        test(&cluster, namespace);
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name((*what).to_owned()).spawn_scoped(scope, run);
        thread.expect("a thread").join().is_ok()
    })
}
