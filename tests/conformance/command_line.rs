//! What kubectl does with nothing but the API.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use serde_json::json;

use super::Behaviour;
use super::cluster::{Cluster, path, pod_spec, template};

pub(super) const ALL: &[Behaviour] = &[
    ("kubectl api-versions has v1", api_versions),
    ("kubectl cluster-info names the control plane", cluster_info),
    ("kubectl diff shows what would change", diff),
    ("kubectl dry-runs on the server", dry_run),
    ("kubectl proxies at a unix socket", proxy),
];

/// Whether kubectl is here; says so where it is not.
fn missing(what: &str) -> bool {
    let missing = Command::new("kubectl").args(["version", "--client"]).output().is_err();
    if missing {
        harness::skip(what, "kubectl is not installed");
    }
    missing
}

/// Runs kubectl in the behaviour's namespace; its exit code and what it said.
fn kubectl(cluster: &Cluster, namespace: &str, line: &str) -> (i32, String) {
    let output = cluster.server().kubectl(["-n", namespace].into_iter().chain(line.split(' ')));
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
}

fn api_versions(cluster: &Cluster, namespace: &str) {
    if missing("api_versions") {
        return;
    }
    let (code, said) = kubectl(cluster, namespace, "api-versions");
    assert!(code == 0 && said.lines().any(|line| line == "v1"), "{said}");
}

fn cluster_info(cluster: &Cluster, namespace: &str) {
    if missing("cluster_info") {
        return;
    }
    let (code, said) = kubectl(cluster, namespace, "cluster-info");
    assert!(
        code == 0 && said.contains("Kubernetes control plane") && said.contains("is running at"),
        "{said}"
    );
}

fn diff(cluster: &Cluster, namespace: &str) {
    if missing("diff") {
        return;
    }
    let object = |image: &str| {
        let mut template = template("d");
        template["spec"]["containers"][0]["image"] = image.into();
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": namespace},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "d"}}, "template": template}})
    };
    let file = cluster.server().scratch(&format!("{namespace}.json"));
    std::fs::write(&file, object("example.test/pause:1").to_string()).expect("a file");
    let (code, said) = kubectl(cluster, namespace, &format!("create -f {}", file.display()));
    assert_eq!(code, 0, "{said}");
    std::fs::write(&file, object("example.test/pause:2").to_string()).expect("a file");
    let (code, said) = kubectl(cluster, namespace, &format!("diff -f {}", file.display()));
    assert_eq!(code, 1, "{said}");
    for line in ["-      - image: example.test/pause:1", "+      - image: example.test/pause:2"] {
        assert!(said.contains(line), "{said}");
    }
    let there = cluster.get(&format!("{}/d", path("apps/v1", namespace, "deployments")));
    assert_eq!(there["spec"]["template"]["spec"]["containers"][0]["image"], "example.test/pause:1");
}

fn dry_run(cluster: &Cluster, namespace: &str) {
    if missing("dry_run") {
        return;
    }
    let pods = path("v1", namespace, "pods");
    cluster.create(&pods, &json!({"metadata": {"name": "p"}, "spec": pod_spec()}));
    let patch = r#"{"spec":{"containers":[{"name":"c","image":"example.test/pause:2"}]}}"#;
    let (code, said) = kubectl(cluster, namespace, &format!("patch pod p -p {patch} --dry-run=server"));
    assert!(code == 0 && said.contains("pod/p patched"), "{said}");
    let there = cluster.get(&format!("{pods}/p"));
    assert_eq!(there["spec"]["containers"][0]["image"], "example.test/pause:1");
}

fn proxy(cluster: &Cluster, namespace: &str) {
    if missing("proxy") {
        return;
    }
    let socket = cluster.server().scratch(&format!("{namespace}.sock"));
    let mut command = cluster.server().kubectl_command();
    command.arg("proxy").arg(format!("--unix-socket={}", socket.display()));
    let mut child = command.stdout(Stdio::piped()).spawn().expect("kubectl proxy");
    let mut said = String::new();
    let mut output = BufReader::new(child.stdout.take().expect("its output"));
    let begun = output.read_line(&mut said);
    let asked = begun.and_then(|_| {
        let mut stream = UnixStream::connect(&socket)?;
        stream.write_all(b"GET /api/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    child.kill().expect("its end");
    child.wait().expect("its end");
    let answer = asked.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("APIVersions"), "{said}: {answer}");
}
