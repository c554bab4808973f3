//! Steps on the real maps. Decides nothing.
//!
//! Each step that is done is entered into [`Observed`] at once, so an error leaves it telling what is there. What can
//! wait is handed back as [`Later`]: sets that programs may still be looking at, and flows of backends that are gone.

use std::collections::BTreeSet;

use datapath::{Backend, Backends, Config, DatapathError, Services, SetId, Sources, Tables};

use crate::observed::Observed;
use crate::plan::{Step, Target};

/// The maps that the proxy writes; nobody else does.
pub(crate) struct Maps {
    pub(crate) tables: Tables,
    services: Services,
    backends: Backends,
    sources: Sources,
}

/// What a plan leaves to be done a little later.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Later {
    pub retired: Vec<SetId>,
    pub forgotten: BTreeSet<Backend>,
}

impl Maps {
    pub(crate) fn open(config: &Config) -> Result<Maps, DatapathError> {
        let tables = Tables::open(config)?;
        let (services, backends, sources) = (tables.services()?, tables.backends()?, tables.sources()?);
        Ok(Maps { services, backends, sources, tables })
    }

    /// All that is in the maps.
    pub(crate) fn observed(&self) -> Result<Observed, DatapathError> {
        let observed = Observed::new(self.services.observed()?, self.backends.observed()?);
        Ok(observed.with(&self.backends.with_tables()?, self.sources.observed()?))
    }

    pub(crate) fn execute(
        &mut self,
        steps: Vec<Step>,
        observed: &mut Observed,
        later: &mut Later,
    ) -> Result<(), DatapathError> {
        let mut installed: Vec<SetId> = Vec::new();
        for step in steps {
            match step {
                Step::Install(backends, table) => {
                    let set = match table {
                        true => self.backends.install_with_table(&backends)?,
                        false => self.backends.install(&backends)?,
                    };
                    observed.installed(set, backends, table);
                    installed.push(set);
                }
                Step::Admit(number, range) => {
                    self.sources.put(number, range)?;
                    observed.admitted(number, range);
                }
                Step::Expel(number, range) => {
                    self.sources.remove(number, range)?;
                    observed.expelled(number, range);
                }
                Step::Point { frontend, aim } => {
                    let service = aim.service(match aim.target {
                        Target::Nothing => None,
                        Target::Known(set) => Some(set),
                        // A plan points at what it installs itself, earlier.
                        Target::New(index) => Some(installed[index]),
                    });
                    self.services.put(&frontend, &service)?;
                    observed.pointed(frontend, service);
                }
                Step::Remove(frontend) => {
                    self.services.remove(&frontend)?;
                    observed.removed(&frontend);
                }
                Step::Retire(set) => later.retired.push(set),
                Step::Forget(backend) => drop(later.forgotten.insert(backend)),
            }
        }
        Ok(())
    }

    /// Removes a retired set.
    pub(crate) fn erase(&mut self, set: SetId, observed: &mut Observed) -> Result<(), DatapathError> {
        // A restart that re-read the maps may have retired it twice, and none may be led to.
        if observed.leading_to(&set) == 0 {
            self.backends.remove(set)?;
            observed.erased(&set);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
