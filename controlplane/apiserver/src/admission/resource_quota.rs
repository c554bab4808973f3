//! ResourceQuota: what an object would use is taken from its namespace's quotas before it is stored, by compare-and-swap;
//! the last plugin, so that nothing else refuses afterwards.
//!
//! What is taken and not used after all, the controller gives back when it counts again.
//!
//! Reference: upstream's plugin of that name and its sentences.

use api::kind::Kind;
use api::quantity::Quantity;
use api::quota::{self, Usage};
use api::status::Status;
use serde_json::{Value, json};

use super::{Attributes, Operation, name_of};
use crate::registry::{self, Change, object_key};
use crate::server::Server;

/// How often a quota is read anew when somebody else was faster.
const MOST_TRIES: usize = 50;
/// Resources of machines: a quota on one of them wants every container to name it.
const MACHINE: &[&str] = &["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

pub(super) async fn check(
    server: &Server,
    attributes: &Attributes<'_>,
    object: &Value,
) -> Result<(), Status> {
    let namespace = attributes.request.info.namespace.as_str();
    let Some(cache) = server.caches.named("", "resourcequotas") else { return Ok(()) };
    let (quotas, _) = cache.list(namespace);
    if quotas.is_empty() {
        return Ok(());
    }
    let kind = attributes.kind;
    let row = server.registry.by_resource("", "v1", "resourcequotas").ok_or_else(Status::no_such_path)?;
    let mut used = quota::usage(kind, object);
    if let Some(old) = attributes.old {
        used = growth(used, &quota::usage(kind, old));
    }
    let created = attributes.operation == Operation::Create;
    for quota in quotas.iter().map(|quota| quota.value()).filter(|quota| quota::matches(quota, kind, object))
    {
        let name = name_of(&quota).to_owned();
        if created && (kind.group, kind.resource) == ("", "pods") {
            named_by_every_container(&quota, &name, object).map_err(|why| refused(kind, object, why))?;
        }
        if relevant(&quota, &used).is_empty() {
            continue;
        }
        let key = object_key(row, namespace, &name);
        take(server, row, &key, &used, attributes.dry_run)
            .await?
            .map_err(|why| refused(kind, object, why))?;
    }
    Ok(())
}

fn refused(kind: &Kind, object: &Value, why: String) -> Status {
    Status::forbidden(kind.qualified_resource(), name_of(object), why)
}

/// What is used more than before.
fn growth(new: Usage, old: &Usage) -> Usage {
    let more = new.into_iter().map(|(name, amount)| {
        let before = old.get(&name).copied().unwrap_or(Quantity::ZERO);
        (name, amount - before)
    });
    more.filter(|(_, amount)| amount.sign() > 0).collect()
}

/// What of the use a quota limits.
fn relevant(quota: &Value, used: &Usage) -> Usage {
    let hard = &quota["status"]["hard"];
    let named = |name: &String| hard.get(name).is_some() && used[name].sign() > 0;
    used.keys().filter(|name| named(name)).map(|name| (name.clone(), used[name])).collect()
}

/// Takes the use from a quota. `Ok(Err(why))`: it has not so much left.
async fn take(
    server: &Server,
    row: &'static Kind,
    key: &str,
    used: &Usage,
    dry_run: bool,
) -> Result<Result<(), String>, Status> {
    for _ in 0..MOST_TRIES {
        let (revision, quota) = registry::read(server, row, key)?;
        let Some(quota) = quota else { return Ok(Ok(())) };
        let lessened = match taken(&quota, used) {
            Ok(lessened) => lessened,
            Err(why) => return Ok(Err(why)),
        };
        if dry_run || registry::write(server, row, key, revision, &Change::Put(lessened)).await?.is_ok() {
            return Ok(Ok(()));
        }
    }
    Err(Status::optimistic_lock(row.qualified_resource(), key))
}

fn taken(quota: &Value, used: &Usage) -> Result<Value, String> {
    let amount = |part: &str, name: &str| {
        let text = quota["status"][part][name].as_str();
        text.and_then(|text| Quantity::parse(text).ok()).unwrap_or(Quantity::ZERO)
    };
    let asked = relevant(quota, used);
    let over: Vec<&String> =
        asked.keys().filter(|name| amount("used", name) + asked[*name] > amount("hard", name)).collect();
    if !over.is_empty() {
        let shown = |of: &dyn Fn(&str) -> Quantity| -> String {
            over.iter().map(|name| format!("{name}={}", of(name))).collect::<Vec<_>>().join(",")
        };
        return Err(format!(
            "exceeded quota: {}, requested: {}, used: {}, limited: {}",
            name_of(quota),
            shown(&|name| asked[name]),
            shown(&|name| amount("used", name)),
            shown(&|name| amount("hard", name)),
        ));
    }
    let mut quota = quota.clone();
    for (name, more) in asked {
        let sum = amount("used", &name) + more;
        if !quota["status"]["used"].is_object() {
            quota["status"]["used"] = json!({});
        }
        quota["status"]["used"][name] = sum.to_string().into();
    }
    Ok(quota)
}

/// A quota on a machine's resources is of no use where a container does not say what it wants.
fn named_by_every_container(quota: &Value, name: &str, pod: &Value) -> Result<(), String> {
    let hard = quota["status"]["hard"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let mut missing: Vec<(String, Vec<String>)> = Vec::new();
    for resource in hard.filter(|resource| MACHINE.contains(resource)) {
        let (part, short) = match resource.split_once('.') {
            Some((part, short)) => (part, short),
            None => ("requests", resource),
        };
        let lists = ["containers", "initContainers"];
        let containers = lists.iter().flat_map(|list| pod["spec"][*list].as_array()).flatten();
        let without = containers.filter(|container| container["resources"][part].get(short).is_none());
        let names: Vec<String> =
            without.map(|container| container["name"].as_str().unwrap_or_default().to_owned()).collect();
        let whole = pod["spec"]["resources"][part].get(short).is_some();
        if !names.is_empty() && !whole {
            missing.push((resource.to_owned(), names));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    missing.sort_unstable();
    let told: Vec<String> =
        missing.into_iter().map(|(resource, names)| format!("{resource} for: {}", names.join(","))).collect();
    Err(format!("failed quota: {name}: must specify {}", told.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(hard: &str, used: &str) -> Value {
        json!({"metadata": {"name": "q"}, "status": {"hard": {"pods": hard}, "used": {"pods": used}}})
    }

    #[test]
    fn no_more_than_there_is() {
        let one = Usage::from([("pods".to_owned(), Quantity::parse("1").unwrap())]);
        assert_eq!(taken(&quota("2", "1"), &one).unwrap()["status"]["used"]["pods"], "2");
        assert_eq!(
            taken(&quota("2", "2"), &one).unwrap_err(),
            "exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"
        );
        let other = Usage::from([("cpu".to_owned(), Quantity::parse("1").unwrap())]);
        assert_eq!(taken(&quota("2", "2"), &other).unwrap(), quota("2", "2"));
        assert!(growth(one.clone(), &one).is_empty());
    }

    #[test]
    fn containers_say_what_they_want() {
        let quota = json!({"status": {"hard": {"limits.cpu": "1", "requests.memory": "1Gi", "pods": "1"}}});
        let pod = json!({"spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": "1"}}}, {"name": "b"}]}});
        assert_eq!(
            named_by_every_container(&quota, "q", &pod).unwrap_err(),
            "failed quota: q: must specify limits.cpu for: b; requests.memory for: a,b"
        );
    }
}
