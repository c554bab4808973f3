//! LIST: at the latest revision from the cache, at an older one from the store.
//!
//! | resourceVersion | match | read from |
//! |---|---|---|
//! | unset | | the cache, once it has what the store had when the request came |
//! | 0 | | the cache as it is |
//! | n | NotOlderThan or unset | the cache, once it has reached n |
//! | n | Exact, or unset with a limit | the store at n; 410 where compacted |
//! | | a continue token | the store at the token's revision; where that is compacted, 410 with a token that goes on in the cache |
//!
//! What the store has at a revision since which nothing of the kind has changed is in the cache, and read from there.

use std::sync::Arc;

use api::kind::Kind;
use api::path::{ListOptions, VersionMatch};
use api::status::Status;
use store::{KeyRange, RangeRequest, ReadError, Revision};

use super::page_token;
use super::selection::Selection;
use crate::answer::{Answer, List};
use crate::cache::KindCache;
use crate::conversion;
use crate::object::Object;
use crate::request::Request;
use crate::server::Server;

/// Records read from the store at a time for a page of an older list.
const CHUNK: usize = 500;

/// Answers a list.
pub async fn list(server: &Server, request: &Request, kind: &'static Kind) -> Result<Answer, Status> {
    let options = ListOptions::parse(&request.query)?;
    let selection = Selection::new(kind, &request.info, &options)?;
    let found = collect(server, kind, &options, &selection, !request.form.is_metadata()).await?;
    Ok(Answer::List(List {
        kind,
        revision: found.revision,
        objects: found.objects,
        next: found.next.map(|after| page_token::encode(found.revision, &after)),
        remaining: found.remaining.filter(|_| selection.is_everything()),
    }))
}

/// Objects of one page.
pub(super) struct Found {
    pub(super) revision: Revision,
    pub(super) objects: Vec<Arc<Object>>,
    /// The last key of the page, where there is more.
    next: Option<String>,
    remaining: Option<usize>,
}

/// The objects of a list, by its options; in the version of the kind where they are shown in it.
pub(super) async fn collect(
    server: &Server,
    kind: &'static Kind,
    options: &ListOptions,
    selection: &Selection,
    convert: bool,
) -> Result<Found, Status> {
    let limit = usize::try_from(options.limit).unwrap_or(0);
    let whole = Page { start: "", limit, convert };
    if !options.continue_token.is_empty() {
        let (revision, start) = page_token::decode(&options.continue_token)?;
        if !matches!(options.resource_version.as_str(), "" | "0") {
            let why = "specifying resource version is not allowed when using continue";
            return Err(Status::bad_request(why));
        }
        let Some(revision) = revision else {
            return latest(server, kind, selection, None, Page { start: &start, ..whole }).await;
        };
        let page = older(server, kind, selection, revision, Page { start: &start, ..whole }).await;
        return page.map_err(|status| match status.code {
            410 => Status::continue_expired(page_token::encode_latest(&start)),
            _ => status,
        });
    }
    let page = whole;
    match (options.revision()?, options.resource_version_match) {
        (Some(revision), Some(VersionMatch::Exact)) => {
            older(server, kind, selection, Revision(revision), page).await
        }
        // Upstream's oldest rule: with a limit, a revision without a match means exactly that one.
        (Some(revision), None) if limit > 0 && revision > 0 => {
            older(server, kind, selection, Revision(revision), page).await
        }
        (revision, _) => latest(server, kind, selection, revision, page).await,
    }
}

/// Which part of a list: from a key on (empty: the first), and how much (0: all).
#[derive(Clone, Copy)]
struct Page<'a> {
    start: &'a str,
    limit: usize,
    /// Into the version of the kind, before they are selected by what is in them.
    convert: bool,
}

impl Page<'_> {
    /// Refuses a key that lies in another namespace than the request.
    fn check(self, namespace: &str) -> Result<(), Status> {
        let inside = self.start.strip_prefix(namespace).is_some_and(|rest| rest.starts_with('/'));
        if self.start.is_empty() || namespace.is_empty() || inside {
            return Ok(());
        }
        Err(Status::bad_request("continue key is not valid: it belongs to another namespace"))
    }
}

async fn latest(
    server: &Server,
    kind: &'static Kind,
    selection: &Selection,
    revision: Option<u64>,
    page: Page<'_>,
) -> Result<Found, Status> {
    page.check(&selection.namespace)?;
    let revision = server.fresh(revision).await?;
    let kept = kept(server, kind, selection, page).await?;
    Ok(kept.found(revision))
}

/// A page as the cache has it.
struct Kept {
    objects: Vec<Arc<Object>>,
    behind: usize,
    /// Up to here the cache was complete.
    complete: Revision,
}

impl Kept {
    fn found(self, revision: Revision) -> Found {
        let (revision, objects) = (revision.max(self.complete), self.objects);
        if self.behind == 0 {
            return Found { revision, objects, next: None, remaining: None };
        }
        let next = objects.last().map(|object| object.key.to_string());
        Found { revision, objects, next, remaining: Some(self.behind) }
    }
}

async fn kept(
    server: &Server,
    kind: &'static Kind,
    selection: &Selection,
    page: Page<'_>,
) -> Result<Kept, Status> {
    // Where all are shown, those of the page alone are converted; otherwise it may need more to be full.
    let everything = selection.is_everything();
    let limit = if everything { page.limit } else { 0 };
    let cache = server.cache(kind)?;
    if let Some(why) = cache.unreadable_in(&selection.namespace) {
        return Err(Status::internal(why));
    }
    let (mut objects, mut behind, complete) = cache.page(&selection.namespace, page.start, limit);
    if page.convert {
        objects = conversion::shown(server, kind, objects).await?;
    }
    if !everything {
        objects.retain(|object| selection.shows(object));
        behind = cut(&mut objects, page.limit);
    }
    Ok(Kept { objects, behind, complete })
}

/// Cuts to a page of at most `limit` (0: all); how many are behind it.
fn cut<T>(objects: &mut Vec<T>, limit: usize) -> usize {
    let behind = if limit > 0 { objects.len().saturating_sub(limit) } else { 0 };
    objects.truncate(objects.len() - behind);
    behind
}

/// One page at a revision.
async fn older(
    server: &Server,
    kind: &'static Kind,
    selection: &Selection,
    revision: Revision,
    page: Page<'_>,
) -> Result<Found, Status> {
    page.check(&selection.namespace)?;
    let Page { start, limit, convert } = page;
    let cache = server.cache(kind)?;
    if is_as_then(server, &cache, revision) {
        let kept = kept(server, kind, selection, page).await?;
        if kept.complete <= revision {
            return Ok(kept.found(revision));
        }
    }
    let (prefix, keys) = (cache.prefix(), server.encryption.current());
    let space =
        if selection.namespace.is_empty() { String::new() } else { format!("{}/", selection.namespace) };
    let mut range = KeyRange::prefix(format!("{prefix}{space}"));
    if !start.is_empty() {
        range.start = format!("{prefix}{start}").into_bytes();
    }
    let mut objects: Vec<Arc<Object>> = Vec::new();
    loop {
        let chunk = if limit == 0 { 0 } else { CHUNK.max(limit) };
        let request = RangeRequest { range: range.clone(), revision: Some(revision), limit: chunk };
        let page = server.store.state().range(&request).map_err(|error| read_status(server, error))?;
        let mut behind = page.remaining;
        let selectable = cache.selectable();
        let open = |record| Object::open(prefix.len(), record, &selectable, &keys).map(Arc::new);
        let opened: Result<Vec<Arc<Object>>, _> = page.records.iter().map(open).collect();
        let mut opened = opened.map_err(Status::internal)?;
        if convert {
            opened = conversion::shown(server, kind, opened).await?;
        }
        for (position, object) in opened.into_iter().enumerate() {
            if !selection.shows(&object) {
                continue;
            }
            if limit > 0 && objects.len() == limit {
                behind += page.records.len() - position;
                let next = objects.last().map(|object| object.key.to_string());
                return Ok(Found { revision, objects, next, remaining: Some(behind) });
            }
            objects.push(object);
        }
        let Some(last) = page.records.last().filter(|_| page.remaining > 0) else {
            return Ok(Found { revision, objects, next: None, remaining: None });
        };
        range.start = [&last.key[..], &[0]].concat();
    }
}

/// Whether nothing of a kind has changed since a revision that the store still has: then the cache is what the store was, and
/// its objects are opened and encoded already.
fn is_as_then(server: &Server, cache: &KindCache, revision: Revision) -> bool {
    let reached = *server.caches.progress().borrow();
    let compacted = server.store.state().compacted();
    compacted <= revision && revision <= reached && *cache.latest().borrow() <= revision
}

/// The answer for a read of the store that gave nothing.
pub(super) fn read_status(server: &Server, error: ReadError) -> Status {
    match error {
        ReadError::Compacted { .. } => Status::list_expired(),
        ReadError::Future { requested, .. } => {
            Status::too_large_resource_version(requested.0, server.store.state().revision().0, 1)
        }
        error @ ReadError::Database(_) => Status::internal(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_cut() {
        for (limit, left, behind) in [(0, 3, 0), (2, 2, 1), (3, 3, 0), (9, 3, 0)] {
            let mut objects = vec![1, 2, 3];
            assert_eq!((cut(&mut objects, limit), objects.len()), (behind, left), "{limit}");
        }
    }
}
