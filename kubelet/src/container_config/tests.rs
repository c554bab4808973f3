//! Configurations of containers.

use cri_api::v1::NamespaceMode;
use cri_api::v1::security_profile::ProfileType;
use serde_json::json;

use super::*;

fn made_with(pod_context: Value, container: Value, image: ImageFacts) -> Result<v1::ContainerConfig, String> {
    let pod = Pod::of(json!({"metadata": {"namespace": "shop", "name": "web", "uid": "u-1"},
        "spec": {"securityContext": pod_context, "terminationGracePeriodSeconds": 5, "containers": [container]}}));
    let node =
        NodeFacts { seccomp_profiles: "/k/seccomp".into(), memory_capacity: 1 << 30, ..Default::default() };
    let environment = [("A".to_owned(), "1".to_owned())];
    let inputs = Inputs {
        pod: &pod,
        container: &pod.main[0],
        attempt: 2,
        node: &node,
        image: &image,
        environment: &environment,
        mounts: &[],
        user: None,
        hosts_file: Some("/k/etc-hosts".into()),
        termination_message: Some("/k/message".into()),
        annotations: BTreeMap::new(),
        target: None,
    };
    of(&inputs).map_err(|error| error.0)
}

fn made(pod_context: Value, container: Value) -> Result<v1::ContainerConfig, String> {
    made_with(pod_context, container, ImageFacts { id: "sha256:1".into(), ..Default::default() })
}

fn context(config: v1::ContainerConfig) -> v1::LinuxContainerSecurityContext {
    config.linux.unwrap().security_context.unwrap()
}

#[test]
fn a_plain_container() {
    let config = made(
        Value::Null,
        json!({"name": "c", "image": "web:1", "command": ["run", "$(A)"], "args": ["$$(A)", "$(B)"], "workingDir": "/w",
            "tty": true, "stdin": true, "ports": [{"containerPort": 80}], "lifecycle": {"stopSignal": "SIGUSR1", "preStop": {"sleep": {"seconds": 1}}}}),
    )
    .unwrap();
    assert_eq!(
        (config.command.as_slice(), config.args.as_slice()),
        (&["run".to_owned(), "1".into()][..], &["$(A)".to_owned(), "$(B)".into()][..])
    );
    assert_eq!((config.working_dir.as_str(), config.log_path.as_str()), ("/w", "c/2.log"));
    assert_eq!((config.tty, config.stdin, config.stdin_once), (true, true, false));
    assert_eq!(config.stop_signal(), v1::Signal::Sigusr1);
    let image = config.image.clone().unwrap();
    assert_eq!((image.image.as_str(), image.user_specified_image.as_str()), ("sha256:1", "web:1"));
    assert_eq!(config.labels["io.kubernetes.container.name"], "c");
    assert_eq!(config.labels["io.kubernetes.pod.uid"], "u-1");
    let keys = [
        (labels::RESTART_COUNT, "2"),
        (labels::MESSAGE_PATH, "/dev/termination-log"),
        (labels::MESSAGE_POLICY, "File"),
        (labels::POD_GRACE, "5"),
        ("io.kubernetes.container.ports", r#"[{"containerPort":80}]"#),
        (labels::PRE_STOP, r#"{"sleep":{"seconds":1}}"#),
    ];
    for (key, value) in keys {
        assert_eq!(config.annotations[key], value, "{key}");
    }
    let mounts: Vec<_> =
        config.mounts.iter().map(|mount| (mount.host_path.as_str(), mount.container_path.as_str())).collect();
    assert_eq!(mounts, [("/k/etc-hosts", "/etc/hosts"), ("/k/message", "/dev/termination-log")]);
    let context = context(config);
    assert_eq!(context.run_as_user.unwrap().value, 0);
    assert_eq!(context.seccomp.unwrap().profile_type(), ProfileType::RuntimeDefault);
    assert_eq!(context.namespace_options.unwrap().pid(), NamespaceMode::Container);
    assert!(context.masked_paths.contains(&"/proc/kcore".to_owned()));
    assert_eq!((context.privileged, context.no_new_privs, context.readonly_rootfs), (false, false, false));
}

#[test]
fn the_container_is_laid_over_the_pod() {
    let pod = json!({"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4],
        "seccompProfile": {"type": "Unconfined"}, "supplementalGroupsPolicy": "Strict"});
    let first = context(made(pod.clone(), json!({"name": "c"})).unwrap());
    assert_eq!((first.run_as_user.unwrap().value, first.run_as_group.unwrap().value), (1, 2));
    assert_eq!(first.supplemental_groups, [3, 4]);
    assert_eq!(first.seccomp.unwrap().profile_type(), ProfileType::Unconfined);
    assert_eq!(first.supplemental_groups_policy, v1::SupplementalGroupsPolicy::Strict as i32);
    let own = json!({"name": "c", "securityContext": {"runAsUser": 9, "privileged": true, "readOnlyRootFilesystem": true,
        "allowPrivilegeEscalation": false, "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}, "procMount": "Unmasked",
        "seccompProfile": {"type": "Localhost", "localhostProfile": "a/b.json"},
        "appArmorProfile": {"type": "Localhost", "localhostProfile": "mine"}}});
    let second = context(made(pod, own).unwrap());
    assert_eq!((second.run_as_user.unwrap().value, second.run_as_group.unwrap().value), (9, 2));
    assert_eq!((second.privileged, second.no_new_privs, second.readonly_rootfs), (true, true, true));
    let capabilities = second.capabilities.unwrap();
    assert_eq!(
        (capabilities.add_capabilities, capabilities.drop_capabilities),
        (vec!["NET_ADMIN".into()], vec!["ALL".into()])
    );
    assert_eq!(second.seccomp.unwrap().localhost_ref, "/k/seccomp/a/b.json");
    assert_eq!(second.apparmor.unwrap().localhost_ref, "mine");
    assert_eq!((second.masked_paths.len(), second.readonly_paths.len()), (0, 0));
}

#[test]
fn root_is_found_out() {
    let image =
        |uid: Option<i64>, name: &str| ImageFacts { uid, username: name.into(), ..Default::default() };
    let check = |pod: Value, own: Value, image: ImageFacts, expect: Result<(), &str>| {
        let found = made_with(pod, json!({"name": "c", "securityContext": own}), image);
        match expect {
            Ok(()) => assert!(found.is_ok(), "{found:?}"),
            Err(expect) => assert_eq!(found.unwrap_err(), expect),
        }
    };
    let strict = json!({"runAsNonRoot": true});
    check(strict.clone(), json!({}), image(Some(7), ""), Ok(()));
    check(strict.clone(), json!({"runAsUser": 7}), image(Some(0), ""), Ok(()));
    check(strict.clone(), json!({"runAsNonRoot": false}), image(Some(0), ""), Ok(()));
    check(
        strict.clone(),
        json!({"runAsUser": 0}),
        image(Some(7), ""),
        Err("container's runAsUser breaks non-root policy (pod: \"web_shop(u-1)\", container: c)"),
    );
    let root =
        Err("container has runAsNonRoot and image will run as root (pod: \"web_shop(u-1)\", container: c)");
    check(strict.clone(), json!({}), image(Some(0), ""), root);
    check(strict.clone(), json!({}), image(None, ""), root);
    check(
        strict,
        json!({}),
        image(None, "web"),
        Err(
            "container has runAsNonRoot and image has non-numeric user (web), cannot verify user is non-root (pod: \"web_shop(u-1)\", container: c)",
        ),
    );
}

#[test]
fn what_cannot_be() {
    let wrong = json!({"name": "c", "securityContext": {"seccompProfile": {"type": "Localhost"}}});
    assert_eq!(
        made(Value::Null, wrong).unwrap_err(),
        "localhostProfile must be set if seccompProfile type is Localhost."
    );
}

#[test]
fn a_container_keeps_its_own_hosts_file() {
    let config =
        made(Value::Null, json!({"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/etc/hosts"}]}))
            .unwrap();
    assert!(config.mounts.iter().all(|mount| mount.container_path != "/etc/hosts"));
    let named = made(Value::Null, json!({"name": "c", "image": "i"})).unwrap();
    assert_eq!(named.linux.unwrap().security_context.unwrap().run_as_username, "");
}
