//! Who a container is and what it may: users, capabilities, profiles, namespaces, names and limits, as the process
//! itself sees them.

use std::path::{Path, PathBuf};

use harness::node::{Node, stage};
use serde_json::{Value, json};

const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");

/// One container that says how the kernel sees it.
fn run(node: &Node, name: &str, script: &str, own: Value, more: Value) {
    let mut container = json!({"name": "c", "image": node.image, "command": ["/bin/sh", "-c", script]});
    join(&mut container, own);
    let mut spec =
        json!({"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 1});
    join(&mut spec, more);
    node.pod(name, spec);
}

fn join(object: &mut Value, more: Value) {
    for (key, value) in more.as_object().into_iter().flatten() {
        object[key] = value.clone();
    }
}

/// The container's lines, once the pod has run to its end.
fn ended(node: &mut Node, name: &str) -> Vec<String> {
    let status = node.until_pod(name, "it ends", |status| {
        matches!(status["phase"].as_str(), Some("Succeeded" | "Failed"))
    });
    let lines = said(node, name);
    assert_eq!(status["phase"], "Succeeded", "{status} {lines:#?}");
    lines
}

fn said(node: &Node, name: &str) -> Vec<String> {
    let uid = uid(node, name);
    let path = node.path(&format!("log/pods/default_{name}_{uid}/c/0.log"));
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).map(str::to_owned).collect()
}

fn uid(node: &Node, name: &str) -> String {
    node.get(name)["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

#[track_caller]
fn expect(lines: &[String], wanted: &[&str]) {
    for line in wanted {
        assert!(lines.iter().any(|known| known == line), "no {line:?} in {lines:#?}");
    }
}

const WHO: &str = r#"
grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status
id
touch /new 2>/dev/null || echo 'the root is read-only'
echo 1 2>/dev/null > /proc/sys/kernel/domainname || echo 'the kernel is read-only'
cat /proc/keys 2>/dev/null | head -c 1 | wc -c
"#;

#[test]
fn containers_are_confined_as_asked() {
    stage("containers_are_confined_as_asked", KEELSON, |node| {
        let locked = json!({"securityContext": {"readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]}, "runAsUser": 65534}});
        run(
            node,
            "locked",
            WHO,
            locked,
            json!({"securityContext": {"runAsNonRoot": true, "supplementalGroups": [77]}}),
        );
        run(node, "plain", WHO, json!({}), json!({}));
        let added = json!({"securityContext": {"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
            "seccompProfile": {"type": "Unconfined"}}});
        run(node, "added", WHO, added, json!({}));
        run(node, "privileged", WHO, json!({"securityContext": {"privileged": true}}), json!({}));
        let lines = ended(node, "locked");
        expect(&lines, &["CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]);
        expect(&lines, &["the root is read-only", "the kernel is read-only", "0"]);
        assert!(lines.iter().any(|line| line.starts_with("uid=65534") && line.contains("77")), "{lines:#?}");
        let lines = ended(node, "plain");
        expect(
            &lines,
            &["CapEff:\t00000000a80425fb", "NoNewPrivs:\t0", "Seccomp:\t2", "the kernel is read-only"],
        );
        expect(&ended(node, "added"), &["CapEff:\t0000000000000400", "Seccomp:\t0"]);
        let lines = ended(node, "privileged");
        expect(&lines, &["Seccomp:\t0"]);
        assert!(!lines.iter().any(|line| line == "the kernel is read-only"), "{lines:#?}");
    });
}

#[test]
fn pods_have_names_and_namespaces() {
    stage("pods_have_names_and_namespaces", KEELSON, |node| {
        let script = "hostname; cat /etc/hosts /etc/resolv.conf /proc/sys/net/ipv4/ip_unprivileged_port_start; readlink /proc/self/ns/net; readlink /proc/self/ns/ipc";
        let named = json!({
            "hostname": "front", "subdomain": "web", "setHostnameAsFQDN": true, "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["192.0.2.53"], "searches": ["a.example"], "options": [{"name": "ndots", "value": "1"}]},
            "hostAliases": [{"ip": "192.0.2.7", "hostnames": ["seven", "sieben"]}],
            "securityContext": {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"}]}});
        run(node, "named", script, json!({}), named);
        run(node, "host", script, json!({}), json!({"hostNetwork": true, "hostIPC": true}));
        let second = json!({"name": "second", "image": node.image, "command": ["/bin/sleep", "4711"]});
        let first = json!({"name": "c", "image": node.image,
            "command": ["/bin/sh", "-c", "until ps | grep -q 'sleep [4]711'; do sleep 0.1; done; echo seen; kill -9 $(ps | grep '[s]leep 4711' | sed 's/^ *//' | cut -d ' ' -f 1)"]});
        node.pod(
            "shared",
            json!({"shareProcessNamespace": true, "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1, "containers": [first, second]}),
        );
        let lines = ended(node, "named");
        let address = node.get("named")["status"]["podIP"].as_str().unwrap_or_default().to_owned();
        let own = format!("{address}\tfront.web.default.svc.cluster.local\tfront");
        expect(
            &lines,
            &[
                "front.web.default.svc.cluster.local",
                &own,
                "192.0.2.7\tseven\tsieben",
                "nameserver 192.0.2.53",
                "search a.example",
                "options ndots:1",
                "80",
            ],
        );
        let namespace = |kind: &str| {
            let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("a namespace");
            link.display().to_string()
        };
        for kind in ["net", "ipc"] {
            assert!(!lines.contains(&namespace(kind)), "{kind}: {lines:#?}");
        }
        let lines = ended(node, "host");
        expect(
            &lines,
            &["# Kubernetes-managed hosts file (host network).", &namespace("net"), &namespace("ipc")],
        );
        node.until("one container sees the other", |node| said(node, "shared") == ["seen"]);
        let unsafe_one = json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}});
        run(node, "unsafe", "true", json!({}), unsafe_one);
        let refused = node.until_pod("unsafe", "is refused", |status| status["phase"] == "Failed");
        assert_eq!(refused["reason"], "SysctlForbidden", "{refused}");
        let _ended = node.until_pod("shared", "both end", |status| status["phase"] == "Failed");
    });
}

#[test]
fn limits_are_in_force() {
    stage("limits_are_in_force", KEELSON, |node| {
        let resources = json!({"resources": {"requests": {"cpu": "250m", "memory": "32Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}}});
        let script = "cat /proc/self/oom_score_adj; until [ -e /stop/now ]; do sleep 0.1; done";
        let place = node.path("stop");
        std::fs::create_dir_all(&place).expect("a folder");
        let mounts = json!([{"name": "stop", "mountPath": "/stop"}]);
        let mut own = resources;
        own["volumeMounts"] = mounts;
        let volumes = json!({"volumes": [{"name": "stop", "hostPath": {"path": place}}]});
        run(node, "bounded", script, own, volumes);
        node.until("it runs", |node| !said(node, "bounded").is_empty());
        let score: i64 = said(node, "bounded")[0].parse().expect("a score");
        assert!((3..=999).contains(&score), "{score}");
        let folder = format!("pod{}", uid(node, "bounded"));
        let found = |file: &str| -> Vec<String> {
            let mut values = Vec::new();
            collect(Path::new("/sys/fs/cgroup"), &folder, file, 0, &mut values);
            values
        };
        let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let files: &[(&str, &str)] = if v2 {
            &[("memory.max", "67108864"), ("cpu.max", "50000 100000")]
        } else {
            &[("memory.limit_in_bytes", "67108864"), ("cpu.cfs_quota_us", "50000"), ("cpu.shares", "256")]
        };
        for (file, value) in files {
            let values = found(file);
            assert!(values.iter().any(|known| known == value), "{file}: {values:?}");
        }
        std::fs::write(place.join("now"), "").expect("a file");
        let _lines = ended(node, "bounded");
    });
}

/// Values of a control file in the cgroups below the folder of a name, in all hierarchies.
fn collect(folder: &Path, name: &str, file: &str, inside: usize, values: &mut Vec<String>) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    for below in folders {
        let inside = usize::from(inside > 0 || below.file_name().is_some_and(|known| known == name));
        if inside > 0 {
            values.extend(std::fs::read_to_string(below.join(file)).map(|text| text.trim().to_owned()));
        }
        collect(&below, name, file, inside, values);
    }
}
