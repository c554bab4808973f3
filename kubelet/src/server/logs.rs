//! `/containerLogs`: which container of a name is meant, and its log.
//!
//! The choice follows the pod's status, so that it agrees with what users see; the sentences are upstream's.

use std::path::Path;

use api::path::Query;
use futures::StreamExt as _;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use serve::BodyError;

use super::Server;
use super::answer::{Body, Refusal, with_body};
use super::log_reader::{Growth, LogReader, Options};
use crate::directory::PodView;
use crate::observed::{ObservedContainer, State};

pub(super) async fn answer(
    server: &Server,
    namespace: &str,
    pod: &str,
    container: &str,
    query: &Query,
) -> Result<Response<Body>, Refusal> {
    let options = options(query, Timestamp::now())?;
    let missing = || Refusal::new(404, format!("pod {pod:?} does not exist\n"));
    let changes = server.pods.changes();
    let view = server.pods.get(namespace, pod).ok_or_else(missing)?;
    if view.pod.container(container).is_none() {
        return Err(Refusal::new(404, format!("container {container:?} not found in pod {pod:?}\n")));
    }
    let wanted = choose(&view, container, query.flag("previous")).map_err(|why| Refusal::new(400, why))?;
    let id = wanted.id.clone();
    let (pods, key) = (server.pods.clone(), view.pod.key.clone());
    let lives = move || {
        let view = pods.get(&key.namespace, &key.name);
        view.is_some_and(|view| {
            view.observed.containers.iter().any(|container| {
                container.id == id && matches!(container.state, State::Created | State::Running)
            })
        })
    };
    let growth = Growth { lives: Box::new(lives), changes };
    let path = Path::new(&wanted.status.log_path);
    let reader = LogReader::open(path, options, &server.watches, growth).await.map_err(|error| {
        let shown = path.display();
        Refusal::new(
            500,
            format!("failed to try resolving symlinks in path {:?}: {error}", shown.to_string()),
        )
    })?;
    let frames = reader.stream().map(|piece| piece.map(Frame::data).map_err(BodyError::from));
    Ok(with_body(200, "text/plain", StreamBody::new(frames).boxed_unsync()))
}

/// The container in the runtime whose log is meant.
fn choose<'a>(view: &'a PodView, name: &'a str, previous: bool) -> Result<&'a ObservedContainer, String> {
    let pod = &view.pod.key.name;
    let lists = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    let mut statuses = lists.iter().flat_map(|list| view.status[*list].as_array().into_iter().flatten());
    let Some(status) = statuses.find(|status| status["name"] == name) else {
        return Err(format!("container {name:?} in pod {pod:?} is not available"));
    };
    let id = id_of(status, pod, previous)?;
    let found = view.observed.of(name).find(|container| container.id == id);
    found.ok_or_else(|| format!("container {name:?} in pod {pod:?} is not known to the runtime any more"))
}

/// The id in a container's status; why there is no log, otherwise.
fn id_of<'a>(status: &'a Value, pod: &str, previous: bool) -> Result<&'a str, String> {
    let name = status["name"].as_str().unwrap_or_default();
    let id = |value: &'a Value| {
        value.as_str().and_then(|id| id.split_once("://")).map(|(_, id)| id).filter(|id| !id.is_empty())
    };
    let (state, last) = (&status["state"], id(&status["lastState"]["terminated"]["containerID"]));
    if previous {
        return last
            .ok_or_else(|| format!("previous terminated container {name:?} in pod {pod:?} not found"));
    }
    if state["running"].is_object() {
        return id(&status["containerID"])
            .ok_or_else(|| format!("container {name:?} in pod {pod:?} has no id"));
    }
    let terminated = &state["terminated"];
    if terminated.is_object() || status["lastState"]["terminated"].is_object() {
        return id(&terminated["containerID"])
            .or(last)
            .ok_or_else(|| format!("container {name:?} in pod {pod:?} is terminated"));
    }
    let reason = match state["waiting"]["reason"].as_str() {
        Some("ErrImagePull") => "image can't be pulled",
        Some("ImagePullBackOff") => "trying and failing to pull image",
        Some(reason) => reason,
        None => return Err(format!("container {name:?} in pod {pod:?} is waiting to start - no logs yet")),
    };
    Err(format!("container {name:?} in pod {pod:?} is waiting to start: {reason}"))
}

/// What of the log, in which form.
fn options(query: &Query, now: Timestamp) -> Result<Options, Refusal> {
    let number = |name: &str, least: i64| match query.get(name).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => match text.parse::<i64>() {
            Ok(number) if number >= least => Ok(Some(number)),
            _ => Err(Refusal::new(400, format!("{name}: {text:?} is no number of {least} or more"))),
        },
    };
    let since = match (number("sinceSeconds", 1)?, query.get("sinceTime").filter(|text| !text.is_empty())) {
        (Some(_), Some(_)) => {
            return Err(Refusal::new(400, "at most one of `sinceTime` or `sinceSeconds` may be specified"));
        }
        (Some(seconds), None) => now.checked_sub(SignedDuration::from_secs(seconds)).ok(),
        (None, Some(time)) => {
            Some(time.parse().map_err(|error| Refusal::new(400, format!("sinceTime: {error}")))?)
        }
        (None, None) => None,
    };
    let stream = match query.get("stream").unwrap_or_default() {
        "" | "All" => None,
        "Stdout" => Some("stdout"),
        "Stderr" => Some("stderr"),
        other => return Err(Refusal::new(400, format!("stream: {other:?} is none of All, Stdout, Stderr"))),
    };
    Ok(Options {
        follow: query.flag("follow"),
        timestamps: query.flag("timestamps"),
        since,
        tail: number("tailLines", 0)?.map(i64::unsigned_abs),
        limit: number("limitBytes", 1)?.map(i64::unsigned_abs),
        stream,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_container_that_users_see() {
        let check = |status: Value, previous: bool, expect: Result<&str, &str>| {
            let mut status = status;
            status["name"] = "c".into();
            assert_eq!(id_of(&status, "p", previous), expect.map_err(str::to_owned), "{status} {previous}");
        };
        let running = json!({"containerID": "r://2", "state": {"running": {}},
            "lastState": {"terminated": {"containerID": "r://1"}}});
        check(running.clone(), false, Ok("2"));
        check(running, true, Ok("1"));
        let looping = json!({"containerID": "r://1", "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"containerID": "r://1"}}});
        check(looping.clone(), false, Ok("1"));
        check(looping, true, Ok("1"));
        let ended = json!({"state": {"terminated": {"containerID": "r://1"}}, "lastState": {}});
        check(ended.clone(), false, Ok("1"));
        check(ended, true, Err("previous terminated container \"c\" in pod \"p\" not found"));
        check(
            json!({"state": {"terminated": {"exitCode": 1}}}),
            false,
            Err("container \"c\" in pod \"p\" is terminated"),
        );
        let waiting = |reason: &str| json!({"state": {"waiting": {"reason": reason}}, "lastState": {}});
        check(
            waiting("ContainerCreating"),
            false,
            Err("container \"c\" in pod \"p\" is waiting to start: ContainerCreating"),
        );
        check(
            waiting("ImagePullBackOff"),
            false,
            Err("container \"c\" in pod \"p\" is waiting to start: trying and failing to pull image"),
        );
        check(json!({}), false, Err("container \"c\" in pod \"p\" is waiting to start - no logs yet"));
    }

    #[test]
    fn options_of_a_request() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let read = |query: &str| options(&Query::parse(query), now);
        assert_eq!(read("").unwrap(), Options::default());
        assert_eq!(
            read("follow=true&timestamps=true&tailLines=5&limitBytes=9&sinceSeconds=60&stream=Stderr")
                .unwrap(),
            Options {
                follow: true,
                timestamps: true,
                since: Some("2026-01-01T00:00:00Z".parse().unwrap()),
                tail: Some(5),
                limit: Some(9),
                stream: Some("stderr"),
            }
        );
        for wrong in ["tailLines=-1", "limitBytes=0", "sinceSeconds=x", "sinceTime=now", "stream=x"] {
            assert_eq!(read(wrong).unwrap_err().code, 400, "{wrong}");
        }
        assert!(read("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z").is_err());
    }
}
