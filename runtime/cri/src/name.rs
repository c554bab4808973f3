//! Names that must be unique: one live sandbox or container per `name_..._attempt`.
//!
//! A name is reserved before anything is created and released when the object is removed, so two equal
//! requests at the same time make one object. The kubelet counts on the refusal.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use cri_api::v1;

use crate::fault::{Fault, Outcome};

/// Who holds which name.
#[derive(Default)]
pub struct Names {
    holders: Mutex<HashMap<String, String>>,
}

impl Names {
    /// Takes the name for an id. Taking it again for the same id is fine.
    pub fn reserve(&self, kind: &str, name: &str, id: &str) -> Outcome<()> {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        match holders.get(name) {
            Some(holder) if holder != id => Err(Fault::AlreadyExists(format!(
                "failed to reserve {kind} name {name:?}: name {name:?} is reserved for {holder:?}"
            ))),
            _ => {
                holders.insert(name.to_owned(), id.to_owned());
                Ok(())
            }
        }
    }

    /// Gives the name back, if this id holds it.
    pub fn release(&self, name: &str, id: &str) {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        if holders.get(name).is_some_and(|holder| holder == id) {
            holders.remove(name);
        }
    }
}

/// `name_namespace_uid_attempt`.
pub fn of_sandbox(metadata: &v1::PodSandboxMetadata) -> String {
    let v1::PodSandboxMetadata { name, uid, namespace, attempt } = metadata;
    format!("{name}_{namespace}_{uid}_{attempt}")
}

/// `container_pod_namespace_uid_attempt`.
pub fn of_container(metadata: &v1::ContainerMetadata, sandbox: &v1::PodSandboxMetadata) -> String {
    let v1::PodSandboxMetadata { name, uid, namespace, .. } = sandbox;
    format!("{}_{name}_{namespace}_{uid}_{}", metadata.name, metadata.attempt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_holder() {
        let names = Names::default();
        names.reserve("sandbox", "web_default_u_0", "a").unwrap();
        names.reserve("sandbox", "web_default_u_0", "a").unwrap();
        let refusal = names.reserve("sandbox", "web_default_u_0", "b").unwrap_err();
        assert!(refusal.to_string().contains("is reserved for \"a\""), "{refusal}");
        names.release("web_default_u_0", "b");
        assert!(names.reserve("sandbox", "web_default_u_0", "b").is_err());
        names.release("web_default_u_0", "a");
        names.reserve("sandbox", "web_default_u_0", "b").unwrap();
    }
}
