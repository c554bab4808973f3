//! What the probes said last, by the container in the runtime that they asked.

use std::collections::HashMap;

use crate::probes::{ProbeKind, ProbeReport};

/// Verdicts of one pod's containers. One that was never reported is unknown.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    reports: HashMap<(String, ProbeKind), ProbeReport>,
}

impl Verdicts {
    pub fn take(&mut self, report: ProbeReport) {
        self.reports.insert((report.container_id.clone(), report.kind), report);
    }

    /// Forgets containers that the runtime does not know any more.
    pub fn retain(&mut self, is_known: impl Fn(&str) -> bool) {
        self.reports.retain(|(id, _), _| is_known(id));
    }

    pub fn of(&self, id: &str, kind: ProbeKind) -> Option<bool> {
        self.report(id, kind).map(|report| report.success)
    }

    /// The report of a probe that failed.
    pub fn failure(&self, id: &str, kind: ProbeKind) -> Option<&ProbeReport> {
        self.report(id, kind).filter(|report| !report.success)
    }

    fn report(&self, id: &str, kind: ProbeKind) -> Option<&ProbeReport> {
        self.reports.get(&(id.to_owned(), kind))
    }
}
