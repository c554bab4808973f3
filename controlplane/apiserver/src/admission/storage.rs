//! DefaultStorageClass, DefaultIngressClass and StorageObjectInUseProtection: small additions to new objects.

use api::status::{Qualified, Status};
use serde_json::{Value, json};

use super::{Attributes, name_of};
use crate::server::Server;

const DEFAULT_CLASS: &[&str] =
    &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const DEFAULT_INGRESS_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
const OLD_INGRESS_CLASS: &str = "kubernetes.io/ingress.class";

/// A claim that names no class gets the newest default one.
pub(super) fn default_class(server: &Server, claim: &mut Value) {
    let named = !claim["spec"]["storageClassName"].is_null()
        || !claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].is_null();
    let Some(cache) = server.caches.named("storage.k8s.io", "storageclasses").filter(|_| !named) else {
        return;
    };
    let classes: Vec<Value> = cache.list("").0.iter().map(|class| class.value()).collect();
    let is_default =
        |class: &&Value| DEFAULT_CLASS.iter().any(|mark| class["metadata"]["annotations"][*mark] == "true");
    if let Some(class) = newest(classes.iter().filter(is_default)) {
        claim["spec"]["storageClassName"] = name_of(class).into();
    }
}

/// The newest; of two of the same age the one that comes first by name.
fn newest<'a>(classes: impl Iterator<Item = &'a Value>) -> Option<&'a Value> {
    let age = |class: &Value| class["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
    classes.max_by(|a, b| age(a).cmp(&age(b)).then_with(|| name_of(b).cmp(name_of(a))))
}

/// An ingress that names no class gets the default one; two defaults are one too many.
pub(super) fn default_ingress_class(
    server: &Server,
    attributes: &Attributes<'_>,
    ingress: &mut Value,
) -> Result<(), Status> {
    let named = !ingress["spec"]["ingressClassName"].is_null()
        || !ingress["metadata"]["annotations"][OLD_INGRESS_CLASS].is_null();
    let Some(cache) = server.caches.named("networking.k8s.io", "ingressclasses").filter(|_| !named) else {
        return Ok(());
    };
    let classes: Vec<Value> = cache.list("").0.iter().map(|class| class.value()).collect();
    let defaults: Vec<&Value> = classes
        .iter()
        .filter(|class| class["metadata"]["annotations"][DEFAULT_INGRESS_CLASS] == "true")
        .collect();
    if defaults.len() > 1 {
        let why = format!("{} default IngressClasses were found, only 1 allowed", defaults.len());
        let resource = Qualified { group: attributes.kind.group, name: attributes.kind.resource };
        return Err(Status::forbidden(resource, name_of(ingress), why));
    }
    if let Some(class) = defaults.first() {
        ingress["spec"]["ingressClassName"] = name_of(class).into();
    }
    Ok(())
}

/// Volumes and claims stay while somebody uses them.
pub(super) fn protect(resource: &str, object: &mut Value) {
    let finalizer = match resource {
        "persistentvolumes" => "kubernetes.io/pv-protection",
        _ => "kubernetes.io/pvc-protection",
    };
    let mut finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    if !finalizers.iter().any(|known| known == finalizer) {
        finalizers.push(json!(finalizer));
        object["metadata"]["finalizers"] = finalizers.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_default_counts() {
        let class = |name: &str, made: &str| json!({"metadata": {"name": name, "creationTimestamp": made}});
        let classes = [
            class("b", "2026-01-01T00:00:00Z"),
            class("c", "2026-01-02T00:00:00Z"),
            class("a", "2026-01-02T00:00:00Z"),
        ];
        assert_eq!(newest(classes.iter()).map(name_of), Some("a"));
    }

    #[test]
    fn protection_is_added_once() {
        let mut claim = json!({"metadata": {}});
        protect("persistentvolumeclaims", &mut claim);
        protect("persistentvolumeclaims", &mut claim);
        assert_eq!(claim["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    }
}
