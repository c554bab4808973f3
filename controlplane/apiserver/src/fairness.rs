//! Priority and fairness: who waits when many ask at once.
//!
//! ```text
//!   request ─► first FlowSchema that matches ─► its PriorityLevel: a seat at once, a bounded wait, or 429
//! ```
//!
//! Each level has a share of the seats; within one the flows (users or namespaces) take turns. A watch gives its seat back as
//! soon as it has begun; streams to nodes and pods need none. Not there: borrowing between levels, and the width of lists:
//! every request is one seat.
//!
//! Reference: KEP-1040; flowcontrol.apiserver.k8s.io/v1.

pub mod bootstrap;
mod level;
mod schema;

use std::sync::{Arc, PoisonError, RwLock};

use api::kind::Verb;
use api::path::RequestInfo;
use api::status::Status;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use store::Revision;

use level::{Level, Permit};
use schema::FlowSchema;

use crate::cache::Caches;
use crate::user::User;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
/// Requests under way at once, over all levels: upstream's 400 that read and 200 that write.
const SEATS: f64 = 600.0;
/// Streams to nodes and pods.
const LONG_RUNNING: &[&str] = &["attach", "exec", "log", "portforward", "proxy"];

/// The schemas and levels as they are.
#[derive(Debug, Default)]
pub struct Fairness {
    compiled: RwLock<Option<(Revision, Arc<Configuration>)>>,
}

#[derive(Debug, Default)]
struct Configuration {
    /// In the order in which they are tried, each with its level.
    schemas: Vec<(FlowSchema, Arc<Level>)>,
    levels: Vec<Arc<Level>>,
}

/// A seat, until it is dropped, and what the answer says of it.
#[derive(Debug, Default)]
pub struct Seat {
    /// The UIDs of schema and level.
    classified: Option<(String, String)>,
    _permit: Option<Permit>,
}

impl Seat {
    /// Tells the client how its request was classified.
    pub fn mark(&self, headers: &mut HeaderMap) {
        let Some((schema, level)) = &self.classified else { return };
        for (name, uid) in
            [("x-kubernetes-pf-flowschema-uid", schema), ("x-kubernetes-pf-prioritylevel-uid", level)]
        {
            if let Ok(uid) = HeaderValue::from_str(uid) {
                headers.insert(name, uid);
            }
        }
    }
}

/// Whether it goes to a node or pod, and on from there.
fn is_stream(info: &RequestInfo) -> bool {
    LONG_RUNNING.contains(&info.subresource.as_str())
}

/// Whether a request takes as long as it takes: it has no seat, or gives it back when it has begun.
pub fn is_long_running(info: &RequestInfo) -> bool {
    info.verb == Verb::Watch || is_stream(info)
}

impl Fairness {
    /// A seat for a request, after a wait where there is none; refused with 429 where too many wait already.
    pub async fn enter(
        &self,
        caches: &Caches,
        user: &User,
        info: &RequestInfo,
    ) -> (Seat, Result<(), Status>) {
        if is_stream(info) {
            return (Seat::default(), Ok(()));
        }
        let configuration = self.configuration(caches);
        let matching = configuration.schemas.iter().find(|(schema, _)| schema.matches(user, info));
        // Until the mandatory objects are there, nothing is limited.
        let Some((schema, level)) = matching else { return (Seat::default(), Ok(())) };
        let classified = Some((schema.uid.clone(), level.uid.clone()));
        match level.enter(&schema.flow(user, info)).await {
            Some(permit) => (Seat { classified, _permit: Some(permit) }, Ok(())),
            None => {
                let refused = Status::too_many_requests("too many requests, please try again later", 1);
                (Seat { classified, _permit: None }, Err(refused))
            }
        }
    }

    /// Per level its name, the seats that are taken, who waits, and how many were refused.
    pub fn figures(&self) -> Vec<(String, usize, usize, u64)> {
        let compiled = self.compiled.read().unwrap_or_else(PoisonError::into_inner);
        let levels = compiled.as_ref().map(|(_, configuration)| configuration.levels.clone());
        levels.unwrap_or_default().iter().map(|level| level.figures()).collect()
    }

    /// The objects, compiled; made anew when one of them has changed.
    fn configuration(&self, caches: &Caches) -> Arc<Configuration> {
        let latest = ["flowschemas", "prioritylevelconfigurations"]
            .iter()
            .filter_map(|resource| caches.named(GROUP, resource))
            .map(|cache| *cache.latest().borrow())
            .max()
            .unwrap_or_default();
        let compiled = self.compiled.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((revision, configuration)) = compiled.as_ref()
            && *revision >= latest
        {
            return configuration.clone();
        }
        let former = compiled.as_ref().map(|(_, configuration)| configuration.clone()).unwrap_or_default();
        drop(compiled);
        let configuration = Arc::new(compile(
            &objects(caches, "flowschemas"),
            &objects(caches, "prioritylevelconfigurations"),
            &former,
        ));
        *self.compiled.write().unwrap_or_else(PoisonError::into_inner) =
            Some((latest, configuration.clone()));
        configuration
    }
}

fn objects(caches: &Caches, resource: &str) -> Vec<Value> {
    let found = caches.named(GROUP, resource).map(|cache| cache.list("").0).unwrap_or_default();
    found.iter().map(|object| object.value()).collect()
}

/// Levels that stay as they are keep their seats and queues. A schema whose level is missing does not count.
fn compile(schemas: &[Value], levels: &[Value], former: &Configuration) -> Configuration {
    let shares = |level: &Value| level["spec"]["limited"]["nominalConcurrencyShares"].as_f64().unwrap_or(0.0);
    let all: f64 = levels.iter().map(shares).sum();
    let make = |value: &Value| {
        let seats = (SEATS * shares(value) / all.max(1.0)).ceil();
        let level = Level::new(value, seats as usize);
        let same = former.levels.iter().find(|known| known.is_like(&level));
        same.cloned().unwrap_or_else(|| Arc::new(level))
    };
    let levels: Vec<Arc<Level>> = levels.iter().map(make).collect();
    let mut found: Vec<(FlowSchema, Arc<Level>)> = schemas
        .iter()
        .filter_map(|value| {
            let schema = FlowSchema::new(value);
            let level = levels.iter().find(|level| level.name == schema.level)?.clone();
            Some((schema, level))
        })
        .collect();
    found.sort_by(|(a, _), (b, _)| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
    Configuration { schemas: found, levels }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::path::Query;

    fn classified(
        configuration: &Configuration,
        name: &str,
        groups: &[&str],
        method: &str,
        path: &str,
    ) -> (String, String) {
        let user = User {
            name: name.into(),
            groups: groups.iter().map(|group| (*group).into()).collect(),
            ..User::default()
        };
        let info = RequestInfo::parse(method, path, &Query::parse("")).unwrap();
        let (schema, level) =
            configuration.schemas.iter().find(|(schema, _)| schema.matches(&user, &info)).unwrap();
        (schema.name.clone(), level.name.clone())
    }

    #[test]
    fn the_first_schema_that_matches_counts() {
        let configuration =
            compile(&bootstrap::flow_schemas(), &bootstrap::priority_levels(), &Configuration::default());
        let everybody = "system:authenticated";
        for (user, groups, method, path, schema, level) in [
            ("admin", vec!["system:masters", everybody], "GET", "/api/v1/pods", "exempt", "exempt"),
            ("system:anonymous", vec!["system:unauthenticated"], "GET", "/livez", "probes", "exempt"),
            (
                "system:kube-scheduler",
                vec![everybody],
                "PUT",
                "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/l",
                "system-leader-election",
                "leader-election",
            ),
            (
                "system:kube-scheduler",
                vec![everybody],
                "GET",
                "/api/v1/pods",
                "kube-scheduler",
                "workload-high",
            ),
            (
                "system:node:a",
                vec!["system:nodes", everybody],
                "PATCH",
                "/api/v1/nodes/a/status",
                "system-node-high",
                "node-high",
            ),
            (
                "system:node:a",
                vec!["system:nodes", everybody],
                "GET",
                "/api/v1/pods",
                "system-nodes",
                "system",
            ),
            (
                "system:serviceaccount:kube-system:dns",
                vec!["system:serviceaccounts", everybody],
                "GET",
                "/api/v1/services",
                "kube-system-service-accounts",
                "workload-high",
            ),
            (
                "system:serviceaccount:x:y",
                vec!["system:serviceaccounts", everybody],
                "GET",
                "/api/v1/services",
                "service-accounts",
                "workload-low",
            ),
            ("jane", vec![everybody], "GET", "/version", "global-default", "global-default"),
        ] {
            assert_eq!(
                classified(&configuration, user, &groups, method, path),
                (schema.into(), level.into()),
                "{user} {path}"
            );
        }
        let figures: Vec<usize> = configuration.levels.iter().filter_map(|level| level.seats()).collect();
        assert_eq!(figures, [74, 98, 25, 98, 245, 49, 13]);
    }
}
