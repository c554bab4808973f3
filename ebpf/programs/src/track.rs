//! Conntrack and NAT: what a packet becomes.
//!
//! ```text
//! known flow ─ policies as they were? ─▶ what its entry says;  changed: judged again
//! SYN over a flow that ended ─▶ forgotten, new flow
//! new flow: service? ─ backend ─▶ allowed? ─▶ hide the source? ─▶ free source port? ─▶ both entries
//! ```
//!
//! **Invariants.** The entry of the answers goes in first and only where nothing is, so no two flows ever share
//! the answers; whoever finds the place taken, by a flow that is not over, moves to another source port. Either both entries are in, or neither.

use abi::{
    Backend, Counter, Flow, FlowFlag, FlowState, HOST_PORT, NodeFlag, Protocol, ReportKind, Scope,
    ServiceFlag, Settings, SettingsFlag,
};

use crate::choose;
use crate::family::Family;
use crate::parse::{Part, Seen, Tcp};
use crate::policy::Judgement;
use crate::world::{Inserted, Known, World};

/// How many source ports are tried before a flow is refused.
const PORTS_TRIED_MAX: u32 = 12;

/// Where a packet was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Sent by a pod of this node.
    Pod,
    /// Sent by the node itself towards pods or services.
    Node,
    /// Came in over an uplink.
    Uplink,
}

/// What is to become of a packet: one number, because an enum with a payload leaves registers undefined that the
/// compiler then copies and the verifier refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict(pub u32);

impl Verdict {
    /// Ends and ports are to be what the state says.
    pub const BECOME: Verdict = Verdict(0);
    /// Nobody's business here.
    pub const UNTOUCHED: Verdict = Verdict(1);

    /// Dropped, and counted as this.
    #[inline(always)]
    pub const fn drop(counter: Counter) -> Verdict {
        Verdict::drop_as(counter as u32)
    }

    /// The same by the counter's index.
    #[inline(always)]
    pub const fn drop_as(index: u32) -> Verdict {
        Verdict(index.wrapping_add(2))
    }

    /// Whether the sender is told: a service that nobody answers for is refused.
    #[inline(always)]
    pub fn is_refusal(self) -> bool {
        self == Verdict::drop(Counter::NoBackend) || self == Verdict::drop(Counter::UnknownService)
    }

    /// Index of the counter of a dropped packet.
    #[inline(always)]
    pub fn counter(self) -> u32 {
        self.0.wrapping_sub(2)
    }
}

/// Ends of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends<A> {
    pub source: A,
    pub destination: A,
    /// Network order.
    pub source_port: u16,
    /// Network order.
    pub destination_port: u16,
}

impl<A: Copy> Ends<A> {
    /// Field by field: a copy of the whole would be a call to memmove.
    #[inline(always)]
    fn set(&mut self, state: &FlowState<A>) {
        self.source = state.source;
        self.destination = state.destination;
        self.source_port = state.source_port;
        self.destination_port = state.destination_port;
    }
}

/// The state of a flow that nothing is done to. The time keeps the compiler from clearing it by a call.
#[inline(always)]
pub fn unchanged<A: Copy>(flow: &Flow<A>, now: u32) -> FlowState<A> {
    FlowState {
        source: flow.source,
        destination: flow.destination,
        source_port: flow.source_port,
        destination_port: flow.destination_port,
        flags: 0,
        pad: 0,
        seen: now,
        service: 0,
        epoch: now,
    }
}

/// The epoch of policies, read once and before anything is judged: a flow that is judged while it changes is judged again.
#[inline(always)]
fn epoch(settings: &Settings) -> u32 {
    // SAFETY: it is a reference; who changes settings changes whole numbers.
    unsafe { (&raw const settings.policy_epoch).read_volatile() }
}

/// Looks a flow up or makes it; `ends` become what the packet's are to be.
#[inline(always)]
pub fn track<W: World>(
    world: &W,
    settings: &Settings,
    seen: &Seen<W::A>,
    origin: Origin,
    ends: &mut Ends<W::A>,
) -> Verdict {
    let key = &seen.flow;
    if let Some(mut known) = world.flow(key) {
        if !has_ended(world, settings, seen, &known) {
            let epoch = epoch(settings);
            if known.epoch != epoch {
                let judgement = world.judge(key, &known, origin, seen.tcp);
                if judgement != Judgement::ALLOWED {
                    return judgement.verdict();
                }
                world.renew(known.place(), epoch);
            }
            let marks = marks(seen.tcp);
            if settings.flags & SettingsFlag::REPORT != 0 && marks & !known.flags != 0 {
                world.report(key, &known, ReportKind::Went, seen.tcp);
            }
            world.touch(known.place(), marks);
            ends.set(&known);
            return Verdict::BECOME;
        }
        world.remove_flow(&known.partner(key.protocol));
        world.remove_flow(key);
    }
    begin(world, settings, seen, origin, ends)
}

/// Whether the packet is of a service's flow about which nothing is to be decided any more, and its ends then: it stands, its
/// policies are as they were, and nobody is to be told. For whoever cannot drop, refuse or report.
#[inline(always)]
pub fn settled<W: World>(world: &W, settings: &Settings, seen: &Seen<W::A>, ends: &mut Ends<W::A>) -> bool {
    let has_ports = seen.flow.protocol == Protocol::TCP || seen.flow.protocol == Protocol::UDP;
    if !has_ports || seen.part != Part::Whole || seen.tcp & Tcp::SYN != 0 {
        return false;
    }
    let Some(mut known) = world.flow(&seen.flow) else { return false };
    let marks = marks(seen.tcp);
    let is_told = settings.flags & SettingsFlag::REPORT != 0 && marks & !known.flags != 0;
    if known.service == 0 || known.epoch != settings.policy_epoch || is_told {
        return false;
    }
    world.touch(known.place(), marks);
    ends.set(&known);
    true
}

/// Answers and known flows only: for what the node itself sends.
#[inline(always)]
pub fn follow<W: World>(world: &W, seen: &Seen<W::A>, ends: &mut Ends<W::A>) -> Verdict {
    match world.flow(&seen.flow) {
        Some(mut known) => {
            world.touch(known.place(), marks(seen.tcp));
            ends.set(&known);
            Verdict::BECOME
        }
        None => Verdict::UNTOUCHED,
    }
}

/// The flow of the answers to the packet an ICMP error is about: what that says of its ends is what the
/// receiver of the error must see.
#[inline(always)]
pub fn of_error<W: World>(world: &W, about: &Flow<W::A>) -> Option<Known<W::A>> {
    world.flow(&about.turned())
}

/// The flags that a packet leaves on its entry.
#[inline(always)]
fn marks(tcp: u8) -> u16 {
    let mut marks = FlowFlag::SEEN;
    if tcp & Tcp::FIN != 0 {
        marks |= FlowFlag::FIN;
    }
    if tcp & Tcp::RST != 0 {
        marks |= FlowFlag::RST;
    }
    if tcp & Tcp::ACK != 0 && tcp & Tcp::SYN == 0 {
        marks |= FlowFlag::ESTABLISHED;
    }
    marks
}

/// Whether a connection begins over the remains of another one, or towards a backend that is none any more.
#[inline(always)]
fn has_ended<W: World>(world: &W, settings: &Settings, seen: &Seen<W::A>, known: &FlowState<W::A>) -> bool {
    if seen.tcp & (Tcp::SYN | Tcp::ACK) != Tcp::SYN {
        return false;
    }
    let Some(partner) = world.flow(&known.partner(seen.flow.protocol)) else { return true };
    if (known.flags | partner.flags) & (FlowFlag::FIN | FlowFlag::RST) != 0 {
        return true;
    }
    if known.service == 0 {
        return false;
    }
    let (flow, scope) = (&seen.flow, scope_of(known));
    match choose::service(world, settings, flow.destination, flow.destination_port, flow.protocol, scope) {
        Some(service) => !choose::is_member(world, service.set, known.destination, known.destination_port),
        None => true,
    }
}

#[inline(always)]
fn scope_of<A>(state: &FlowState<A>) -> Scope {
    if state.flags & FlowFlag::EXTERNAL != 0 { Scope::External } else { Scope::Cluster }
}

#[inline(always)]
fn begin<W: World>(
    world: &W,
    settings: &Settings,
    seen: &Seen<W::A>,
    origin: Origin,
    ends: &mut Ends<W::A>,
) -> Verdict {
    let key = &seen.flow;
    let mut state = FlowState {
        source: key.source,
        destination: key.destination,
        source_port: key.source_port,
        destination_port: key.destination_port,
        flags: marks(seen.tcp),
        pad: 0,
        seen: world.now(),
        service: 0,
        epoch: epoch(settings),
    };
    if seen.part == Part::Portless {
        return portless(world, settings, key, &state, origin);
    }
    let led = world.to_backend(settings, key, &mut state, origin);
    if led != Verdict::BECOME {
        return led;
    }
    if state.service == 0 && is_foreign(world, &state, origin) {
        return Verdict::UNTOUCHED;
    }
    let judgement = world.judge(key, &state, origin, seen.tcp);
    if judgement != Judgement::ALLOWED {
        return judgement.verdict();
    }
    let concealed = world.conceal(settings, key, &mut state, origin);
    if concealed != Verdict::BECOME {
        return concealed;
    }
    let verdict = world.enter(settings, key, &mut state);
    if settings.flags & SettingsFlag::REPORT != 0 && verdict == Verdict::BECOME {
        world.report(key, &state, ReportKind::Began, seen.tcp);
    }
    ends.set(&state);
    verdict
}

/// Protocols without ports are neither services nor hidden: there is nothing to tell two flows apart by.
#[inline(always)]
fn portless<W: World>(
    world: &W,
    settings: &Settings,
    key: &Flow<W::A>,
    state: &FlowState<W::A>,
    origin: Origin,
) -> Verdict {
    let judgement = world.judge(key, state, origin, 0);
    if judgement != Judgement::ALLOWED {
        return judgement.verdict();
    }
    let hidden = origin == Origin::Pod
        && W::A::masquerade(settings).is_some()
        && leaves_cluster(world, settings, &state.destination);
    if hidden { Verdict::drop(Counter::Untranslatable) } else { Verdict::UNTOUCHED }
}

/// Sends a flow that goes to a service to one of its backends.
#[inline(always)]
pub fn to_backend<W: World>(
    world: &W,
    settings: &Settings,
    key: &Flow<W::A>,
    state: &mut FlowState<W::A>,
    origin: Origin,
) -> Verdict {
    if key.protocol != Protocol::TCP && key.protocol != Protocol::UDP {
        return Verdict::BECOME;
    }
    let scope = if origin == Origin::Uplink { Scope::External } else { Scope::Cluster };
    let found = choose::service(world, settings, key.destination, key.destination_port, key.protocol, scope);
    let Some(service) = found else {
        if let Some(backend) = to_host_port(world, settings, key) {
            state.destination = backend.address;
            state.destination_port = backend.port;
            state.service = HOST_PORT;
            state.flags |= FlowFlag::TRANSLATED;
            return Verdict::BECOME;
        }
        let lost = origin != Origin::Uplink && key.destination.is_of_services(settings);
        return if lost { Verdict::drop(Counter::UnknownService) } else { Verdict::BECOME };
    };
    if !choose::admits(world, service, key.source) {
        return Verdict::drop(Counter::SourceRange);
    }
    let Some(backend) = choose::backend(world, service, key.source, choose::spread(key)) else {
        let silent = service.flags & ServiceFlag::SILENT != 0;
        return Verdict::drop(if silent { Counter::NoLocalBackend } else { Counter::NoBackend });
    };
    state.destination = backend.address;
    state.destination_port = backend.port;
    state.service = service.service;
    state.flags |= FlowFlag::TRANSLATED;
    if scope == Scope::External {
        state.flags |= FlowFlag::EXTERNAL;
    }
    Verdict::BECOME
}

#[inline(always)]
fn to_host_port<W: World>(world: &W, settings: &Settings, key: &Flow<W::A>) -> Option<Backend<W::A>> {
    if settings.flags & SettingsFlag::HOST_PORTS == 0 || !world.is_local(&key.destination) {
        return None;
    }
    choose::host_port(world, settings, key.destination, key.destination_port, key.protocol)
}

/// Whether what came in over an uplink is for neither a service nor a pod of this node.
#[inline(always)]
fn is_foreign<W: World>(world: &W, state: &FlowState<W::A>, origin: Origin) -> bool {
    origin == Origin::Uplink && world.endpoint(&state.destination).is_none()
}

/// Hides the source behind the node, if that must be.
#[inline(always)]
pub fn conceal<W: World>(
    world: &W,
    settings: &Settings,
    key: &Flow<W::A>,
    state: &mut FlowState<W::A>,
    origin: Origin,
) -> Verdict {
    if !hides_source(world, settings, key, state, origin) {
        return Verdict::BECOME;
    }
    if key.protocol == Protocol::SCTP {
        // Its checksum covers what would change, and no helper computes it.
        return Verdict::drop(Counter::Untranslatable);
    }
    match hidden_behind(settings, &state.destination) {
        Some(address) => {
            state.source = address;
            state.flags |= FlowFlag::MASQUERADED | FlowFlag::TRANSLATED;
            world.count(Counter::Masqueraded);
            Verdict::BECOME
        }
        None if state.destination == key.source => Verdict::drop(Counter::Untranslatable),
        None => Verdict::BECOME,
    }
}

/// Whether the receiver must not see the true source: it could not answer, or the answer would not come by here.
#[inline(always)]
fn hides_source<W: World>(
    world: &W,
    settings: &Settings,
    key: &Flow<W::A>,
    state: &FlowState<W::A>,
    origin: Origin,
) -> bool {
    // A pod that is sent to itself would take its own address for a forgery.
    if state.destination == key.source {
        return true;
    }
    match origin {
        Origin::Pod => leaves_cluster(world, settings, &state.destination),
        // The node's own address, or one that only it knows.
        Origin::Node => {
            state.service != 0
                && world.endpoint(&state.destination).is_none()
                && !world.is_local(&state.destination)
                && hidden_behind(settings, &state.destination) != Some(key.source)
        }
        // The answer of a backend elsewhere must come back to us.
        Origin::Uplink => {
            state.service != 0
                && world.endpoint(&state.destination).is_none()
                && !world.is_local(&state.destination)
        }
    }
}

/// Whose name a hidden sender gets. Towards pods the node's own among them, so that the answer takes the way of pods, which
/// may be a tunnel.
#[inline(always)]
fn hidden_behind<A: Family>(settings: &Settings, destination: &A) -> Option<A> {
    if destination.is_of_pods(settings)
        && let Some(gateway) = A::gateway(settings)
    {
        return Some(gateway);
    }
    A::masquerade(settings)
}

/// Whether an address is neither a pod, nor the node itself, nor said to route pods.
#[inline(always)]
fn leaves_cluster<W: World>(world: &W, settings: &Settings, destination: &W::A) -> bool {
    !destination.is_of_pods(settings)
        && !destination.is_link_local()
        && !world.is_local(destination)
        && world.node_flags(destination) & NodeFlag::NO_MASQUERADE == 0
}

/// Puts both entries in, under a source port that nobody uses towards the same destination.
#[inline(always)]
pub fn enter<W: World>(
    world: &W,
    settings: &Settings,
    key: &Flow<W::A>,
    state: &mut FlowState<W::A>,
) -> Verdict {
    let hidden = state.flags & FlowFlag::MASQUERADED != 0;
    let span = u32::from(settings.snat_port_last.wrapping_sub(settings.snat_port_first)) + 1;
    // The answers to an echo reply are requests: its identifier is the destination port.
    let movable = state.source_port != 0 && key.protocol != Protocol::SCTP;
    let mut chance = 0;
    if hidden && movable {
        chance = world.random();
        state.source_port = port(settings, span, chance, 0);
    }
    let mut tried = 0;
    while tried < PORTS_TRIED_MAX {
        let mut verdict = world.attempt(key, state, hidden && movable);
        if verdict == TAKEN && world.oust(key, state) {
            verdict = world.attempt(key, state, hidden && movable);
        }
        if verdict == Verdict::BECOME {
            return enter_forward(world, key, state);
        }
        if verdict != TAKEN {
            return verdict;
        }
        if !movable {
            break;
        }
        if !hidden && tried == 0 {
            chance = world.random();
            world.count(Counter::PortsMoved);
        }
        state.flags |= FlowFlag::TRANSLATED;
        tried += 1;
        state.source_port = port(settings, span, chance, tried);
    }
    Verdict::drop(Counter::PortsExhausted)
}

/// Somebody else has the source port.
const TAKEN: Verdict = Verdict::UNTOUCHED;

/// Puts the entry of the answers in under this source port, unless it is taken. `sockets_first`: by a socket of the node too.
#[inline(always)]
pub fn attempt<W: World>(
    world: &W,
    key: &Flow<W::A>,
    state: &FlowState<W::A>,
    sockets_first: bool,
) -> Verdict {
    let answers = state.partner(key.protocol);
    if sockets_first && world.has_socket(&answers) {
        return TAKEN;
    }
    let back = FlowState {
        source: key.destination,
        destination: key.source,
        source_port: key.destination_port,
        destination_port: key.source_port,
        flags: FlowFlag::REPLY | (state.flags & (FlowFlag::TRANSLATED | FlowFlag::MASQUERADED)),
        pad: 0,
        seen: state.seen,
        service: state.service,
        epoch: state.epoch,
    };
    match world.add_flow(&answers, &back) {
        Inserted::Done => Verdict::BECOME,
        Inserted::Full => Verdict::drop(Counter::FlowsFull),
        Inserted::Exists if is_remains(world, &answers, &back) => Verdict::BECOME,
        Inserted::Exists => TAKEN,
    }
}

/// Forgets the flow that has the answers to this one, if it is over: both ends have closed it, or one has reset it. Only for
/// what begins, as in [`has_ended`]; and an entry whose other half has come to lead elsewhere says nothing about that one.
#[inline(always)]
pub fn oust<W: World>(world: &W, key: &Flow<W::A>, state: &FlowState<W::A>) -> bool {
    if key.protocol != Protocol::TCP {
        return false;
    }
    if state.flags & (FlowFlag::ESTABLISHED | FlowFlag::FIN | FlowFlag::RST) != 0 {
        return false;
    }
    let answers = state.partner(key.protocol);
    let Some(there) = world.flow(&answers) else { return false };
    let sent = there.partner(key.protocol);
    let Some(forth) = world.flow(&sent) else { return false };
    if !is_same_way(&forth, state) {
        return false;
    }
    let reset = (there.flags | forth.flags) & FlowFlag::RST != 0;
    if !reset && there.flags & forth.flags & FlowFlag::FIN == 0 {
        return false;
    }
    world.remove_flow(&sent);
    world.remove_flow(&answers);
    true
}

/// The port at a step of the walk that begins, and goes on, by chance: it comes to no port twice before it has gone round. Its
/// steps are odd, so in a range of a power of two that is every port.
#[inline(always)]
fn port(settings: &Settings, span: u32, chance: u32, step: u32) -> u16 {
    let (start, stride) = (chance & 0xffff, chance >> 16 | 1);
    let at = start.wrapping_add(step.wrapping_mul(stride)) % span;
    settings.snat_port_first.wrapping_add(at as u16).to_be()
}

/// Whether the entry that is there already says the same: its other half was lost.
#[inline(always)]
fn is_remains<W: World>(world: &W, answers: &Flow<W::A>, back: &FlowState<W::A>) -> bool {
    world.flow(answers).is_some_and(|there| is_same_way(&there, back))
}

/// Whether packets become the same; field by field, which needs no room.
#[inline(always)]
fn is_same_way<A: Family>(one: &FlowState<A>, other: &FlowState<A>) -> bool {
    one.source == other.source
        && one.destination == other.destination
        && one.source_port == other.source_port
        && one.destination_port == other.destination_port
}

#[inline(always)]
fn enter_forward<W: World>(world: &W, key: &Flow<W::A>, state: &FlowState<W::A>) -> Verdict {
    match world.put_flow(key, state) {
        Inserted::Done | Inserted::Exists => {
            world.count(Counter::FlowsMade);
            Verdict::BECOME
        }
        Inserted::Full => {
            world.remove_flow(&state.partner(key.protocol));
            Verdict::drop(Counter::FlowsFull)
        }
    }
}

#[cfg(test)]
#[path = "track_tests.rs"]
mod tests;
