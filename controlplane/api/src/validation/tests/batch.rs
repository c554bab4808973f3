//! Jobs, their policies and their status.

use serde_json::{Value, json};

use super::{Case, UpdateCase, created, expect, updated, with};

fn job(changes: &[(&str, Value)]) -> Value {
    let base = json!({
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {
            "manualSelector": true,
            "completions": 3,
            "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}},
        },
    });
    with(&base, changes)
}

fn indexed(changes: &[(&str, Value)]) -> Value {
    with(&job(&[("/spec/completionMode", json!("Indexed"))]), changes)
}

fn rule(rule: Value) -> Vec<(&'static str, Value)> {
    vec![("/spec/podFailurePolicy", json!({"rules": [rule]}))]
}

#[test]
fn failure_policies() {
    let codes = |codes: Value| rule(json!({"action": "Count", "onExitCodes": codes}));
    let cases: Vec<Case<'_>> = vec![
        ("fine", codes(json!({"operator": "NotIn", "values": [0, 1], "containerName": "c"})), &[]),
        (
            "nothing",
            rule(json!({})),
            &[
                "spec.podFailurePolicy.rules[0].action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]",
                "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
            ],
        ),
        (
            "an index without a limit",
            rule(json!({"action": "FailIndex", "onPodConditions": [{"type": "A"}]})),
            &[
                "spec.podFailurePolicy.rules[0].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set",
            ],
        ),
        (
            "both",
            rule(json!({"action": "Odd", "onPodConditions": [{"type": "a b", "status": "Odd"}],
                "onExitCodes": {"operator": "In", "values": [1]}})),
            &[
                "spec.podFailurePolicy.rules[0].action: Unsupported value: \"Odd\": supported values: \"Count\", \"FailIndex\", \"FailJob\", \"Ignore\"",
                "spec.podFailurePolicy.rules[0].onPodConditions[0].type: Invalid value: \"a b\"...",
                "spec.podFailurePolicy.rules[0].onPodConditions[0].status: Unsupported value: \"Odd\": supported values: \"False\", \"True\", \"Unknown\"",
                "spec.podFailurePolicy.rules[0]: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported",
            ],
        ),
        (
            "codes",
            codes(json!({"operator": "In", "values": [3, 0, 3], "containerName": "d"})),
            &[
                "spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: \"d\": must be one of the container or initContainer names in the pod template",
                "spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
                "spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Duplicate value: 3",
                "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [3,0,3]: must be ordered",
            ],
        ),
        (
            "restart",
            [
                rule(json!({"action": "Count", "onPodConditions": [{"type": "A"}]})),
                vec![("/spec/template/spec/restartPolicy", json!("OnFailure"))],
            ]
            .concat(),
            &[
                "spec.template.spec.restartPolicy: Invalid value: \"OnFailure\": only \"Never\" is supported when podFailurePolicy is specified",
            ],
        ),
    ];
    for (what, changes, wanted) in cases {
        expect(what, &created("batch", "Job", job(&changes)), wanted);
    }
}

#[test]
fn indexes() {
    let success = |rule: Value| vec![("/spec/successPolicy", json!({"rules": [rule]}))];
    let cases: Vec<Case<'_>> = vec![
        ("fine", success(json!({"succeededIndexes": "0,2", "succeededCount": 1})), &[]),
        (
            "nothing",
            success(json!({})),
            &[
                "spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified",
            ],
        ),
        (
            "no rules",
            vec![("/spec/successPolicy", json!({"rules": []}))],
            &[
                "spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified",
            ],
        ),
        (
            "too large",
            success(json!({"succeededIndexes": "0-3", "succeededCount": 4})),
            &[
                "spec.successPolicy.rules[0].succeededIndexes: Invalid value: \"0-3\": error parsing succeededIndexes: too large index: \"3\"",
                "spec.successPolicy.rules[0].succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of specified completions)",
                "spec.successPolicy.rules[0].succeededCount: Invalid value: 4: must be less than or equal to 0 (the number of indexes in the specified succeededIndexes field)",
            ],
        ),
        (
            "backwards",
            success(json!({"succeededIndexes": "2,1"})),
            &[
                "spec.successPolicy.rules[0].succeededIndexes: Invalid value: \"2,1\": error parsing succeededIndexes: non-increasing order, previous: 2, current: 1",
            ],
        ),
        (
            "limits",
            vec![("/spec/maxFailedIndexes", json!(4))],
            &[
                "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
                "spec.maxFailedIndexes: Invalid value: 4: must be less than or equal to completions",
            ],
        ),
        (
            "many",
            vec![
                ("/spec/completions", json!(100_001)),
                ("/spec/backoffLimitPerIndex", json!(1)),
                ("/spec/parallelism", json!(10_001)),
            ],
            &[
                "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
                "spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index",
            ],
        ),
        (
            "name",
            vec![("/metadata/name", json!("a".repeat(62)))],
            &["metadata.name: Invalid value: \"aaaa..."],
        ),
        (
            "manager",
            vec![("/spec/managedBy", json!("me"))],
            &[
                "spec.managedBy: Invalid value: \"me\": must be a domain-prefixed path (such as \"acme.io/foo\")",
            ],
        ),
    ];
    for (what, changes, wanted) in cases {
        expect(what, &created("batch", "Job", indexed(&changes)), wanted);
    }
    let plain = job(&[
        ("/spec/successPolicy", json!({"rules": [{"succeededCount": 1}]})),
        ("/spec/backoffLimitPerIndex", json!(1)),
    ]);
    let wanted = [
        "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
        "spec.successPolicy: Invalid value: {...",
    ];
    expect("not indexed", &created("batch", "Job", plain), &wanted);
}

#[test]
fn selectors() {
    let labels = |uid: &str| {
        json!({"controller-uid": "u", "job-name": "a",
        "batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": "a"})
    };
    let given = |uid: &str| {
        job(&[
            ("/metadata/uid", json!("u")),
            ("/spec/manualSelector", Value::Null),
            ("/spec/selector", json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}})),
            ("/spec/template/metadata/labels", labels(uid)),
        ])
    };
    expect("its own", &created("batch", "Job", given("u")), &[]);
    let wanted = [
        "spec.template.metadata.labels[batch.kubernetes.io/controller-uid]: Invalid value: {...",
        "spec.template.metadata.labels: Invalid value: {...",
    ];
    expect("another's", &created("batch", "Job", given("v")), &wanted);
}

#[test]
fn updates() {
    let old = indexed(&[("/spec/parallelism", json!(3))]);
    let suspended = with(&old, &[("/spec/suspend", json!(true))]);
    let node = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "preference": {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["x"]}]}}]}});
    let pods = json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "podAffinityTerm": {"topologyKey": "k"}}]}});
    let cases: Vec<UpdateCase<'_>> = vec![
        ("in tandem", &old, vec![("/spec/completions", json!(5)), ("/spec/parallelism", json!(5))], &[]),
        (
            "alone",
            &old,
            vec![("/spec/completions", json!(5))],
            &["spec.completions: Invalid value: 5: can only be modified in tandem with spec.parallelism"],
        ),
        ("where to run", &suspended, vec![("/spec/template/spec/affinity", node.clone())], &[]),
        (
            "how much it gets",
            &suspended,
            vec![("/spec/template/spec/containers/0/resources", json!({"requests": {"cpu": "2"}}))],
            &[],
        ),
        (
            "how much it gets, too late",
            &old,
            vec![("/spec/template/spec/containers/0/resources", json!({"requests": {"cpu": "2"}}))],
            &["spec.template: Invalid value: {..."],
        ),
        (
            "where to run, too late",
            &old,
            vec![("/spec/template/spec/affinity", node)],
            &["spec.template: Invalid value: {..."],
        ),
        (
            "beside whom to run",
            &suspended,
            vec![("/spec/template/spec/affinity", pods)],
            &["spec.template.spec: Invalid value: {..."],
        ),
    ];
    for (what, old, changes, wanted) in cases {
        expect(what, &updated("batch", "Job", "", with(old, &changes), old.clone()), wanted);
    }
}

#[test]
fn states() {
    let holds = |kinds: &[&str]| {
        let all: Vec<Value> = kinds.iter().map(|kind| json!({"type": kind, "status": "True"})).collect();
        Value::from(all)
    };
    let time = "2026-01-01T00:00:00Z";
    let running = job(&[("/status", json!({"startTime": time, "active": 1, "failed": 1}))]);
    let complete = job(&[(
        "/status",
        json!({"startTime": time, "completionTime": time, "succeeded": 3, "conditions": holds(&["SuccessCriteriaMet", "Complete"])}),
    )]);
    let cases: Vec<UpdateCase<'_>> = vec![
        ("nothing", &running, vec![], &[]),
        (
            "an end without a reason",
            &running,
            vec![("/status/conditions", holds(&["Failed"]))],
            &[
                "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition",
                "status.active: Invalid value: 1: active>0 is invalid for finished job",
            ],
        ),
        (
            "completion",
            &running,
            vec![("/status/active", json!(0)), ("/status/conditions", holds(&["Complete"]))],
            &[
                "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
                "status.completionTime: Required value: completionTime is required for Complete jobs",
            ],
        ),
        (
            "numbers",
            &running,
            vec![
                ("/status/ready", json!(2)),
                ("/status/failed", json!(0)),
                ("/status/startTime", Value::Null),
            ],
            &[
                "status.ready: Invalid value: 2: cannot set more ready pods than active",
                "status.failed: Invalid value: 0: cannot decrease the failed counter",
                "status.startTime: Invalid value: null: field is immutable for unsuspended job once set",
            ],
        ),
        (
            "indexes of a Job that has none",
            &running,
            vec![("/status/completedIndexes", json!("0")), ("/status/failedIndexes", json!("0-1"))],
            &[
                "status.failedIndexes: Invalid value: \"0-1\": failedIndexes and completedIndexes overlap at index: 0",
                "status.completedIndexes: Invalid value: \"0\": cannot set non-empty completedIndexes when non-indexed completion mode",
                "status.failedIndexes: Invalid value: \"0-1\": cannot set non-null failedIndexes when backoffLimitPerIndex is null",
            ],
        ),
        (
            "an end that is taken back",
            &complete,
            vec![
                ("/status/conditions", json!([])),
                ("/status/completionTime", json!("2026-01-02T00:00:00Z")),
            ],
            &[
                "status.completionTime: Invalid value: \"2026-01-02T00:00:00Z\": cannot set completionTime when there is no Complete=True condition",
                "status.conditions: Invalid value: cannot disable the terminal Complete=True condition",
                "status.completionTime: Invalid value: \"2026-01-02T00:00:00Z\": field is immutable",
                "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition",
            ],
        ),
    ];
    for (what, old, changes, wanted) in cases {
        expect(what, &updated("batch", "Job", "status", with(old, &changes), old.clone()), wanted);
    }
}

#[test]
fn of_the_spec() {
    let cases: Vec<Case<'_>> = vec![
        (
            "a policy that is none",
            vec![("/spec/template/spec/restartPolicy", json!("Odd"))],
            &[
                "spec.template.spec.restartPolicy: Unsupported value: \"Odd\": supported values: \"Always\", \"OnFailure\", \"Never\"",
                "spec.template.spec.restartPolicy: Unsupported value: \"Odd\": supported values: \"OnFailure\", \"Never\"",
            ],
        ),
        (
            "a manager",
            vec![("/spec/managedBy", json!("acme.io/a b"))],
            &[
                "spec.managedBy: Invalid value: \"a b\": Invalid path (e.g. '/path', regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')",
            ],
        ),
    ];
    for (what, changes, wanted) in cases {
        expect(what, &created("batch", "Job", job(&changes)), wanted);
    }
}

fn cron_job(changes: &[(&str, Value)]) -> Value {
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let base = json!({
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template}}},
    });
    with(&base, changes)
}

#[test]
fn cron_jobs() {
    let zone = |name: &str| vec![("/spec/timeZone", json!(name))];
    let cases: Vec<Case<'_>> = vec![
        ("a zone", zone("America/Argentina/ComodRivadavia"), &[]),
        ("an offset", zone("Etc/GMT+10"), &[]),
        (
            "nowhere",
            zone("Foo/Bar"),
            &["spec.timeZone: Invalid value: \"Foo/Bar\": unknown time zone Foo/Bar"],
        ),
        (
            "in capitals",
            zone("EUROPE/BERLIN"),
            &["spec.timeZone: Invalid value: \"EUROPE/BERLIN\": unknown..."],
        ),
        ("above", zone("../UTC"), &["spec.timeZone: Invalid value: \"../UTC\": unknown time zone ../UTC"]),
        ("no part", zone("a//b"), &["spec.timeZone: Invalid value: \"a//b\": unknown time zone a//b"]),
        (
            "long",
            zone("ABCDEFGHIJKLMNO"),
            &["spec.timeZone: Invalid value: \"ABCDEFGHIJKLMNO\": unknown time zone ABCDEFGHIJKLMNO"],
        ),
        (
            "local",
            zone("LOCAL"),
            &["spec.timeZone: Invalid value: \"LOCAL\": timeZone must be an explicit..."],
        ),
        (
            "in the schedule",
            vec![("/spec/schedule", json!("TZ=UTC 0 * * * *"))],
            &[
                "spec.schedule: Invalid value: \"TZ=UTC 0 * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
            ],
        ),
        (
            "order",
            vec![
                ("/spec/successfulJobsHistoryLimit", json!(-1)),
                ("/spec/jobTemplate/spec/manualSelector", json!(true)),
                ("/spec/jobTemplate/spec/completions", json!(-1)),
            ],
            &[
                "spec.jobTemplate.spec.completions: Invalid value: -1: must be greater than or equal to 0",
                "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
                "spec.successfulJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
            ],
        ),
    ];
    for (what, changes, wanted) in cases {
        expect(what, &created("batch", "CronJob", cron_job(&changes)), wanted);
    }
    let zoned = cron_job(&[("/spec/schedule", json!("TZ=UTC 0 * * * *")), ("/spec/timeZone", Value::Null)]);
    let cases: Vec<UpdateCase<'_>> = vec![
        ("still in the schedule", &zoned, vec![("/spec/schedule", json!("TZ=UTC 1 * * * *"))], &[]),
        (
            "twice",
            &zoned,
            vec![("/spec/timeZone", json!("UTC"))],
            &[
                "spec.schedule: Invalid value: \"TZ=UTC 0 * * * *\": cannot use both timeZone field and TZ or CRON_TZ in schedule",
            ],
        ),
    ];
    for (what, old, changes, wanted) in cases {
        expect(what, &updated("batch", "CronJob", "", with(old, &changes), old.clone()), wanted);
    }
}
