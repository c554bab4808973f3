//! Where a pod's streams are: which container is meant, on which node, under which path of its kubelet.
//!
//! Pure. The sentences are upstream's; kubectl prints them.

use api::path::Query;
use api::status::Status;
use serde_json::Value;

/// Lists of a pod's specification that hold containers.
const LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// The container that a request means: the one it names, or the only one.
pub(super) fn container(pod: &Value, asked: &str) -> Result<String, Status> {
    let name = text(&pod["metadata"]["name"]);
    if !asked.is_empty() {
        return match LISTS.iter().any(|list| names(pod, list).contains(&asked)) {
            true => Ok(asked.to_owned()),
            false => Err(Status::bad_request(format!("container {asked} is not valid for pod {name}"))),
        };
    }
    match names(pod, "containers").as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(Status::bad_request(format!("a container name must be specified for pod {name}"))),
        several => {
            let mut why = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                several.join(" ")
            );
            let first = names(pod, "initContainers");
            if !first.is_empty() {
                why.push_str(&format!(" or one of the init containers: [{}]", first.join(" ")));
            }
            Err(Status::bad_request(why))
        }
    }
}

/// The node that the pod is on; empty where it has none yet.
pub(super) fn node(pod: &Value) -> &str {
    text(&pod["spec"]["nodeName"])
}

/// The path and query of an exec, attach or port-forward at the kubelet.
pub(super) fn stream(pod: &Value, subresource: &str, query: &Query) -> Result<String, Status> {
    let (namespace, name) = (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
    let mut wanted = Vec::new();
    let path = match subresource {
        "portforward" => {
            wanted.extend(query.all("ports").map(|port| ("port", port)));
            format!("/portForward/{namespace}/{name}")
        }
        _ => {
            let container = container(pod, query.get("container").unwrap_or_default())?;
            for (asked, told) in
                [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")]
            {
                if query.flag(asked) {
                    wanted.push((told, "1"));
                }
            }
            if subresource == "exec" {
                wanted.extend(query.all("command").map(|word| ("command", word)));
            }
            format!("/{subresource}/{namespace}/{name}/{container}")
        }
    };
    Ok(with_query(path, &wanted))
}

/// A path with a query, escaped.
pub(super) fn with_query(mut path: String, pairs: &[(&str, &str)]) -> String {
    for (index, (key, value)) in pairs.iter().enumerate() {
        path.push(if index == 0 { '?' } else { '&' });
        path.push_str(key);
        path.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => path.push(byte.into()),
                byte => path.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    path
}

fn names<'a>(pod: &'a Value, list: &str) -> Vec<&'a str> {
    pod["spec"][list].as_array().into_iter().flatten().map(|container| text(&container["name"])).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(containers: &[&str], init: &[&str]) -> Value {
        let list = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
        json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"containers": list(containers), "initContainers": list(init)}
        })
    }

    #[test]
    fn the_container_is_named_or_the_only_one() {
        let check = |pod: &Value, asked: &str, expect: Result<&str, &str>| {
            let found = container(pod, asked).map_err(|status| (status.code, status.message));
            let expect = expect.map(str::to_owned).map_err(|why| (400, why.to_owned()));
            assert_eq!(found, expect, "{pod} {asked}");
        };
        check(&pod(&["a"], &["i"]), "", Ok("a"));
        check(&pod(&["a", "b"], &["i"]), "i", Ok("i"));
        check(&pod(&["a"], &[]), "x", Err("container x is not valid for pod web"));
        check(
            &pod(&["a", "b"], &[]),
            "",
            Err("a container name must be specified for pod web, choose one of: [a b]"),
        );
        check(
            &pod(&["a", "b"], &["i", "j"]),
            "",
            Err(
                "a container name must be specified for pod web, choose one of: [a b] or one of the init containers: [i j]",
            ),
        );
        check(&pod(&[], &[]), "", Err("a container name must be specified for pod web"));
    }

    #[test]
    fn what_is_asked_in_the_words_of_the_kubelet() {
        for (subresource, query, expect) in [
            (
                "exec",
                "command=sh&command=-c&command=echo+%26a%3D1&stdin=true&stdout=true&stderr=false&tty=true&container=a",
                "/exec/default/web/a?input=1&output=1&tty=1&command=sh&command=-c&command=echo%20%26a%3D1",
            ),
            ("attach", "stdout=1&stderr=1&command=no", "/attach/default/web/a?output=1&error=1"),
            ("portforward", "ports=80&ports=443", "/portForward/default/web?port=80&port=443"),
            ("portforward", "", "/portForward/default/web"),
        ] {
            assert_eq!(stream(&pod(&["a"], &[]), subresource, &Query::parse(query)).unwrap(), expect);
        }
    }
}
