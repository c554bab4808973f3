//! What the logic needs of its surroundings. In the kernel these are the maps; in tests, maps of the host.

use core::ops::Deref;
use core::ptr::NonNull;

use abi::{
    Affinity, AffinityKey, Backend, BackendKey, Counter, Endpoint, Flow, FlowState, MemberKey, PolicyKey,
    ReportKind, Service, ServiceKey, Settings, SourceKey,
};

use crate::family::Family;
use crate::policy::Judgement;
use crate::track::{Origin, Verdict};

/// How an insertion went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    Done,
    /// Something else is there.
    Exists,
    /// The map has no room.
    Full,
}

/// A flow's entry where it lies. The map belongs to the kernel, other CPUs and user space too, so nobody holds a reference to
/// it while it is written: what is read borrows this, and a write takes it alone.
pub struct Known<A>(NonNull<FlowState<A>>);

impl<A> Known<A> {
    /// # Safety
    /// The entry may be read and written for as long as the program runs.
    #[inline(always)]
    pub unsafe fn new(entry: NonNull<FlowState<A>>) -> Known<A> {
        Known(entry)
    }

    /// Where it is written, by [`World::touch`] and [`World::renew`].
    #[inline(always)]
    pub fn place(&mut self) -> *mut FlowState<A> {
        self.0.as_ptr()
    }
}

impl<A> Deref for Known<A> {
    type Target = FlowState<A>;

    #[inline(always)]
    fn deref(&self) -> &FlowState<A> {
        // SAFETY: as the constructor's caller says; this program does not write while it is borrowed, and time, flags and
        // epoch that others write are each read whole.
        unsafe { self.0.as_ref() }
    }
}

/// References live as long as the program runs: the kernel frees map entries only afterwards.
pub trait World {
    type A: Family;

    fn endpoint(&self, address: &Self::A) -> Option<&'static Endpoint>;
    fn is_local(&self, address: &Self::A) -> bool;
    /// abi's `NodeFlag` of the longest prefix that matches, or 0.
    fn node_flags(&self, address: &Self::A) -> u32;
    /// Where what leaves with these ends goes next, if that was asked just now: a place in HOPS.
    fn hop(&self, settings: &Settings, source: &Self::A, destination: &Self::A) -> Option<u32>;
    /// Whose address it is, in the numbers of policies; abi's `ANYBODY` where nobody has said.
    fn identity(&self, address: &Self::A) -> u32;
    /// Whether the longest prefix of the key that is in POLICY allows it.
    fn allows(&self, key: &PolicyKey) -> bool;
    /// [`crate::policy::judge`], in a frame of its own.
    fn judge(&self, flow: &Flow<Self::A>, becomes: &FlowState<Self::A>, origin: Origin, tcp: u8)
    -> Judgement;
    /// [`crate::track::to_backend`], in a frame of its own, as the following ones are.
    fn to_backend(
        &self,
        settings: &Settings,
        key: &Flow<Self::A>,
        state: &mut FlowState<Self::A>,
        origin: Origin,
    ) -> Verdict;
    /// [`crate::track::conceal`].
    fn conceal(
        &self,
        settings: &Settings,
        key: &Flow<Self::A>,
        state: &mut FlowState<Self::A>,
        origin: Origin,
    ) -> Verdict;
    /// [`crate::track::enter`].
    fn enter(&self, settings: &Settings, key: &Flow<Self::A>, state: &mut FlowState<Self::A>) -> Verdict;
    /// [`crate::track::attempt`].
    fn attempt(&self, key: &Flow<Self::A>, state: &FlowState<Self::A>, sockets_first: bool) -> Verdict;
    /// [`crate::track::oust`].
    fn oust(&self, key: &Flow<Self::A>, state: &FlowState<Self::A>) -> bool;
    /// Notes that the policies of an epoch allow the flow, at [`Known::place`].
    fn renew(&self, state: *mut FlowState<Self::A>, epoch: u32);
    /// Tells whoever looks at flows.
    fn report(&self, flow: &Flow<Self::A>, becomes: &FlowState<Self::A>, kind: ReportKind, tcp: u8);
    fn service(&self, key: &ServiceKey<Self::A>) -> Option<&'static Service>;
    fn backend(&self, key: &BackendKey) -> Option<&'static Backend<Self::A>>;
    fn is_member(&self, key: &MemberKey<Self::A>) -> bool;
    /// Where a host port leads.
    fn host_port(&self, key: &ServiceKey<Self::A>) -> Option<&'static Backend<Self::A>>;
    /// Whether a client is in the ranges of a service.
    fn is_source(&self, key: &SourceKey<Self::A>) -> bool;
    /// The slot that a hash leads to in a set's table; None: there is no table.
    fn choice(&self, set: u32, hash: u32) -> Option<u32>;
    fn affinity(&self, key: &AffinityKey<Self::A>) -> Option<&'static Affinity<Self::A>>;
    fn put_affinity(&self, key: &AffinityKey<Self::A>, value: &Affinity<Self::A>);
    fn flow(&self, key: &Flow<Self::A>) -> Option<Known<Self::A>>;
    /// Notes that a packet was seen, at [`Known::place`]: time and flags.
    fn touch(&self, state: *mut FlowState<Self::A>, flags: u16);
    /// Inserts where nothing is.
    fn add_flow(&self, key: &Flow<Self::A>, state: &FlowState<Self::A>) -> Inserted;
    /// Inserts or overwrites.
    fn put_flow(&self, key: &Flow<Self::A>, state: &FlowState<Self::A>) -> Inserted;
    fn remove_flow(&self, key: &Flow<Self::A>);
    /// Whether a socket of the node itself talks with these ends already; seen as the answer comes in.
    fn has_socket(&self, answer: &Flow<Self::A>) -> bool;
    /// Seconds of CLOCK_MONOTONIC.
    fn now(&self) -> u32;
    fn random(&self) -> u32;
    fn count(&self, counter: Counter);
}
