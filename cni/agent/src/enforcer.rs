//! Makes the datapath say what policies say: the one writer of POLICY and IDENTITIES.
//!
//! **Invariants.** What is new goes in before pods hear of it, what is old goes out after. A map that is full keeps what it
//! has: who is not entered is denied. What is there is read from the maps once, and again after anything failed; then
//! everything is looked at, else what has changed and what found no room.

use datapath::{DatapathError, Tables};

use crate::policy::{Changed, Compiled, Observed, Step, plan};

#[derive(Debug, Default)]
pub struct Enforcer {
    observed: Option<Observed>,
    /// Entries that are not yet as they should be.
    missing: Changed,
    /// Flows have not been judged since something went.
    unjudged: bool,
    /// Entries that found no room when last tried.
    pub refused: usize,
}

/// The second half of a round.
#[derive(Debug)]
pub struct Rest {
    after: Vec<Step>,
    refused: Option<DatapathError>,
}

impl Enforcer {
    /// Enters what is new. Pods are to be told before [`Enforcer::finish`].
    pub fn begin(&mut self, tables: &Tables, desired: &mut Compiled) -> Result<Rest, DatapathError> {
        let mut policies = tables.policies()?;
        let changed = desired.take_changed();
        let mut observed = match self.observed.take() {
            Some(observed) => {
                self.missing.add(changed);
                observed
            }
            None => {
                let observed = Observed {
                    allowed: policies.allowed()?.into_iter().collect(),
                    names: policies.named()?.into_iter().collect(),
                };
                self.missing = Changed::all(desired, &observed);
                observed
            }
        };
        let (before, after) = plan(desired, &observed, &self.missing);
        self.missing = Changed::of(before.iter().chain(&after));
        self.unjudged |= !after.is_empty();
        let (mut refused, mut count) = (None, 0);
        for step in before {
            let done = match step {
                Step::Allow(allowed) => policies.allow(&allowed).map(|()| {
                    observed.allowed.insert(allowed);
                    self.missing.allowed.remove(&allowed);
                }),
                Step::Name(prefix, number) => {
                    // It may have been somebody else's, or of a wider block.
                    self.unjudged = true;
                    policies.name(prefix, number).map(|()| {
                        observed.names.insert(prefix, number);
                        self.missing.names.remove(&prefix);
                    })
                }
                Step::Withdraw(_) | Step::Unname(_) => Ok(()),
            };
            match done {
                Err(error @ DatapathError::Full { .. }) => {
                    count += 1;
                    refused = Some(error);
                }
                other => other?,
            }
        }
        self.refused = count;
        self.observed = Some(observed);
        Ok(Rest { after, refused })
    }

    /// Takes out what is old. `isolated`: a pod is isolated anew.
    ///
    /// # Errors
    /// Also where there was no room for something new: all the rest is done then.
    pub fn finish(&mut self, tables: &Tables, rest: Rest, isolated: bool) -> Result<(), DatapathError> {
        self.unjudged |= isolated;
        let mut policies = tables.policies()?;
        let mut observed = self.observed.take().unwrap_or_default();
        for step in &rest.after {
            match step {
                Step::Withdraw(allowed) => {
                    policies.withdraw(allowed)?;
                    observed.allowed.remove(allowed);
                    self.missing.allowed.remove(allowed);
                }
                Step::Unname(prefix) => {
                    policies.unname(*prefix)?;
                    observed.names.remove(prefix);
                    self.missing.names.remove(prefix);
                }
                Step::Allow(_) | Step::Name(..) => {}
            }
        }
        if self.unjudged {
            tables.judge_flows_again()?;
            self.unjudged = false;
        }
        self.observed = Some(observed);
        rest.refused.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use datapath::{Config, Datapath, Direction, Ports};

    use super::*;

    /// Entries that POLICY takes.
    const CAPACITY: u32 = 131_072;
    const MORE: u32 = 100;

    fn allowed(number: u32) -> datapath::Allowed {
        datapath::Allowed { subject: number, peer: 1, direction: Direction::Ingress, what: Ports::All }
    }

    #[test]
    fn what_finds_no_room_is_counted_until_there_is_room() {
        let test = "enforcer::what_finds_no_room_is_counted_until_there_is_room";
        if !harness::root_or_skip(test) {
            return;
        }
        let guard = harness::host::exclusive(test);
        let folder = tempfile::tempdir().unwrap();
        let config = Config { bpffs: folder.path().join("bpf"), ..Config::default() };
        drop(Datapath::ensure(&config).unwrap());
        let tables = Tables::open(&config).unwrap();
        let mut enforcer = Enforcer::default();
        let mut desired = Compiled::default();
        let mut known = 0..0;
        let mut enforce = |entries: std::ops::Range<u32>| {
            known.clone().filter(|n| !entries.contains(n)).for_each(|n| desired.count(allowed(n), false));
            entries.clone().filter(|n| !known.contains(n)).for_each(|n| desired.count(allowed(n), true));
            known = entries;
            let rest = enforcer.begin(&tables, &mut desired).unwrap();
            (enforcer.finish(&tables, rest, false), enforcer.refused)
        };
        let full =
            |done: &Result<(), DatapathError>| matches!(done, Err(DatapathError::Full { map: "POLICY", .. }));
        let (done, refused) = enforce(0..CAPACITY + MORE);
        assert!(full(&done), "{done:?}");
        assert_eq!(refused, MORE as usize);
        assert_eq!(tables.policies().unwrap().allowed().unwrap().len(), CAPACITY as usize);
        // Tried again, it is as before; what leaves makes room for what waits, in the round after that.
        assert_eq!(enforce(0..CAPACITY + MORE).1, MORE as usize);
        let less = MORE..CAPACITY + MORE;
        assert!(full(&enforce(less.clone()).0));
        let (done, refused) = enforce(less);
        assert!(done.is_ok() && refused == 0, "{done:?} {refused}");
        datapath::unload(&config).unwrap();
        guard.finish();
    }
}
