//! Client programs that are not ours, against API, scheduler-less: Python's client library and helm, the real ones.
//!
//! No kubelet runs here, so helm does not wait for pods; a hook that is a Job is said to be complete by the test.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::api::Server;
use serde_json::{Value, json};

const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");
const PATIENCE: Duration = Duration::from_secs(60);
/// Debian's interpreter, which has Debian's packages.
const PYTHON: &str = "/usr/bin/python3";
const SCRIPT: &str = include_str!("api_clients/everyday.py");

/// API and controllers.
struct Cluster {
    controllers: Child,
    server: Server,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.controllers.kill();
        let _ = self.controllers.wait();
    }
}

fn cluster() -> Cluster {
    let server = Server::start(KEELSON);
    let mut command = Command::new(KEELSON);
    command.args(["controllers", "--kubeconfig"]).arg(server.kubeconfig());
    let controllers = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("controllers");
    let cluster = Cluster { controllers, server };
    let admin = cluster.server.admin();
    until("the default account", || {
        admin.get("/api/v1/namespaces/default/serviceaccounts/default").code == 200
    });
    cluster
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn pythons_client_library_does_its_everyday_work() {
    let known = Command::new(PYTHON).args(["-c", "import kubernetes"]).stderr(Stdio::null()).status();
    if !known.is_ok_and(|status| status.success()) {
        return harness::skip(
            "pythons_client_library_does_its_everyday_work",
            "python3-kubernetes is not installed",
        );
    }
    let cluster = cluster();
    let output = Command::new(PYTHON)
        .args(["-c", SCRIPT])
        .arg(cluster.server.kubeconfig())
        .output()
        .expect("python runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output.stdout.ends_with(b"done\n"), "{said}");
}

/// A chart as people write them: a definition and one of its objects, hooks, names from the release.
fn write_chart(server: &Server) {
    for (name, content) in [
        ("Chart.yaml", "apiVersion: v2\nname: web\nversion: 0.1.0\n"),
        ("values.yaml", "image: nginx:1\nreplicas: 1\nsecret: one\n"),
        ("crds/crd.yaml", include_str!("api_clients/crd.yaml")),
        ("templates/all.yaml", include_str!("api_clients/chart.yaml")),
        ("templates/hooks.yaml", include_str!("api_clients/hooks.yaml")),
    ] {
        let path = server.scratch("chart").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, content).expect("the chart");
    }
}

/// helm, which must succeed; what it printed.
fn helm(server: &Server, line: &str) -> String {
    let home = server.scratch("helm");
    let mut command = Command::new("helm");
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(name, &home);
    }
    let words = line.split(' ').map(|word| word.replace('@', &server.scratch("chart").display().to_string()));
    let output = command.args(words).env("KUBECONFIG", server.kubeconfig()).output().expect("helm runs");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "helm {line}: {said}");
    said
}

#[test]
fn helm_installs_upgrades_rolls_back_and_uninstalls() {
    const NAME: &str = "helm_installs_upgrades_rolls_back_and_uninstalls";
    if Command::new("helm").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        return harness::skip(NAME, "helm is not installed");
    }
    let cluster = cluster();
    let server = &cluster.server;
    write_chart(server);
    let admin = server.admin();
    let completer = std::thread::spawn({
        let admin = server.admin();
        move || complete_hooks(&admin, 2)
    });
    let deployment = || admin.get("/apis/apps/v1/namespaces/default/deployments/w").expect(200);
    let told = |deployment: &Value| {
        let spec = &deployment["spec"];
        (
            spec["replicas"].as_u64(),
            spec["template"]["spec"]["containers"][0]["image"].as_str().map(str::to_owned),
        )
    };
    helm(server, "install w @");
    assert_eq!(told(&deployment()), (Some(1), Some("nginx:1".into())));
    let managers = deployment()["metadata"]["managedFields"].clone();
    assert!(managers.to_string().contains("\"helm\""), "applied by helm: {managers}");
    assert_eq!(admin.get("/apis/example.com/v1/namespaces/default/widgets/w").expect(200)["spec"]["size"], 1);
    helm(server, "upgrade w @ --set image=nginx:2,replicas=3,secret=two");
    assert_eq!(told(&deployment()), (Some(3), Some("nginx:2".into())));
    completer.join().expect("the hooks were completed");
    helm(server, "rollback w 1");
    assert_eq!(told(&deployment()), (Some(1), Some("nginx:1".into())));
    assert!(helm(server, "history w").contains("Rollback to 1"));
    helm(server, "uninstall w");
    for path in [
        "/apis/apps/v1/namespaces/default/deployments/w",
        "/api/v1/namespaces/default/services/w",
        "/api/v1/namespaces/default/secrets/w",
        "/apis/example.com/v1/namespaces/default/widgets/w",
    ] {
        until(path, || admin.get(path).code == 404);
    }
}

/// Says of each Job of a hook that it is complete, as a kubelet and the controller would have it.
fn complete_hooks(admin: &harness::api::Client, count: usize) {
    const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
    let mut done: Vec<String> = Vec::new();
    while done.len() < count {
        let jobs = admin.get(JOBS).expect(200);
        for job in jobs["items"].as_array().into_iter().flatten() {
            let uid = job["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            let pods = admin
                .get("/api/v1/namespaces/default/pods?labelSelector=batch.kubernetes.io/job-name=w-post");
            let pod = pods.expect(200)["items"][0]["metadata"]["name"].as_str().map(str::to_owned);
            let Some(pod) = pod.filter(|_| !done.contains(&uid)) else { continue };
            let status = json!({"status": {"phase": "Succeeded"}});
            let path = format!("/api/v1/namespaces/default/pods/{pod}/status");
            if admin.patch(&path, "merge", &status).code == 200 {
                done.push(uid);
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
