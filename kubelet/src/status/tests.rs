//! Statuses as a table: a pod, what the runtime says, what users see.

use cri_api::v1;
use serde_json::json;

use super::*;
use crate::observed::{ObservedContainer, Sandbox, State};
use crate::probes::{ProbeKind, ProbeReport};

const NOW: i64 = 1_700_000_000;

struct Case {
    pod: Pod,
    before: Value,
    observed: Observed,
    verdicts: Verdicts,
    waiting: BTreeMap<String, Waiting>,
    failed: Option<Verdict>,
    resize: Resize,
    is_over: bool,
    is_ended: bool,
}

fn pod(spec: Value) -> Case {
    let value =
        json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 3}, "spec": spec});
    Case {
        pod: Pod::of(value),
        before: json!({}),
        observed: Observed::default(),
        verdicts: Verdicts::default(),
        waiting: BTreeMap::new(),
        failed: None,
        resize: Resize::default(),
        is_over: false,
        is_ended: false,
    }
}

fn container(name: &str, attempt: u32, state: State, exit_code: i32) -> ObservedContainer {
    let (started_at, finished_at) = match state {
        State::Running => (NOW, 0),
        State::Exited => (NOW, NOW + 1),
        _ => (0, 0),
    };
    ObservedContainer {
        id: format!("{name}{attempt}"),
        sandbox: "s".into(),
        name: name.into(),
        attempt,
        state,
        last_words: String::new(),
        status: v1::ContainerStatus {
            exit_code,
            started_at: started_at * 1_000_000_000,
            finished_at: finished_at * 1_000_000_000,
            image_ref: "r@sha256:1".into(),
            ..Default::default()
        },
    }
}

impl Case {
    fn runs(mut self, containers: Vec<ObservedContainer>) -> Case {
        let addresses = vec!["10.0.0.2".parse().unwrap()];
        let sandbox = Sandbox { id: "s".into(), ready: true, addresses, ..Default::default() };
        self.observed = Observed { sandboxes: vec![sandbox], containers };
        self
    }

    fn over(mut self, is_ended: bool) -> Case {
        (self.is_over, self.is_ended) = (true, is_ended);
        self
    }

    fn status(&self) -> Value {
        of(&Inputs {
            pod: &self.pod,
            before: &self.before,
            observed: &self.observed,
            verdicts: &self.verdicts,
            waiting: &self.waiting,
            failed: self.failed.as_ref(),
            resize: &self.resize,
            is_rejected: false,
            is_over: self.is_over,
            is_ended: self.is_ended,
            node_addresses: &["192.0.2.1".parse().unwrap()],
            runtime: "keelson",
            now: Timestamp::from_second(NOW).unwrap(),
        })
    }
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    status["conditions"].as_array().unwrap().iter().find(|known| known["type"] == kind).unwrap()
}

fn one(policy: &str) -> Value {
    json!({"restartPolicy": policy, "containers": [{"name": "a", "image": "i"}]})
}

#[test]
fn phases() {
    let check = |case: Case, phase: &str| assert_eq!(case.status()["phase"], phase, "{:#}", case.status());
    let exited = |code| vec![container("a", 0, State::Exited, code)];
    check(pod(one("Always")), "Pending");
    check(pod(one("Always")).runs(vec![container("a", 0, State::Running, 0)]), "Running");
    check(pod(one("Always")).runs(exited(0)), "Running");
    check(pod(one("Always")).runs(exited(0)).over(true), "Succeeded");
    check(pod(one("Never")).runs(exited(0)), "Succeeded");
    check(pod(one("Never")).runs(exited(1)), "Failed");
    check(pod(one("OnFailure")).runs(exited(1)), "Running");
    check(pod(one("OnFailure")).runs(exited(1)).over(true), "Failed");
    // Deleted before anything ran.
    check(pod(one("Always")).over(false), "Pending");
    check(pod(one("Always")).runs(vec![]).over(true), "Failed");
    let mut late = pod(one("Always")).runs(vec![container("a", 0, State::Running, 0)]);
    late.failed = Some(Verdict { reason: "DeadlineExceeded".into(), message: "m".into() });
    late.is_over = true;
    check(Case { observed: late.observed.clone(), ..pod(one("Always")).over(false) }, "Running");
    late.observed.containers[0] = container("a", 0, State::Exited, 137);
    assert_eq!(late.status()["reason"], "DeadlineExceeded");
    check(late, "Failed");
    let mut kept = pod(one("Never"));
    kept.before = json!({"phase": "Succeeded"});
    check(kept, "Succeeded");
    let init =
        json!({"restartPolicy": "Never", "initContainers": [{"name": "i"}], "containers": [{"name": "a"}]});
    check(pod(init.clone()).runs(vec![container("i", 0, State::Running, 0)]), "Pending");
    check(pod(init.clone()).runs(vec![container("i", 0, State::Exited, 1)]), "Failed");
    check(
        pod(init).runs(vec![container("i", 0, State::Exited, 0), container("a", 0, State::Running, 0)]),
        "Running",
    );
}

#[test]
fn containers_that_wait() {
    let status = pod(one("Always")).status();
    let first = &status["containerStatuses"][0];
    assert_eq!(first["state"], json!({"waiting": {"reason": "ContainerCreating"}}));
    assert_eq!((first["restartCount"].clone(), first["ready"].clone()), (0.into(), false.into()));
    let init = json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]});
    let status = pod(init).status();
    let reason = |list: &str, at: usize| status[list][at]["state"]["waiting"]["reason"].clone();
    assert_eq!(reason("initContainerStatuses", 0), "ContainerCreating");
    assert_eq!(reason("initContainerStatuses", 1), "PodInitializing");
    assert_eq!(reason("containerStatuses", 0), "PodInitializing");
    assert_eq!(condition(&status, "Initialized")["message"], "containers with incomplete status: [i j]");
}

#[test]
fn restarts_are_the_runtimes() {
    let newer = container("a", 3, State::Exited, 1);
    let mut case = pod(one("Always")).runs(vec![newer, container("a", 2, State::Exited, 2)]);
    let waiting = Waiting { reason: "CrashLoopBackOff".into(), message: "back-off".into() };
    case.waiting.insert("a".into(), waiting);
    let status = case.status();
    let shown = &status["containerStatuses"][0];
    assert_eq!(shown["restartCount"], 3);
    assert_eq!(shown["state"]["waiting"]["reason"], "CrashLoopBackOff");
    assert_eq!(shown["lastState"]["terminated"]["exitCode"], 1);
    assert_eq!(shown["lastState"]["terminated"]["containerID"], "keelson://a3");
    assert_eq!(shown["lastState"]["terminated"]["reason"], "Error");
    case.waiting.clear();
    case.observed.containers.insert(0, container("a", 4, State::Running, 0));
    let status = case.status();
    let shown = &status["containerStatuses"][0];
    assert_eq!((shown["restartCount"].clone(), shown["ready"].clone()), (4.into(), true.into()));
    assert_eq!(shown["lastState"]["terminated"]["exitCode"], 1);
    assert_eq!(shown["state"]["running"]["startedAt"], "2023-11-14T22:13:20Z");
}

#[test]
fn what_the_runtime_forgot_stays_known() {
    let mut case = pod(one("Never"));
    let ended = json!({"name": "a", "restartCount": 1, "containerID": "keelson://x",
        "state": {"terminated": {"exitCode": 0}}});
    case.before = json!({"phase": "Succeeded", "containerStatuses": [ended]});
    let status = case.status();
    assert_eq!(status["containerStatuses"][0]["state"]["terminated"]["exitCode"], 0);
    let running = json!({"name": "a", "restartCount": 1, "state": {"running": {"startedAt": "t"}}});
    let mut case = pod(one("Always"));
    case.before = json!({"phase": "Running", "containerStatuses": [running]});
    let status = case.status();
    let shown = &status["containerStatuses"][0];
    assert_eq!(shown["lastState"]["terminated"]["reason"], "ContainerStatusUnknown");
    assert_eq!(shown["restartCount"], 2);
}

#[test]
fn conditions_and_gates() {
    let mut case = pod(one("Always")).runs(vec![container("a", 0, State::Running, 0)]);
    let status = case.status();
    for kind in ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"] {
        assert_eq!(condition(&status, kind)["status"], "True", "{kind}");
        assert_eq!(condition(&status, kind)["observedGeneration"], 3);
    }
    assert_eq!((status["podIP"].clone(), status["hostIP"].clone()), ("10.0.0.2".into(), "192.0.2.1".into()));
    case.pod = pod(json!({"containers": [{"name": "a", "readinessProbe": {"exec": {}}}],
        "readinessGates": [{"conditionType": "gate"}]}))
    .pod;
    let status = case.status();
    assert_eq!(condition(&status, "Ready")["reason"], "ContainersNotReady");
    assert_eq!(condition(&status, "Ready")["message"], "containers with unready status: [a]");
    let kind = ProbeKind::Readiness;
    let (container, container_id) = ("a".to_owned(), "a0".to_owned());
    case.verdicts.take(ProbeReport { container, container_id, kind, success: true, grace_seconds: None });
    let status = case.status();
    assert_eq!(condition(&status, "ContainersReady")["status"], "True");
    assert_eq!(condition(&status, "Ready")["reason"], "ReadinessGatesNotReady");
    assert!(condition(&status, "Ready")["message"].as_str().unwrap().contains("\"gate\" does not exist"));
    case.before = json!({"conditions": [{"type": "gate", "status": "True"}]});
    assert_eq!(condition(&case.status(), "Ready")["status"], "True");
}

#[test]
fn a_resize_is_told() {
    use crate::resize::{Given, Pending, Progress, Wait};
    let mut case = pod(json!({"containers": [{"name": "a", "image": "i", "resources":
        {"requests": {"cpu": "2", "memory": "1Mi"}, "limits": {"memory": "2Mi"}}}]}));
    let mut running = container("a", 0, State::Running, 0);
    let linux =
        v1::LinuxContainerResources { cpu_shares: 512, memory_limit_in_bytes: 1 << 20, ..Default::default() };
    running.status.resources = Some(v1::ContainerResources { linux: Some(linux), windows: None });
    case = case.runs(vec![running]);
    let has = |case: &Case| case.status()["containerStatuses"][0]["resources"].clone();
    let granted = json!({"requests": {"cpu": "2", "memory": "1Mi"}, "limits": {"memory": "2Mi"}});
    assert_eq!(has(&case), granted, "what was not resized has what it asked for");
    case.resize.progress = Some(Progress { generation: 2, ..Progress::default() });
    case.resize.pending = Some(Pending { wait: Wait::Deferred, message: "no room".into(), generation: 3 });
    assert_eq!(
        has(&case),
        json!({"requests": {"cpu": "500m", "memory": "1Mi"}, "limits": {"memory": "1Mi"}})
    );
    let status = case.status();
    assert_eq!(status["containerStatuses"][0]["allocatedResources"], granted["requests"]);
    let told = |kind: &str| {
        let condition = condition(&status, kind);
        let fields = ["status", "reason", "message"];
        let texts = fields.map(|field| condition[field].as_str().unwrap_or_default().to_owned());
        format!("{} {}", texts.join("/"), condition["observedGeneration"])
    };
    assert_eq!(told("PodResizePending"), "True/Deferred/no room 3");
    assert_eq!(told("PodResizeInProgress"), "True// 2");
    let sizes = crate::container_config::Sizes::of(&case.pod, &case.pod.main[0]);
    let given = Given { containers: [("a0".to_owned(), sizes)].into(), pod: true };
    case.resize.progress = Some(Progress { generation: 2, error: Some("busy".into()), given });
    assert_eq!(has(&case), granted);
    assert_eq!(condition(&case.status(), "PodResizeInProgress")["reason"], "Error");
}
