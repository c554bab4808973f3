//! What a container finds when it starts: environment, volumes, files and users, on a node with every part real; and
//! how it follows changes.

use harness::node::{Node, Part, stage};
use serde_json::{Value, json};

const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");

/// Creates an object in `default`.
fn make(node: &Node, plural: &str, object: Value) {
    let _made = node.admin.post(&format!("/api/v1/namespaces/default/{plural}"), &object).expect(201);
}

fn patch(node: &Node, object: &str, change: Value) {
    let path = format!("/api/v1/namespaces/default/{object}");
    let _patched = node.admin.patch(&path, "merge", &change).expect(200);
}

/// A pod of one container that runs a script; `more` joins its spec, `own` its container.
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

/// What the container's first attempt has written so far, from the file that log collectors read.
fn said(node: &Node, name: &str) -> Vec<String> {
    let uid = node.get(name)["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let path = node.path(&format!("log/pods/default_{name}_{uid}/c/0.log"));
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).map(str::to_owned).collect()
}

fn until_said(node: &mut Node, name: &str, line: &str) {
    node.until(&format!("{name} says {line:?}"), |node| said(node, name).iter().any(|known| known == line));
}

/// Waits until the pod has run to its end; its lines.
fn ended(node: &mut Node, name: &str) -> Vec<String> {
    let status = node.until_pod(name, "it ends", |status| {
        matches!(status["phase"].as_str(), Some("Succeeded" | "Failed"))
    });
    let lines = said(node, name);
    assert_eq!(status["phase"], "Succeeded", "{status} {lines:#?}");
    lines
}

#[track_caller]
fn expect(lines: &[String], wanted: &[&str]) {
    for line in wanted {
        assert!(lines.iter().any(|known| known == line), "no {line:?} in {lines:#?}");
    }
}

fn until_event(node: &mut Node, pod: &str, reason: &str, message: &str) {
    node.until(&format!("{pod}: {reason} {message}"), |node| {
        let events = node.admin.get("/api/v1/namespaces/default/events").expect(200);
        let mut events = events["items"].as_array().into_iter().flatten();
        events.any(|event| {
            event["involvedObject"]["name"] == pod
                && event["reason"] == reason
                && event["message"].as_str().is_some_and(|said| said.contains(message))
        })
    });
}

#[test]
fn environments_come_from_every_source() {
    stage("environments_come_from_every_source", KEELSON, |node| {
        make(node, "configmaps", json!({"metadata": {"name": "settings"}, "data": {"COLOUR": "red"}}));
        make(node, "secrets", json!({"metadata": {"name": "keys"}, "stringData": {"PASSWORD": "hello"}}));
        make(
            node,
            "services",
            json!({"metadata": {"name": "data-base"}, "spec": {"ports": [{"port": 5432}]}}),
        );
        let own = json!({
            "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}},
            "envFrom": [{"prefix": "P_", "configMapRef": {"name": "settings"}}, {"secretRef": {"name": "none", "optional": true}}],
            "args": ["argument-$(NAME)-$$(NAME)"],
            "env": [
                {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
                {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
                {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "PASSWORD"}}},
                {"name": "ALL", "value": "$(NAME) $(P_COLOUR) $(PASSWORD) $(DATA_BASE_SERVICE_PORT) $$(NAME) $(UNKNOWN)"}]});
        run(node, "env", "env; echo $0; hostname -i 2>/dev/null; cat /etc/hosts", own, json!({}));
        let lines = ended(node, "env");
        expect(
            &lines,
            &[
                "P_COLOUR=red",
                "NAME=env",
                "NODE=node-a",
                "HOST=127.0.0.1",
                "MEMORY=64",
                "PASSWORD=hello",
                "ALL=env red hello 5432 $(NAME) $(UNKNOWN)",
                "argument-env-$(NAME)",
                "KUBERNETES_SERVICE_PORT_HTTPS=443",
                "# Kubernetes-managed hosts file.",
            ],
        );
        let address = node.get("env")["status"]["podIP"].as_str().unwrap_or_default().to_owned();
        expect(&lines, &[&format!("IP={address}"), &format!("{address}\tenv")]);
    });
}

#[test]
fn what_is_missing_is_named_and_waited_for() {
    stage("what_is_missing_is_named_and_waited_for", KEELSON, |node| {
        let from = |source: &str, name: &str| json!({"env": [{"name": "V", "valueFrom": {source: {"name": name, "key": "k"}}}]});
        run(node, "map", "echo $V", from("configMapKeyRef", "later"), json!({}));
        make(node, "secrets", json!({"metadata": {"name": "empty"}}));
        run(node, "key", "echo $V", from("secretKeyRef", "empty"), json!({}));
        let volume = |source: Value| json!({"volumes": [{"name": "v", "hostPath": source}]});
        run(node, "place", "true", json!({}), volume(json!({"path": "/dev/null", "type": "Directory"})));
        let nfs = json!({"volumes": [{"name": "v", "nfs": {"server": "192.0.2.1", "path": "/"}}]});
        run(node, "kind", "true", json!({}), nfs);
        let secret = json!({"volumes": [{"name": "v", "secret": {"secretName": "absent"}}]});
        run(node, "volume", "true", json!({}), secret);
        run(node, "root", "true", json!({}), json!({"securityContext": {"runAsNonRoot": true}}));
        node.until_waiting("map", "CreateContainerConfigError", r#"configmap "later" not found"#);
        node.until_waiting(
            "key",
            "CreateContainerConfigError",
            "couldn't find key k in Secret default/empty",
        );
        node.until_waiting(
            "root",
            "CreateContainerConfigError",
            "container has runAsNonRoot and image will run as root",
        );
        let failed = r#"MountVolume.SetUp failed for volume "v" : "#;
        let not = "hostPath type check failed: /dev/null is not a directory";
        until_event(node, "place", "FailedMount", &format!("{failed}{not}"));
        until_event(node, "kind", "FailedMount", &format!("{failed}volumes of kind nfs are not supported"));
        until_event(node, "volume", "FailedMount", &format!(r#"{failed}secret "absent" not found"#));
        make(node, "configmaps", json!({"metadata": {"name": "later"}, "data": {"k": "here"}}));
        make(node, "secrets", json!({"metadata": {"name": "absent"}}));
        expect(&ended(node, "map"), &["here"]);
        let _lines = ended(node, "volume");
    });
}

/// Volumes of every kind, mounted in one container.
fn everything(node: &Node) -> (Value, Value) {
    let place = node.path("host");
    std::fs::create_dir_all(&place).expect("a folder");
    std::fs::write(place.join("file"), "of the host\n").expect("a file");
    let projected = json!({"defaultMode": 0o440, "sources": [
        {"serviceAccountToken": {"path": "token", "audience": "vault"}},
        {"secret": {"name": "keys", "items": [{"key": "k", "path": "deep/key", "mode": 0o400}]}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]});
    let volumes = json!([
        {"name": "map", "configMap": {"name": "settings"}},
        {"name": "secret", "secret": {"secretName": "keys"}},
        {"name": "all", "projected": projected},
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "host", "hostPath": {"path": place, "type": "Directory"}}]);
    let mounts = json!([
        {"name": "map", "mountPath": "/map"},
        {"name": "secret", "mountPath": "/secret"},
        {"name": "all", "mountPath": "/all"},
        {"name": "disk", "mountPath": "/disk"},
        {"name": "disk", "mountPath": "/sub", "subPathExpr": "$(NAME)/x"},
        {"name": "map", "mountPath": "/one", "subPath": "colour"},
        {"name": "memory", "mountPath": "/memory"},
        {"name": "host", "mountPath": "/host", "readOnly": true}]);
    let env = json!([{"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
    let security = json!({"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000});
    (json!({"volumeMounts": mounts, "env": env}), json!({"volumes": volumes, "securityContext": security}))
}

const LOOK: &str = r#"
id
cat /map/colour /one /host/file /secret/k /all/deep/key
echo
stat -c '%n %a %u %g' /all/..data/deep/key /all/..data/token /map/..data/colour /disk
echo 1 > /disk/a && echo 'disk is writable'
echo 1 > /sub/b && ls /disk/*/x/b
for d in /map /secret /host; do echo 1 2>/dev/null > $d/new || echo "$d is read-only"; done
dd if=/dev/zero of=/memory/f bs=64k count=32 2>/dev/null || echo 'memory is bounded'
for d in /secret /all /memory; do mount | grep -q "^tmpfs on $d " && echo "$d in memory"; done
cat /all/token | tr . '\n' | wc -l
cat /var/run/secrets/kubernetes.io/serviceaccount/namespace; echo
head -c 27 /var/run/secrets/kubernetes.io/serviceaccount/ca.crt; echo
cat /etc/resolv.conf /proc/self/oom_score_adj
grep Seccomp: /proc/self/status
echo bye > /dev/termination-log
echo ready
while true; do
  now="$(cat /map/colour) $(cat /one) $(grep colour /all/labels) $(cat /secret/k 2>/dev/null)"
  [ "$now" = "$last" ] || echo "now $now"
  last=$now
  [ -e /host/stop ] && exit 0
  sleep 0.1
done"#;

#[test]
fn volumes_of_every_kind_follow_their_sources() {
    stage("volumes_of_every_kind_follow_their_sources", KEELSON, |node| {
        make(node, "configmaps", json!({"metadata": {"name": "settings"}, "data": {"colour": "red"}}));
        make(node, "secrets", json!({"metadata": {"name": "keys"}, "stringData": {"k": "old"}}));
        let (own, more) = everything(node);
        run(node, "all", LOOK, own, more);
        patch(node, "pods/all", json!({"metadata": {"labels": {"colour": "red"}}}));
        until_said(node, "all", "now red red colour=\"red\" old");
        let lines = said(node, "all");
        expect(
            &lines,
            &[
                "uid=1000(user) gid=1000(user) groups=1000(user),2000(extra)",
                "redredof the host",
                "oldold",
                "/all/..data/deep/key 440 0 2000",
                "/all/..data/token 640 1000 2000",
                "/map/..data/colour 644 0 2000",
                "/disk 2777 0 2000",
                "disk is writable",
                "/disk/all/x/b",
                "/map is read-only",
                "/secret is read-only",
                "/host is read-only",
                "memory is bounded",
                "/secret in memory",
                "/all in memory",
                "/memory in memory",
                "2",
                "1000",
                "Seccomp:\t2",
                "default",
                "-----BEGIN CERTIFICATE-----",
                "search default.svc.cluster.local svc.cluster.local cluster.local",
                "nameserver 10.96.0.10",
            ],
        );
        patch(node, "configmaps/settings", json!({"data": {"colour": "blue"}}));
        // A subPath shows what was there at the start.
        until_said(node, "all", "now blue red colour=\"red\" old");
        node.kill(Part::Kubelet);
        patch(node, "secrets/keys", json!({"stringData": {"k": "new"}}));
        node.start(Part::Kubelet);
        until_said(node, "all", "now blue red colour=\"red\" new");
        patch(node, "pods/all", json!({"metadata": {"labels": {"colour": "green"}}}));
        until_said(node, "all", "now blue red colour=\"green\" new");
        let path = "/api/v1/namespaces/default/configmaps/settings";
        let _gone = node.admin.delete(path).expect(200);
        until_event(node, "all", "FailedMount", r#"configmap "settings" not found"#);
        std::fs::write(node.path("host/stop"), "").expect("a file");
        let lines = ended(node, "all");
        assert_eq!(
            lines.last().map(String::as_str),
            Some("now blue red colour=\"green\" new"),
            "it kept its files"
        );
        let ended = node.get("all")["status"]["containerStatuses"][0]["state"]["terminated"].clone();
        assert_eq!(ended["message"], "bye\n", "{ended}");
    });
}

#[test]
fn a_container_cannot_lead_a_sub_path_out() {
    stage("a_container_cannot_lead_a_sub_path_out", KEELSON, |node| {
        let place = node.path("precious");
        std::fs::create_dir_all(&place).expect("a folder");
        std::fs::write(place.join("secret"), "of the host\n").expect("a file");
        let links = format!(
            "ln -s {0} /v/out && ln -s ../../../../../../../../../..{0} /v/up && ln -s {0}/secret /v/file",
            place.display()
        );
        let init = json!([{"name": "evil", "image": node.image, "command": ["/bin/sh", "-c", links],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]);
        let volumes = json!([{"name": "v", "emptyDir": {}}]);
        let mounts = json!([
            {"name": "v", "mountPath": "/out", "subPath": "out"},
            {"name": "v", "mountPath": "/up", "subPath": "up"},
            {"name": "v", "mountPath": "/file", "subPath": "file"}]);
        let script =
            "cat /out/secret /up/secret /file 2>/dev/null; touch /out/new /up/new /file/new; echo done";
        run(
            node,
            "evil",
            script,
            json!({"volumeMounts": mounts}),
            json!({"initContainers": init, "volumes": volumes}),
        );
        let lines = ended(node, "evil");
        assert_eq!(lines, ["done"]);
        assert_eq!(std::fs::read_dir(&place).expect("a folder").count(), 1, "nothing was made on the host");
    });
}
