//! Kills of the agent, of the plugin, of pods.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::netns::TestHost;
use serde_json::{Value, json};

use super::{Node, PATIENCE, megabyte};

/// How often the agent is killed while a connection runs.
const KILLS: usize = 5;
/// What a user may notice of a kill, beside what the machine itself makes everybody wait.
const LONGEST_GAP: Duration = Duration::from_millis(300);

/// One byte there and back every few milliseconds until told to stop; the longest time one took, and how many.
fn echo(
    from: &TestHost,
    to: &TestHost,
    address: &str,
    stop: Arc<AtomicBool>,
) -> std::thread::JoinHandle<(Duration, usize)> {
    let listener = to.inside(|| TcpListener::bind((address, 0)).unwrap());
    let target: SocketAddr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut byte = [0];
        while stream.read(&mut byte).is_ok_and(|length| length == 1) {
            stream.write_all(&byte).unwrap();
        }
    });
    let mut stream = from.inside(|| TcpStream::connect_timeout(&target, PATIENCE).unwrap());
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    std::thread::spawn(move || {
        let (mut longest, mut count) = (Duration::ZERO, 0);
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            stream.write_all(&[1]).unwrap();
            stream.read_exact(&mut [0]).unwrap();
            longest = longest.max(begun.elapsed());
            count += 1;
            std::thread::sleep(Duration::from_millis(5));
        }
        (longest, count)
    })
}

#[test]
fn an_agent_that_is_killed_cuts_nothing_and_leaks_nothing() {
    let test = "cni_auto::an_agent_that_is_killed_cuts_nothing_and_leaks_nothing";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let mut node = Node::ready(&guard);
    let pods = ["a", "b", "c"].map(|name| TestHost::create(guard.tag(), name));
    let addresses: Vec<String> =
        ["a", "b", "c"].iter().zip(&pods).map(|(name, pod)| node.add(name, pod)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let control = harness::stall::Control::start();
    let running = [
        echo(&pods[0], &pods[1], &addresses[1], stop.clone()),
        echo(&node.host, &pods[0], &addresses[0], stop.clone()),
        echo(&pods[1], &node.outside, "192.0.2.2", stop.clone()),
    ];
    for kill in 0..KILLS {
        node.kill_agent();
        if kill == 1 {
            // A pod that goes while nobody looks.
            node.del("c", Some(&pods[2]));
        }
        let ready = node.log().matches("the network agent runs").count();
        node.start_agent();
        node.until("the agent", || node.log().matches("the network agent runs").count() > ready);
        node.until("its answer", || node.call("STATUS", "", None, &Value::Null).status.success());
    }
    stop.store(true, Ordering::Relaxed);
    let machine = control.longest();
    for echo in running {
        let (longest, count) = echo.join().unwrap();
        let limit = LONGEST_GAP + 2 * machine;
        assert!(longest < limit && count > 10, "{longest:?} in {count}, the machine's own {machine:?}");
    }
    assert_eq!(node.records().len(), 2, "the pod that went is forgotten");
    let c = node.add("c", &pods[2]);
    megabyte(&pods[0], &pods[2], &c);
    // Also what the records said is known without them.
    node.kill_agent();
    std::fs::remove_dir_all(node.folder.path().join("run/endpoints")).unwrap();
    node.start_agent();
    node.until("its answer", || node.call("STATUS", "", None, &Value::Null).status.success());
    let previous =
        json!({"prevResult": {"cniVersion": "1.1.0", "ips": [{"address": format!("{}/32", addresses[0])}]}});
    node.succeeded(node.call("CHECK", "a", Some(&pods[0]), &previous));
    for (name, pod) in ["a", "b", "c"].iter().zip(&pods) {
        node.del(name, Some(pod));
    }
    assert_eq!(node.leftovers(), Vec::<String>::new());
    drop(pods);
    node.end(guard);
}

#[test]
fn pods_do_not_need_the_api() {
    let test = "cni_auto::pods_do_not_need_the_api";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let mut node = Node::ready(&guard);
    let pods = ["a", "b"].map(|name| TestHost::create(guard.tag(), name));
    let a = node.add("a", &pods[0]);
    let routes = node.host.ip(&["route"]);
    // The node comes up again and the API does not.
    node.kill_agent();
    let loaded = node.log().matches("the datapath is loaded").count();
    node.server.as_mut().expect("the API").kill();
    node.start_agent();
    node.until("the agent", || node.log().matches("the network agent runs").count() == 2);
    node.until("the datapath", || node.log().matches("the datapath is loaded").count() > loaded);
    let b = node.add("b", &pods[1]);
    assert_eq!(megabyte(&pods[0], &pods[1], &b), a);
    assert_eq!(megabyte(&pods[1], &node.outside, "192.0.2.2"), "192.0.2.1");
    node.succeeded(node.call("STATUS", "", None, &Value::Null));
    node.del("b", Some(&pods[1]));
    assert_eq!(node.host.ip(&["route"]), routes, "nothing is taken away while nobody knows");
    let host = &node.host;
    let server = node.server.as_mut().expect("the API");
    host.inside(|| server.restart());
    node.until("its answer", || node.call("STATUS", "", None, &Value::Null).status.success());
    node.del("a", Some(&pods[0]));
    assert_eq!(node.leftovers(), Vec::<String>::new());
    drop(pods);
    node.end(guard);
}

#[test]
fn a_pod_whose_namespace_dies_is_forgotten() {
    let test = "cni_auto::a_pod_whose_namespace_dies_is_forgotten";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let node = Node::ready(&guard);
    let (dies, stays) = (TestHost::create(guard.tag(), "a"), TestHost::create(guard.tag(), "b"));
    node.add("a", &dies);
    let address = node.add("b", &stays);
    drop(dies);
    node.until("one pod", || node.records().len() == 1);
    // The address is reserved until the runtime says so.
    let valid = json!({"cni.dev/valid-attachments": [{"containerID": "b", "ifname": "eth0"}]});
    node.succeeded(node.call("GC", "", None, &valid));
    assert!(node.host.reaches(&address));
    node.succeeded(node.call("GC", "", None, &json!({"cni.dev/valid-attachments": []})));
    assert_eq!(node.leftovers(), Vec::<String>::new());
    assert!(!stays.ip(&["link"]).contains("eth0"));
    drop(stays);
    node.end(guard);
}

#[test]
fn a_plugin_that_is_killed_at_any_moment_leaves_nothing() {
    let test = "cni_auto::a_plugin_that_is_killed_at_any_moment_leaves_nothing";
    if !harness::root_or_skip(test) {
        return;
    }
    if Command::new("strace").arg("-V").output().is_err() {
        return harness::skip(test, "strace is not installed");
    }
    /// More calls of one kind than an ADD makes.
    const MOMENTS_MAX: usize = 100;
    let guard = harness::host::exclusive(test);
    let node = Node::ready(&guard);
    let pod = TestHost::create(guard.tag(), "a");
    let mut kills = 0;
    for calls in ["connect", "symlink,symlinkat", "sendto", "write", "setns"] {
        for moment in 1..=MOMENTS_MAX {
            let inject = format!("inject={calls}:signal=SIGKILL:when={moment}");
            let trace = format!("trace={calls}");
            let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
            let answer = node.call_through(&strace, "ADD", "a", Some(&pod), &Value::Null);
            let killed = answer.status.signal() == Some(9) || answer.status.code() == Some(137);
            if moment % 2 == 0 {
                node.succeeded(node.call("GC", "", None, &json!({"cni.dev/valid-attachments": []})));
            } else {
                node.del("a", Some(&pod));
            }
            // A call that was on its way is answered to nobody, and its link is gone.
            node.until(&format!("nothing after {calls} {moment}"), || node.leftovers().is_empty());
            assert!(!pod.ip(&["link"]).contains("eth0"), "{calls} {moment}");
            if !killed {
                node.succeeded(answer);
                break;
            }
            kills += 1;
        }
    }
    assert!(kills >= 10, "only {kills} kills: does strace inject?");
    let address = node.add("a", &pod);
    assert!(node.host.reaches(&address));
    node.del("a", Some(&pod));
    drop(pod);
    node.end(guard);
}
