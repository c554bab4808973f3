//! Loading, restarting and unloading, on the real kernel: every program passes the verifier, everything is
//! pinned, a second `ensure` changes nothing, and nothing is left.

use std::path::PathBuf;

use keelson_datapath::{Config, Datapath, DatapathError, Tables, unload};

/// Verifiers of older kernels see less, so they need more steps; all of them end at a million.
const VERIFIED_MAX: u32 = 80_000;

fn config(folder: &tempfile::TempDir) -> Config {
    Config { bpffs: folder.path().join("bpf"), cgroup: None, ..Config::default() }
}

#[test]
fn a_data_path_comes_stays_and_goes() {
    if !harness::root_or_skip("a_data_path_comes_stays_and_goes") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let guard = harness::host::exclusive("a_data_path_comes_stays_and_goes");
    let config = config(&folder);
    assert!(matches!(Tables::open(&config), Err(DatapathError::NotLoaded { .. })));
    let first = Datapath::ensure(&config).unwrap();
    assert_eq!(first.counters().unwrap().dropped(), 0);
    let id = |datapath: &Datapath| datapath.program("from_pod").unwrap().info().unwrap().id();
    let before = id(&first);
    for program in ["from_pod", "to_pod", "from_host", "from_uplink", "to_uplink"] {
        let steps = first.program(program).unwrap().info().unwrap().verified_instruction_count();
        println!("{program:12} {steps:?} steps of the verifier");
        assert!(steps.is_none_or(|steps| steps < VERIFIED_MAX), "{program}: {steps:?}");
    }
    let pins = keelson_datapath::footprint(&config).pins;
    assert_eq!(pins, [PathBuf::from(format!("{}/v*", config.bpffs.display()))]);
    drop(first);
    let second = Datapath::ensure(&config).unwrap();
    assert_eq!(id(&second), before, "the programs of the first one are taken over");
    drop(second);
    unload(&config).unwrap();
    unload(&config).unwrap();
    assert!(matches!(Tables::open(&config), Err(DatapathError::NotLoaded { .. })));
    guard.finish();
}
