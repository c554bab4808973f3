//! `keelson connectivity test` on a node of two families: every scenario, what fails under a policy, and nothing is left.

use std::io::{BufRead as _, BufReader};
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::machines::{KEELSON, Machine};

/// How often a policy may come too late before that is a failure.
const ATTEMPTS: u32 = 5;

const DENY_ALL: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny-all}\n\
                        spec: {podSelector: {}, policyTypes: [Ingress, Egress]}\n";

pub(super) fn is_tested(node: &Machine) {
    let mut command = node.host.command(KEELSON);
    let output = command.args(["connectivity", "test"]).args(flags(node)).output().expect("keelson runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{wrong}\n{}", node.last_lines());
    assert!(said.ends_with("13 passed, 0 failed\n"), "{said}");
    nothing_is_left(node);
}

/// Under a policy that denies everything a pod's call is a FAIL with its reason, the node's own passes as it may, and the exit code
/// is 1.
pub(super) fn failures_are_told(node: &Machine) {
    let output = (0..ATTEMPTS).find_map(|_| under_deny_all(node)).expect("a policy in time");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let line = |name: &str| said.lines().find(|line| line.contains(name)).unwrap_or_default();
    assert!(line(" pod-to-pod ").starts_with("FAIL  "), "{said}");
    assert!(line(" pod-to-pod ").contains("did not answer"), "{said}");
    assert!(line(" host-to-pod ").starts_with("pass  "), "{said}");
    assert!(said.ends_with("1 passed, 1 failed\n"), "{said}");
    nothing_is_left(node);
}

/// Stops the command where it has made its namespace, and lets it go on once a policy is in there; `None`: it has got too far.
fn under_deny_all(node: &Machine) -> Option<Output> {
    let mut watch = node.host.command("kubectl");
    watch.arg("--kubeconfig").arg(node.kubeconfig()).args(["get", "namespaces", "--watch", "-o", "name"]);
    let mut watch = watch.stdout(Stdio::piped()).spawn().expect("kubectl runs");
    let mut seen = BufReader::new(watch.stdout.take().expect("its output")).lines().map_while(Result::ok);
    assert!(seen.any(|line| line == "namespace/default"), "it follows");
    let mut command = node.host.command(KEELSON);
    command.args(["connectivity", "test", "--test", "pod-to-pod", "--test", "host-to-pod"]).args(flags(node));
    let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("keelson runs");
    let pid = Pid::from_child(&process);
    let namespace = seen.find_map(|line| Some(line.strip_prefix("namespace/connectivity-")?.to_owned()));
    kill_process(pid, Signal::STOP).expect("it stops");
    let namespace = format!("connectivity-{}", namespace.expect("a namespace"));
    let file = node.path("deny-all.yaml");
    std::fs::write(&file, DENY_ALL).expect("a file");
    node.must(&["apply", "--namespace", &namespace, "-f", &file.display().to_string()]);
    let pods = node.must(&["get", "pods", "--namespace", &namespace, "-o", "name"]);
    kill_process(pid, Signal::CONT).expect("it goes on");
    let output = process.wait_with_output().expect("its end");
    let _ = watch.kill();
    let _ = watch.wait();
    if pods.lines().any(|pod| pod != "pod/server") {
        // The next attempt looks for a namespace of such a name.
        nothing_is_left(node);
        return None;
    }
    Some(output)
}

fn flags(node: &Machine) -> Vec<String> {
    let cri = format!("unix://{}", node.path("run").join("cri.sock").display());
    let kubeconfig = node.kubeconfig().display().to_string();
    ["--kubeconfig", &kubeconfig, "--cri-address", &cri, "--node-name", "node-a"].map(str::to_owned).into()
}

fn nothing_is_left(node: &Machine) {
    node.until("its namespace is gone", || {
        let namespaces = node.must(&["get", "namespaces", "-o", "name"]);
        !namespaces.contains("connectivity-")
    });
}
