//! Plans as a table: a pod, what the runtime says, the steps.

mod resize;

use cri_api::v1;
use serde_json::{Value, json};

use super::*;
use crate::observed::Sandbox;
use crate::probes::ProbeReport;

/// A pod with these containers; names that begin with `init` or `side` are init containers.
fn pod(names: &[&str], policy: &str) -> Pod {
    let value = |name: &&str| match name.starts_with("side") {
        true => json!({"name": name, "image": "i", "restartPolicy": "Always"}),
        false => json!({"name": name, "image": "i"}),
    };
    let is_init = |name: &&&str| name.starts_with("init") || name.starts_with("side");
    let (init, main): (Vec<&str>, Vec<&str>) = names.iter().partition(is_init);
    let list = |names: Vec<&str>| names.iter().map(value).collect::<Vec<Value>>();
    Pod::of(json!({
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"restartPolicy": policy, "initContainers": list(init), "containers": list(main)},
    }))
}

fn sandbox(attempt: u32, ready: bool) -> Sandbox {
    Sandbox {
        id: format!("s{attempt}"),
        attempt,
        ready,
        created_at: i64::from(attempt) + 1,
        addresses: vec!["10.0.0.1".parse().unwrap()],
        host_network: false,
    }
}

/// `name:running`, `name:0` (exited with 0), `name:created`, `name:unknown`; `@1` sets the attempt, `/0` the sandbox.
fn container(text: &str) -> ObservedContainer {
    let (text, sandbox) = text.split_once('/').unwrap_or((text, "0"));
    let (text, attempt) = text.split_once('@').unwrap_or((text, "0"));
    let (name, state) = text.split_once(':').unwrap();
    let (state, exit_code) = match state {
        "running" => (State::Running, 0),
        "created" => (State::Created, 0),
        "unknown" => (State::Unknown, 0),
        code => (State::Exited, code.parse().unwrap()),
    };
    let finished_at = if state == State::Exited { NOW * 1_000_000_000 } else { 0 };
    ObservedContainer {
        id: format!("{name}-{attempt}"),
        sandbox: format!("s{sandbox}"),
        name: name.to_owned(),
        attempt: attempt.parse().unwrap(),
        state,
        last_words: String::new(),
        status: v1::ContainerStatus { exit_code, finished_at, ..Default::default() },
    }
}

const NOW: i64 = 1_000_000;

fn observed(sandboxes: &[Sandbox], containers: &[&str]) -> Observed {
    let mut containers: Vec<ObservedContainer> = containers.iter().map(|text| container(text)).collect();
    containers.sort_by_key(|container| std::cmp::Reverse(container.attempt));
    Observed { sandboxes: sandboxes.to_vec(), containers }
}

fn words(steps: &[Step]) -> String {
    let word = |step: &Step| match step {
        Step::StopSandbox { id } => format!("stop {id}"),
        Step::CreateSandbox { attempt } => format!("sandbox {attempt}"),
        Step::Kill { id, message, .. } => format!("kill {id} ({message})"),
        Step::Start { container, attempt } => format!("start {container} {attempt}"),
        Step::Wait { container, whole, .. } => format!("wait {container} {}s", whole.as_secs()),
        Step::End => "end".to_owned(),
        Step::CheckPodMemory { limit } => format!("check pod {limit}"),
        Step::CheckMemory { id, limit, .. } => format!("check {id} {limit}"),
        Step::RaisePod => "raise".to_owned(),
        Step::Resize { id, sizes, .. } => {
            format!("resize {id} {}/{}/{}", sizes.cpu_shares, sizes.cpu_quota, sizes.memory)
        }
        Step::SettlePod => "settle".to_owned(),
    };
    steps.iter().map(word).collect::<Vec<_>>().join(", ")
}

struct Case {
    pod: Pod,
    observed: Observed,
    verdicts: Verdicts,
    backoffs: Backoffs,
    resize: Option<Given>,
}

fn case(names: &[&str], policy: &str, sandboxes: &[Sandbox], containers: &[&str]) -> Case {
    Case {
        pod: pod(names, policy),
        observed: observed(sandboxes, containers),
        verdicts: Verdicts::default(),
        backoffs: Backoffs::default(),
        resize: None,
    }
}

fn check(case: Case, expected: &str) {
    let now = Timestamp::from_second(NOW).unwrap();
    let desired = Desired {
        pod: &case.pod,
        verdicts: &case.verdicts,
        backoffs: &case.backoffs,
        resize: case.resize.as_ref(),
        now,
    };
    assert_eq!(words(&plan(&desired, &case.observed)), expected, "{:#?}", case.observed);
}

#[test]
fn sandboxes() {
    let ready = [sandbox(0, true)];
    check(case(&["a"], "Always", &[], &[]), "sandbox 0");
    check(case(&["a", "b"], "Always", &ready, &[]), "start a 0, start b 0");
    check(case(&["a"], "Always", &ready, &["a:running"]), "");
    // The sandbox is gone under its containers.
    check(case(&["a"], "Always", &[sandbox(0, false)], &["a:running"]), "stop s0, sandbox 1");
    check(case(&["a"], "Always", &[sandbox(0, false)], &["a:137"]), "sandbox 1");
    check(case(&["a"], "Never", &[sandbox(0, false)], &["a:137"]), "end");
    check(case(&["a"], "Never", &[sandbox(0, false)], &[]), "sandbox 1");
    check(case(&["a"], "OnFailure", &[sandbox(0, false)], &["a:0"]), "end");
    check(case(&["a", "b"], "OnFailure", &[sandbox(0, false)], &["a:0", "b:1"]), "sandbox 1");
    let both = [sandbox(1, true), sandbox(0, true)];
    check(case(&["a"], "Always", &both, &["a:running"]), "stop s1, stop s0, sandbox 2");
    // In the new one, what had succeeded is not repeated.
    let replaced = [sandbox(1, true), sandbox(0, false)];
    check(case(&["a", "b"], "OnFailure", &replaced, &["a:0", "b:1"]), "start b 1");
    let mut hosted = case(&["a"], "Always", &ready, &["a:running"]);
    hosted.observed.sandboxes[0].host_network = true;
    check(hosted, "stop s0, sandbox 1");
    let mut without_address = case(&["a"], "Always", &ready, &[]);
    without_address.observed.sandboxes[0].addresses.clear();
    check(without_address, "stop s0, sandbox 1");
}

#[test]
fn restarts() {
    let ready = [sandbox(0, true)];
    check(case(&["a"], "Always", &ready, &["a:0"]), "start a 1");
    check(case(&["a"], "OnFailure", &ready, &["a:1@4", "a:1@3"]), "start a 5");
    check(case(&["a"], "OnFailure", &ready, &["a:0"]), "end");
    check(case(&["a"], "Never", &ready, &["a:1"]), "end");
    check(case(&["a", "b"], "Never", &ready, &["a:1", "b:running"]), "");
    check(case(&["a"], "Always", &ready, &["a:created"]), "start a 0");
    check(case(&["a"], "Never", &ready, &["a:created@2"]), "start a 2");
    check(
        case(&["a"], "Always", &ready, &["a:unknown"]),
        "kill a-0 (Container is in \"unknown\" state, try killing it before restart), start a 1",
    );
    let mut waiting = case(&["a", "b"], "Always", &ready, &["a:1@2", "b:running"]);
    let now = Timestamp::from_second(NOW).unwrap();
    let key = restart_key(&waiting.pod, &waiting.pod.main[0]);
    waiting.backoffs.count(&key, now, now);
    check(waiting, "wait a 10s");
    let mut ruled = case(&["a"], "Never", &ready, &["a:42"]);
    let mut value = ruled.pod.value().clone();
    value["spec"]["containers"][0]["restartPolicyRules"] =
        json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    ruled.pod = Pod::of(value);
    check(ruled, "start a 1");
}

#[test]
fn restarts_go_on_after_a_reboot() {
    let after = |state: Value, expected: &str| {
        let mut case = case(&["a"], "Always", &[sandbox(0, true)], &[]);
        let mut value = case.pod.value().clone();
        value["status"] = json!({"containerStatuses": [{"name": "a", "restartCount": 2, "state": state}]});
        case.pod = Pod::of(value);
        check(case, expected);
    };
    after(json!({"running": {"startedAt": "t"}}), "start a 3");
    // Counted already, when it was found missing.
    after(json!({"waiting": {"reason": "ContainerCreating"}}), "start a 2");
}

#[test]
fn init_containers_in_order() {
    let ready = [sandbox(0, true)];
    let names = ["init1", "init2", "a"];
    let run = |containers: &[&str]| case(&names, "Always", &ready, containers);
    check(run(&[]), "start init1 0");
    check(run(&["init1:running"]), "");
    check(run(&["init1:0"]), "start init2 0");
    check(run(&["init1:0", "init2:running"]), "");
    check(run(&["init1:0", "init2:1"]), "start init2 1");
    check(run(&["init1:0", "init2:0"]), "start a 0");
    // The first one was collected meanwhile.
    check(run(&["init2:0"]), "start a 0");
    check(run(&["a:running"]), "");
    check(run(&["init1:0", "init2:0", "a:1"]), "start a 1");
    check(case(&names, "Never", &ready, &["init1:1"]), "end");
    // A new sandbox begins anew.
    let replaced = [sandbox(1, true), sandbox(0, false)];
    check(case(&names, "Always", &replaced, &["init1:0", "init2:0", "a:1"]), "start init1 1");
}

#[test]
fn sidecars() {
    let ready = [sandbox(0, true)];
    let names = ["side1", "init2", "a"];
    let run = |containers: &[&str]| case(&names, "OnFailure", &ready, containers);
    check(run(&["side1:running"]), "start init2 0");
    check(run(&["side1:running", "init2:running"]), "");
    check(run(&["side1:1", "init2:running"]), "start side1 1");
    check(run(&["side1:running", "init2:0"]), "start a 0");
    check(run(&["side1:0", "init2:0", "a:running"]), "start side1 1");
    check(run(&["side1:running", "init2:0", "a:0"]), "end");
    let mut probed = run(&["side1:running"]);
    let mut value = probed.pod.value().clone();
    value["spec"]["initContainers"][0]["startupProbe"] = json!({"exec": {"command": ["true"]}});
    probed.pod = Pod::of(value);
    check(Case { pod: probed.pod.clone(), observed: probed.observed.clone(), ..run(&[]) }, "");
    probed.verdicts.take(report("side1", "side1-0", ProbeKind::Startup, true));
    check(probed, "start init2 0");
}

fn report(container: &str, id: &str, kind: ProbeKind, success: bool) -> ProbeReport {
    let (container, container_id) = (container.to_owned(), id.to_owned());
    ProbeReport { container, container_id, kind, success, grace_seconds: None }
}

#[test]
fn kills() {
    let ready = [sandbox(0, true)];
    let with = |policy: &str, kind| {
        let mut case = case(&["a"], policy, &ready, &["a:running"]);
        case.verdicts.take(report("a", "a-0", kind, false));
        case
    };
    check(
        with("Always", ProbeKind::Liveness),
        "kill a-0 (Container a failed liveness probe, will be restarted)",
    );
    check(with("Never", ProbeKind::Startup), "kill a-0 (Container a failed startup probe)");
    check(with("Always", ProbeKind::Readiness), "");
    let mut former = case(&["a"], "Always", &ready, &["a:running@1"]);
    former.verdicts.take(report("a", "a-0", ProbeKind::Liveness, false));
    check(former, "");
    let mut changed = case(&["a"], "Never", &ready, &["a:running"]);
    changed.observed.containers[0].status.annotations.insert(labels::HASH.to_owned(), "0".to_owned());
    check(changed, "kill a-0 (Container a definition changed, will be restarted), start a 1");
}

#[test]
fn ephemeral_containers_start_once() {
    let ready = [sandbox(0, true)];
    let mut debugged = case(&["a"], "Always", &ready, &["a:running"]);
    let mut value = debugged.pod.value().clone();
    value["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": "i"}]);
    debugged.pod = Pod::of(value);
    check(
        Case { observed: debugged.observed.clone(), pod: debugged.pod.clone(), ..case(&[], "", &[], &[]) },
        "start debug 0",
    );
    debugged.observed = observed(&ready, &["a:running", "debug:1"]);
    check(debugged, "");
}
