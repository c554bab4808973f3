//! The files of a volume, from objects, fields and tokens. Pure; the errors are upstream's sentences.

use std::collections::BTreeMap;

use serde_json::Value;

use super::desired::{DownwardItem, Item};
use super::objects::{Kind, bytes_of};
use crate::environment::{field_ref, resource_ref};
use crate::facts::NodeFacts;
use crate::pod::Pod;

/// By path inside the volume.
pub type Payload = BTreeMap<String, File>;

/// The content may be secret and is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    pub content: Vec<u8>,
    pub mode: u32,
    /// Whose it is; none for root's.
    pub owner: Option<u32>,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes, {:o}, {:?}", self.content.len(), self.mode, self.owner)
    }
}

/// Keys of a ConfigMap or Secret as files.
pub fn of_object(
    kind: Kind,
    object: &Value,
    items: &[Item],
    optional: bool,
    mode: u32,
) -> Result<Payload, String> {
    let entry = |key: &str| -> Option<Vec<u8>> {
        match kind {
            Kind::Secret => bytes_of(object["data"][key].as_str()?),
            Kind::ConfigMap => match object["data"][key].as_str() {
                Some(text) => Some(text.as_bytes().to_vec()),
                None => bytes_of(object["binaryData"][key].as_str()?),
            },
        }
    };
    let mut files = Payload::new();
    if items.is_empty() {
        let keys = |field: &str| object[field].as_object().into_iter().flatten().map(|(key, _)| key.clone());
        for key in keys("data").chain(keys("binaryData")) {
            if let Some(content) = entry(&key) {
                files.insert(key, File { content, mode, owner: None });
            }
        }
        return Ok(files);
    }
    for item in items {
        match entry(&item.key) {
            Some(content) => {
                let file = File { content, mode: item.mode.unwrap_or(mode), owner: None };
                files.insert(clean(&item.path)?, file);
            }
            None if optional => {}
            None if kind == Kind::ConfigMap => {
                return Err(format!("configmap references non-existent config key: {}", item.key));
            }
            None => return Err(format!("references non-existent secret key: {}", item.key)),
        }
    }
    Ok(files)
}

/// Fields of the pod and amounts of its containers as files.
pub fn of_downward(
    items: &[DownwardItem],
    mode: u32,
    pod: &Pod,
    node: &NodeFacts,
) -> Result<Payload, String> {
    let mut files = Payload::new();
    for item in items {
        let (field, resource) = (&item.value["fieldRef"], &item.value["resourceFieldRef"]);
        let text = if resource.is_object() {
            resource_ref::value(resource, pod, None, node)?
        } else {
            let path = field["fieldPath"].as_str().unwrap_or_default();
            if !path.starts_with("metadata.") {
                return Err(format!("unsupported fieldPath: {path}"));
            }
            field_ref::value(path, pod, &Vec::new(), node)?
        };
        let file = File { content: text.into_bytes(), mode: item.mode.unwrap_or(mode), owner: None };
        files.insert(clean(&item.path)?, file);
    }
    Ok(files)
}

/// A token: for its user alone, where the pod says who that is.
pub fn of_token(text: &str, path: &str, mode: u32, pod: &Pod) -> Result<Payload, String> {
    let owner = single_user(pod);
    let private = owner.is_some() || group(pod).is_some();
    let file = File { content: text.as_bytes().to_vec(), mode: if private { 0o600 } else { mode }, owner };
    Ok(Payload::from([(clean(path)?, file)]))
}

/// `fsGroup`
pub fn group(pod: &Pod) -> Option<u32> {
    pod.spec()["securityContext"]["fsGroup"].as_u64().and_then(|group| u32::try_from(group).ok())
}

/// The user that all containers run as, where the pod names one for all of them.
fn single_user(pod: &Pod) -> Option<u32> {
    let mut users = pod.init.iter().chain(&pod.main).map(|container| {
        let user = crate::container_config::security::effective(pod, container, "runAsUser");
        user.as_u64().and_then(|user| u32::try_from(user).ok())
    });
    let first = users.next()??;
    users.all(|user| user == Some(first)).then_some(first)
}

/// A path that stays inside the volume.
fn clean(path: &str) -> Result<String, String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if path.starts_with('/') || parts.is_empty() || parts.contains(&"..") {
        return Err(format!("invalid path: {path:?} must be relative and not contain '..'"));
    }
    if parts[0].starts_with("..") {
        return Err(format!("invalid path: {path:?} must not start with '..'"));
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(files: Result<Payload, String>) -> Result<Vec<String>, String> {
        let one = |(path, file): (String, File)| {
            format!("{path} {:o} {}", file.mode, String::from_utf8_lossy(&file.content))
        };
        files.map(|files| files.into_iter().map(one).collect())
    }

    fn check(kind: Kind, items: &[(&str, &str)], optional: bool, expect: Result<&[&str], &str>) {
        let object = json!({"data": {"a": if kind == Kind::Secret { "eA==" } else { "x" }}, "binaryData": {"b": "eQ=="}});
        let items: Vec<Item> = items
            .iter()
            .map(|(key, path)| Item { key: (*key).into(), path: (*path).into(), mode: None })
            .collect();
        let found = shown(of_object(kind, &object, &items, optional, 0o644));
        let expect = expect.map(|lines| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
        assert_eq!(found, expect.map_err(str::to_owned), "{kind:?} {items:?}");
    }

    #[test]
    fn keys_become_files() {
        check(Kind::ConfigMap, &[], false, Ok(&["a 644 x", "b 644 y"]));
        check(Kind::Secret, &[], false, Ok(&["a 644 x"]));
        check(Kind::ConfigMap, &[("b", "deep//c")], false, Ok(&["deep/c 644 y"]));
        check(Kind::ConfigMap, &[("n", "c")], false, Err("configmap references non-existent config key: n"));
        check(Kind::Secret, &[("n", "c")], false, Err("references non-existent secret key: n"));
        check(Kind::Secret, &[("n", "c"), ("a", "d")], true, Ok(&["d 644 x"]));
        let outside = "invalid path: \"../x\" must be relative and not contain '..'";
        check(Kind::Secret, &[("a", "../x")], false, Err(outside));
        check(Kind::Secret, &[("a", "..x")], false, Err("invalid path: \"..x\" must not start with '..'"));
    }

    #[test]
    fn fields_become_files() {
        let pod = Pod::of(json!({"metadata": {"name": "web", "labels": {"a": "b"}}, "spec": {"containers": [
            {"name": "c", "resources": {"limits": {"cpu": "2"}}}]}}));
        let item = |value: Value| DownwardItem { path: "f".into(), mode: None, value };
        let of = |value: Value| shown(of_downward(&[item(value)], 0o444, &pod, &NodeFacts::default()));
        assert_eq!(
            of(json!({"fieldRef": {"fieldPath": "metadata.labels"}})),
            Ok(vec!["f 444 a=\"b\"".into()])
        );
        assert_eq!(
            of(json!({"resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"}})),
            Ok(vec!["f 444 2".into()])
        );
        assert_eq!(
            of(json!({"fieldRef": {"fieldPath": "status.podIP"}})),
            Err("unsupported fieldPath: status.podIP".into())
        );
    }

    #[test]
    fn tokens_are_private_where_their_user_is_known() {
        let token = |spec: Value| {
            let pod = Pod::of(json!({"metadata": {"name": "p"}, "spec": spec}));
            let file = of_token("t", "token", 0o644, &pod).unwrap().remove("token").unwrap();
            (file.mode, file.owner)
        };
        let user = |id: u32| json!({"name": "c", "securityContext": {"runAsUser": id}});
        assert_eq!(token(json!({"containers": [{"name": "c"}]})), (0o644, None));
        assert_eq!(token(json!({"containers": [user(7), user(7)]})), (0o600, Some(7)));
        assert_eq!(token(json!({"containers": [user(7), user(8)]})), (0o644, None));
        assert_eq!(
            token(json!({"securityContext": {"runAsUser": 9}, "containers": [{"name": "c"}]})),
            (0o600, Some(9))
        );
        assert_eq!(
            token(json!({"securityContext": {"fsGroup": 5}, "containers": [{"name": "c"}]})),
            (0o600, None)
        );
    }
}
