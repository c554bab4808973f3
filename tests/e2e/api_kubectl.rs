//! Everyday kubectl, the real program, against a real API server.
//!
//! Commands that need controllers or a kubelet to end are not here.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use harness::api::Server;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson");

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "nginx:1", ports: [{containerPort: 80}]}]}
"#;

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {app: p}}
spec: {containers: [{name: c, image: busybox}]}
"#;

const NODE: &str = "
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {kubernetes.io/hostname: n1}}
";

/// A server with the ServiceAccount that a controller would make, or nothing where kubectl is not installed.
fn server(test: &str) -> Option<Server> {
    if Command::new("kubectl").args(["version", "--client"]).output().is_err() {
        harness::skip(test, "kubectl is not installed");
        return None;
    }
    let server = Server::start(PROGRAM);
    for (file, content) in [("web.yaml", DEPLOYMENT), ("p.yaml", POD), ("n1.yaml", NODE)] {
        std::fs::write(server.scratch(file), content).expect("a manifest");
    }
    must(&server, "create serviceaccount default", "created");
    must(&server, "get serviceaccounts", "default");
    Some(server)
}

fn run(server: &Server, line: &str) -> (bool, String) {
    // `@` stands for the folder of the manifests.
    let folder = format!("{}/", server.scratch("").display()).replace("//", "/");
    let arguments = line.split(' ').map(|word| word.replace('@', &folder));
    let output = server.kubectl(arguments);
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Runs a line of kubectl that must succeed and say `part`.
#[track_caller]
fn must(server: &Server, line: &str, part: &str) {
    let (success, said) = run(server, line);
    assert!(success, "kubectl {line}: {said}");
    assert!(said.contains(part), "kubectl {line}: no {part:?} in {said}");
}

/// Runs a line of kubectl that must fail and say `part`.
#[track_caller]
fn refused(server: &Server, line: &str, part: &str) {
    let (success, said) = run(server, line);
    assert!(!success && said.contains(part), "kubectl {line}: no {part:?} in {said}");
}

#[test]
fn kubectl_makes_shows_changes_and_deletes() {
    let Some(server) = server("kubectl_makes_shows_changes_and_deletes") else { return };
    for (line, part) in [
        ("version", "Server Version: v1."),
        ("cluster-info", "control plane"),
        ("api-resources", "deployments"),
        ("api-versions", "apps/v1"),
        ("explain deployment.spec.replicas", "FIELD: replicas <integer>"),
        ("explain pod.spec --recursive", "containerPort"),
        ("apply -f @web.yaml", "deployment.apps/web created"),
        ("apply -f @web.yaml", "deployment.apps/web unchanged"),
        ("apply -f @web.yaml --dry-run=server", "(server dry run)"),
        ("diff -f @web.yaml", ""),
        ("create -f @p.yaml", "pod/p created"),
        ("get pods", "0/1     Pending"),
        ("get pods -o wide", "NOMINATED NODE"),
        ("get all", "deployment.apps/web"),
        ("get deploy web -o jsonpath={.spec.replicas}", "2"),
        ("get pods -A --field-selector status.phase=Pending", "default"),
        ("describe pod p", "QoS Class:"),
        ("describe deploy web", "StrategyType:           RollingUpdate"),
        ("rollout restart deploy web", "restarted"),
        ("rollout pause deploy web", "paused"),
        ("rollout resume deploy web", "resumed"),
        ("scale deploy web --current-replicas=2 --replicas=5", "scaled"),
        ("set image deploy/web c=nginx:9", "image updated"),
        ("set env deploy/web A=b", "env updated"),
        ("set resources deploy/web --limits=cpu=200m,memory=64Mi", "resource requirements updated"),
        ("label pod p x=y", "labeled"),
        ("label pod p x-", "unlabeled"),
        ("annotate pod p x=y", "annotated"),
        (r#"patch deploy web -p {"spec":{"replicas":2}}"#, "patched"),
        (r#"patch deploy web --type merge -p {"spec":{"replicas":3}}"#, "patched"),
        (
            r#"patch deploy web --type json -p [{"op":"replace","path":"/spec/replicas","value":4}]"#,
            "patched",
        ),
        (r#"patch deploy web --subresource scale --type merge -p {"spec":{"replicas":2}}"#, "patched"),
        ("expose deploy web --port 80", "service/web exposed"),
        ("describe svc web", "10.96."),
        ("wait pod/p --for=jsonpath={.status.phase}=Pending --timeout=20s", "condition met"),
        ("events", "No events found"),
        ("replace --force --grace-period=0 -f @p.yaml", "pod/p replaced"),
        ("run r --image=busybox --restart=Never", "pod/r created"),
        ("delete pod p r", "deleted"),
        ("delete deploy,svc -l app=web", "deleted"),
        ("get --raw /readyz", "ok"),
    ] {
        must(&server, line, part);
    }
    refused(&server, "get pod p", r#"pods "p" not found"#);
    refused(&server, "wait deploy/web --for=condition=Available --timeout=1s", "not found");
    refused(&server, "get nothing", "the server doesn't have a resource type");
    refused(&server, "create -f @p.yaml --validate=strict -n gone", r#"namespaces "gone" not found"#);
    std::fs::write(server.scratch("bad.yaml"), DEPLOYMENT.replace("replicas", "replikas")).unwrap();
    refused(&server, "create -f @bad.yaml", r#"unknown field "spec.replikas""#);
}

#[test]
fn kubectl_governs_nodes_rights_and_secrets() {
    let Some(server) = server("kubectl_governs_nodes_rights_and_secrets") else { return };
    for (line, part) in [
        ("create -f @n1.yaml", "node/n1 created"),
        ("get nodes -o wide", "n1"),
        ("describe node n1", "Name:               n1"),
        ("cordon n1", "cordoned"),
        ("get nodes", "SchedulingDisabled"),
        ("uncordon n1", "uncordoned"),
        ("taint node n1 k=v:NoSchedule", "tainted"),
        ("taint node n1 k-", "untainted"),
        ("drain n1", "drained"),
        ("auth whoami", "kubernetes-admin"),
        ("auth can-i create pods", "yes"),
        ("auth can-i --list", "selfsubjectaccessreviews"),
        ("create serviceaccount robot", "created"),
        ("create token robot --duration 10m", "ey"),
        ("create role r --verb=get --resource=pods", "created"),
        ("create rolebinding r --role=r --serviceaccount=default:robot", "created"),
        ("describe role r", "pods"),
        ("get rolebindings -o wide", "default/robot"),
        ("auth can-i get pods --as system:serviceaccount:default:robot", "yes"),
        ("create configmap cm --from-literal a=b", "created"),
        ("create secret generic s --from-literal a=b", "created"),
        ("describe secret s", "a:  1 bytes"),
        ("create service nodeport np --tcp=80:80", "created"),
        ("create namespace other", "created"),
        ("describe namespace other", "Status:       Active"),
        ("delete node n1", "deleted"),
    ] {
        must(&server, line, part);
    }
    refused(&server, "auth can-i delete pods --as system:serviceaccount:default:robot", "no");
    refused(&server, "get secrets --as jane", r#"User "jane" cannot list resource "secrets""#);
}

#[test]
fn kubectl_sends_protobuf_that_equals_its_json() {
    let Some(server) = server("kubectl_sends_protobuf_that_equals_its_json") else { return };
    let create = "create deployment web --image=nginx --replicas=2 --port=80";
    let (_, json) = run(&server, &format!("{create} --dry-run=client -o json"));
    std::fs::write(server.scratch("twin.json"), &json).expect("the twin");
    let spec = |server: &Server| {
        let (_, object) = run(server, "get deployment web -o json");
        let object: Value = serde_json::from_str(&object).expect("JSON");
        (object["spec"].clone(), object["metadata"]["labels"].clone())
    };
    must(&server, create, "created");
    let binary = spec(&server);
    must(&server, "delete deployment web", "deleted");
    must(&server, "create -f @twin.json", "created");
    assert_eq!(binary, spec(&server));
}

#[test]
fn kubectl_applies_on_the_server() {
    let Some(server) = server("kubectl_applies_on_the_server") else { return };
    let write = |file: &str, from: &str, to: &str| {
        std::fs::write(server.scratch(file), DEPLOYMENT.replace(from, to)).expect("a manifest");
    };
    must(&server, "apply --server-side -f @web.yaml", "serverside-applied");
    let revision = "get deploy web -o jsonpath={.metadata.resourceVersion}";
    let (_, before) = run(&server, revision);
    must(&server, "apply --server-side -f @web.yaml", "serverside-applied");
    assert_eq!(run(&server, revision).1, before, "nothing changed, nothing written");
    must(&server, "get deploy web --show-managed-fields -o yaml", "operation: Apply");
    // Somebody else's field is a conflict; who forces it owns it.
    write("five.yaml", "replicas: 2", "replicas: 5");
    refused(
        &server,
        "apply --server-side --field-manager other -f @five.yaml",
        r#"conflict with "kubectl": .spec.replicas"#,
    );
    must(&server, "apply --server-side --force-conflicts --field-manager other -f @five.yaml", "applied");
    refused(&server, "apply --server-side -f @web.yaml", r#"conflict with "other": .spec.replicas"#);
    // What an applier leaves out goes when nobody else wants it.
    write("bare.yaml", "  replicas: 2\n", "");
    must(&server, "apply --server-side -f @bare.yaml", "applied");
    must(&server, "get deploy web -o jsonpath={.spec.replicas}", "5");
    must(&server, "scale deploy web --replicas=3", "scaled");
    refused(
        &server,
        "apply --server-side --field-manager other -f @five.yaml",
        r#"conflict with "kubectl" with subresource "scale" using apps/v1"#,
    );
    // What kubectl has applied from the client's side it goes on with from the server's.
    must(&server, "apply -f @p.yaml", "pod/p created");
    std::fs::write(server.scratch("p2.yaml"), POD.replace("app: p", "app: q")).expect("a manifest");
    must(&server, "apply --server-side -f @p2.yaml", "pod/p serverside-applied");
    must(&server, "apply --server-side -f @p.yaml --dry-run=server", "server dry run");
    must(&server, "get pod p -o jsonpath={.metadata.labels.app}", "q");
    must(&server, "diff --server-side -f @p2.yaml", "");
    write("wrong.yaml", "replicas", "replikas");
    refused(
        &server,
        "apply --server-side -f @wrong.yaml --validate=false",
        ".spec.replikas: field not declared",
    );
}

#[test]
fn kubectl_follows_and_edits() {
    let Some(server) = server("kubectl_follows_and_edits") else { return };
    must(&server, "create -f @p.yaml", "created");
    let mut watch = server
        .kubectl_command()
        .args(["get", "pods", "-w", "--output-watch-events", "--no-headers"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl get -w");
    let mut lines = BufReader::new(watch.stdout.take().expect("its output")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    assert!(next().starts_with("ADDED"));
    must(&server, "label pod p x=y", "labeled");
    assert!(next().starts_with("MODIFIED"));
    must(&server, "delete pod p", "deleted");
    assert!(next().starts_with("DELETED"));
    watch.kill().expect("ending kubectl");
    watch.wait().expect("its end");
    must(&server, "create -f @web.yaml", "created");
    let edited = server
        .kubectl_command()
        .env("EDITOR", "sed -i s/replicas:.2/replicas:\\ 6/")
        .args(["edit", "deployment", "web"])
        .output()
        .expect("kubectl edit");
    assert!(edited.status.success(), "{}", String::from_utf8_lossy(&edited.stderr));
    must(&server, "get deploy web -o jsonpath={.spec.replicas}", "6");
}
