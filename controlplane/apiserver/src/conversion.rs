//! One version of a custom resource from another, where the definition has a webhook for it.
//!
//! ```text
//!   cached objects ─► those in another version, not asked about yet ─► one question per some hundred ─► kept with the object
//!   a write        ─► stored form ─► the request's version ─► changed, checked ─► stored form
//! ```
//!
//! An object of a list or watch is converted once per version and definition, however many look at it; the forms go with the
//! object. Questions about the objects of one resource go out one after the other, and who waited for one that failed is told
//! the same.
//!
//! Not here: what a webhook is asked and may answer (`review`), how it is reached (`webhook`), kinds whose versions differ in
//! `apiVersion` alone (`strategy`). Metadata alone (PartialObjectMetadata) is shown without asking: its own version is
//! `meta.k8s.io/v1`, and a webhook that is away stops no garbage collection.
//!
//! **Invariants**
//! - Of metadata a webhook changes labels and annotations, nothing else.
//! - What it makes is pruned along the schema of the version it was made for.

mod review;

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use api::custom::{Conversion, Custom};
use api::kind::{Kind, api_version};
use api::status::{Reason, Status};
use serde_json::Value;

use crate::object::Object;
use crate::server::Server;
use crate::{strategy, webhook};

/// How long one question may take: upstream's.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Objects in one question.
const MOST_OBJECTS: usize = 500;
/// Bytes of the objects in one question, beyond which it is complete.
const MOST_BYTES: usize = 1 << 20;

/// The forms of a cached object in other versions: at most one per served version of its definition as it is now.
#[derive(Debug, Default)]
pub struct Forms(OnceLock<Box<Mutex<Vec<Form>>>>);

type Form = (Weak<Custom>, Arc<Object>);

impl Forms {
    fn get(&self, custom: &Arc<Custom>) -> Option<Arc<Object>> {
        let forms = self.0.get()?.lock().unwrap_or_else(PoisonError::into_inner);
        let of = Arc::as_ptr(custom);
        forms.iter().find(|(known, _)| known.as_ptr() == of).map(|(_, object)| object.clone())
    }

    fn keep(&self, custom: &Arc<Custom>, object: Arc<Object>) {
        let forms = self.0.get_or_init(Box::default);
        let mut forms = forms.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of a definition that has changed since go.
        forms.retain(|(known, _)| known.strong_count() > 0 && known.as_ptr() != Arc::as_ptr(custom));
        forms.push((Arc::downgrade(custom), object));
    }
}

/// Lets one question about the cached objects of a resource out at a time.
#[derive(Debug, Default)]
pub struct Gate(tokio::sync::Mutex<Option<(Instant, Status)>>);

/// A custom kind whose definition has a webhook for its versions. An error: the version is not served any more, so nobody knows what
/// its objects look like.
fn by_webhook(kind: &Kind) -> Result<Option<Arc<Custom>>, Status> {
    match kind.custom() {
        None if kind.is_custom() => Err(Status::no_such_path()),
        custom => Ok(custom.filter(|custom| custom.conversion().is_some())),
    }
}

/// A stored object in the version of a kind.
pub async fn from_stored(server: &Server, kind: &'static Kind, object: Value) -> Result<Value, Status> {
    let Some(custom) = by_webhook(kind)? else { return Ok(strategy::from_stored(kind, object)) };
    let converted = to_version(server, &custom, &custom, object, &kind.api_version()).await?;
    Ok(strategy::from_stored(kind, converted))
}

/// An object in the version of a kind as it is stored.
pub async fn to_stored(server: &Server, kind: &'static Kind, object: Value) -> Result<Value, Status> {
    let (Some(custom), Some(storage)) = (by_webhook(kind)?, kind.storage) else {
        return Ok(strategy::to_stored(kind, object));
    };
    let wanted = api_version(storage.group, storage.version);
    let converted = to_version(server, &custom, custom.stored(storage.version), object, &wanted).await?;
    Ok(strategy::to_stored(kind, converted))
}

/// What was just stored, as its writer sees it: `given` unless it has gone through a webhook.
pub async fn as_stored(
    server: &Server,
    kind: &'static Kind,
    given: Value,
    stored: Value,
) -> Result<Value, Status> {
    if kind.is_storage_version() || by_webhook(kind)?.is_none() {
        return Ok(given);
    }
    from_stored(server, kind, stored).await
}

/// An object of one kind in the form of another face of it.
pub async fn between(
    server: &Server,
    from: &'static Kind,
    to: &'static Kind,
    object: &Value,
) -> Result<Value, Status> {
    if std::ptr::eq(from, to) || object.is_null() {
        return Ok(object.clone());
    }
    if let Some(custom) = by_webhook(to)? {
        return to_version(server, &custom, &custom, object.clone(), &to.api_version()).await;
    }
    Ok(strategy::from_stored(to, strategy::to_stored(from, object.clone())))
}

async fn to_version(
    server: &Server,
    custom: &Custom,
    target: &Custom,
    object: Value,
    version: &str,
) -> Result<Value, Status> {
    let Some(conversion) = custom.conversion().filter(|_| object["apiVersion"] != version) else {
        return Ok(object);
    };
    let made = ask(server, conversion, std::slice::from_ref(&object), version).await?;
    made.into_iter().next().map(|made| target.pruned(made)).ok_or_else(|| Status::internal("no object"))
}

/// Whether cached objects of a kind may have to be converted before they are shown.
pub fn concerns(kind: &Kind) -> bool {
    !matches!(by_webhook(kind), Ok(None))
}

/// Cached objects in the version of a kind, in the same order.
pub async fn shown(
    server: &Server,
    kind: &'static Kind,
    mut objects: Vec<Arc<Object>>,
) -> Result<Vec<Arc<Object>>, Status> {
    let Some(custom) = by_webhook(kind)? else { return Ok(objects) };
    let missing = exchange(kind, &custom, &mut objects);
    if missing.is_empty() {
        return Ok(objects);
    }
    let cache = server.cache(kind)?;
    let begun = Instant::now();
    let mut last = cache.conversions.0.lock().await;
    if let Some((_, status)) = last.as_ref().filter(|(failed, _)| *failed > begun) {
        return Err(status.clone());
    }
    // Somebody else may have asked meanwhile.
    let missing = exchange(kind, &custom, &mut objects);
    let made = convert_all(server, kind, &custom, &mut objects, missing).await;
    if let Err(status) = &made {
        *last = Some((Instant::now(), status.clone()));
    }
    made.map(|()| objects)
}

/// Puts known forms in the place of objects; where none is known.
fn exchange(kind: &Kind, custom: &Arc<Custom>, objects: &mut [Arc<Object>]) -> Vec<usize> {
    // As the envelope writes it.
    let head = format!("{{\"kind\":\"{}\",\"apiVersion\":\"{}\",", kind.kind, kind.api_version());
    let mut missing = Vec::new();
    for (at, object) in objects.iter_mut().enumerate() {
        if object.json.starts_with(head.as_bytes()) {
            continue;
        }
        match object.forms.get(custom) {
            Some(form) => *object = form,
            None => missing.push(at),
        }
    }
    missing
}

async fn convert_all(
    server: &Server,
    kind: &'static Kind,
    custom: &Arc<Custom>,
    objects: &mut [Arc<Object>],
    missing: Vec<usize>,
) -> Result<(), Status> {
    let Some(conversion) = custom.conversion() else { return Ok(()) };
    let version = kind.api_version();
    let mut rest = missing.into_iter().peekable();
    while rest.peek().is_some() {
        let (mut asked, mut places, mut bytes) = (Vec::new(), Vec::new(), 0);
        while bytes < MOST_BYTES
            && asked.len() < MOST_OBJECTS
            && let Some(at) = rest.next()
        {
            bytes += objects[at].json.len();
            asked.push(objects[at].value());
            places.push(at);
        }
        for (at, made) in places.into_iter().zip(ask(server, conversion, &asked, &version).await?) {
            let form = Arc::new(objects[at].in_form(&custom.pruned(made), kind).map_err(Status::internal)?);
            objects[at].forms.keep(custom, form.clone());
            objects[at] = form;
        }
    }
    Ok(())
}

/// One question; as many objects as were asked about, in their order.
async fn ask(
    server: &Server,
    conversion: &Conversion,
    objects: &[Value],
    version: &str,
) -> Result<Vec<Value>, Status> {
    let kind = review::kind_of(&objects[0]);
    let failed = |why: String| failure(format!("conversion webhook for {kind} failed: {why}"));
    let review =
        conversion.review.ok_or_else(|| failure("no supported conversion review versions".into()))?;
    let uid = server.uid();
    let question = review::question(review, &uid, objects, version);
    let answer = webhook::call(server, &conversion.client, TIMEOUT, &question)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let made = review::converted(answer, review, &uid).map_err(failed)?;
    let (got, wanted) = (made.len(), objects.len());
    if got != wanted {
        return Err(failure(format!(
            "conversion webhook for {kind} returned {got} objects, expected {wanted}"
        )));
    }
    let checked = objects.iter().zip(made).map(|(object, made)| review::checked(object, made, version));
    let checked: Result<Vec<Value>, String> = checked.collect();
    checked.map_err(|why| failure(format!("conversion webhook for {kind} returned {why}")))
}

/// Upstream gives these failures no reason.
fn failure(message: String) -> Status {
    Status { success: false, code: 500, reason: Reason::Unknown, message, details: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::custom::Names;
    use serde_json::json;

    fn object() -> Object {
        let json =
            json!({"kind": "T", "apiVersion": "x/v1", "metadata": {"name": "a", "resourceVersion": "7"}});
        Object::for_tests("a", &json)
    }

    #[test]
    fn a_form_is_of_one_definition_as_it_is() {
        let custom =
            |version: &str| Arc::new(Custom::new(b"{}".as_slice().into(), version, Names::default()));
        let (object, one, two) = (object(), custom("v1"), custom("v2"));
        assert!(object.forms.get(&one).is_none());
        let form = Arc::new(self::object());
        object.forms.keep(&one, form.clone());
        object.forms.keep(&two, Arc::new(self::object()));
        assert!(object.forms.get(&one).is_some_and(|found| Arc::ptr_eq(&found, &form)));
        drop(one);
        let three = custom("v1");
        assert!(object.forms.get(&three).is_none());
        object.forms.keep(&three, form);
        let kept = object.forms.0.get().map(|forms| forms.lock().unwrap().len());
        assert_eq!(kept, Some(2), "the form of a definition that is gone went with it");
    }
}
