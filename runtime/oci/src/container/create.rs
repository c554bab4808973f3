//! Making a container: a fixed sequence of steps, each undone when a later one fails.
//!
//! When it returns, the child has done everything except become the program: it waits at the gate, which
//! `start`, maybe from another process, opens.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxResources, Spec};
use rustix::fs::{Mode, OFlags};
use sys::cgroup::{Cgroup, Layout};
use sys::{Errno, process};

use super::record::RECORD_VERSION;
use super::{ContainerError, Record, Store, notify};
use crate::launch::{self, LaunchFds, Pending, Progress};
use crate::plan::{self, Namespaces, Plan, PlanOptions};
use crate::systemd::{self, SystemdError, Unit};
use crate::{cgroup, hooks};

/// What to make.
#[derive(Debug)]
pub struct CreateRequest {
    pub id: String,
    pub bundle: PathBuf,
    /// A connected socket for the terminal's master.
    pub console: Option<OwnedFd>,
    pub pid_file: Option<PathBuf>,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    /// systemd makes the cgroup; `cgroupsPath` names its unit.
    pub systemd_cgroup: bool,
    /// Descriptors from 3 upwards that the program inherits.
    pub preserve: Vec<OwnedFd>,
    /// Added to the program's environment.
    pub environment: Vec<String>,
}

/// A container that waits to be started.
#[derive(Debug)]
pub struct Created {
    pub record: Record,
    pub spec: Spec,
    pub pending: Pending,
    /// Write end of the gate.
    pub gate: OwnedFd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The directory, whose name is the id.
    Reserve,
    Cgroup,
    Limits,
    Gate,
    /// Clone the child. What follows up to [`Step::Follow`] is done while it makes its mounts on another processor.
    Clone,
    /// Before the child may run anything that is not ours: hooks wait for the parent, the program for the gate.
    Devices,
    /// config.json as it was read: later verbs must not see a changed one.
    KeepSpec,
    /// The record under another name, until the child is where it says.
    Prepare,
    /// See the child to the gate.
    Follow,
    Record,
    PidFile,
}

const STEPS: [Step; 11] = [
    Step::Reserve,
    Step::Cgroup,
    Step::Limits,
    Step::Gate,
    Step::Clone,
    Step::Devices,
    Step::KeepSpec,
    Step::Prepare,
    Step::Follow,
    Step::Record,
    Step::PidFile,
];

/// In debug builds, the number of the step that fails instead of running: the tests' way to every error path.
const FAIL_AT: &str = "KEELSON_OCI_FAIL_AT";

/// Makes a container from its bundle, up to the gate. On an error nothing is left of it.
pub fn create(store: &Store, request: CreateRequest) -> Result<Created, ContainerError> {
    let mut making = Making::new(store, request)?;
    for (number, step) in STEPS.into_iter().enumerate() {
        let done = if injected(number) { Err(ContainerError::Injected) } else { making.execute(step) };
        if let Err(error) = done {
            making.undo();
            return Err(error);
        }
    }
    match (making.record, making.pending, making.gate) {
        (Some(record), Some(pending), Some(gate)) => Ok(Created { record, spec: making.spec, pending, gate }),
        _ => unreachable!("every step has run"),
    }
}

fn injected(number: usize) -> bool {
    cfg!(debug_assertions) && std::env::var(FAIL_AT).is_ok_and(|value| value.parse() == Ok(number))
}

/// What exists so far, for the next step and for undoing.
struct Making<'a> {
    store: &'a Store,
    request: CreateRequest,
    directory: PathBuf,
    spec: Spec,
    spec_bytes: Vec<u8>,
    layout: Layout,
    /// With systemd it is known once the unit runs.
    cgroup_path: String,
    unit: Option<Unit>,
    started: Option<systemd::Started>,
    reserved: bool,
    cgroup: Option<Cgroup>,
    gate: Option<OwnedFd>,
    pending: Option<Pending>,
    record: Option<Record>,
    /// A PID file of this container may be there.
    named: bool,
}

impl<'a> Making<'a> {
    fn new(store: &'a Store, request: CreateRequest) -> Result<Making<'a>, ContainerError> {
        let directory = store.directory_of(&request.id)?;
        let path = request.bundle.join("config.json");
        let spec_bytes = std::fs::read(&path).map_err(ContainerError::file("read", &path))?;
        let mut spec: Spec = serde_json::from_slice(&spec_bytes)
            .map_err(|source| ContainerError::Json { file: path, source })?;
        let terminal = spec.process().as_ref().is_some_and(|process| process.terminal() == Some(true));
        match (terminal, &request.console) {
            (true, None) => return Err(ContainerError::NoConsole),
            (false, Some(_)) => return Err(ContainerError::NoTerminal),
            _ => {}
        }
        let unit = if request.systemd_cgroup {
            Some(Unit::of_container(given_path(&spec), &request.id).map_err(SystemdError::from)?)
        } else {
            None
        };
        let cgroup_path = match &unit {
            Some(unit) => unit.cgroup(),
            None => cgroup_path(given_path(&spec), &request.id)?,
        };
        notify::extend(&mut spec, &directory);
        if let Some(process) = spec.process_mut().as_mut().filter(|_| !request.environment.is_empty()) {
            let mut environment = process.env().clone().unwrap_or_default();
            environment.extend(request.environment.iter().cloned());
            process.set_env(Some(environment));
        }
        Ok(Making {
            store,
            request,
            directory,
            spec,
            spec_bytes,
            layout: Layout::detect()?,
            cgroup_path,
            unit,
            started: None,
            reserved: false,
            cgroup: None,
            gate: None,
            pending: None,
            record: None,
            named: false,
        })
    }

    fn execute(&mut self, step: Step) -> Result<(), ContainerError> {
        match step {
            Step::Reserve => self.reserve(),
            Step::KeepSpec => {
                let path = self.directory.join("config.json");
                std::fs::write(&path, &self.spec_bytes).map_err(ContainerError::file("write", path))
            }
            Step::Cgroup => self.make_cgroup(),
            Step::Limits => self.apply_limits(),
            Step::Gate => self.make_gate(),
            Step::Clone => {
                let cloned = self.clone_child();
                if let Some(started) = &mut self.started {
                    started.leave();
                }
                cloned
            }
            Step::Devices => self.apply_devices(),
            Step::Prepare => self.prepare_record(),
            Step::Follow => self.follow(),
            Step::Record => self.publish_record(),
            Step::PidFile => self.write_pid_file(),
        }
    }

    fn reserve(&mut self) -> Result<(), ContainerError> {
        use std::os::unix::fs::DirBuilderExt as _;
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o711);
        let made = match builder.create(&self.directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let parent = self.directory.parent().unwrap_or(Path::new("/"));
                builder.recursive(true).create(parent).map_err(ContainerError::file("make", parent))?;
                builder.recursive(false).create(&self.directory)
            }
            result => result,
        };
        match made {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(ContainerError::Exists),
            result => {
                result.map_err(ContainerError::file("make", &self.directory))?;
                self.reserved = true;
                notify::make_directory(&self.directory)
            }
        }
    }

    fn make_cgroup(&mut self) -> Result<(), ContainerError> {
        if let Some(unit) = &self.unit {
            let annotations = self.spec.annotations().iter().flatten();
            let annotations: Vec<_> =
                annotations.map(|(name, value)| (name.clone(), value.clone())).collect();
            let wanted = systemd::Wanted { id: &self.request.id, annotations: &annotations };
            let started = self.started.insert(systemd::start(unit, &self.layout, &wanted)?);
            self.cgroup_path.clone_from(&started.cgroup);
        }
        self.cgroup = Some(Cgroup::create(&self.layout, &self.cgroup_path)?);
        Ok(())
    }

    fn apply_limits(&self) -> Result<(), ContainerError> {
        let Some(cgroup) = &self.cgroup else { return Ok(()) };
        let resources = resources(&self.spec);
        if let Some(unit) = &self.unit {
            systemd::set(unit.name(), &cgroup::planned(cgroup, &resources)?)?;
        }
        Ok(cgroup::limits(cgroup, &resources)?)
    }

    fn apply_devices(&self) -> Result<(), ContainerError> {
        let Some(cgroup) = &self.cgroup else { return Ok(()) };
        Ok(cgroup::devices(cgroup, &resources(&self.spec))?)
    }

    /// A FIFO open for both directions: the child never sees its end before somebody writes, and the name lets
    /// another process do so.
    fn make_gate(&mut self) -> Result<(), ContainerError> {
        let path = self.directory.join("gate");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR)
            .map_err(ContainerError::system("make the gate"))?;
        let gate = rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(ContainerError::system("open the gate"))?;
        self.gate = Some(gate);
        Ok(())
    }

    fn clone_child(&mut self) -> Result<(), ContainerError> {
        let cgroup = self.cgroup.as_ref();
        let plan = Plan::from_spec(
            &self.spec,
            &PlanOptions {
                image_volumes: BTreeMap::new(),
                bundle: self.request.bundle.clone(),
                rootfs: None,
                cgroup_procs: cgroup.map(Cgroup::v1_procs).unwrap_or_default(),
                cgroup_path: self.cgroup_path.clone(),
                layout: Some(self.layout.clone()),
                no_pivot: self.request.no_pivot,
                keyring: (!self.request.no_new_keyring).then(|| format!("_ses.{}", self.request.id)),
                gate: true,
                state: Some(self.open_state()),
            },
        )?;
        let clone = |fd: &OwnedFd| fd.try_clone().map_err(ContainerError::file("duplicate", "gate"));
        let fds = LaunchFds {
            stdio: None,
            cgroup: cgroup.map(Cgroup::v2_dir).transpose()?.flatten(),
            gate: self.gate.as_ref().map(clone).transpose()?,
            console: self.request.console.take(),
            target: None,
            preserve: std::mem::take(&mut self.request.preserve),
            id_mapped: Vec::new(),
        };
        self.pending = Some(launch::start(plan, fds)?);
        Ok(())
    }

    fn follow(&mut self) -> Result<(), ContainerError> {
        let state = self.open_state();
        let Some(pending) = &mut self.pending else { return Ok(()) };
        loop {
            match pending.wait()? {
                Progress::AtGate => return Ok(()),
                Progress::RuntimeHooks => {
                    let state = hooks::complete_state(&state, pending.pid, "creating");
                    runtime_hooks(&self.spec)?.iter().try_for_each(|hook| hooks::run(hook, &state))?;
                    pending.proceed()?;
                }
                Progress::Waiting => {}
                Progress::Running => return Err(launch::LaunchError::Garbled.into()),
            }
        }
    }

    fn open_state(&self) -> String {
        open_state(&self.spec, &self.request)
    }

    fn prepare_record(&mut self) -> Result<(), ContainerError> {
        let pid = self.pending.as_ref().map_or(0, |pending| pending.pid);
        let (_, start_ticks) = process::stat(pid).ok_or(ContainerError::Launch(launch::LaunchError::Died))?;
        let linux = self.spec.linux().as_ref();
        let namespaces = linux.and_then(|linux| linux.namespaces().as_ref()).into_iter().flatten();
        let root = self.spec.root().as_ref();
        let record = Record {
            version: RECORD_VERSION,
            oci_version: self.spec.version().clone(),
            id: self.request.id.clone(),
            pid,
            start_ticks,
            bundle: self.request.bundle.clone(),
            rootfs: root.map(|root| self.request.bundle.join(root.path())).unwrap_or_default(),
            created: jiff::Timestamp::now().to_string(),
            cgroup: self.cgroup_path.clone(),
            unit: self.unit.as_ref().map(|unit| unit.name().to_owned()),
            namespaces: namespaces
                .map(|entry| Namespaces::from(entry.typ()))
                .fold(Namespaces::default(), Namespaces::with),
            annotations: self
                .spec
                .annotations()
                .iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
        };
        self.store.prepare(&record)?;
        self.record = Some(record);
        Ok(())
    }

    fn publish_record(&self) -> Result<(), ContainerError> {
        self.record.iter().try_for_each(|record| self.store.publish(&record.id))
    }

    fn write_pid_file(&mut self) -> Result<(), ContainerError> {
        self.named = true;
        match (&self.request.pid_file, &self.pending) {
            (Some(path), Some(pending)) => write_pid_file(path, pending.pid),
            _ => Ok(()),
        }
    }

    /// Takes everything back that exists, last first; goes on over errors, since there is nobody to tell.
    fn undo(&mut self) {
        if let Some(path) = self.request.pid_file.as_ref().filter(|_| self.named) {
            let _absent = std::fs::remove_file(path);
        }
        if let Some(pending) = self.pending.take() {
            pending.abandon();
        }
        let started = self.started.take();
        if let Some(cgroup) = self.cgroup.take() {
            let _gone = cgroup.kill();
            let parents =
                || if self.unit.is_some() { Ok(()) } else { self.layout.prune_parents(&self.cgroup_path) };
            if let Err(error) = cgroup.delete().and_then(|()| parents()) {
                tracing::warn!(%error, "cgroup of the failed container is left");
            }
        }
        if let (Some(_), Some(unit)) = (started, &self.unit)
            && let Err(error) = systemd::stop(unit.name())
        {
            tracing::warn!(%error, "unit of the failed container is left");
        }
        if self.reserved {
            let _gone = std::fs::remove_dir_all(&self.directory);
        }
    }
}

/// Writes a PID where whoever asked for it reads it: whole or not at all.
pub(crate) fn write_pid_file(path: &Path, pid: i32) -> Result<(), ContainerError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}"));
    std::fs::write(&temporary, pid.to_string()).map_err(ContainerError::file("write", &temporary))?;
    // An older container's file names nobody any more; and ext4 writes a file to the disk that takes another one's place.
    let _absent = std::fs::remove_file(path);
    std::fs::rename(&temporary, path).map_err(ContainerError::file("write", path))
}

/// `cgroupsPath` as it is given.
fn given_path(spec: &Spec) -> &str {
    let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
    path.and_then(|path| path.to_str()).unwrap_or_default()
}

/// The container's path below each hierarchy's root.
fn cgroup_path(path: &str, id: &str) -> Result<String, ContainerError> {
    if path.is_empty() {
        return Ok(id.to_owned());
    }
    if !path.contains('/') && path.matches(':').count() == 2 {
        return Err(ContainerError::Usage(format!(
            "cgroupsPath `{path}` is systemd's notation: give --systemd-cgroup, or use the cgroupfs driver"
        )));
    }
    Ok(path.trim_matches('/').to_owned())
}

/// The specification's limits and the devices every container may use.
fn resources(spec: &Spec) -> LinuxResources {
    let linux = spec.linux().as_ref();
    let mut resources = linux.and_then(|linux| linux.resources().clone()).unwrap_or_default();
    let mut rules = resources.devices().clone().unwrap_or_default();
    rules.extend(plan::default_device_rules());
    resources.set_devices(Some(rules));
    resources
}

fn open_state(spec: &Spec, request: &CreateRequest) -> String {
    state_without_process(spec.version(), &request.id, &request.bundle, spec.annotations().as_ref())
}

/// The state that hooks get, without its PID, its status and the closing brace.
pub(crate) fn state_without_process<A: serde::Serialize>(
    version: &str,
    id: &str,
    bundle: &Path,
    annotations: Option<A>,
) -> String {
    let mut state = serde_json::json!({ "ociVersion": version, "id": id, "bundle": bundle });
    if let Some(annotations) = annotations {
        state["annotations"] = serde_json::json!(annotations);
    }
    let mut text = state.to_string();
    text.pop();
    text
}

fn runtime_hooks(spec: &Spec) -> Result<Vec<plan::Hook>, plan::PlanError> {
    let Some(listed) = spec.hooks() else { return Ok(Vec::new()) };
    #[allow(deprecated)]
    let mut hooks = plan::hooks(listed.prestart().as_ref())?;
    hooks.extend(plan::hooks(listed.create_runtime().as_ref())?);
    Ok(hooks)
}

/// Opens the gate of a created container by name. The program runs as soon as this returns.
pub(crate) fn open_gate(directory: &Path) -> Result<(), ContainerError> {
    let path = directory.join("gate");
    let gate =
        match rustix::fs::open(&path, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()) {
            // No reader: the child is gone.
            Err(Errno::NXIO) => return Err(ContainerError::Stopped),
            Err(Errno::NOENT) => return Err(ContainerError::AlreadyRunning),
            result => result.map_err(ContainerError::system("open the gate"))?,
        };
    // The name goes first, so that of two who start at once only one succeeds.
    std::fs::remove_file(&path).map_err(|_| ContainerError::AlreadyRunning)?;
    rustix::io::write(&gate, &[0]).map_err(ContainerError::system("write to the gate"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup_paths() {
        for (given, expect) in [
            ("", Some("id")),
            ("/kubepods/pod1/c", Some("kubepods/pod1/c")),
            ("kubepods/c", Some("kubepods/c")),
            ("system.slice:runc:c", None),
        ] {
            assert_eq!(cgroup_path(given, "id").ok().as_deref(), expect, "{given}");
        }
    }

    #[test]
    fn an_open_state_closes() {
        let open = state_without_process("1.2.0", "a", Path::new("/b"), None::<()>);
        let state: serde_json::Value =
            serde_json::from_str(&hooks::complete_state(&open, 7, "creating")).unwrap();
        assert_eq!(state["pid"], 7);
        assert_eq!(state["bundle"], "/b");
    }
}
