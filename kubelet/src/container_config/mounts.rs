//! The mounts of a container: its volumes, then the pod's hosts file and the file for its last words.

use std::path::Path;

use cri_api::v1;

use super::Inputs;
use crate::hosts_file;

pub fn all(inputs: &Inputs<'_>) -> Vec<v1::Mount> {
    let mut mounts = inputs.mounts.to_vec();
    let taken = |mounts: &[v1::Mount], place: &str| mounts.iter().any(|mount| mount.container_path == place);
    if let Some(file) = &inputs.hosts_file
        && !hosts_file::is_own(inputs.container)
    {
        let readonly = inputs.container.value["securityContext"]["readOnlyRootFilesystem"] == true;
        mounts.push(v1::Mount { readonly, ..bind(file, hosts_file::PLACE) });
    }
    let place = inputs.container.termination_message_path();
    if let Some(file) = &inputs.termination_message
        && !taken(&mounts, place)
    {
        mounts.push(bind(file, place));
    }
    if let Some(user) = inputs.user {
        for mount in &mut mounts {
            mount.uid_mappings.clone_from(&user.uids);
            mount.gid_mappings.clone_from(&user.gids);
        }
    }
    mounts
}

fn bind(file: &Path, place: &str) -> v1::Mount {
    v1::Mount {
        container_path: place.to_owned(),
        host_path: file.to_string_lossy().into_owned(),
        ..Default::default()
    }
}
