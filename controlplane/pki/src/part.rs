//! Who a part of the control plane or of a node is to the API: a kubeconfig with a client certificate.
//!
//! ```text
//! <name>.conf         the kubeconfig
//! <name>.crt .key     the certificate in it
//! ```
//!
//! Kept and renewed like the rest of the folder: see `folder`.

use std::path::Path;

use crate::folder::{SECRET, SERVING_SECONDS, certificate, create_private, write};
use crate::{Folder, FolderError, Kubeconfig, Profile, Usage};

/// Whose kubeconfig.
#[derive(Clone, Debug)]
pub struct PartRequest<'a> {
    /// Name of the files.
    pub name: &'a str,
    /// Where the part finds the API: `https://host:port`.
    pub server: &'a str,
    /// CN, and O where there is one.
    pub user: &'a str,
    pub group: Option<&'a str>,
    /// Seconds since 1970.
    pub now: i64,
}

impl Folder {
    /// Makes what is missing of a part's files below `path`, and its kubeconfig anew.
    pub fn ensure_part(&self, path: &Path, request: &PartRequest<'_>) -> Result<(), FolderError> {
        create_private(path)?;
        let at = |suffix: &str| path.join(format!("{}.{suffix}", request.name));
        let profile = Profile {
            common_name: request.user.to_owned(),
            organization: request.group.map(str::to_owned),
            names: vec![],
            usage: Usage::Client,
            lifetime_seconds: SERVING_SECONDS,
        };
        let files = (at("crt"), at("key"));
        let client = certificate((&files.0, &files.1), &self.cluster, &profile, request.now)?;
        let kubeconfig = Kubeconfig {
            server: request.server,
            authority_pem: self.cluster.certificate_pem(),
            user: request.user,
            certificate: &client,
        };
        write(&at("conf"), &kubeconfig.to_yaml(), SECRET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Certificate, ClientTrust, FolderRequest};

    #[test]
    fn a_part_has_a_name_that_lasts() {
        const NOW: i64 = 1_800_000_000;
        let folder = tempfile::tempdir().unwrap();
        let keys =
            Folder::ensure(&folder.path().join("pki"), &FolderRequest { serving_names: vec![], now: NOW })
                .unwrap();
        let request = PartRequest {
            name: "scheduler",
            server: "https://127.0.0.1:6443",
            user: "system:kube-scheduler",
            group: None,
            now: NOW,
        };
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        keys.ensure_part(folder.path(), &request).unwrap();
        let (first, kubeconfig) = (read("scheduler.crt"), read("scheduler.conf"));
        keys.ensure_part(folder.path(), &PartRequest { now: NOW + 86_400, ..request }).unwrap();
        assert_eq!((read("scheduler.crt"), read("scheduler.conf")), (first.clone(), kubeconfig));
        let client = Certificate::from_pem("scheduler", first, read("scheduler.key")).unwrap();
        let trust = ClientTrust::from_bundle("ca", keys.cluster.certificate_pem()).unwrap();
        let identity = trust.identify(&client.chain("scheduler").unwrap(), NOW).unwrap();
        assert_eq!((identity.user.as_str(), identity.groups.len()), ("system:kube-scheduler", 0));
    }
}
