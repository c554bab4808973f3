//! Frames of a kind's latest changes, made once and shared by all watches that show them alike.
//!
//! Watches of a kind look at a change within the same moment, so a few frames are enough; a watch that comes later makes
//! its own. Tables are not shared: their rows tell ages.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use api::kind::Kind;
use bytes::Bytes;
use store::Revision;

use super::changes::ChangeKind;
use crate::answer::Form;
use crate::object::Object;

/// Frames kept per kind.
const MOST_FRAMES: usize = 16;
/// Bytes of them, beyond which the oldest go.
const MOST_BYTES: usize = 64 << 10;

/// What a frame shows, and how.
#[derive(Clone, Debug)]
pub struct Shows {
    /// What happened to the object.
    pub change: ChangeKind,
    /// The object.
    pub object: Arc<Object>,
    /// When it happened.
    pub revision: Revision,
    /// As what it is shown.
    pub kind: &'static Kind,
    /// How.
    pub form: Form,
}

impl Shows {
    fn is(&self, other: &Shows) -> bool {
        Arc::ptr_eq(&self.object, &other.object)
            && (self.change, self.revision, self.form) == (other.change, other.revision, other.form)
            && std::ptr::eq(self.kind, other.kind)
    }
}

/// The latest frames.
#[derive(Debug, Default)]
pub struct Frames(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    queue: VecDeque<(Shows, Bytes)>,
    bytes: usize,
}

impl Frames {
    /// The frame that shows this; `make` makes it where nobody has.
    pub fn get(&self, shows: Shows, make: impl FnOnce(&Shows) -> Bytes) -> Bytes {
        if let Some(found) = self.kept(|kept| kept.find(&shows)) {
            return found;
        }
        // Not under the lock: two may make the same, and nobody waits.
        let made = make(&shows);
        self.kept(|kept| kept.find(&shows).unwrap_or_else(|| kept.keep(shows, made)))
    }

    fn kept<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Kept {
    fn find(&self, shows: &Shows) -> Option<Bytes> {
        self.queue.iter().rev().find(|(known, _)| known.is(shows)).map(|(_, frame)| frame.clone())
    }

    fn keep(&mut self, shows: Shows, frame: Bytes) -> Bytes {
        self.bytes += frame.len();
        self.queue.push_back((shows, frame.clone()));
        while self.queue.len() > MOST_FRAMES || self.bytes > MOST_BYTES {
            let Some((_, oldest)) = self.queue.pop_front() else { break };
            self.bytes -= oldest.len();
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use api::kind::Registry;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_shown_alike_is_made_once_and_little_is_kept() {
        let kind = Registry::builtin().by_resource("", "v1", "configmaps").unwrap();
        let object = |name: &str| Arc::new(Object::for_tests(name, &json!({})));
        let (frames, made) = (Frames::default(), Cell::new(0));
        let (a, b) = (object("x/a"), object("x/b"));
        let shown = |change, object: &Arc<Object>, revision, size: usize| {
            let (object, revision) = (object.clone(), Revision(revision));
            let shows = Shows { change, object, revision, kind, form: Form::JSON };
            let frame = frames.get(shows, |_| {
                made.set(made.get() + 1);
                vec![b'x'; size].into()
            });
            assert_eq!(frame.len(), size);
            made.get()
        };
        let check = |change, object, revision, size, expected| {
            assert_eq!(shown(change, object, revision, size), expected, "{change:?} {revision} {size}");
        };
        check(ChangeKind::Added, &a, 1, 10, 1);
        check(ChangeKind::Added, &a, 1, 10, 1);
        check(ChangeKind::Modified, &a, 1, 11, 2);
        check(ChangeKind::Modified, &a, 2, 12, 3);
        check(ChangeKind::Modified, &b, 2, 13, 4);
        check(ChangeKind::Added, &a, 1, 10, 4);
        // Larger than all that is kept: it is kept for nobody.
        check(ChangeKind::Deleted, &b, 3, MOST_BYTES + 1, 5);
        check(ChangeKind::Deleted, &b, 3, MOST_BYTES + 1, 6);
        for revision in 10..10 + MOST_FRAMES as u64 {
            check(ChangeKind::Modified, &a, revision, 1, revision as usize - 3);
        }
        check(ChangeKind::Modified, &a, 10, 1, 6 + MOST_FRAMES);
        assert!(frames.kept(|kept| kept.queue.len()) <= MOST_FRAMES);
    }
}
