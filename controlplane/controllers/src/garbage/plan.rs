//! What becomes of an object that has owners. Pure.

use client::Propagation;

/// What is known of one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OwnerState {
    /// Is there and stays.
    Solid,
    /// Is not there.
    Absent { uid: String },
    /// Is deleted and waits for its dependents.
    Waiting { uid: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// Drop the references to these owners.
    Unlink(Vec<String>),
    Delete(Propagation),
    /// Delete in the foreground, and hold no owner back meanwhile: owners wait for each other in a circle.
    BreakCircle,
}

/// An object's own wish for what becomes of its dependents, from its finalizers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wish {
    pub orphan: bool,
    pub foreground: bool,
}

/// What is known of the dependents.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dependents {
    pub some: bool,
    /// One of them waits for its own dependents already.
    pub waiting: bool,
}

pub(super) fn plan(owners: &[OwnerState], wish: Wish, dependents: Dependents) -> Step {
    if owners.is_empty() {
        return Step::Nothing;
    }
    let waiting = owners.iter().any(|owner| matches!(owner, OwnerState::Waiting { .. }));
    if owners.contains(&OwnerState::Solid) {
        let others: Vec<String> = owners
            .iter()
            .filter_map(|owner| match owner {
                OwnerState::Solid => None,
                OwnerState::Absent { uid } | OwnerState::Waiting { uid } => Some(uid.clone()),
            })
            .collect();
        return if others.is_empty() { Step::Nothing } else { Step::Unlink(others) };
    }
    if waiting && dependents.waiting && !wish.orphan {
        return Step::BreakCircle;
    }
    Step::Delete(match wish {
        Wish { orphan: true, .. } => Propagation::Orphan,
        // The owner waits also for the dependents of its dependents.
        Wish { foreground: true, .. } => Propagation::Foreground,
        _ if waiting && dependents.some => Propagation::Foreground,
        _ => Propagation::Background,
    })
}

#[cfg(test)]
mod tests {
    use super::OwnerState::Solid;
    use super::*;

    #[test]
    fn owners_decide() {
        let absent = || OwnerState::Absent { uid: "a".into() };
        let waiting = || OwnerState::Waiting { uid: "w".into() };
        let orphan = Wish { orphan: true, ..Wish::default() };
        for (owners, wish, dependents, expect) in [
            (vec![], Wish::default(), false, Step::Nothing),
            (vec![Solid], Wish::default(), true, Step::Nothing),
            (vec![Solid, absent()], Wish::default(), false, Step::Unlink(vec!["a".into()])),
            (vec![waiting(), Solid], Wish::default(), true, Step::Unlink(vec!["w".into()])),
            (vec![absent()], Wish::default(), true, Step::Delete(Propagation::Background)),
            (vec![absent()], orphan, true, Step::Delete(Propagation::Orphan)),
            (vec![waiting()], Wish::default(), true, Step::Delete(Propagation::Foreground)),
            (vec![waiting()], Wish::default(), false, Step::Delete(Propagation::Background)),
        ] {
            let dependents = Dependents { some: dependents, waiting: false };
            assert_eq!(plan(&owners, wish, dependents), expect, "{owners:?}");
        }
        let circle = Dependents { some: true, waiting: true };
        assert_eq!(plan(&[waiting()], Wish::default(), circle), Step::BreakCircle);
        assert_eq!(plan(&[Solid], Wish::default(), circle), Step::Nothing);
    }
}
