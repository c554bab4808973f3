//! What a granted resize gives, as a table.

use super::*;
use crate::container_config::MADE_WITH;

/// `1/2/3Ki`: request and limit of CPU, limit of memory; `+cpu` and `+memory` ask for a restart.
fn resources(text: &str) -> (Value, Value) {
    let mut parts = text.split('+');
    let amounts: Vec<&str> = parts.next().unwrap().split('/').collect();
    let policies =
        parts.map(|name| json!({"resourceName": name, "restartPolicy": "RestartContainer"})).collect();
    let resources =
        json!({"requests": {"cpu": amounts[0]}, "limits": {"cpu": amounts[1], "memory": amounts[2]}});
    (resources, policies)
}

/// A case whose containers run with `has` and are to have `wanted`, both in the order of `names`.
fn resized(names: &[&str], has: &[&str], wanted: &[&str]) -> Case {
    let running: Vec<String> = names.iter().map(|name| format!("{name}:running")).collect();
    let running: Vec<&str> = running.iter().map(String::as_str).collect();
    let mut case = case(names, "Always", &[sandbox(0, true)], &running);
    let sized = |sizes: &[&str]| {
        let mut value = case.pod.value().clone();
        for (name, size) in names.iter().zip(sizes) {
            let lists = ["initContainers", "containers"];
            for list in lists {
                let all = value["spec"][list].as_array_mut().unwrap();
                for container in all.iter_mut().filter(|container| container["name"] == *name) {
                    (container["resources"], container["resizePolicy"]) = resources(size);
                }
            }
        }
        Pod::of(value)
    };
    let before = sized(has);
    for container in &mut case.observed.containers {
        let sizes = Sizes::of(&before, before.container(&container.name).unwrap());
        container.status.annotations.insert(MADE_WITH.to_owned(), sizes.annotation());
        container.status.resources =
            Some(v1::ContainerResources { linux: Some(sizes.to_cri()), windows: None });
    }
    case.pod = sized(wanted);
    case.resize = Some(Given { pod: true, ..Given::default() });
    case
}

#[test]
fn containers_change_without_a_restart() {
    let one = |has, wanted| resized(&["a"], &[has], &[wanted]);
    check(one("1/1/4Ki", "1/1/4Ki"), "");
    check(Case { resize: None, ..one("1/1/4Ki", "2/2/4Ki") }, "");
    check(one("1/1/4Ki", "2/3/8Ki"), "check pod 8192, raise, resize a-0 2048/300000/8192, settle");
    // No limit may go below what is used.
    check(
        one("1/1/8Ki", "1/1/4Ki"),
        "check pod 4096, check a-0 4096, raise, resize a-0 1024/100000/4096, settle",
    );
    // The pod's own cgroup was not written yet.
    let mut left = one("1/1/4Ki", "1/1/4Ki");
    left.resize = Some(Given::default());
    check(left, "check pod 4096, raise, settle");
}

#[test]
fn who_gets_less_is_first() {
    check(
        resized(&["a", "b"], &["1/1/4Ki", "1/1/8Ki"], &["1/1/8Ki", "1/1/4Ki"]),
        "check pod 12288, check b-0 4096, raise, resize b-0 1024/100000/4096, resize a-0 1024/100000/8192, settle",
    );
    check(
        resized(&["side", "a"], &["1/1/4Ki", "1/1/4Ki"], &["2/2/4Ki", "1/1/4Ki"]),
        "check pod 8192, raise, resize side-0 2048/200000/4096, settle",
    );
}

#[test]
fn a_policy_may_ask_for_a_restart() {
    let one = |has, wanted| resized(&["a"], &[has], &[wanted]);
    check(one("1/1/4Ki", "2/2/4Ki+memory"), "check pod 4096, raise, resize a-0 2048/200000/4096, settle");
    check(one("1/1/4Ki", "1/1/8Ki+memory"), "kill a-0 (Container a resize requires restart), start a 1");
    check(one("1/1/4Ki", "2/2/4Ki+cpu"), "kill a-0 (Container a resize requires restart), start a 1");
    let mut both = resized(&["a", "b"], &["1/1/4Ki", "1/1/4Ki"], &["1/1/8Ki+memory", "2/2/4Ki"]);
    both.resize = Some(Given::default());
    check(
        both,
        "kill a-0 (Container a resize requires restart), check pod 12288, raise, resize b-0 2048/200000/4096, \
         settle, start a 1",
    );
    check(
        resized(&["side", "a"], &["1/1/4Ki", "1/1/4Ki"], &["2/2/4Ki+cpu", "1/1/4Ki"]),
        "kill side-0 (Container side resize requires restart), start side 1",
    );
    // One that was made by a kubelet that said nothing changes in place.
    let mut unknown = one("1/1/4Ki", "1/1/8Ki+memory");
    unknown.observed.containers[0].status.annotations.clear();
    check(unknown, "check pod 8192, raise, resize a-0 1024/100000/8192, settle");
}

#[test]
fn what_was_given_is_not_given_again() {
    let mut done = resized(&["a"], &["1/1/4Ki"], &["2/2/4Ki"]);
    let sizes = Sizes::of(&done.pod, &done.pod.main[0]);
    done.resize = Some(Given { pod: true, containers: [("a-0".to_owned(), sizes)].into() });
    check(done, "");
    // Runtimes that do not say what a container has are told.
    let mut silent = resized(&["a"], &["1/1/4Ki"], &["1/1/4Ki"]);
    silent.observed.containers[0].status.resources = None;
    check(silent, "check pod 4096, check a-0 4096, raise, resize a-0 1024/100000/4096, settle");
}
