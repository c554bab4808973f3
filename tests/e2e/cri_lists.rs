//! What a client learns of a node: lists whole and in pieces, filters, metrics by name, and what is not served.

use cri_api::v1::{
    CheckpointContainerRequest, ContainerFilter, ContainerStateValue, ContainerStatsFilter, ImageFilter,
    ImageSpec, LinuxContainerResources, ListContainersRequest, ListImagesRequest,
    ListMetricDescriptorsRequest, ListPodSandboxMetricsRequest, ListPodSandboxRequest,
    PodSandboxStatusRequest, StreamContainerStatsRequest, StreamContainersRequest, StreamImagesRequest,
    StreamPodSandboxMetricsRequest, StreamPodSandboxStatsRequest, StreamPodSandboxesRequest,
    UpdatePodSandboxResourcesRequest,
};
use tonic::Code;

use super::cri_node::{Client, stage, write_network};

/// Every item of a stream's pieces.
macro_rules! collected {
    ($call:expr, $field:ident) => {{
        let mut stream = $call.await.expect("it is served").into_inner();
        let mut items = Vec::new();
        while let Some(piece) = stream.message().await.expect("a piece") {
            items.extend(piece.$field);
        }
        items
    }};
}

#[test]
fn lists_come_whole_and_in_pieces() {
    stage("lists_come_whole_and_in_pieces", async |_, mut client| {
        write_network(&mut client, "10.213.8.0/24").await;
        let mut pods = Vec::new();
        for name in ["one", "two"] {
            let mut pod = client.pod(name);
            pod.labels.insert("app".into(), name.into());
            let id = client.run(&pod).await.expect("a sandbox");
            let mut config = client.container("c", "sleep 600");
            config.labels.insert("app".into(), name.into());
            let container = client.create(&id, &pod, config).await.expect("created");
            pods.push((id, container));
        }
        client.start(&pods[0].1).await.expect("started");
        sandboxes_and_containers(&mut client, &pods).await;
        filters(&mut client, &pods).await;
        figures(&mut client, &pods).await;
        resources_of_a_pod(&mut client, &pods[0].0).await;
        let request = CheckpointContainerRequest { container_id: pods[0].1.clone(), ..Default::default() };
        let refused = client.runtime.checkpoint_container(request).await.expect_err("no checkpoints");
        assert_eq!(refused.code(), Code::Unimplemented);
        assert!(refused.message().contains("cannot be checkpointed"), "{refused}");
        for (id, _) in &pods {
            client.end(id).await.expect("removed");
        }
    });
}

async fn sandboxes_and_containers(client: &mut Client, pods: &[(String, String)]) {
    let whole = client.runtime.list_pod_sandbox(ListPodSandboxRequest::default()).await.unwrap().into_inner();
    let pieces =
        collected!(client.runtime.stream_pod_sandboxes(StreamPodSandboxesRequest::default()), pod_sandboxes);
    assert_eq!((whole.items.len(), sorted(&whole.items)), (pods.len(), sorted(&pieces)));
    let whole = client.runtime.list_containers(ListContainersRequest::default()).await.unwrap().into_inner();
    let pieces = collected!(client.runtime.stream_containers(StreamContainersRequest::default()), containers);
    assert_eq!((whole.containers.len(), sorted(&whole.containers)), (pods.len(), sorted(&pieces)));
    let whole = client.images.list_images(ListImagesRequest::default()).await.unwrap().into_inner();
    let pieces = collected!(client.images.stream_images(StreamImagesRequest::default()), images);
    assert_eq!((whole.images.len(), sorted(&whole.images)), (1, sorted(&pieces)));
    let named = ImageFilter { image: Some(ImageSpec { image: "nothing".into(), ..Default::default() }) };
    let none = collected!(client.images.stream_images(StreamImagesRequest { filter: Some(named) }), images);
    assert!(none.is_empty());
}

/// Lists have no order.
fn sorted<T: std::fmt::Debug>(items: &[T]) -> Vec<String> {
    let mut shown: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
    shown.sort();
    shown
}

async fn filters(client: &mut Client, pods: &[(String, String)]) {
    let (pod, container) = &pods[0];
    let state = |state: cri_api::v1::ContainerState| Some(ContainerStateValue { state: state.into() });
    let label = |value: &str| [("app".to_owned(), value.to_owned())].into();
    use cri_api::v1::ContainerState::{ContainerCreated, ContainerExited, ContainerRunning};
    for (filter, count) in [
        (ContainerFilter::default(), 2),
        (ContainerFilter { id: container[..12].into(), ..Default::default() }, 1),
        (ContainerFilter { id: "nothing".into(), ..Default::default() }, 0),
        (ContainerFilter { pod_sandbox_id: pod[..12].into(), ..Default::default() }, 1),
        (ContainerFilter { state: state(ContainerRunning), ..Default::default() }, 1),
        (ContainerFilter { state: state(ContainerCreated), ..Default::default() }, 1),
        (ContainerFilter { state: state(ContainerExited), ..Default::default() }, 0),
        (ContainerFilter { label_selector: label("one"), ..Default::default() }, 1),
        (
            ContainerFilter {
                label_selector: label("one"),
                pod_sandbox_id: pods[1].0.clone(),
                ..Default::default()
            },
            0,
        ),
    ] {
        let request = StreamContainersRequest { filter: Some(filter.clone()) };
        let found = collected!(client.runtime.stream_containers(request), containers);
        assert_eq!(found.len(), count, "{filter:?}");
    }
    for (filter, count) in [
        (ContainerStatsFilter::default(), 1),
        (ContainerStatsFilter { id: container.clone(), ..Default::default() }, 1),
        (ContainerStatsFilter { pod_sandbox_id: pods[1].0.clone(), ..Default::default() }, 0),
        (ContainerStatsFilter { label_selector: label("two"), ..Default::default() }, 0),
    ] {
        let request = StreamContainerStatsRequest { filter: Some(filter.clone()) };
        let found = collected!(client.runtime.stream_container_stats(request), container_stats);
        assert_eq!(found.len(), count, "{filter:?}");
    }
}

/// Parts of the names of metrics that need a disk that was used, a limit that was asked for, or a kernel that counts.
const IF_THE_HOST_CAN: &[&str] = &["blkio", "pressure", "spec_cpu_quota", "max_usage"];

async fn figures(client: &mut Client, pods: &[(String, String)]) {
    let stats = collected!(
        client.runtime.stream_pod_sandbox_stats(StreamPodSandboxStatsRequest::default()),
        pod_sandbox_stats
    );
    assert_eq!(stats.len(), pods.len());
    let request = ListMetricDescriptorsRequest {};
    let described =
        client.runtime.list_metric_descriptors(request).await.expect("served").into_inner().descriptors;
    let request = ListPodSandboxMetricsRequest {};
    let whole =
        client.runtime.list_pod_sandbox_metrics(request).await.expect("served").into_inner().pod_metrics;
    let pieces = collected!(
        client.runtime.stream_pod_sandbox_metrics(StreamPodSandboxMetricsRequest {}),
        pod_sandbox_metrics
    );
    assert_eq!((whole.len(), pieces.len()), (pods.len(), pods.len()));
    let pod = whole.iter().find(|pod| pod.pod_sandbox_id == pods[0].0).expect("the pod");
    assert_eq!(pod.container_metrics.len(), 1, "the one that runs");
    for metric in pod.metrics.iter().chain(&pod.container_metrics[0].metrics) {
        let row = described.iter().find(|row| row.name == metric.name).expect("every metric is described");
        assert_eq!(row.label_keys.len(), metric.label_values.len(), "{}", metric.name);
    }
    for row in &described {
        let told = pod.metrics.iter().chain(&pod.container_metrics[0].metrics);
        let is_told = told.into_iter().any(|metric| metric.name == row.name);
        assert!(is_told || IF_THE_HOST_CAN.iter().any(|part| row.name.contains(part)), "{}", row.name);
    }
    let value = |metrics: &[cri_api::v1::Metric], name: &str| {
        let metric = metrics.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("{name}"));
        metric.value.expect("a value").value
    };
    assert!(value(&pod.container_metrics[0].metrics, "container_start_time_seconds") > 1_600_000_000);
    let links = pod.metrics.iter().filter(|metric| metric.name == "container_network_receive_bytes_total");
    assert!(links.flat_map(|metric| metric.label_values.last()).any(|link| link == "eth0"));
    for name in [
        "container_processes",
        "container_threads",
        "container_file_descriptors",
        "container_fs_inodes_total",
    ] {
        assert!(value(&pod.container_metrics[0].metrics, name) > 0, "{name}");
    }
    let labels = &pod.container_metrics[0].metrics[0].label_values;
    assert_eq!((labels[3].as_str(), labels[4].as_str(), labels[5].as_str()), ("c", "one", "e2e"));
}

async fn resources_of_a_pod(client: &mut Client, pod: &str) {
    let resources = LinuxContainerResources { cpu_shares: 777, ..Default::default() };
    let request = UpdatePodSandboxResourcesRequest {
        pod_sandbox_id: pod.to_owned(),
        resources: Some(resources),
        ..Default::default()
    };
    client.runtime.update_pod_sandbox_resources(request).await.expect("noted");
    let request = PodSandboxStatusRequest { pod_sandbox_id: pod.to_owned(), verbose: true };
    let answer = client.runtime.pod_sandbox_status(request).await.expect("a status").into_inner();
    assert!(answer.info["info"].contains(r#""cpu_shares":777"#), "{}", answer.info["info"]);
    let request = UpdatePodSandboxResourcesRequest { pod_sandbox_id: "nothing".into(), ..Default::default() };
    let missing = client.runtime.update_pod_sandbox_resources(request).await.expect_err("no such pod");
    assert_eq!(missing.code(), Code::NotFound);
}
