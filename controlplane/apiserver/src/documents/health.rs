//! `/healthz`, `/livez`, `/readyz`: by subsystem, with `?verbose` and `?exclude=`.

use api::status::Status;

use crate::answer::Answer;
use crate::api_server::ApiServer;
use crate::request::Request;

/// A subsystem and whether it does its work.
struct Check {
    name: &'static str,
    /// Why not.
    failed: Option<String>,
}

pub(super) fn answer(api: &ApiServer, request: &Request, words: &[&str]) -> Result<Answer, Status> {
    let endpoint = words[0];
    let checks = checks(api, endpoint);
    if let Some(name) = words.get(1) {
        let check = checks.iter().find(|check| check.name == *name).ok_or_else(Status::no_such_path)?;
        return Ok(match &check.failed {
            None => Answer::text(200, "ok"),
            Some(why) => Answer::text(500, format!("internal server error: {why}\n")),
        });
    }
    let excluded: Vec<&str> = request.query.all("exclude").collect();
    let mut text = String::new();
    let mut failed = false;
    for check in &checks {
        if excluded.contains(&check.name) {
            text.push_str(&format!("[+]{} excluded: ok\n", check.name));
        } else if let Some(why) = &check.failed {
            failed = true;
            text.push_str(&format!("[-]{} failed: {why}\n", check.name));
        } else {
            text.push_str(&format!("[+]{} ok\n", check.name));
        }
    }
    for unknown in excluded.iter().filter(|name| !checks.iter().any(|check| check.name == **name)) {
        text.push_str(&format!("warn: some health checks cannot be excluded: no matches for {unknown:?}\n"));
    }
    if failed {
        return Ok(Answer::text(500, format!("{text}{endpoint} check failed\n")));
    }
    let verbose = request.query.has("verbose");
    Ok(Answer::text(200, if verbose { format!("{text}{endpoint} check passed\n") } else { "ok".into() }))
}

fn checks(api: &ApiServer, endpoint: &str) -> Vec<Check> {
    let store = api.server.store.health();
    let behind = api.server.store.state().revision().0.saturating_sub(api.server.caches.revision().0);
    vec![
        Check { name: "ping", failed: None },
        Check {
            name: "store",
            failed: store
                .failed
                .then(|| "the store's log failed; free or replace its disk, then restart".to_owned()),
        },
        Check {
            name: "store-space",
            // A restart makes no space: it lives, but others are to be asked first.
            failed: (store.full && endpoint != "livez").then(|| {
                "the store's disk is full; nothing is written to it until there is space".to_owned()
            }),
        },
        Check {
            name: "watch-cache",
            failed: (behind > CACHE_MAY_LAG).then(|| format!("{behind} revisions behind the store")),
        },
        Check { name: "poststarthook/rbac/bootstrap-roles", failed: None },
        Check { name: "poststarthook/bootstrap-controller", failed: None },
    ]
}

/// Revisions that the caches may be behind and still be called healthy.
const CACHE_MAY_LAG: u64 = 10_000;
