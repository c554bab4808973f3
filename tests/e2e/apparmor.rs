//! AppArmor, where the kernel has it: containers run under the profile that was asked for, commands in them as well, and our default
//! profile denies what it names.
//!
//! Skipped with its reason where the kernel does not enforce AppArmor, or nobody can compile a profile. What is chosen and refused without
//! a kernel is tested in `runtime/cri`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use cri_api::v1::security_profile::ProfileType;
use cri_api::v1::{ContainerConfig, SecurityProfile};
use serde_json::json;
use tonic::Code;

use crate::cri_node::{Client, stage, write_network};
use crate::oci_bundle::{Bundle, ready, text};

const LOADED: &str = "/sys/kernel/security/apparmor/profiles";
const DEFAULT: &str = "keelson-default";

/// True where profiles are enforced and can be loaded.
fn enforced(test: &str) -> bool {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if !enabled.is_ok_and(|text| text.starts_with('Y')) || !Path::new(LOADED).exists() {
        harness::skip(test, "the kernel does not enforce AppArmor");
        return false;
    }
    if Profile::load("tried").is_none() {
        harness::skip(test, "no profile can be loaded here (package apparmor)");
        return false;
    }
    true
}

/// A profile in the kernel, taken out again.
struct Profile(String);

impl Profile {
    /// Everything but writing to files below /denied.
    fn load(tag: &str) -> Option<Profile> {
        let name = format!("keelson-test-{tag}");
        let text = format!(
            "profile {name} flags=(attach_disconnected, mediate_deleted) {{\n  network,\n  capability,\n  file,\n  \
             umount,\n  mount,\n  signal,\n  deny /denied/** w,\n}}\n"
        );
        let mut parser = Command::new("apparmor_parser");
        let parser = parser.args(["--replace", "--skip-cache"]).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut parser = parser.spawn().ok()?;
        parser.stdin.take().expect("a pipe").write_all(text.as_bytes()).ok()?;
        parser.wait().expect("it ends").success().then_some(Profile(name))
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        let _gone = std::fs::write("/sys/kernel/security/apparmor/.remove", &self.0);
    }
}

#[test]
fn a_bundles_profile_confines_its_processes() {
    const TEST: &str = "a_bundles_profile_confines_its_processes";
    if !ready(TEST) || !enforced(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let profile = Profile::load(guard.tag()).expect("as before");
    let mut bundle = Bundle::new(guard.tag());
    std::fs::create_dir(bundle.rootfs().join("denied")).expect("a folder");
    bundle.edit(|spec| {
        spec["root"]["readonly"] = json!(false);
        spec["process"]["apparmorProfile"] = json!(profile.0);
    });
    let tries = "cat /proc/self/attr/current; echo x > /tmp/allowed && cat /tmp/allowed; echo x > /denied/x || echo no";
    let confined = |said: &str| {
        assert!(said.contains(&format!("{} (enforce)\nx\n", profile.0)), "{said}");
        assert!(said.contains("Permission denied") && said.contains("\nno\n"), "{said}");
    };
    confined(&bundle.run(tries).1);

    // Without new privileges as well, and every command that comes later.
    bundle.shell("sleep 1000").edit(|spec| spec["process"]["noNewPrivileges"] = json!(true));
    bundle.create();
    bundle.must(&["start", &bundle.id]);
    confined(&text(&bundle.oci(&["exec", &bundle.id, "sh", "-c", tries])));
    // A process of a file that names no profile is confined as the container is.
    let file = bundle.path().join("process.json");
    let user = json!({ "uid": 0, "gid": 0 });
    let process = json!({ "args": ["sh", "-c", tries], "cwd": "/", "env": ["PATH=/bin"], "user": user });
    std::fs::write(&file, process.to_string()).expect("a file");
    confined(&text(&bundle.oci(&["exec", "--process", &file.display().to_string(), &bundle.id])));
    let other = ["exec", "--apparmor", "nobody-has-loaded-this", &bundle.id, "true"];
    let refused = bundle.oci(&other);
    assert_eq!(refused.status.code(), Some(255), "{}", text(&refused));
    bundle.must(&["delete", "--force", &bundle.id]);

    bundle.edit(|spec| spec["process"]["apparmorProfile"] = json!("unconfined"));
    assert_eq!(bundle.run("cat /proc/self/attr/current").1, "unconfined\n");
    bundle.edit(|spec| spec["process"]["apparmorProfile"] = json!("nobody-has-loaded-this"));
    let (code, said) = bundle.run("true");
    assert!(code == 1 && said.contains("AppArmor"), "{said}");
    drop(profile);
    guard.finish();
}

fn with(client: &Client, name: &str, kind: ProfileType, reference: &str) -> ContainerConfig {
    let mut config = client.container(name, "exec sleep 600");
    let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
    security.apparmor =
        Some(SecurityProfile { profile_type: kind.into(), localhost_ref: reference.to_owned() });
    // Only the profile is in the way.
    security.capabilities.get_or_insert_default().add_capabilities = vec!["ALL".into()];
    config
}

#[test]
fn pods_run_under_the_profile_that_was_asked_for() {
    const TEST: &str = "pods_run_under_the_profile_that_was_asked_for";
    if !enforced(TEST) {
        return;
    }
    stage(TEST, async |_, mut client| {
        write_network(&mut client, "10.213.15.0/24").await;
        let profile = Profile::load(&std::process::id().to_string()).expect("as before");
        let pod = client.pod("confined");
        let sandbox = client.run(&pod).await.expect("a sandbox");
        let mut begun = Vec::new();
        let legacy = |name: &str, text: &str| {
            let mut config = with(&client, name, ProfileType::Unconfined, "");
            let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
            security.apparmor = None;
            #[allow(deprecated)]
            security.apparmor_profile.push_str(text);
            config
        };
        let own = profile.0.clone();
        for (config, expect) in [
            (with(&client, "default", ProfileType::RuntimeDefault, ""), DEFAULT),
            (with(&client, "localhost", ProfileType::Localhost, &own), own.as_str()),
            (with(&client, "unconfined", ProfileType::Unconfined, ""), "unconfined"),
            (legacy("none", ""), DEFAULT),
            (legacy("old-default", "runtime/default"), DEFAULT),
            (legacy("old-localhost", &format!("localhost/{own}")), own.as_str()),
        ] {
            let id = client.create(&sandbox, &pod, config).await.expect(expect);
            client.start(&id).await.expect(expect);
            // What the first process runs under, and one that came later.
            let shown = client.output(&id, "cat /proc/1/attr/current /proc/self/attr/current").await;
            let line = if expect == "unconfined" { expect.to_owned() } else { format!("{expect} (enforce)") };
            assert_eq!(shown, format!("{line}\n{line}"));
            begun.push(id);
        }
        let refused =
            client.create(&sandbox, &pod, with(&client, "wrong", ProfileType::Localhost, "not-loaded")).await;
        let refused = refused.expect_err("nobody has loaded it");
        assert!(
            refused.code() == Code::InvalidArgument && refused.message().contains("not found"),
            "{refused}"
        );
        denials(&mut client, &begun[0], &begun[1], &begun[2]).await;
        settings_of_the_kernel();
        drop(profile);
        client.end(&sandbox).await.expect("removed");
    });
}

/// With every capability: what only a profile denies.
async fn denials(client: &mut Client, default: &str, own: &str, unconfined: &str) {
    for (tried, denied) in [
        ("mount -t tmpfs none /tmp", true),
        ("umount /dev/shm", false),
        ("echo x > /tmp/allowed", false),
        ("kill -0 1", false),
    ] {
        let line = format!("mkdir -p /tmp /denied; {tried} 2>&1 && echo done");
        let (free, held) = (client.output(unconfined, &line).await, client.output(default, &line).await);
        assert!(free.ends_with("done"), "{tried}: {free}");
        assert_eq!(held.ends_with("done"), !denied, "{tried}: {held}");
    }
    let line = "mkdir -p /denied; echo x > /denied/x || echo no";
    assert_eq!(client.output(own, line).await, "no");
    assert_eq!(client.output(unconfined, line).await, "");
}

/// What a pod has as read-only mounts besides: where a bundle has none, the default profile alone denies it.
fn settings_of_the_kernel() {
    let mut bundle = Bundle::new(&format!("aa{}", std::process::id()));
    // Each opens and does no more; the domain's name is the container's own.
    let line = "for f in /proc/sysrq-trigger /proc/sys/kernel/domainname; do (: > $f) 2>/dev/null && echo wrote $f; done; \
                (: < /proc/kcore) 2>/dev/null && echo read kcore; true";
    bundle.edit(|spec| {
        spec["linux"]["readonlyPaths"] = json!([]);
        spec["linux"]["maskedPaths"] = json!([]);
        let all = json!(["CAP_SYS_ADMIN", "CAP_SYS_RAWIO", "CAP_DAC_OVERRIDE"]);
        spec["process"]["capabilities"] = json!({ "bounding": all, "permitted": all, "effective": all });
    });
    let everything = "wrote /proc/sysrq-trigger\nwrote /proc/sys/kernel/domainname\nread kcore\n";
    assert_eq!(bundle.run(line).1, everything, "nothing else is in the way");
    bundle.edit(|spec| spec["process"]["apparmorProfile"] = json!(DEFAULT));
    assert_eq!(bundle.run(line).1, "");
}
