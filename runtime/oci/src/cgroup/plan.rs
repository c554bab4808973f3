//! Which value goes into which control file, in which order.

use super::{Observed, ResourceError, cpu, cpuset, hugetlb, io, memory, network, pids, rdma, unified};
use oci_spec::runtime::LinuxResources;
use sys::cgroup::{CgroupError, Version};

/// What to make of a control file that this kernel does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    Error,
    /// The value asks for nothing that its absence does not give.
    Ignore,
}

/// One write call to one control file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Any name of the controller; its file is in the hierarchy that has it.
    pub controller: &'static str,
    pub file: String,
    pub value: String,
    pub missing: Missing,
}

/// Every write that `resources` asks for, against what is in force. Devices are not among them.
pub fn plan(resources: &LinuxResources, observed: &Observed) -> Result<Vec<Write>, ResourceError> {
    let mut writes = Writes { list: Vec::new(), observed };
    if let Some(cpu) = resources.cpu() {
        cpuset::plan(cpu, &mut writes)?;
        cpu::plan(cpu, &mut writes)?;
    }
    if let Some(memory) = resources.memory() {
        memory::plan(memory, &mut writes)?;
    }
    if let Some(pids) = resources.pids() {
        pids::plan(pids, &mut writes)?;
    }
    if let Some(block) = resources.block_io() {
        io::plan(block, &mut writes)?;
    }
    hugetlb::plan(resources.hugepage_limits().as_deref().unwrap_or_default(), &mut writes)?;
    if let Some(network) = resources.network() {
        network::plan(network, &mut writes)?;
    }
    if let Some(devices) = resources.rdma() {
        rdma::plan(devices, &mut writes)?;
    }
    // Last: what the user spells out beats what we derived.
    if let Some(unified) = resources.unified() {
        unified::plan(unified, &mut writes)?;
    }
    Ok(writes.list)
}

/// The plan as it grows.
pub(super) struct Writes<'a> {
    list: Vec<Write>,
    pub observed: &'a Observed,
}

impl Writes<'_> {
    /// The version a controller is in use under; without one, the error that names it.
    pub fn version(&self, controller: &'static str) -> Result<Version, ResourceError> {
        self.observed.version(controller).ok_or_else(|| {
            let why = self.observed.why_missing(controller);
            CgroupError::Controller { controller: controller.to_owned(), why }.into()
        })
    }

    pub fn push(&mut self, controller: &'static str, file: impl Into<String>, value: impl ToString) {
        self.list.push(Write {
            controller,
            file: file.into(),
            value: value.to_string(),
            missing: Missing::Error,
        });
    }

    pub fn push_if_present(
        &mut self,
        controller: &'static str,
        file: impl Into<String>,
        value: impl ToString,
    ) {
        self.push(controller, file, value);
        if let Some(last) = self.list.last_mut() {
            last.missing = Missing::Ignore;
        }
    }
}

/// 0 in a specification stands for "not given".
pub(super) fn given(value: Option<i64>) -> Option<i64> {
    value.filter(|value| *value != 0)
}

/// v2 spells "no limit" as a word where v1 and the specification say -1.
pub(super) fn or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

pub(super) fn refuse(
    field: impl Into<String>,
    value: impl ToString,
    why: impl Into<String>,
) -> ResourceError {
    ResourceError::Value { field: field.into(), value: value.to_string(), why: why.into() }
}
