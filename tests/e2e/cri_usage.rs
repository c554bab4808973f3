//! What a node says of itself, and what its containers, pods and images use.

use std::path::Path;

use cri_api::v1::{
    CgroupDriver, ContainerStats, ContainerStatsFilter, FilesystemUsage, ImageFsInfoRequest,
    LinuxContainerResources, ListContainerStatsRequest, ListPodSandboxStatsRequest, NetworkConfig,
    PodSandboxStatsFilter, PullImageRequest, RuntimeConfig, RuntimeConfigRequest,
    StreamPodSandboxStatsRequest, UpdateRuntimeConfigRequest, VersionRequest,
};
use harness::image::{Compression, ImageBuilder, Layer};

use super::cri_node::{Client, stage, write_network};

/// What the container writes, and what the second image has.
const WRITTEN: u64 = 3 << 20;
const MEMORY: i64 = 64 << 20;
const MEMORY_AND_SWAP: i64 = 96 << 20;

#[test]
fn a_node_tells_what_it_is_and_what_is_used() {
    stage("a_node_tells_what_it_is_and_what_is_used", async |stage, mut client| {
        write_network(&mut client, "10.213.9.0/24").await;
        identity(&mut client).await;
        let range = NetworkConfig { pod_cidr: "10.99.7.0/24".into() };
        let runtime_config = Some(RuntimeConfig { network_config: Some(range) });
        let request = UpdateRuntimeConfigRequest { runtime_config };
        client.runtime.update_runtime_config(request).await.expect("noted");
        assert!(stage.log().contains("pod_cidr=10.99.7.0/24"), "{}", stage.log());
        let mut pods = Vec::new();
        for name in ["one", "two"] {
            let mut pod = client.pod(name);
            pod.labels.insert("app".into(), name.into());
            let id = client.run(&pod).await.expect("a sandbox");
            let mut config = client.container("c", "sleep 600");
            config.labels.insert("app".into(), name.into());
            let resources = LinuxContainerResources {
                memory_limit_in_bytes: MEMORY,
                memory_swap_limit_in_bytes: MEMORY_AND_SWAP,
                ..Default::default()
            };
            config.linux.get_or_insert_default().resources = Some(resources);
            let container = client.create(&id, &pod, config).await.expect("created");
            client.start(&container).await.expect("started");
            pods.push((id, container));
        }
        containers(&mut client, &pods).await;
        sandboxes(&mut client, &pods).await;
        for (id, _) in &pods {
            client.end(id).await.expect("removed");
        }
        // Nothing a compressor could make small of.
        let mut noise = vec![0; WRITTEN as usize];
        rustix::rand::getrandom(&mut noise, rustix::rand::GetRandomFlags::empty()).expect("noise");
        let image =
            ImageBuilder::new().layer(Layer::new().file("noise", 0o644, &noise), Compression::Gzip).build();
        let reference = stage.registry.push("noise", "v1", &image);
        images(&mut client, &reference).await;
    });
}

async fn identity(client: &mut Client) {
    let version = client
        .runtime
        .version(VersionRequest { version: "v1".into() })
        .await
        .expect("a version")
        .into_inner();
    assert_eq!(
        (version.version.as_str(), version.runtime_name.as_str(), version.runtime_api_version.as_str()),
        ("0.1.0", "keelson", "v1")
    );
    assert_eq!(version.runtime_version, env!("CARGO_PKG_VERSION"));
    let config = client.runtime.runtime_config(RuntimeConfigRequest {}).await.expect("served").into_inner();
    assert_eq!(config.linux.expect("Linux").cgroup_driver(), CgroupDriver::Cgroupfs);
}

async fn containers(client: &mut Client, pods: &[(String, String)]) {
    let (pod, container) = &pods[0];
    client.output(container, &format!("head -c {WRITTEN} /dev/zero > /big")).await;
    let list = async |client: &mut Client, filter: Option<ContainerStatsFilter>| {
        let request = ListContainerStatsRequest { filter };
        client.runtime.list_container_stats(request).await.expect("statistics").into_inner().stats
    };
    let label = |value: &str| [("app".to_owned(), value.to_owned())].into();
    for (filter, count) in [
        (ContainerStatsFilter::default(), 2),
        (ContainerStatsFilter { id: container.clone(), ..Default::default() }, 1),
        (ContainerStatsFilter { pod_sandbox_id: pod.clone(), ..Default::default() }, 1),
        (ContainerStatsFilter { label_selector: label("two"), ..Default::default() }, 1),
        (
            ContainerStatsFilter {
                pod_sandbox_id: pod.clone(),
                label_selector: label("two"),
                ..Default::default()
            },
            0,
        ),
    ] {
        assert_eq!(list(client, Some(filter.clone())).await.len(), count, "{filter:?}");
    }
    let all = list(client, None).await;
    let of = |id: &str| {
        let found = all.iter().find(|stats| stats.attributes.as_ref().is_some_and(|it| it.id == id));
        found.expect("statistics").clone()
    };
    let (first, second) = (of(container), of(&pods[1].1));
    used(&first);
    let written = |stats: &ContainerStats| bytes(stats.writable_layer.as_ref().expect("a layer"));
    assert!(written(&first) >= WRITTEN && written(&second) < WRITTEN, "{first:?} {second:?}");
    assert!(first.writable_layer.and_then(|layer| layer.inodes_used).expect("inodes").value >= 1);
}

/// Figures of a container with limits; those that only some hosts have where this one has them.
fn used(stats: &ContainerStats) {
    let attributes = stats.attributes.as_ref().expect("whose");
    assert_eq!(attributes.metadata.as_ref().map(|metadata| metadata.name.as_str()), Some("c"));
    assert_eq!(attributes.labels["app"], "one");
    let cpu = stats.cpu.as_ref().expect("CPU");
    assert!(cpu.timestamp > 0 && cpu.usage_core_nano_seconds.expect("CPU time").value > 0, "{cpu:?}");
    let memory = stats.memory.as_ref().expect("memory");
    let usage = memory.usage_bytes.expect("a figure").value;
    assert!(usage > 0 && usage <= MEMORY as u64, "{memory:?}");
    assert!(memory.working_set_bytes.expect("a figure").value <= usage, "{memory:?}");
    assert!(memory.page_faults.expect("a figure").value > 0, "{memory:?}");
    let swap = stats.swap.as_ref().expect("swap");
    let io = stats.io.as_ref().expect("IO");
    assert!(swap.timestamp > 0 && io.timestamp > 0, "{swap:?} {io:?}");
    let used = swap.swap_usage_bytes.expect("a figure").value;
    if Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists() {
        let free = swap.swap_available_bytes.expect("it has a limit").value;
        assert_eq!(free + used, (MEMORY_AND_SWAP - MEMORY) as u64, "{swap:?}");
    }
    if Path::new("/proc/pressure/io").exists() {
        for pressure in [&io.psi, &cpu.psi, &memory.psi] {
            let pressure = pressure.as_ref().expect("the kernel tells it");
            assert!(pressure.some.is_some() && pressure.full.is_some(), "{pressure:?}");
        }
    }
}

async fn sandboxes(client: &mut Client, pods: &[(String, String)]) {
    let label = |value: &str| [("app".to_owned(), value.to_owned())].into();
    for (filter, expect) in [
        (PodSandboxStatsFilter::default(), vec![0, 1]),
        (PodSandboxStatsFilter { id: pods[1].0.clone(), ..Default::default() }, vec![1]),
        (PodSandboxStatsFilter { id: pods[0].0[..12].into(), ..Default::default() }, vec![0]),
        (PodSandboxStatsFilter { label_selector: label("two"), ..Default::default() }, vec![1]),
        (PodSandboxStatsFilter { label_selector: label("three"), ..Default::default() }, vec![]),
        (PodSandboxStatsFilter { id: pods[0].0.clone(), label_selector: label("two") }, vec![]),
    ] {
        let mut expect: Vec<&str> = expect.into_iter().map(|index: usize| pods[index].0.as_str()).collect();
        expect.sort_unstable();
        let request = ListPodSandboxStatsRequest { filter: Some(filter.clone()) };
        let whole = client.runtime.list_pod_sandbox_stats(request).await.expect("statistics").into_inner();
        let request = StreamPodSandboxStatsRequest { filter: Some(filter.clone()) };
        let mut stream =
            client.runtime.stream_pod_sandbox_stats(request).await.expect("statistics").into_inner();
        let mut pieces = Vec::new();
        while let Some(piece) = stream.message().await.expect("a piece") {
            pieces.extend(piece.pod_sandbox_stats);
        }
        for found in [whole.stats, pieces] {
            let mut ids: Vec<String> =
                found.iter().filter_map(|stats| stats.attributes.as_ref()).map(|it| it.id.clone()).collect();
            ids.sort_unstable();
            assert_eq!(ids, expect, "{filter:?}");
            for linux in found.iter().map(|stats| stats.linux.as_ref().expect("figures")) {
                assert_eq!(linux.containers.len(), 1);
                assert!(linux.process.as_ref().and_then(|it| it.process_count).expect("a count").value >= 1);
            }
        }
    }
}

async fn images(client: &mut Client, reference: &str) {
    let info = async |client: &mut Client| {
        let answer = client.images.image_fs_info(ImageFsInfoRequest {}).await.expect("served").into_inner();
        let both = [&answer.image_filesystems, &answer.container_filesystems].map(|list| list[0].clone());
        assert!(both.iter().all(|usage| usage.timestamp > 0), "{both:?}");
        let place = both[0].fs_id.as_ref().expect("a place").mountpoint.clone();
        assert!(Path::new(&place).starts_with(&client.folder), "{place}");
        both[0].clone()
    };
    let inodes = |usage: &FilesystemUsage| usage.inodes_used.expect("a figure").value;
    let before = info(client).await;
    let image = cri_api::v1::ImageSpec { image: reference.to_owned(), ..Default::default() };
    let request = PullImageRequest { image: Some(image), ..Default::default() };
    client.images.pull_image(request).await.expect("pulled");
    let after = info(client).await;
    assert!(bytes(&after) >= bytes(&before) + WRITTEN, "{before:?} {after:?}");
    assert!(inodes(&after) > inodes(&before), "{before:?} {after:?}");
}

fn bytes(usage: &FilesystemUsage) -> u64 {
    usage.used_bytes.expect("a figure").value
}
