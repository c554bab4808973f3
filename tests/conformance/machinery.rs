//! What every resource has: discovery, tables, chunks, field validation, watches, reviews, versions.

use serde_json::{Value, json};

use super::Behaviour;
use super::cluster::{Cluster, path, template};

pub(super) const ALL: &[Behaviour] = &[
    ("discovery in one document names every group", aggregated_discovery),
    ("discovery is asked for by its media type", raw_discovery),
    ("every group's version is found where the group says", group_versions),
    ("every group prefers a version that it has", preferred_versions),
    ("lists come in chunks of one revision", chunks),
    ("a list whose revision is gone goes on with what is there now", chunks_after_compaction),
    ("what has no table says 406", no_table),
    ("unknown and doubled fields are refused where that is asked", field_validation),
    ("unknown fields of the metadata are refused too", unknown_metadata),
    ("a watch tells of what is made, changed and deleted", watch_all),
    ("a watch goes on from where another one ended", watch_on),
    ("a watch begins at a revision", watch_from),
    ("an object that is not selected any more is deleted for the watch", watch_selected),
    ("watches tell the same order", watch_order),
    ("reviews of access answer", reviews),
    ("the server says its version", version),
    ("an API server side dry run changes nothing", dry_run),
];

const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

fn aggregated_discovery(cluster: &Cluster, _: &str) {
    let client = cluster.admin.with("accept", DISCOVERY);
    let groups = client.get("/apis").expect(200);
    let names: Vec<&str> = groups["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|group| group["metadata"]["name"].as_str())
        .collect();
    for wanted in [
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "apps",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
        "batch",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "networking.k8s.io",
        "node.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "resource.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
    ] {
        assert!(names.contains(&wanted), "{wanted} is not in {names:?}");
    }
    let apps =
        groups["items"].as_array().into_iter().flatten().find(|group| group["metadata"]["name"] == "apps");
    let resources = apps.map(|group| group["versions"][0]["resources"].clone()).unwrap_or_default();
    assert!(resources.as_array().is_some_and(|all| all.iter().any(|one| one["resource"] == "statefulsets")));
}

fn raw_discovery(cluster: &Cluster, _: &str) {
    for (accept, kind) in [
        (DISCOVERY, "APIGroupDiscoveryList"),
        ("application/json", "APIGroupList"),
        (
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
            "APIGroupDiscoveryList",
        ),
    ] {
        assert_eq!(cluster.admin.with("accept", accept).get("/apis").expect(200)["kind"], kind, "{accept}");
    }
}

fn group_versions(cluster: &Cluster, _: &str) {
    let groups = cluster.get("/apis");
    for group in groups["groups"].as_array().into_iter().flatten() {
        for version in group["versions"].as_array().into_iter().flatten() {
            let name = version["groupVersion"].as_str().unwrap_or_default();
            let list = cluster.get(&format!("/apis/{name}"));
            assert_eq!(list["groupVersion"], name);
            assert!(list["resources"].as_array().is_some_and(|resources| !resources.is_empty()), "{name}");
        }
    }
}

fn preferred_versions(cluster: &Cluster, _: &str) {
    for group in cluster.get("/apis")["groups"].as_array().into_iter().flatten() {
        let preferred = &group["preferredVersion"];
        assert!(group["versions"].as_array().is_some_and(|versions| versions.contains(preferred)), "{group}");
    }
}

fn chunks(cluster: &Cluster, namespace: &str) {
    let all = path("v1", namespace, "podtemplates");
    for number in 0..25 {
        cluster
            .create(&all, &json!({"metadata": {"name": format!("t{number:02}")}, "template": template("t")}));
    }
    let (mut names, mut token, mut revision) = (Vec::new(), String::new(), Value::Null);
    loop {
        let page = cluster.get(&format!("{all}?limit=7&continue={token}"));
        if revision.is_null() {
            revision = page["metadata"]["resourceVersion"].clone();
        }
        assert_eq!(page["metadata"]["resourceVersion"], revision, "all of one revision");
        names.extend(
            page["items"].as_array().into_iter().flatten().map(|item| item["metadata"]["name"].clone()),
        );
        token = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
        if token.is_empty() {
            break;
        }
        let left = page["metadata"]["remainingItemCount"].as_u64();
        assert_eq!(left, Some(25 - names.len() as u64));
    }
    assert_eq!(names.len(), 25);
    assert!(names.windows(2).all(|pair| pair[0].as_str() < pair[1].as_str()));
}

fn chunks_after_compaction(cluster: &Cluster, namespace: &str) {
    let all = path("v1", namespace, "podtemplates");
    let create = |name: &str| {
        cluster.create(&all, &json!({"metadata": {"name": name}, "template": template("t")}));
    };
    for name in ["a", "b", "d", "e"] {
        create(name);
    }
    let first = cluster.get(&format!("{all}?limit=2"));
    let token = first["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
    cluster.delete(&format!("{all}/d"));
    create("c");
    let mut expired = Value::Null;
    cluster.until("the end of that revision", || {
        let answer = cluster.admin.get(&format!("{all}?limit=2&continue={token}"));
        expired = answer.json();
        answer.code == 410
    });
    assert_eq!(expired["reason"], "Expired");
    let told = expired["message"].as_str().unwrap_or_default();
    assert!(told.contains("Continuing with the provided token results in an inconsistent list"), "{told}");
    let inconsistent = expired["metadata"]["continue"].as_str().expect("a token that goes on");
    // From where the other one stood, as it is now; and from here on it is one moment again.
    let rest = cluster.get(&format!("{all}?limit=1&continue={inconsistent}"));
    assert_eq!(rest["items"][0]["metadata"]["name"], "c");
    let revision =
        |list: &Value| list["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok());
    assert!(revision(&rest) > revision(&first), "{rest}");
    let token = rest["metadata"]["continue"].as_str().expect("there is more");
    let last = cluster.get(&format!("{all}?limit=1&continue={token}"));
    assert_eq!(last["items"][0]["metadata"]["name"], "e");
    assert!(last["metadata"]["continue"].is_null() && revision(&last) == revision(&rest), "{last}");
}

fn no_table(cluster: &Cluster, _: &str) {
    let client = cluster.admin.with("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let review = json!({"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}});
    assert_eq!(client.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).code, 406);
}

fn field_validation(cluster: &Cluster, namespace: &str) {
    let all = path("apps/v1", namespace, "deployments");
    let body = format!(
        r#"{{"metadata":{{"name":"d"}},"spec":{{"unknown":1,"replicas":1,"replicas":2,"selector":{{"matchLabels":{{"app":"d"}}}},"template":{}}}}}"#,
        template("d")
    );
    let send = |mode: &str| {
        cluster.admin.send(
            "POST",
            &format!("{all}?fieldValidation={mode}&dryRun=All"),
            "application/json",
            body.as_bytes(),
        )
    };
    let strict = send("Strict");
    assert_eq!(strict.code, 400);
    assert!(strict.text().contains("unknown field \\\"spec.unknown\\\""), "{}", strict.text());
    assert!(strict.text().contains("duplicate field \\\"spec.replicas\\\""), "{}", strict.text());
    let warned = send("Warn");
    assert_eq!(warned.code, 201);
    assert!(warned.headers.iter().any(|(name, value)| name == "warning" && value.contains("spec.unknown")));
    assert_eq!(send("Ignore").code, 201);
}

fn unknown_metadata(cluster: &Cluster, namespace: &str) {
    let all = path("v1", namespace, "configmaps");
    let object = json!({"metadata": {"name": "m", "unknownMeta": "x"}});
    let refused = cluster.admin.post(&format!("{all}?fieldValidation=Strict"), &object);
    assert_eq!(refused.code, 400);
    assert!(refused.text().contains("unknown field \\\"metadata.unknownMeta\\\""), "{}", refused.text());
}

fn map(name: &str, label: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"watch": label}}})
}

fn kinds_of(watch: &mut harness::api::Watch, count: usize) -> Vec<String> {
    (0..count).map(|_| watch.next_named().0).collect()
}

fn watch_all(cluster: &Cluster, namespace: &str) {
    let all = path("v1", namespace, "configmaps");
    let watch =
        |selector: &str| cluster.admin.watch(&format!("{all}?watch=true&labelSelector=watch{selector}"));
    let (mut a, mut b, mut both) = (watch("%3Da"), watch("%3Db"), watch("%20in%20(a,b)"));
    cluster.create(&all, &map("one", "a"));
    cluster.merge(&format!("{all}/one"), &json!({"data": {"x": "1"}}));
    cluster.delete(&format!("{all}/one"));
    cluster.create(&all, &map("two", "b"));
    let whole = ["ADDED", "MODIFIED", "DELETED"];
    assert_eq!(kinds_of(&mut a, 3), whole);
    assert_eq!(kinds_of(&mut b, 1), ["ADDED"]);
    assert_eq!(kinds_of(&mut both, 4), ["ADDED", "MODIFIED", "DELETED", "ADDED"]);
}

fn watch_on(cluster: &Cluster, namespace: &str) {
    let all = path("v1", namespace, "configmaps");
    let mut first = cluster.admin.watch(&format!("{all}?watch=true&labelSelector=watch%3Da"));
    cluster.create(&all, &map("one", "a"));
    let event = first.next_event().expect("an event");
    let revision = event["object"]["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    drop(first);
    cluster.merge(&format!("{all}/one"), &json!({"data": {"x": "1"}}));
    cluster.delete(&format!("{all}/one"));
    let mut second =
        cluster.admin.watch(&format!("{all}?watch=true&labelSelector=watch%3Da&resourceVersion={revision}"));
    assert_eq!(kinds_of(&mut second, 2), ["MODIFIED", "DELETED"]);
}

fn watch_from(cluster: &Cluster, namespace: &str) {
    let all = path("v1", namespace, "configmaps");
    cluster.create(&all, &map("one", "a"));
    let first = cluster.merge(&format!("{all}/one"), &json!({"data": {"x": "1"}}));
    cluster.merge(&format!("{all}/one"), &json!({"data": {"x": "2"}}));
    cluster.delete(&format!("{all}/one"));
    let revision = first["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let mut watch =
        cluster.admin.watch(&format!("{all}?watch=true&labelSelector=watch%3Da&resourceVersion={revision}"));
    assert_eq!(kinds_of(&mut watch, 2), ["MODIFIED", "DELETED"]);
}

fn watch_selected(cluster: &Cluster, namespace: &str) {
    let all = path("v1", namespace, "configmaps");
    let mut watch = cluster.admin.watch(&format!("{all}?watch=true&labelSelector=watch%3Da"));
    cluster.create(&all, &map("one", "a"));
    cluster.merge(&format!("{all}/one"), &json!({"metadata": {"labels": {"watch": "other"}}}));
    cluster.merge(&format!("{all}/one"), &json!({"data": {"x": "1"}}));
    cluster.merge(&format!("{all}/one"), &json!({"metadata": {"labels": {"watch": "a"}}}));
    cluster.delete(&format!("{all}/one"));
    assert_eq!(kinds_of(&mut watch, 4), ["ADDED", "DELETED", "ADDED", "DELETED"]);
}

fn watch_order(cluster: &Cluster, namespace: &str) {
    let all = path("v1", namespace, "configmaps");
    let mut watches: Vec<_> =
        (0..5).map(|_| cluster.admin.watch(&format!("{all}?watch=true&labelSelector=watch%3Da"))).collect();
    for number in 0..10 {
        cluster.create(&all, &map(&format!("m{number}"), "a"));
        if number % 3 == 0 {
            cluster.delete(&format!("{all}/m{number}"));
        }
    }
    let told: Vec<Vec<(String, String)>> =
        watches.iter_mut().map(|watch| (0..14).map(|_| watch.next_named()).collect()).collect();
    assert!(told.windows(2).all(|pair| pair[0] == pair[1]));
}

fn reviews(cluster: &Cluster, namespace: &str) {
    let resource = json!({"namespace": namespace, "verb": "get", "resource": "pods"});
    let group = "/apis/authorization.k8s.io/v1";
    let own = cluster.create(
        &format!("{group}/selfsubjectaccessreviews"),
        &json!({"spec": {"resourceAttributes": resource}}),
    );
    assert_eq!(own["status"]["allowed"], true);
    let other = json!({"spec": {"user": "somebody", "resourceAttributes": resource}});
    assert_eq!(cluster.create(&format!("{group}/subjectaccessreviews"), &other)["status"]["allowed"], false);
    let local = path("authorization.k8s.io/v1", namespace, "localsubjectaccessreviews");
    let local = cluster.admin.post(&local, &json!({"metadata": {"namespace": namespace}, "spec": {"user": "somebody", "resourceAttributes": resource}}));
    assert_eq!(local.expect(201)["status"]["allowed"], false);
}

fn version(cluster: &Cluster, _: &str) {
    let version = cluster.get("/version");
    assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("36")));
}

fn dry_run(cluster: &Cluster, namespace: &str) {
    let all = path("v1", namespace, "configmaps");
    cluster.create(&all, &map("one", "a"));
    let shown = cluster.merge(&format!("{all}/one?dryRun=All"), &json!({"data": {"x": "1"}}));
    assert_eq!(shown["data"]["x"], "1");
    assert!(cluster.get(&format!("{all}/one"))["data"].is_null());
    // What would wait is shown waiting.
    let hold = json!({"metadata": {"finalizers": ["example.test/hold"]}});
    cluster.merge(&format!("{all}/one"), &hold);
    let pods = path("v1", namespace, "pods");
    let container = json!({"name": "c", "image": "none.test/none:1"});
    let spec = json!({"nodeName": "nowhere", "containers": [container], "terminationGracePeriodSeconds": 7});
    cluster.create(&pods, &json!({"metadata": {"name": "p"}, "spec": spec}));
    for (one, grace) in [(format!("{all}/one"), 0), (format!("{pods}/p"), 7)] {
        let shown = cluster.admin.delete(&format!("{one}?dryRun=All")).expect(200);
        assert_eq!(shown["metadata"]["deletionGracePeriodSeconds"], grace, "{shown}");
        assert!(shown["metadata"]["deletionTimestamp"].is_string(), "{shown}");
        let there = cluster.get(&one);
        assert!(there["metadata"]["deletionTimestamp"].is_null(), "{there}");
        assert_eq!(shown["metadata"]["resourceVersion"], there["metadata"]["resourceVersion"], "{one}");
    }
    cluster.admin.delete(&format!("{pods}/p?gracePeriodSeconds=0")).expect(200);
    cluster.merge(&format!("{all}/one"), &json!({"metadata": {"finalizers": null}}));
}
