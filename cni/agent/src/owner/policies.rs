//! Policies in the owner's hands: when to look at them, and which pods wait for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use client::Backoff;
use cni_api::agent::{Endpoint, PodName};
use cni_api::{CniError, Code};
use datapath::Tables;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::{FIRST_WAIT, LONGEST_WAIT, Owner};
use crate::endpoint::Permit;
use crate::enforcer::Enforcer;
use crate::failure::{LookError, chain};
use crate::flows::{Named, Sight};
use crate::policy::{self, Compiler, Facts, Knowledge, Waiting, Who};

/// How long a pod may take from its announcement to its registration.
const EXPECTED: Duration = Duration::from_secs(30);
/// Between two rounds, so that a stream of changes does not keep the agent from everything else.
const SPACING: Duration = Duration::from_millis(50);

type Answer = oneshot::Sender<Result<(), CniError>>;
/// A link, and what the API said about its pod.
type Learnt = (String, Result<Facts, String>);

pub struct Policies {
    pub knowledge: Knowledge,
    /// What the room of flows sees.
    sight: watch::Sender<Sight>,
    pub asking: JoinSet<Learnt>,
    compiler: Compiler,
    enforcer: Enforcer,
    waiting: Waiting,
    /// Links of waiting pods about which the API did not answer: the last state counts.
    unanswered: BTreeSet<String>,
    /// Links of pods that were announced, by which the API has been asked.
    expected: BTreeMap<String, Instant>,
    look: Option<Instant>,
    last: Instant,
    backoff: Backoff,
}

// === impl Policies ===

impl Policies {
    pub fn new(knowledge: Knowledge, sight: watch::Sender<Sight>) -> Policies {
        let now = Instant::now();
        Policies {
            knowledge,
            sight,
            asking: JoinSet::new(),
            compiler: Compiler::default(),
            enforcer: Enforcer::default(),
            waiting: Waiting::default(),
            unanswered: BTreeSet::new(),
            expected: BTreeMap::new(),
            look: Some(now),
            last: now,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
        }
    }

    /// Somebody waits for it.
    pub fn look_now(&mut self) {
        self.look = Some(Instant::now());
    }

    pub fn look_soon(&mut self) {
        let soon = (self.last + SPACING).max(Instant::now());
        self.look = Some(self.look.map_or(soon, |at| at.min(soon)));
    }

    /// When there is something to do next.
    pub fn due(&self) -> Option<Instant> {
        [self.look, self.waiting.next(), self.knowledge.expires()].into_iter().flatten().min()
    }

    /// A new pod waits until it is known what policies say of it: after [`Policies::ask`].
    pub fn wait(&mut self, endpoint: Endpoint, answer: Option<Answer>) {
        self.waiting.add(endpoint, answer);
    }

    /// A pod is about to be registered: the API is asked while it is wired.
    pub fn expect(&mut self, link: String, pod: PodName) {
        let now = Instant::now();
        let (expected, unanswered) = (&mut self.expected, &mut self.unanswered);
        expected.retain(|link, since| {
            let stays = now.duration_since(*since) < EXPECTED;
            if !stays {
                unanswered.remove(link);
            }
            stays
        });
        if !pod.name.is_empty() {
            self.expected.insert(link.clone(), now);
            self.ask_about(link, pod);
        }
    }

    /// Asks the API about a new pod, unless its answer is there or under way.
    pub fn ask(&mut self, endpoint: &Endpoint) {
        let (link, pod) = (endpoint.link.clone(), endpoint.pod.clone());
        let expected = self.expected.remove(&link).is_some_and(|since| since.elapsed() < EXPECTED);
        if pod.name.is_empty() || expected && !self.unanswered.remove(&link) {
            return self.look_now();
        }
        self.ask_about(link, pod);
    }

    fn ask_about(&mut self, link: String, pod: PodName) {
        self.knowledge.forget(&link);
        let client = self.knowledge.client();
        self.asking.spawn(async move {
            let answer = policy::ask(client, pod.namespace, pod.name).await;
            (link, answer)
        });
    }
}

// === impl Owner ===

impl Owner {
    pub(super) fn learn(&mut self, learnt: Result<Learnt, JoinError>) {
        let Ok((link, answer)) = learnt else { return };
        match answer {
            Ok(facts) => self.policies.knowledge.learn(&link, facts),
            // Then what is known counts: the last state.
            Err(error) => {
                tracing::debug!(link, error, "the API was asked about a new pod");
                self.policies.unanswered.insert(link);
            }
        }
        self.policies.look_now();
    }

    pub(super) fn enforce_and_say(&mut self) {
        self.policies.look = None;
        self.policies.last = Instant::now();
        let begun = Instant::now();
        let enforced = self.enforce();
        self.figures.rounds.observe(begun.elapsed());
        self.figures.refused.store(self.policies.enforcer.refused as u64, Ordering::Relaxed);
        match enforced {
            Ok(()) => self.policies.backoff.reset(),
            Err(error) => {
                self.figures.round_failures.fetch_add(1, Ordering::Relaxed);
                let wait = self.policies.backoff.next((client::Surroundings::system()).random);
                tracing::warn!(error = %chain(&error), wait = ?wait, "policies are not all in place; what is not allowed yet is denied");
                self.policies.look = Some(Instant::now() + wait);
            }
        }
        self.give_up_overdue();
    }

    /// Compiles what has changed and makes the datapath say what policies say.
    fn enforce(&mut self) -> Result<(), LookError> {
        let Some(tables) = self.pods.carrier.tables() else { return Ok(()) };
        let all_known = self.policies.knowledge.tell(&mut self.policies.compiler);
        self.show(&tables);
        if !all_known {
            return Ok(());
        }
        let endpoints: Vec<Endpoint> = self.pods.all().into_iter().cloned().collect();
        let links: BTreeSet<&str> = endpoints.iter().map(|endpoint| endpoint.link.as_str()).collect();
        let expected = &self.policies.expected;
        self.policies.knowledge.keep(|link| links.contains(link) || expected.contains_key(link));
        let who = self.who(&endpoints);
        let permits = self.permits(&endpoints, &who);
        let Policies { compiler, enforcer, .. } = &mut self.policies;
        self.figures.policies.store(compiler.policies() as u64, Ordering::Relaxed);
        self.figures.identities.store(compiler.identities() as u64, Ordering::Relaxed);
        self.figures.asked.store(compiler.asked(), Ordering::Relaxed);
        let known: Vec<String> = permits.keys().cloned().collect();
        let rest = enforcer.begin(&tables, &mut compiler.compiled)?;
        let isolated = self.pods.permit(permits)?;
        let outcome = enforcer.finish(&tables, rest, isolated);
        self.release(&known);
        Ok(outcome?)
    }

    /// What policies say of each pod of which that is known.
    fn permits(&mut self, endpoints: &[Endpoint], who: &BTreeMap<String, Who>) -> BTreeMap<String, Permit> {
        let compiler = &mut self.policies.compiler;
        let is_gone = |link: &&String| !who.contains_key(*link);
        let gone: Vec<String> = compiler.links().filter(is_gone).cloned().collect();
        gone.iter().for_each(|link| compiler.set_own(link, None));
        for endpoint in endpoints {
            let pod = match who.get(&endpoint.link) {
                Some(Who::Pod(class)) => Some((class.clone(), endpoint.addresses.clone())),
                _ => None,
            };
            compiler.set_own(&endpoint.link, pod);
        }
        let permit = |who: &Who| match who {
            Who::Pod(class) => {
                let (identity, isolation) = compiler.subject(class)?;
                Some(Permit { identity, isolation })
            }
            Who::Unmanaged => Some(Permit::default()),
            Who::Unknown => None,
        };
        who.iter().filter_map(|(link, who)| Some((link.clone(), permit(who)?))).collect()
    }

    /// Tells the room of flows whose addresses are whose.
    fn show(&mut self, tables: &Tables) {
        let compiler = &mut self.policies.compiler;
        let reassigned = compiler.take_reassigned();
        let mut own = BTreeMap::new();
        for endpoint in self.pods.all().into_iter().filter(|endpoint| !endpoint.pod.name.is_empty()) {
            let name = Named { namespace: endpoint.pod.namespace.clone(), pod: endpoint.pod.name.clone() };
            own.extend(endpoint.addresses.iter().map(|address| (*address, name.clone())));
        }
        self.policies.sight.send_if_modified(|sight| {
            for address in reassigned {
                match compiler.pod_at(address) {
                    Some(pod) => drop(sight.elsewhere.insert(address, pod.clone())),
                    None => drop(sight.elsewhere.remove(&address)),
                }
            }
            sight.own = own;
            // Names are read when a packet needs one.
            let is_first = sight.tables.is_none();
            sight.tables.get_or_insert_with(|| tables.clone());
            is_first
        });
    }

    /// Whose connection each endpoint is. About one that is not READY and that nobody knows the API is asked.
    fn who(&mut self, endpoints: &[Endpoint]) -> BTreeMap<String, Who> {
        let mut all = BTreeMap::new();
        for endpoint in endpoints {
            let policies = &mut self.policies;
            let mut who = policies.knowledge.who(endpoint, &policies.compiler);
            let is_new = policies.waiting.has(&endpoint.link);
            let asks = is_new && !endpoint.pod.name.is_empty();
            if asks && !policies.knowledge.has_asked(&endpoint.link) {
                // Its answer is under way, and newer than all that is known, unless there is none.
                let last = policies.unanswered.contains(&endpoint.link);
                who = if last { who } else { Who::Unknown };
            }
            if who == Who::Unknown && !is_new && !self.pods.is_ready(endpoint).unwrap_or(true) {
                self.policies.ask(endpoint);
                self.policies.wait(endpoint.clone(), None);
            }
            all.insert(endpoint.link.clone(), who);
        }
        all
    }

    /// Answers for the pods that are READY now.
    fn release(&mut self, known: &[String]) {
        for link in self.policies.waiting.links() {
            if known.contains(&link) {
                self.policies.unanswered.remove(&link);
                if let Some((endpoint, _)) = self.policies.waiting.answer(&link, Ok(())) {
                    let pod = &endpoint.pod;
                    tracing::info!(pod = %pod.name, ns = %pod.namespace, uid = %pod.uid,
                        container = %endpoint.attachment.container, link = %endpoint.link,
                        addresses = ?endpoint.addresses, "a pod is connected");
                }
            }
        }
    }

    /// Pods whose policies nobody knows: the runtime tries again.
    fn give_up_overdue(&mut self) {
        for link in self.policies.waiting.overdue() {
            let error = CniError::new(Code::TryAgainLater, "the pod's policies are not known yet")
                .details("the API server does not answer; the pod stays without network until it does");
            self.policies.unanswered.remove(&link);
            if let Some((endpoint, asked)) = self.policies.waiting.answer(&link, Err(error)) {
                // A pod that ran before stays as it is.
                let forgotten = if asked { self.pods.forget(&endpoint) } else { Ok(()) };
                forgotten.unwrap_or_else(
                    |error| tracing::debug!(link, %error, "found again when the agent looks"),
                );
                tracing::warn!(pod = %endpoint.pod.name, ns = %endpoint.pod.namespace, link, "a pod waits for its policies");
            }
        }
    }
}
