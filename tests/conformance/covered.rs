//! Which behaviour here stands for which test of Kubernetes 1.36's conformance suite: `covered.tsv`, one of its tests a
//! line, with its name there and the names of behaviours here (`; ` between them).
//!
//! The suite has 137 tests that need no kubelet: those of the API alone and of its controllers. Tests that need pods to
//! run are not counted here. The names are the suite's; nothing else is.

use std::collections::BTreeSet;

const TABLE: &str = include_str!("covered.tsv");
/// Tests of the suite for which an API server and controllers are enough.
const TESTS: usize = 137;

#[test]
fn every_test_of_the_suite_has_its_behaviour() {
    let here: Vec<&str> = super::all().map(|(what, _)| *what).collect();
    let unique: BTreeSet<&str> = here.iter().copied().collect();
    assert_eq!(here.len(), unique.len(), "a behaviour's name is its own");
    let mut tests = BTreeSet::new();
    for line in TABLE.lines().skip(1) {
        let (test, behaviours) = line.split_once('\t').expect("two columns");
        assert!(test.starts_with("[sig-") && tests.insert(test), "{test}: told twice, or no test's name");
        for behaviour in behaviours.split("; ") {
            assert!(unique.contains(behaviour), "{test}: no behaviour {behaviour:?}");
        }
    }
    assert_eq!(tests.len(), TESTS);
}
