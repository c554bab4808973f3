//! Sandboxes over the CRI: from RunPodSandbox to nothing left, names, filters, networks that fail, wrong inputs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use cri_api::v1::{
    DnsConfig, ListPodSandboxRequest, NamespaceMode, PodSandboxConfig, PodSandboxFilter, PodSandboxState,
    PodSandboxStateValue, PodSandboxStatsRequest, PodSandboxStatusRequest, PortMapping, Protocol,
    RemovePodSandboxRequest, RunPodSandboxRequest, StopPodSandboxRequest,
};
use serde_json::json;
use tonic::Code;

use super::cri_node::{Client, network_ready, stage, write_network};

#[test]
fn a_sandbox_lives_and_leaves_nothing() {
    stage("a_sandbox_lives_and_leaves_nothing", async |_, mut client| {
        write_network(&mut client, "10.213.7.0/24").await;
        let mut config = client.pod("web");
        config.labels.insert("app".into(), "web".into());
        let id = client.run(&config).await.expect("a sandbox");
        assert_eq!(id.len(), 64);
        let taken = client.run(&config).await.expect_err("the name is taken");
        assert_eq!(taken.code(), Code::AlreadyExists, "{taken}");
        let request = PodSandboxStatusRequest { pod_sandbox_id: id[..12].to_owned(), verbose: true };
        let answer =
            client.runtime.pod_sandbox_status(request).await.expect("a short id is enough").into_inner();
        let status = answer.status.expect("a status");
        assert_eq!(status.state(), PodSandboxState::SandboxReady);
        assert!(status.network.expect("a network").ip.starts_with("10.213.7."));
        assert!(answer.info["info"].contains(&id));
        filters(&mut client, &id).await;
        let request = PodSandboxStatsRequest { pod_sandbox_id: id.clone() };
        let stats = client.runtime.pod_sandbox_stats(request).await.expect("statistics").into_inner();
        let linux = stats.stats.and_then(|stats| stats.linux).expect("figures");
        assert_eq!(linux.network.and_then(|network| network.default_interface).expect("eth0").name, "eth0");
        for _ in 0..2 {
            let request = StopPodSandboxRequest { pod_sandbox_id: id.clone() };
            client.runtime.stop_pod_sandbox(request).await.expect("stopping twice is fine");
        }
        let ready = list(
            &mut client,
            PodSandboxFilter { state: Some(PodSandboxStateValue::default()), ..Default::default() },
        );
        assert!(ready.await.is_empty(), "it is not ready any more");
        client.end(&id).await.expect("removed");
        client.run(&config).await.map(drop).expect("the name is free again");
        let again = list(&mut client, PodSandboxFilter::default()).await;
        client.end(&again[0]).await.expect("removed");
    });
}

async fn filters(client: &mut Client, id: &str) {
    let label = |value: &str| PodSandboxFilter {
        label_selector: [("app".to_owned(), value.to_owned())].into(),
        ..Default::default()
    };
    assert_eq!(list(client, label("web")).await, [id]);
    assert!(list(client, label("db")).await.is_empty());
    assert_eq!(list(client, PodSandboxFilter { id: id[..10].to_owned(), ..Default::default() }).await, [id]);
    let gone = PodSandboxStateValue { state: PodSandboxState::SandboxNotready.into() };
    assert!(list(client, PodSandboxFilter { state: Some(gone), ..Default::default() }).await.is_empty());
}

async fn list(client: &mut Client, filter: PodSandboxFilter) -> Vec<String> {
    let request = ListPodSandboxRequest { filter: Some(filter) };
    let answer = client.runtime.list_pod_sandbox(request).await.expect("a list").into_inner();
    answer.items.into_iter().map(|item| item.id).collect()
}

#[test]
fn a_network_that_fails_leaves_no_sandbox() {
    stage("a_network_that_fails_leaves_no_sandbox", async |stage, mut client| {
        network_ready(&mut client, false).await;
        let config = client.pod("lone");
        let refusal = client.run(&config).await.expect_err("there is no network");
        assert!(refusal.message().contains("cni plugin not initialized"), "{refusal}");
        let folder = stage.folder.path().join("net.d");
        let broken = r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"no-such-plugin"}]}"#;
        std::fs::write(folder.join("10-broken.conflist"), broken).expect("a file");
        network_ready(&mut client, true).await;
        let refusal = client.run(&config).await.expect_err("the plugin does not exist");
        assert!(refusal.message().contains("no-such-plugin"), "{refusal}");
        assert!(list(&mut client, PodSandboxFilter::default()).await.is_empty());
        for left in ["state/ns", "state/sandboxes", "root/sandboxes"] {
            let entries = std::fs::read_dir(stage.folder.path().join(left)).expect("a folder").count();
            assert_eq!(entries, 0, "{left} is empty");
        }
        let mut host = config.clone();
        options(&mut host).network = NamespaceMode::Node.into();
        let id = client.run(&host).await.expect("the host's network needs no plugin");
        client.end(&id).await.expect("removed");
    });
}

fn options(config: &mut PodSandboxConfig) -> &mut cri_api::v1::NamespaceOption {
    let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
    security.namespace_options.get_or_insert_default()
}

#[test]
fn wrong_requests_get_codes_and_sentences() {
    stage("wrong_requests_get_codes_and_sentences", async |_, mut client| {
        let good = client.pod("good");
        type Spoil = fn(&mut PodSandboxConfig);
        let table: [(&str, Spoil); 6] = [
            ("metadata", |config| config.metadata = None),
            ("metadata.uid", |config| config.metadata.get_or_insert_default().uid.clear()),
            ("hostname", |config| config.hostname = "h".repeat(70)),
            ("log_directory", |config| config.log_directory = "relative".into()),
            ("userns_options", |config| options(config).userns_options = Some(Default::default())),
            ("sysctl", |config| {
                let sysctls = &mut config.linux.get_or_insert_default().sysctls;
                sysctls.insert("vm.overcommit_memory".into(), "1".into());
            }),
        ];
        for (part, change) in table {
            let mut config = good.clone();
            change(&mut config);
            let refusal = client.run(&config).await.expect_err(part);
            assert_eq!(refusal.code(), Code::InvalidArgument, "{part}: {refusal}");
            assert!(refusal.message().contains(part), "{part}: {refusal}");
        }
        let request = RunPodSandboxRequest { config: Some(good), runtime_handler: "runsc".into() };
        let refusal = client.runtime.run_pod_sandbox(request).await.expect_err("no such handler");
        assert!(refusal.message().contains("runsc"), "{refusal}");
        let unknown = "0".repeat(64);
        let status = PodSandboxStatusRequest { pod_sandbox_id: unknown.clone(), verbose: false };
        let refusal = client.runtime.pod_sandbox_status(status).await.expect_err("no such sandbox");
        assert_eq!(refusal.code(), Code::NotFound);
        client.end(&unknown).await.expect("what is not there is stopped and removed");
        let remove = RemovePodSandboxRequest { pod_sandbox_id: String::new() };
        client.runtime.remove_pod_sandbox(remove).await.expect("nothing is not there either");
    });
}

/// Two plugins: the first says which capabilities it has, the second has none. Each saves what it is told.
fn write_saving_plugins(folder: &Path) {
    let script = format!(
        "#!/bin/sh\ncat >{}/told-$CNI_COMMAND-$(basename $0).json\ncase $CNI_COMMAND in\n\
         ADD) echo '{{\"cniVersion\":\"1.0.0\",\"ips\":[{{\"address\":\"10.9.8.7/24\"}}]}}';;\nesac\n",
        folder.display()
    );
    for name in ["able", "plain"] {
        let path = folder.join("bin").join(name);
        std::fs::write(&path, &script).expect("a plugin");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    }
    let list = json!({"cniVersion": "1.0.0", "name": "saved", "plugins": [
        {"type": "able", "capabilities": {"portMappings": true, "dns": true, "bandwidth": true}},
        {"type": "plain"},
    ]});
    std::fs::create_dir_all(folder.join("net.d")).expect("a folder");
    std::fs::write(folder.join("net.d/10-saved.conflist"), list.to_string()).expect("a file");
}

#[test]
fn ports_names_and_bandwidth_reach_the_plugin() {
    stage("ports_names_and_bandwidth_reach_the_plugin", async |stage, mut client| {
        write_saving_plugins(stage.folder.path());
        network_ready(&mut client, true).await;
        let mut config = client.pod("web");
        let port = |protocol: Protocol, container_port, host_port, host_ip: &str| PortMapping {
            protocol: protocol.into(),
            container_port,
            host_port,
            host_ip: host_ip.into(),
        };
        config.port_mappings = vec![
            port(Protocol::Tcp, 80, 8080, ""),
            port(Protocol::Udp, 53, 5353, "127.0.0.1"),
            // Nothing of the host's.
            port(Protocol::Sctp, 9, 0, ""),
        ];
        config.dns_config = Some(DnsConfig {
            servers: vec!["10.96.0.10".into()],
            searches: vec!["svc.cluster.local".into()],
            options: vec!["ndots:5".into()],
        });
        config.annotations.insert("kubernetes.io/ingress-bandwidth".into(), "10M".into());
        config.annotations.insert("kubernetes.io/egress-bandwidth".into(), "1k".into());
        let id = client.run(&config).await.expect("a sandbox");
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: false };
        let status = client.runtime.pod_sandbox_status(request).await.expect("a status").into_inner();
        assert_eq!(status.status.and_then(|status| status.network).expect("a network").ip, "10.9.8.7");
        client.end(&id).await.expect("removed");
        let told = |verb: &str, plugin: &str| -> serde_json::Value {
            let path = stage.folder.path().join(format!("told-{verb}-{plugin}.json"));
            serde_json::from_slice(&std::fs::read(path).expect("it was called")).expect("JSON")
        };
        for verb in ["ADD", "DEL"] {
            let asked = &told(verb, "able")["runtimeConfig"];
            assert_eq!(
                asked["portMappings"],
                json!([
                    {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
                    {"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"},
                ]),
                "{verb}"
            );
            assert_eq!(
                asked["dns"],
                json!({"servers": ["10.96.0.10"], "searches": ["svc.cluster.local"], "options": ["ndots:5"]}),
                "{verb}"
            );
            assert_eq!(
                (&asked["bandwidth"]["ingressRate"], &asked["bandwidth"]["egressRate"]),
                (&json!(10_000_000), &json!(1000)),
                "{verb}"
            );
            assert!(asked["bandwidth"]["ingressBurst"].as_u64() > Some(0), "{asked}");
            assert!(told(verb, "plain")["runtimeConfig"].is_null(), "it has not said that it can");
        }
    });
}
