//! An error before every step of a registration, with real programs and maps in a network namespace of its own.

use std::process::Command;

use datapath::{Config, Tables};
use harness::netns::TestHost;

use super::*;
use crate::endpoint::example;

#[test]
fn an_error_before_any_step_leaves_nothing() {
    let test = "agent: an_error_before_any_step_leaves_nothing";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let folder = tempfile::tempdir().unwrap();
    let (host, pod) = (TestHost::create(guard.tag(), "host"), TestHost::create(guard.tag(), "pod"));
    let config = Config {
        bpffs: folder.path().join("bpf"),
        instance: guard.tag().to_owned(),
        // Not attached here: entering a namespace is what is tested, not translating.
        cgroup: None,
        ..Config::default()
    };
    let mut endpoint = example("c1", 0, "10.244.0.5");
    host.connect(&endpoint.link, &pod, "eth0");
    let alias = cni_api::host_link::alias(&endpoint.network, &endpoint.attachment);
    host.ip(&["link", "set", &endpoint.link, "alias", &alias]);
    let records = folder.path().join("endpoints");
    let outcome = host.inside(|| {
        let mut pods = Pods::new(Host::open().unwrap(), Registry::open(&records).unwrap());
        pods.carrier.ensure(config.clone()).unwrap();
        endpoint.link_index = pods.link_named(&endpoint.link).unwrap().unwrap().index;
        let left = |pods: &Pods| {
            let tables = Tables::open(&config).unwrap();
            let known = tables.endpoints().unwrap().observed().unwrap().len();
            known
                + tables.namespaces().unwrap().observed().unwrap().len()
                + pods.registry.all().len()
                + std::fs::read_dir(&records).unwrap().count()
        };
        let mut steps = 0;
        loop {
            let mut count = 0;
            let mut before = || {
                count += 1;
                if count > steps { Err(LookError::Injected) } else { Ok(()) }
            };
            match pods.register_with(endpoint.clone(), &mut before) {
                Ok(()) => break,
                Err(error) => assert_eq!(error.details, "injected", "step {steps}"),
            }
            assert_eq!(left(&pods), 0, "step {steps}");
            // As if the link had gone with its programs.
            datapath::Datapath::ensure(&config).unwrap().detach_all().unwrap();
            steps += 1;
        }
        assert!(steps >= 4, "pending, programs, ready, record: {steps}");
        assert_eq!(left(&pods), 3, "an entry, a record and its file");
        pods.register(endpoint.clone()).unwrap();
        assert_eq!(pods.check(&endpoint), Ok(()));
        // Somebody else's address, while its owner is there.
        let mut thief = example("c2", 1, "10.244.0.5");
        let made = Command::new("ip").args(["link", "add", &thief.link, "type", "veth"]).status().unwrap();
        assert!(made.success());
        let alias = cni_api::host_link::alias(&thief.network, &thief.attachment);
        let named = Command::new("ip").args(["link", "set", &thief.link, "alias", &alias]).status().unwrap();
        assert!(named.success());
        thief.link_index = pods.link_named(&thief.link).unwrap().unwrap().index;
        let error = pods.register(thief).unwrap_err();
        assert!(
            error.code == Code::InvalidConfig as u32 && error.msg.contains("that of container c1"),
            "{error}"
        );
        pods.unregister(&endpoint.network, &endpoint.attachment).unwrap();
        pods.unregister(&endpoint.network, &endpoint.attachment).unwrap();
        assert!(pods.check(&endpoint).unwrap_err().msg.contains("does not know"));
        assert_eq!(left(&pods), 0);
        datapath::unload(&config)
    });
    outcome.unwrap();
    drop((host, pod));
    drop(folder);
    guard.finish();
}
