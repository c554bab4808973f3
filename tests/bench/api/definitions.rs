//! A thousand custom resource definitions: until all are established, what each takes, and what they cost at rest.

use std::time::{Duration, Instant};

use harness::api::Server;
use harness::process;
use serde_json::{Value, json};

use super::{idle, load, mib, row, seconds};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// How long the last one may take before the benchmark is broken.
const LIMIT: Duration = Duration::from_secs(120);

/// A definition of some 3 kB, as generated ones are; ten of them share a group.
fn definition(number: usize) -> Value {
    let (group, plural) = (format!("g{}.bench.example.com", number / 10), format!("things{number}"));
    let field = |at: usize| {
        let text =
            format!("What field {at} of a thing says, at the length that such sentences have in practice.");
        (format!("field{at}"), json!({"type": "string", "description": text, "maxLength": 253}))
    };
    let fields: serde_json::Map<String, Value> = (0..18).map(field).collect();
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": plural, "kind": format!("Thing{number}")},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": fields},
                    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]}})
}

fn established(definition: &Value) -> bool {
    let conditions = definition["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == "Established" && one["status"] == "True")
}

/// Makes them, and tells what it took.
pub fn measure(program: &str, count: usize) {
    let server = Server::start(program);
    let admin = server.admin();
    let (memory, cpu) = (process::proportional(server.pid()), process::cpu_seconds(server.pid()));
    let begun = Instant::now();
    load::fill(&server, DEFINITIONS, count, definition);
    let made = Instant::now();
    let written = seconds(begun);
    loop {
        let list = admin.get(DEFINITIONS).expect(200);
        let items = list["items"].as_array().cloned().unwrap_or_default();
        if items.len() == count && items.iter().all(established) {
            break;
        }
        assert!(made.elapsed() < LIMIT, "all definitions are established in time");
        std::thread::sleep(Duration::from_millis(20));
    }
    let load = format!("{count} definitions of 3 kB");
    let value = format!("written in {written}, the last established {} later", seconds(made));
    row("definitions", &value, &load, "");
    let mut longest = Duration::ZERO;
    let mut last = definition(count);
    for number in count..count + 10 {
        last = definition(number);
        let begun = Instant::now();
        admin.post(DEFINITIONS, &last).expect(201);
        let name = last["metadata"]["name"].as_str().unwrap_or_default();
        while !established(&admin.get(&format!("{DEFINITIONS}/{name}")).expect(200)) {
            std::thread::sleep(Duration::from_millis(1));
        }
        longest = longest.max(begun.elapsed());
    }
    let value = format!("{:.0} ms until established", longest.as_secs_f64() * 1000.0);
    row("one more definition", &value, &format!("{load}; the worst of 10"), "");
    // APIServices follow.
    std::thread::sleep(Duration::from_secs(3));
    let each = (process::proportional(server.pid()).saturating_sub(memory)) as f64 / count as f64;
    let cpu = process::cpu_seconds(server.pid()) - cpu;
    row("memory and CPU of definitions", &format!("{each:.1} KiB each, {cpu:.1} s in all"), &load, "");
    idle(&server, &[], &load, "");
    documents(&server, &last, &load);
}

/// What clients ask for first.
fn documents(server: &Server, definition: &Value, load: &str) {
    let admin = server.admin();
    let discovery =
        admin.with("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    let protobuf = admin.with("accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf");
    for (name, client, path) in [
        ("discovery", &discovery, "/apis"),
        ("OpenAPI v3, index", &admin, "/openapi/v3"),
        ("OpenAPI v2 as JSON", &admin, "/openapi/v2"),
        ("OpenAPI v2 as protobuf", &protobuf, "/openapi/v2"),
    ] {
        let mut times = Vec::new();
        let mut size = 0;
        for _ in 0..2 {
            let begun = Instant::now();
            let answer = client.get(path);
            assert_eq!(answer.code, 200, "{path}");
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
            size = answer.body.len();
        }
        let value = format!("{:.0} ms, then {:.0} ms, {}", times[0], times[1], mib(size as u64 / 1024));
        row(name, &value, load, "");
    }
    let spec = &definition["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let path =
        format!("/apis/{}/v1/namespaces/default/{}", text(&spec["group"]), text(&spec["names"]["plural"]));
    let mut times: Vec<f64> = (0..200)
        .map(|number| {
            let object = json!({"apiVersion": format!("{}/v1", text(&spec["group"])), "kind": spec["names"]["kind"],
                "metadata": {"name": format!("t{number}")}, "spec": {"field1": "x"}});
            let begun = Instant::now();
            admin.post(&path, &object).expect(201);
            begun.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    row("create of a custom object", &format!("p50 {:.2} ms", times[times.len() / 2]), load, "");
}
