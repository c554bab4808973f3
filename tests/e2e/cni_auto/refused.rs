//! What is refused, in which words, and that it leaves nothing.

use harness::netns::TestHost;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{KEELSON, Node};

#[test]
fn without_an_agent_a_pod_is_refused_unless_the_configuration_says_otherwise() {
    let test = "cni_auto::without_an_agent_a_pod_is_refused_unless_the_configuration_says_otherwise";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let mut node = Node::ready(&guard);
    let pod = TestHost::create(guard.tag(), "a");
    let clean = |node: &Node, pod: &TestHost| {
        assert_eq!(node.leftovers(), Vec::<String>::new());
        assert!(!pod.ip(&["link"]).contains("eth0"));
    };
    // An agent that does not answer: bounded, and everything is taken back.
    node.signal_agent(Signal::SIGSTOP);
    let said = node.call("ADD", "a", Some(&pod), &Value::Null).failed_with(11);
    assert!(said.contains("did not answer within 10 s"), "{said}");
    assert!(!pod.ip(&["link"]).contains("eth0"));
    node.signal_agent(Signal::SIGCONT);
    node.until("nothing of the pod", || node.leftovers().is_empty());
    node.add("a", &pod);
    node.del("a", Some(&pod));
    clean(&node, &pod);

    node.kill_agent();
    let said = node.call("ADD", "a", Some(&pod), &Value::Null).failed_with(11);
    assert!(said.contains("net.sock") && said.contains("net-agent"), "{said}");
    clean(&node, &pod);
    node.call("STATUS", "", None, &Value::Null).failed_with(50);
    node.del("a", Some(&pod));

    let plain = json!({"fallback": "plain"});
    let result = node.succeeded(node.call("ADD", "a", Some(&pod), &plain));
    let address = result["ips"][0]["address"].as_str().unwrap().trim_end_matches("/32").to_owned();
    assert!(node.host.reaches(&address));
    let ports = json!({"fallback": "plain", "runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 80}]}});
    let second = TestHost::create(guard.tag(), "b");
    node.call("ADD", "b", Some(&second), &ports).failed_with(2);
    assert!(!second.ip(&["link"]).contains("eth0"));
    node.del("a", Some(&pod));
    clean(&node, &pod);
    drop((pod, second));
    node.end(guard);
}

#[test]
fn wrong_registrations_are_refused_and_leave_nothing() {
    let test = "cni_auto::wrong_registrations_are_refused_and_leave_nothing";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let node = Node::ready(&guard);
    let pod = TestHost::create(guard.tag(), "a");
    let refused = |extra: Value, code: u64, part: &str| {
        let said = node.call("ADD", "a", Some(&pod), &extra).failed_with(code);
        assert!(said.contains(part), "{said}");
        assert_eq!(node.leftovers(), Vec::<String>::new());
        assert!(!pod.ip(&["link"]).contains("eth0"));
    };
    let port = json!({"hostPort": 8080, "containerPort": 80, "protocol": "sctp"});
    refused(json!({"runtimeConfig": {"portMappings": [port]}}), 2, "8080:80/sctp");
    refused(json!({"name": "other"}), 7, "not other");
    refused(json!({"agentSocket": "net.sock"}), 7, "absolute path");
    refused(json!({"fallback": "bridge"}), 7, "fallback");
    node.add("a", &pod);
    node.call("ADD", "a", Some(&pod), &Value::Null).failed_with(102);
    assert_eq!(node.records().len(), 1, "the first attachment is untouched");
    node.del("a", Some(&pod));

    let run = |flags: &[&str]| {
        let mut command = std::process::Command::new(KEELSON);
        command.arg("net-agent").args(node.flags()).args(flags);
        let output = node.host.inside(|| command.output().unwrap());
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = run(&[]);
    assert!(code == Some(1) && said.contains("another network agent holds"), "{said}");
    let (code, said) = run(&["--service-cidr", "10.244.0.0/16"]);
    assert!(code == Some(2) && said.contains("overlap"), "{said}");
    let (code, said) = run(&["--frobnicate"]);
    assert!(code == Some(2) && said.contains("--frobnicate"), "{said}");
    drop(pod);
    node.end(guard);
}
