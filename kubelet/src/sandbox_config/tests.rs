//! Sandboxes of pods.

use serde_json::json;
use v1::NamespaceMode;

use super::*;

fn made(spec: Value) -> Result<v1::PodSandboxConfig, String> {
    let pod = Pod::of(json!({
        "metadata": {"namespace": "shop", "name": "web", "uid": "u-1",
            "labels": {"app": "web", "io.kubernetes.pod.name": "a lie"}, "annotations": {"a": "b"}},
        "spec": spec}));
    let paths = Paths { root: "/k".into(), pod_logs: "/logs".into(), container_logs: "/links".into() };
    let node = NodeFacts {
        cluster_dns: vec!["10.96.0.10".parse().unwrap()],
        cluster_domain: "cluster.local".into(),
        ..Default::default()
    };
    let inputs = Inputs {
        pod: &pod,
        attempt: 3,
        node: &node,
        paths: &paths,
        resolv_conf: "",
        user: None,
        cgroup_parent: "/kubepods/besteffort/podu-1",
    };
    of(&inputs).map(|(config, _)| config).map_err(|error| error.0)
}

fn security(config: &v1::PodSandboxConfig) -> v1::LinuxSandboxSecurityContext {
    config.linux.clone().unwrap().security_context.unwrap()
}

#[test]
fn a_plain_pod() {
    let config = made(json!({"containers": [{"name": "c", "ports": [
        {"containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1"}, {"containerPort": 53, "protocol": "UDP"}]}]}))
    .unwrap();
    assert_eq!(config.hostname, "web");
    assert_eq!(config.log_directory, "/logs/shop_web_u-1");
    assert_eq!(config.metadata.clone().unwrap().attempt, 3);
    let labels: Vec<String> = config.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(
        labels,
        [
            "app=web",
            "io.kubernetes.pod.name=web",
            "io.kubernetes.pod.namespace=shop",
            "io.kubernetes.pod.uid=u-1"
        ]
    );
    assert_eq!(config.annotations["a"], "b");
    assert_eq!(config.dns_config.clone().unwrap().servers, ["10.96.0.10"]);
    let ports: Vec<_> = config
        .port_mappings
        .iter()
        .map(|port| (port.protocol(), port.container_port, port.host_port, port.host_ip.as_str()))
        .collect();
    assert_eq!(ports, [(v1::Protocol::Tcp, 80, 8080, "127.0.0.1"), (v1::Protocol::Udp, 53, 0, "")]);
    let linux = config.linux.clone().unwrap();
    assert_eq!(linux.cgroup_parent, "/kubepods/besteffort/podu-1");
    let namespaces = security(&config).namespace_options.unwrap();
    assert_eq!(
        (namespaces.network(), namespaces.pid(), namespaces.ipc()),
        (NamespaceMode::Pod, NamespaceMode::Container, NamespaceMode::Pod)
    );
}

#[test]
fn a_pod_of_the_host() {
    let config = made(json!({"hostNetwork": true, "hostPID": true, "hostIPC": true,
        "securityContext": {"runAsUser": 7, "runAsGroup": 8, "fsGroup": 9, "supplementalGroups": [10],
            "sysctls": [{"name": "net.core.somaxconn", "value": "1"}]},
        "containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}], "securityContext": {"privileged": true}}]}))
    .unwrap();
    assert_eq!((config.hostname.as_str(), config.port_mappings.len()), ("", 0));
    let context = security(&config);
    let namespaces = context.namespace_options.clone().unwrap();
    assert_eq!(
        (namespaces.network(), namespaces.pid(), namespaces.ipc()),
        (NamespaceMode::Node, NamespaceMode::Node, NamespaceMode::Node)
    );
    assert!(context.privileged);
    assert_eq!(
        (
            context.run_as_user.unwrap().value,
            context.run_as_group.unwrap().value,
            context.supplemental_groups
        ),
        (7, 8, vec![9, 10])
    );
    assert_eq!(config.linux.unwrap().sysctls["net.core.somaxconn"], "1");
}

#[test]
fn what_cannot_be() {
    let only_group = made(json!({"securityContext": {"runAsGroup": 8}})).unwrap();
    assert_eq!(security(&only_group).run_as_group, None);
}
