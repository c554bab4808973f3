//! A part's own kubeconfig, from the keys of a test's API server.

use harness::api::Server;
use pki::{Folder, FolderRequest, PartRequest};

/// Writes a kubeconfig of `user`; its path. It is gone with the server.
pub fn kubeconfig(server: &Server, name: &str, user: &str) -> String {
    let now = jiff::Timestamp::now().as_second();
    let keys = Folder::ensure(&server.data().join("pki"), &FolderRequest { serving_names: vec![], now })
        .expect("the server's keys");
    let address = format!("https://{}", server.address());
    let request = PartRequest { name, server: &address, user, group: None, now };
    let folder = server.scratch("identities");
    keys.ensure_part(&folder, &request).expect("an identity");
    folder.join(format!("{name}.conf")).display().to_string()
}
