//! `/stats/summary`: what node, pods and containers use, in the shape that `kubectl top` of old and many agents read.
//!
//! Reference: k8s.io/kubelet `stats/v1alpha1`.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Server;
use super::answer::Refusal;
use super::usage::{self, ContainerUsage, PodUsage, value};

pub(super) async fn of(server: &Server) -> Result<Value, Refusal> {
    let pods = usage::pods(server).await?;
    let node = usage::node()?;
    let at = Timestamp::from_millisecond(node.at).map(|time| time.to_string()).unwrap_or_default();
    Ok(json!({
        "node": {
            "nodeName": server.options.node,
            "cpu": {"time": at, "usageCoreNanoSeconds": node.cpu_nanoseconds},
            "memory": {
                "time": at,
                "availableBytes": node.memory_available,
                "workingSetBytes": node.memory_working_set,
            },
        },
        "pods": pods.iter().map(pod).collect::<Vec<_>>(),
    }))
}

fn pod(pod: &PodUsage) -> Value {
    let mut shown = json!({
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "startTime": time(pod.started_at),
        "containers": pod.containers.iter().map(container).collect::<Vec<_>>(),
        "cpu": cpu(&pod.cpu),
        "memory": memory(&pod.memory),
        "process_stats": {"process_count": pod.processes},
    });
    if let Some(network) = &pod.network {
        let interfaces: Vec<Value> = network.interfaces.iter().map(interface).collect();
        let mut told = json!({"time": time(network.timestamp), "interfaces": interfaces});
        if let (Some(default), Some(told)) = (&network.default_interface, told.as_object_mut()) {
            told.extend(interface(default).as_object().cloned().unwrap_or_default());
        }
        shown["network"] = told;
    }
    shown
}

fn container(container: &ContainerUsage) -> Value {
    let mut shown = json!({
        "name": container.name,
        "startTime": time(container.started_at),
        "cpu": cpu(&container.cpu),
        "memory": memory(&container.memory),
    });
    if let Some(layer) = &container.writable_layer {
        shown["rootfs"] = json!({
            "time": time(layer.timestamp),
            "usedBytes": value(&layer.used_bytes),
            "inodesUsed": value(&layer.inodes_used),
        });
    }
    shown
}

fn cpu(cpu: &cri_api::v1::CpuUsage) -> Value {
    let mut told = Map::new();
    told.insert("time".into(), time(cpu.timestamp));
    let known =
        [("usageNanoCores", &cpu.usage_nano_cores), ("usageCoreNanoSeconds", &cpu.usage_core_nano_seconds)];
    insert(&mut told, &known);
    told.into()
}

fn memory(memory: &cri_api::v1::MemoryUsage) -> Value {
    let mut told = Map::new();
    told.insert("time".into(), time(memory.timestamp));
    let known = [
        ("availableBytes", &memory.available_bytes),
        ("usageBytes", &memory.usage_bytes),
        ("workingSetBytes", &memory.working_set_bytes),
        ("rssBytes", &memory.rss_bytes),
        ("pageFaults", &memory.page_faults),
        ("majorPageFaults", &memory.major_page_faults),
    ];
    insert(&mut told, &known);
    told.into()
}

fn insert(told: &mut Map<String, Value>, known: &[(&str, &Option<cri_api::v1::UInt64Value>)]) {
    for (name, number) in known {
        if let Some(number) = number {
            told.insert((*name).into(), number.value.into());
        }
    }
}

fn interface(of: &cri_api::v1::NetworkInterfaceUsage) -> Value {
    json!({
        "name": of.name,
        "rxBytes": value(&of.rx_bytes), "rxErrors": value(&of.rx_errors),
        "txBytes": value(&of.tx_bytes), "txErrors": value(&of.tx_errors),
    })
}

fn time(nanoseconds: i64) -> Value {
    let at = Timestamp::from_nanosecond(i128::from(nanoseconds)).ok().filter(|_| nanoseconds > 0);
    at.map_or(Value::Null, |at| at.to_string().into())
}
