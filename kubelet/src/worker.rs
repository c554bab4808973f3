//! One pod's owner: the only one that changes its sandbox and containers and writes its status.
//!
//! ```text
//!             new version, runtime event, probe report, references changed, timer
//!                                      |
//!   Running --(deleted, gone, over, failed)--> Ending --(nothing runs)--> Ended --(gone from the API)--> leaves
//!      |  plan, execute                          |  kill, stop               |  volumes, containers
//! ```
//!
//! Whatever wakes it only says "look": it reads the runtime again and plans anew. One operation is under way at a time,
//! as a future that this task owns; deletion drops a start that is under way. The status is written by a second future,
//! so that a slow API holds up no container.
//!
//! **Invariants**
//! - What runs is decided by the runtime's word, read after every operation.
//! - The API's object is deleted only after nothing of the pod runs and its volumes are gone.

mod end;
mod operate;
mod report;
mod resize;
mod start;
mod stop;
mod waits;

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::{Backoff, Client, EventKind, EventRecorder};
use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::admission::Admission;
use crate::allocation::Allocation;
use crate::backoff::Backoffs;
use crate::cgroups::Cgroups;
use crate::directory::{Directory, PodView};
use crate::facts::NodeFacts;
use crate::images::Images;
use crate::observed::{self, Observed};
use crate::paths::Paths;
use crate::plan::{self, Desired, Step};
use crate::pod::Pod;
use crate::probes::{self, ProbeReport, Prober};
use crate::resize::Resize;
use crate::runtime::Runtime;
use crate::status::{Verdict, Waiting};
use crate::user_namespaces::UserNamespaces;
use crate::verdicts::Verdicts;
use crate::volumes::{PodVolumes, Volumes};

/// How long the runtime may take to tell about one pod.
const LOOK_LIMIT: Duration = Duration::from_secs(120);
/// How long the worker waits before it asks a runtime again that did not answer.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A pod is looked at again at least so often, whatever it waits for.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 86_400);
/// Nudges and reports that wait.
const NUDGES: usize = 8;
const REPORTS: usize = 64;
const PROGRESS: usize = 16;
/// Between tries of what failed.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// What every worker needs; fixed while the kubelet runs.
pub struct Context {
    pub client: Client,
    pub runtime: Runtime,
    pub events: EventRecorder,
    pub volumes: Volumes,
    pub images: Images,
    pub facts: NodeFacts,
    pub paths: Paths,
    pub directory: Directory,
    pub admission: Admission,
    pub user_namespaces: UserNamespaces,
    pub cgroups: Cgroups,
    pub cgroup_root: String,
    /// The scheme of container ids.
    pub runtime_name: String,
    /// The node's own resolv.conf and hosts.
    pub resolv_conf: std::path::PathBuf,
}

/// What the API wants of the pod.
#[derive(Clone, Debug)]
pub struct Wish {
    pub pod: Arc<Pod>,
    /// The API has no such pod any more, or never had.
    pub gone: bool,
}

/// A reason to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nudge {
    /// The runtime told something about the pod.
    Runtime,
    /// A ConfigMap or Secret that it refers to changed.
    References,
}

/// A worker as its dispatcher holds it.
pub struct Handle {
    wish: watch::Sender<Wish>,
    nudges: mpsc::Sender<Nudge>,
}

impl Handle {
    pub fn wish(&self, wish: Wish) {
        self.wish.send_replace(wish);
    }

    /// A full queue means that the worker looks anyway.
    pub fn nudge(&self, nudge: Nudge) {
        let _ = self.nudges.try_send(nudge);
    }

    pub fn pod(&self) -> Arc<Pod> {
        self.wish.borrow().pod.clone()
    }

    pub fn is_gone(&self) -> bool {
        self.wish.borrow().gone
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Containers are kept as the pod asks.
    Running,
    /// Nothing starts any more; what runs is being ended.
    Ending,
    /// Nothing runs, the volumes are gone.
    Ended,
    /// Nothing is left but the object in the API.
    Removed,
}

/// What an operation found out while it goes on.
enum Progress {
    Waits(String, Waiting),
    Runs(String),
}

/// What an operation came to.
enum Outcome {
    /// Volumes are there.
    Prepared(PodVolumes),
    /// Steps were executed; these containers could not be started, and are tried again after a while.
    Executed {
        held: Vec<(String, Duration)>,
        /// What a resize gave, and of which allocation.
        resized: Option<Box<(resize::Resized, Allocation)>>,
    },
    Ended,
    Removed,
    Failed,
}

/// What the worker waits for.
enum Woken {
    Wish,
    Nudge(Nudge),
    Report(ProbeReport),
    Progress(Progress),
    Operation(Outcome),
    Written(report::Written),
    /// A pod of this node was granted a resize that waited.
    Granted,
    Timer,
    Stopping,
}

pub struct Worker {
    context: Arc<Context>,
    /// As the API has it.
    asked: Arc<Pod>,
    /// With what the node has granted of its wish.
    pod: Arc<Pod>,
    allocation: Allocation,
    resize: Resize,
    resize_retry: Backoff,
    resize_at: Option<Instant>,
    grants: watch::Receiver<u64>,
    gone: bool,
    wish: watch::Receiver<Wish>,
    nudges: mpsc::Receiver<Nudge>,
    reports: (mpsc::Sender<ProbeReport>, mpsc::Receiver<ProbeReport>),
    progress: (mpsc::Sender<Progress>, mpsc::Receiver<Progress>),
    stage: Stage,
    observed: Arc<Observed>,
    verdicts: Verdicts,
    backoffs: Backoffs,
    waiting: BTreeMap<String, Waiting>,
    failed: Option<Verdict>,
    is_rejected: bool,
    volumes: Option<Arc<PodVolumes>>,
    /// Volumes are there, but their sources have changed.
    stale_volumes: bool,
    prober: Option<Prober>,
    operation: Option<BoxFuture<'static, Outcome>>,
    report: report::Reporter,
    /// Containers whose preStop hook has begun: it runs once.
    pre_stopped: Arc<Mutex<HashSet<String>>>,
    /// Grace that the operation of ending goes by.
    ending_grace: i64,
    retry: Backoff,
    /// What failed is not tried again before.
    retry_at: Option<Instant>,
    /// Containers that could not be started, and when they are tried again.
    held: BTreeMap<String, Instant>,
    /// When to look even if nothing happens.
    wake_at: Option<Instant>,
    look: bool,
}

/// Makes a pod's worker; [`Worker::run`] is its task.
pub fn create(context: Arc<Context>, wish: Wish) -> (Handle, Worker) {
    let (wish_sender, wish_receiver) = watch::channel(wish.clone());
    let (nudge_sender, nudges) = mpsc::channel(NUDGES);
    let (allocation, resize) = resize::recalled(&wish.pod);
    let worker = Worker {
        report: report::Reporter::new(&wish.pod),
        grants: context.admission.grants(),
        context,
        pod: allocation.applied(&wish.pod),
        asked: wish.pod,
        allocation,
        resize,
        resize_retry: Backoff::new(FIRST_RETRY, LONGEST_RETRY),
        resize_at: None,
        gone: wish.gone,
        wish: wish_receiver,
        nudges,
        reports: mpsc::channel(REPORTS),
        progress: mpsc::channel(PROGRESS),
        stage: Stage::Running,
        observed: Arc::default(),
        verdicts: Verdicts::default(),
        backoffs: Backoffs::default(),
        waiting: BTreeMap::new(),
        failed: None,
        is_rejected: false,
        volumes: None,
        stale_volumes: false,
        prober: None,
        operation: None,
        pre_stopped: Arc::default(),
        ending_grace: i64::MAX,
        retry: Backoff::new(FIRST_RETRY, LONGEST_RETRY),
        retry_at: None,
        held: BTreeMap::new(),
        wake_at: None,
        look: true,
    };
    (Handle { wish: wish_sender, nudges: nudge_sender }, worker)
}

impl Worker {
    /// Runs until the pod is gone, or the kubelet stops: then everything runs on.
    pub async fn run(mut self, stopping: CancellationToken) {
        let mut is_first = true;
        loop {
            if self.look && !self.look().await {
                self.wake_in(LOOK_AGAIN);
            } else if is_first {
                is_first = false;
                self.admit();
            }
            if !is_first {
                // Before and after: what is decided depends on what is told, and the other way round.
                self.report();
                self.decide();
                self.report();
                if self.stage == Stage::Removed && self.gone {
                    break;
                }
            }
            match self.next(&stopping).await {
                Woken::Stopping => break,
                woken => self.take(woken),
            }
        }
        if let Some(prober) = self.prober.take() {
            prober.stop().await;
        }
        if !stopping.is_cancelled() {
            self.context.directory.remove(&self.pod);
            self.context.images.forget(&self.pod);
            self.context.admission.forget(&self.pod.uid);
        }
    }

    async fn next(&mut self, stopping: &CancellationToken) -> Woken {
        let wake_at = self.wake_at;
        let timer = async move {
            match wake_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let waits_for_room = self.resize.is_deferred();
        tokio::select! {
            biased;
            () = stopping.cancelled() => Woken::Stopping,
            changed = self.wish.changed() => match changed {
                Ok(()) => Woken::Wish,
                Err(_) => Woken::Stopping,
            },
            Some(progress) = self.progress.1.recv() => Woken::Progress(progress),
            Some(report) = self.reports.1.recv() => Woken::Report(report),
            outcome = waited(&mut self.operation) => Woken::Operation(outcome),
            written = waited(&mut self.report.writing) => Woken::Written(written),
            Some(nudge) = self.nudges.recv() => Woken::Nudge(nudge),
            Ok(()) = self.grants.changed(), if waits_for_room => Woken::Granted,
            () = timer => Woken::Timer,
        }
    }

    fn take(&mut self, woken: Woken) {
        match woken {
            Woken::Wish => self.take_wish(),
            Woken::Nudge(Nudge::Runtime) => self.look = true,
            Woken::Nudge(Nudge::References) => {
                self.stale_volumes = true;
                self.try_at_once();
            }
            Woken::Report(report) => self.verdicts.take(report),
            Woken::Progress(Progress::Waits(name, waiting)) => drop(self.waiting.insert(name, waiting)),
            Woken::Progress(Progress::Runs(name)) => drop(self.waiting.remove(&name)),
            Woken::Operation(outcome) => self.take_outcome(outcome),
            Woken::Written(written) => self.take_written(written),
            Woken::Timer => {
                self.wake_at = None;
                self.look = true;
            }
            Woken::Granted | Woken::Stopping => {}
        }
    }

    fn take_wish(&mut self) {
        let wish = self.wish.borrow_and_update().clone();
        self.gone |= wish.gone;
        self.report.learn(&wish.pod);
        // Volumes may show labels and annotations.
        let shown = |pod: &Pod, field: &str| pod.value()["metadata"][field].clone();
        self.stale_volumes |=
            ["labels", "annotations"].iter().any(|field| shown(&self.pod, field) != shown(&wish.pod, field));
        self.pod = self.allocation.applied(&wish.pod);
        self.asked = wish.pod;
        self.resize_at = None;
        self.try_at_once();
    }

    /// What failed may be mended.
    fn try_at_once(&mut self) {
        self.retry_at = None;
        self.held.clear();
    }

    fn take_outcome(&mut self, outcome: Outcome) {
        self.operation = None;
        self.look = true;
        self.drain_progress();
        match outcome {
            Outcome::Prepared(volumes) => {
                self.volumes = Some(Arc::new(volumes));
                self.retry.reset();
            }
            Outcome::Executed { held, resized } => {
                self.retry.reset();
                if let Some(resized) = resized {
                    self.take_resized(resized.0, &resized.1);
                }
                let now = Instant::now();
                self.held.extend(held.into_iter().map(|(name, wait)| (name, now + wait)));
            }
            Outcome::Ended => self.stage = Stage::Ended,
            Outcome::Removed => self.stage = Stage::Removed,
            Outcome::Failed => {
                let wait = self.retry.next(self.context.client.surroundings().random);
                self.retry_at = Some(Instant::now() + wait);
                self.wake_in(wait);
            }
        }
    }

    /// What an operation told just before its end.
    fn drain_progress(&mut self) {
        while let Ok(progress) = self.progress.1.try_recv() {
            match progress {
                Progress::Waits(name, waiting) => drop(self.waiting.insert(name, waiting)),
                Progress::Runs(name) => drop(self.waiting.remove(&name)),
            }
        }
    }

    fn wake_in(&mut self, wait: Duration) {
        // What a pod says may be beyond the clock: it is looked at again before that.
        let at = Instant::now() + wait.min(LONGEST_WAIT);
        self.wake_at = Some(self.wake_at.map_or(at, |known| known.min(at)));
    }

    /// Reads the runtime. False where it does not answer.
    async fn look(&mut self) -> bool {
        let read = timeout(LOOK_LIMIT, observed::read(&self.context.runtime, &self.pod.uid)).await;
        let read = read.unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("no answer")));
        match read {
            Ok(observed) => {
                self.look = false;
                self.verdicts.retain(|id| observed.containers.iter().any(|container| container.id == id));
                if self.prober.is_none() {
                    // Ours until the probes have spoken: a restart takes no pod out of service.
                    let remembered = probes::remembered(&self.pod, &observed);
                    remembered.into_iter().for_each(|report| self.verdicts.take(report));
                }
                self.observed = Arc::new(observed);
                if let Some(prober) = &self.prober {
                    prober.observe(&self.observed, &self.addresses());
                }
                true
            }
            Err(error) => {
                tracing::warn!(pod = %self.pod.key.name, ns = %self.pod.key.namespace, %error, "the runtime does not tell about a pod");
                false
            }
        }
    }

    fn addresses(&self) -> Vec<IpAddr> {
        if self.pod.host_network {
            return self.context.facts.addresses.clone();
        }
        self.observed.ready_sandbox().map(|sandbox| sandbox.addresses.clone()).unwrap_or_default()
    }

    /// Whether the node takes the pod at all; one that it has taken before, it keeps.
    fn admit(&mut self) {
        let is_known = !self.observed.sandboxes.is_empty() || self.pod.status()["startTime"].is_string();
        let admitted =
            self.context.admission.admit(&self.pod, is_known || self.gone || self.pod.is_finished());
        if let Err(refusal) = admitted {
            self.context.events.record(
                self.pod.reference(),
                EventKind::Warning,
                &refusal.reason,
                refusal.message.clone(),
            );
            let message = format!("Pod was rejected: {}", refusal.message);
            self.failed = Some(Verdict { reason: refusal.reason, message });
            self.is_rejected = true;
        }
    }

    /// Starts the next operation, where none is under way.
    fn decide(&mut self) {
        let is_over =
            self.gone || self.pod.deletion.is_some() || self.failed.is_some() || self.pod.is_finished();
        if self.stage == Stage::Running && is_over {
            self.begin_ending();
        }
        self.check_deadline();
        self.settle_size();
        if self.stage == Stage::Ending && self.grace_seconds() < self.ending_grace {
            // The first time, or a shorter grace than the one under way.
            self.operation = Some(self.end());
            return;
        }
        if self.operation.is_some() || self.look || self.must_wait() {
            return;
        }
        match self.stage {
            Stage::Running => self.decide_running(),
            Stage::Ending => self.operation = Some(self.end()),
            Stage::Ended if self.gone || (self.pod.deletion.is_some() && self.report.is_current()) => {
                self.operation = Some(self.remove());
            }
            Stage::Ended | Stage::Removed => {}
        }
    }

    /// A failure is not repeated before its time.
    fn must_wait(&mut self) -> bool {
        let Some(at) = self.retry_at.filter(|at| *at > Instant::now()) else { return false };
        self.wake_at = Some(self.wake_at.map_or(at, |known| known.min(at)));
        true
    }

    fn begin_ending(&mut self) {
        self.stage = Stage::Ending;
        self.operation = None;
        self.try_at_once();
        self.ending_grace = i64::MAX;
        self.retry.reset();
        if let Some(prober) = &self.prober {
            prober.pod_terminates();
        }
    }

    fn check_deadline(&mut self) {
        let Some(limit) = self.pod.active_deadline.filter(|_| self.stage == Stage::Running) else { return };
        let started = self.report.start_time();
        let Some(started) = started else { return };
        let now = (self.context.client.surroundings().now)();
        let age = Duration::try_from(now.duration_since(started)).unwrap_or_default();
        if let Some(left) = limit.checked_sub(age).filter(|left| !left.is_zero()) {
            return self.wake_in(left);
        }
        const MESSAGE: &str = "Pod was active on the node longer than the specified deadline";
        self.context.events.record(self.pod.reference(), EventKind::Normal, "DeadlineExceeded", MESSAGE);
        self.failed = Some(Verdict { reason: "DeadlineExceeded".to_owned(), message: MESSAGE.to_owned() });
        self.begin_ending();
    }

    fn decide_running(&mut self) {
        if self.prober.is_none() {
            let (context, reports) = (&self.context, self.reports.0.clone());
            let prober =
                Prober::start(self.pod.clone(), context.runtime.clone(), context.events.clone(), reports);
            prober.observe(&self.observed, &self.addresses());
            self.prober = Some(prober);
        }
        if self.volumes.is_none() || self.stale_volumes {
            self.stale_volumes = false;
            self.operation = Some(self.prepare());
            return;
        }
        let now = (self.context.client.surroundings().now)();
        let is_due = self.resize_due();
        let resize = self.resize.progress.as_ref().map(|progress| &progress.given).filter(|_| is_due);
        let desired =
            Desired { pod: &self.pod, verdicts: &self.verdicts, backoffs: &self.backoffs, resize, now };
        let steps = plan::plan(&desired, &self.observed);
        if is_due && !steps.iter().any(plan::is_for_resize) {
            self.complete_resize();
        }
        if steps == [Step::End] {
            self.begin_ending();
            self.operation = Some(self.end());
            return;
        }
        let (waits, mut steps): (Vec<Step>, Vec<Step>) =
            steps.into_iter().partition(|step| matches!(step, Step::Wait { .. }));
        self.forget_waiting(&waits, &steps);
        self.leave_held(&mut steps);
        for wait in waits {
            self.wait(wait);
        }
        self.count_restarts(&steps);
        if !steps.is_empty() {
            self.operation = Some(self.execute(steps));
        } else if let Some(collection) = self.collect() {
            self.operation = Some(collection);
        }
    }

    fn publish_view(&self, status: Arc<serde_json::Value>) {
        let view = PodView { pod: self.pod.clone(), observed: self.observed.clone(), status };
        self.context.directory.put(view);
    }
}

/// Waits for a future that may not be there; it stays until it is taken away.
async fn waited<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
