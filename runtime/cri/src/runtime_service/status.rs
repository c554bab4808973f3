//! Status: whether pods can run, whether they get a network, and what the handlers can do.

use std::collections::BTreeMap;
use std::sync::Arc;

use cri_api::v1;
use serde_json::json;

use crate::fault::Outcome;
use crate::node::Node;
use crate::sandbox::validate::HANDLERS;

pub async fn call(node: &Arc<Node>, request: v1::StatusRequest) -> Outcome<v1::StatusResponse> {
    let network = node.networks.current();
    let condition = |kind: &str, status: bool, reason: &str, message: String| v1::RuntimeCondition {
        r#type: kind.to_owned(),
        status,
        reason: reason.to_owned(),
        message,
    };
    let network_ready = match &network {
        Ok(_) => condition("NetworkReady", true, "", String::new()),
        Err(why) => condition(
            "NetworkReady",
            false,
            "NetworkPluginNotReady",
            format!("Network plugin returns error: cni plugin not initialized: {why}"),
        ),
    };
    let features = v1::RuntimeHandlerFeatures {
        recursive_read_only_mounts: true,
        user_namespaces: node.host.user_namespaces.is_ok(),
    };
    let handler = |name: &&str| v1::RuntimeHandler { name: (*name).to_owned(), features: Some(features) };
    let mut info = BTreeMap::new();
    if request.verbose {
        let details = json!({
            "socket": node.options.listen,
            "root": node.options.root,
            "state": node.options.state,
            "cniConfDir": node.options.cni_conf_dir,
            "cniBinDir": node.options.cni_bin_dir,
            "cniConfig": network.as_ref().ok().map(|current| &current.file),
            "cgroups": format!("{:?}", node.layout.mode),
            "keeperPid": node.processes.keeper().await,
        });
        info.insert("config".to_owned(), details.to_string());
    }
    Ok(v1::StatusResponse {
        status: Some(v1::RuntimeStatus {
            conditions: vec![condition("RuntimeReady", true, "", String::new()), network_ready],
        }),
        info,
        runtime_handlers: HANDLERS.iter().map(handler).collect(),
        features: Some(v1::RuntimeFeatures {
            supplemental_groups_policy: true,
            user_namespaces_host_network: false,
        }),
    })
}
