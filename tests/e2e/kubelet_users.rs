//! Pods with users of their own, what is unmasked in them, groups, and mounts with all their attributes, as the process
//! in the pod sees them.

use std::path::Path;
use std::process::Command;

use harness::image::{Compression, Layer, busybox};
use harness::node::{Node, Part, stage};
use serde_json::{Value, json};

const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");

fn join(object: &mut Value, more: Value) {
    for (key, value) in more.as_object().into_iter().flatten() {
        object[key] = value.clone();
    }
}

fn run(node: &Node, name: &str, script: &str, own: Value, more: Value) {
    let mut container = json!({"name": "c", "image": node.image, "command": ["/bin/sh", "-c", script]});
    join(&mut container, own);
    let mut spec =
        json!({"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 1});
    join(&mut spec, more);
    node.pod(name, spec);
}

fn uid(node: &Node, name: &str) -> String {
    node.get(name)["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

fn said(node: &Node, name: &str) -> Vec<String> {
    let path = node.path(&format!("log/pods/default_{name}_{}/c/0.log", uid(node, name)));
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).map(str::to_owned).collect()
}

fn until_said(node: &mut Node, name: &str, line: &str) {
    node.until(&format!("{name} says {line:?}"), |node| said(node, name).iter().any(|known| known == line));
}

fn ended(node: &mut Node, name: &str) -> Vec<String> {
    let status = node.until_pod(name, "it ends", |status| {
        matches!(status["phase"].as_str(), Some("Succeeded" | "Failed"))
    });
    let lines = said(node, name);
    assert_eq!(status["phase"], "Succeeded", "{status:#} {lines:#?}");
    lines
}

#[track_caller]
fn expect(lines: &[String], wanted: &[&str]) {
    for line in wanted {
        assert!(lines.iter().any(|known| known == line), "no {line:?} in {lines:#?}");
    }
}

const SCRIPT: &str = r#"
echo ids $(cat /proc/self/uid_map) $(cat /proc/self/gid_map)
echo owners $(stat -c %u /etc/hosts /etc/resolv.conf /settings/colour /secret/word /scratch /host /dev/termination-log)
echo read $(cat /settings/colour /secret/word)
echo x > /scratch/file && chown 5:6 /scratch/file && echo scratch $(stat -c %u:%g /scratch/file)
echo y > /host/file && echo host $(stat -c %u /host/file)
echo masks $(grep -cE ' /proc/(kcore|keys|timer_list|sys|bus) ' /proc/self/mountinfo)
echo panic $(echo 1 2>/dev/null > /proc/sys/kernel/panic && echo written || echo refused)
echo last words > /dev/termination-log
echo done
"#;

#[test]
fn pods_have_users_of_their_own() {
    const TEST: &str = "pods_have_users_of_their_own";
    if !harness::root_or_skip(TEST) || !super::cri_node::maps_tmpfs_or_skip(TEST) {
        return;
    }
    stage(TEST, KEELSON, |node| {
        let post = |plural: &str, object: Value| {
            let _made = node.admin.post(&format!("/api/v1/namespaces/default/{plural}"), &object).expect(201);
        };
        post("configmaps", json!({"metadata": {"name": "settings"}, "data": {"colour": "red"}}));
        post("secrets", json!({"metadata": {"name": "keys"}, "stringData": {"word": "hush"}}));
        let place = node.path("place");
        std::fs::create_dir_all(&place).expect("a folder");
        let mounts = json!([
            {"name": "settings", "mountPath": "/settings"}, {"name": "secret", "mountPath": "/secret"},
            {"name": "scratch", "mountPath": "/scratch"}, {"name": "host", "mountPath": "/host"},
        ]);
        let more = json!({"hostUsers": false, "volumes": [
            {"name": "settings", "configMap": {"name": "settings"}}, {"name": "secret", "secret": {"secretName": "keys"}},
            {"name": "scratch", "emptyDir": {}}, {"name": "host", "hostPath": {"path": place}},
        ]});
        let own = json!({"volumeMounts": mounts});
        run(node, "masked", &format!("{SCRIPT}exec sleep 600"), own.clone(), more.clone());
        let mut unmasked = own;
        unmasked["securityContext"] = json!({"procMount": "Unmasked"});
        run(node, "unmasked", SCRIPT, unmasked, more);
        let lines = ended(node, "unmasked");
        let common = ["owners 0 0 0 0 0 0 0", "read redhush", "scratch 5:6", "host 0", "panic refused"];
        expect(&lines, &common);
        expect(&lines, &["masks 0"]);
        until_said(node, "masked", "done");
        let masked = said(node, "masked");
        expect(&masked, &common);
        assert!(!masked.iter().any(|line| line == "masks 0"), "{masked:#?}");
        let message =
            &node.get("unmasked")["status"]["containerStatuses"][0]["state"]["terminated"]["message"];
        assert_eq!(message, "last words\n");
        // Stored with the ids of the inside: a mount of the same volume elsewhere shows the same.
        use std::os::unix::fs::MetadataExt as _;
        assert_eq!(std::fs::metadata(place.join("file")).expect("a file").uid(), 0);
        let first = |lines: &[String]| {
            let ids = lines.iter().find_map(|line| line.strip_prefix("ids 0 ")).expect("ids").to_owned();
            let words: Vec<u32> = ids.split(' ').filter_map(|word| word.parse().ok()).collect();
            assert_eq!(words, [words[0], 65_536, 0, words[0], 65_536], "{lines:#?}");
            words[0]
        };
        let (one, other) = (first(&masked), first(&lines));
        assert!(one != other && one % 65_536 == 0 && other % 65_536 == 0, "{one} {other}");

        // Another kubelet gives nobody's ids away.
        node.kubectl("delete pod unmasked --wait=false");
        node.until("one pod is left", |node| node.pods().len() == 1);
        node.kill(Part::Kubelet);
        node.start(Part::Kubelet);
        for name in ["third", "fourth"] {
            run(
                node,
                name,
                SCRIPT.split("echo owners").next().unwrap_or_default(),
                json!({}),
                json!({"hostUsers": false}),
            );
        }
        let (third, fourth) = (ended(node, "third"), ended(node, "fourth"));
        let (third, fourth) = (first(&third), first(&fourth));
        assert!(one != third && one != fourth && third != fourth, "{one} {third} {fourth}");
        let file = node.path("kubelet/pods").join(uid(node, "masked")).join("userns");
        let kept: Value = serde_json::from_slice(&std::fs::read(file).expect("a file")).expect("JSON");
        assert_eq!(kept["uidMappings"][0]["hostId"], one);
        node.kubectl("delete pods --all --wait=false");
        node.until("no pods are left", |node| node.pods().is_empty());
    });
}

#[test]
fn groups_are_the_images_or_not() {
    stage("groups_are_the_images_or_not", KEELSON, |node| {
        let files = Layer::new()
            .file("etc/passwd", 0o644, b"root:x:0:0::/:/bin/sh\nweb:x:33:34::/:/bin/sh\n")
            .file("etc/group", 0o644, b"root:x:0:\nlogs:x:50:web\n");
        let Some(image) = busybox() else { return };
        let image = node.registry.push("groups", "1", &image.layer(files, Compression::Gzip).build());
        for (name, policy) in [("merge", "Merge"), ("strict", "Strict")] {
            let context = json!({"runAsUser": 33, "supplementalGroups": [77], "fsGroup": 88, "supplementalGroupsPolicy": policy});
            run(
                node,
                name,
                "echo groups $(id -G)",
                json!({"image": image}),
                json!({"securityContext": context}),
            );
        }
        expect(&ended(node, "merge"), &["groups 34 50 77 88"]);
        expect(&ended(node, "strict"), &["groups 34 77 88"]);
        let told = &node.get("strict")["status"]["containerStatuses"][0]["user"]["linux"];
        assert_eq!(told, &json!({"uid": 33, "gid": 34, "supplementalGroups": [34, 88, 77]}));
    });
}

/// Mounts of a test, gone when it ends.
struct Mounted(Vec<std::path::PathBuf>);

impl Mounted {
    fn add(&mut self, arguments: &[&str], at: &Path) {
        std::fs::create_dir_all(at).expect("a folder");
        let done = Command::new("mount").args(arguments).arg(at).status().expect("mount runs");
        assert!(done.success(), "{arguments:?} {}", at.display());
        self.0.push(at.to_owned());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            let _gone = Command::new("umount").arg("-l").arg(path).status();
        }
    }
}

#[test]
fn mounts_have_the_attributes_that_were_asked_for() {
    stage("mounts_have_the_attributes_that_were_asked_for", KEELSON, |node| {
        let place = node.path("shared");
        let text = place.display().to_string();
        let mut mounted = Mounted(Vec::new());
        mounted.add(&["--bind", &text], &place);
        let shared = Command::new("mount").arg("--make-shared").arg(&place).status().expect("mount runs");
        assert!(shared.success());
        mounted.add(&["-t", "tmpfs", "tmpfs"], &place.join("below"));
        let volumes = json!({"volumes": [{"name": "v", "hostPath": {"path": place}}]});
        let with = |more: Value| {
            let mut mount = json!({"name": "v", "mountPath": "/v"});
            join(&mut mount, more);
            json!({"volumeMounts": [mount]})
        };
        let write = "for f in /v/x /v/below/x; do (echo > $f) 2>/dev/null && echo $f written || echo $f refused; done";
        run(node, "flat", write, with(json!({"readOnly": true})), volumes.clone());
        let deep = json!({"readOnly": true, "recursiveReadOnly": "Enabled"});
        run(node, "deep", write, with(deep), volumes.clone());
        let wait = "echo here; until [ -e /v/late/file ]; do sleep 0.1; done; echo seen";
        run(node, "follows", wait, with(json!({"mountPropagation": "HostToContainer"})), volumes.clone());
        let mut shares = with(json!({"mountPropagation": "Bidirectional"}));
        shares["securityContext"] = json!({"privileged": true});
        let make = "mkdir /v/made && mount -t tmpfs tmpfs /v/made && echo > /v/made/file && echo made; exec sleep 600";
        run(node, "shares", make, shares, volumes);
        expect(&ended(node, "flat"), &["/v/x refused", "/v/below/x written"]);
        expect(&ended(node, "deep"), &["/v/x refused", "/v/below/x refused"]);
        let told = &node.get("deep")["status"]["containerStatuses"][0]["volumeMounts"];
        assert!(
            told.as_array().is_some_and(|all| all.iter().any(|one| one["recursiveReadOnly"] == "Enabled")),
            "{told}"
        );
        until_said(node, "follows", "here");
        mounted.add(&["-t", "tmpfs", "tmpfs"], &place.join("late"));
        std::fs::write(place.join("late/file"), "").expect("a file");
        expect(&ended(node, "follows"), &["seen"]);
        until_said(node, "shares", "made");
        assert!(place.join("made/file").exists(), "what the container mounts is seen outside");
        mounted.0.push(place.join("made"));
        node.kubectl("delete pods --all --wait=false");
        node.until("no pods are left", |node| node.pods().is_empty());
    });
}
