//! What a machine needs to know to join: whom to trust (for everybody), and the cluster's ranges and names (for nodes).
//!
//! ```text
//! kube-public/cluster-info       kubeconfig    the authorities; read without a credential, checked against a token
//! kube-system/extension-apiserver-authentication  whom aggregated API servers shall believe
//! kube-system/keelson-cluster    cluster-cidr, service-cidr, cluster-domain, cluster-dns
//! ```
//!
//! Reference: kubeadm's discovery; the first map and its role have upstream's names.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use api::status::Status;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{create, mend, row};
use crate::aggregation::ALLOWED_NAMES;
use crate::server::Server;

/// What nodes are told.
pub(super) const CLUSTER: &str = "keelson-cluster";
pub(super) const INFO: &str = "cluster-info";

/// Makes both maps, and keeps them true.
pub(super) async fn ensure(
    server: &Server,
    authorities_pem: &str,
    advertised: (IpAddr, u16),
    facts: &BTreeMap<String, String>,
) -> Result<(), Status> {
    let kubeconfig = format!(
        "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {}\n    server: https://{}\n  name: \"\"\ncontexts: null\ncurrent-context: \"\"\nkind: Config\nusers: null\n",
        STANDARD.encode(authorities_pem),
        SocketAddr::from(advertised),
    );
    map(server, "kube-public", INFO, "kubeconfig", &json!({"kubeconfig": kubeconfig})).await?;
    map(server, "kube-system", CLUSTER, "", &json!(facts)).await
}

/// What aggregated servers need: whose clients they may believe, and by which headers they are told who asks.
pub(super) async fn extensions(
    server: &Server,
    clients_pem: &str,
    front_proxy_pem: &str,
) -> Result<(), Status> {
    let data = json!({
        "client-ca-file": clients_pem,
        "requestheader-allowed-names": json!(ALLOWED_NAMES).to_string(),
        "requestheader-client-ca-file": front_proxy_pem,
        "requestheader-extra-headers-prefix": r#"["X-Remote-Extra-"]"#,
        "requestheader-group-headers": r#"["X-Remote-Group"]"#,
        "requestheader-uid-headers": r#"["X-Remote-Uid"]"#,
        "requestheader-username-headers": r#"["X-Remote-User"]"#,
    });
    map(server, "kube-system", "extension-apiserver-authentication", "", &data).await
}

/// One map: all of its data, or of a key alone where others write to it too.
async fn map(server: &Server, namespace: &str, name: &str, key: &str, data: &Value) -> Result<(), Status> {
    let object = json!({"metadata": {"name": name, "namespace": namespace}, "data": data});
    create(server, "", "configmaps", object).await?;
    let kind = row(server, "", "configmaps")?;
    mend(server, kind, &format!("{namespace}/{name}"), |found| {
        let mut mended = found.clone();
        if key.is_empty() {
            mended["data"] = data.clone();
        } else {
            mended["data"][key] = data[key].clone();
        }
        (mended != *found).then_some(mended)
    })
    .await
}
