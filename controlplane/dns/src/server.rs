//! One query from its bytes to the bytes of its reply.
//!
//! The cluster's own names are answered at once, from memory; only what has to be asked elsewhere waits, in a place
//! of its own of which there are [`FORWARDS`].
//!
//! **Invariants.** No name of the cluster is answered before the caches have everything: half a picture would deny
//! what exists. Reverse names wait too, because any of them may be ours.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use client::Cache;
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::Record;

use crate::answer::{Answer, address_of, answer};
use crate::counters::Counters;
use crate::crowd::{Crowd, Place};
use crate::forward::{Asked, Forwarder};
use crate::message::{Incoming, Transport, bytes, limit, question, read, reply};
use crate::records::Records;
use crate::sources::Sources;
use crate::zone::{Meaning, Zone};

/// Questions to upstreams at once; each holds a socket. Further ones are refused.
const FORWARDS: usize = 1024;
/// Of these for one asker.
const FORWARDS_EACH: usize = 128;

/// What all sockets share.
pub(crate) struct Dns {
    zone: Zone,
    sources: Sources,
    records: Arc<RwLock<Records>>,
    caches: Vec<Cache>,
    forwarder: Forwarder,
    places: Arc<Crowd>,
    turn: AtomicUsize,
    pub(crate) counters: Counters,
}

/// What becomes of a query.
pub(crate) enum Next {
    /// These bytes go back.
    Reply(Vec<u8>),
    /// Has to be asked elsewhere: [`Dns::fetch`].
    Fetch(Box<Fetch>),
    /// Nothing goes back.
    Nothing,
}

/// A query on its way out.
pub(crate) struct Fetch {
    request: Message,
    transport: Transport,
    /// What we know ourselves: aliases that lead out.
    chain: Vec<Record>,
    asked: Asked,
    _place: Place,
}

impl Dns {
    /// Follows the caches; must be called before anybody asks.
    pub(crate) fn new(
        zone: Zone,
        sources: Sources,
        services: Cache,
        slices: Cache,
        forwarder: Forwarder,
    ) -> Dns {
        let records = Arc::new(RwLock::new(Records::default()));
        let changing = records.clone();
        services.subscribe(move |change| {
            changing.write().unwrap_or_else(PoisonError::into_inner).service_changed(change);
        });
        let changing = records.clone();
        slices.subscribe(move |change| {
            changing.write().unwrap_or_else(PoisonError::into_inner).slice_changed(change);
        });
        Dns {
            zone,
            sources,
            records,
            caches: vec![services, slices],
            forwarder,
            places: Crowd::new(FORWARDS, FORWARDS_EACH),
            turn: AtomicUsize::new(0),
            counters: Counters::default(),
        }
    }

    /// Whether all of the cluster is known.
    pub(crate) fn is_ready(&self) -> bool {
        self.caches.iter().all(Cache::is_synced)
    }

    /// Takes a query; whatever needs nobody else is answered now. `way` is from whom it came, and to which of our
    /// addresses.
    pub(crate) fn take(&self, query: &[u8], transport: Transport, way: (IpAddr, IpAddr)) -> Next {
        let request = match read(query) {
            Incoming::Noise => return Next::Nothing,
            Incoming::Refused(reply) => {
                self.counters.replied(reply.metadata.response_code);
                return Next::Reply(bytes(&reply, limit(&reply, transport)));
            }
            Incoming::Question(request) => *request,
        };
        self.counters.asked(transport);
        let Some(query) = question(&request).cloned() else { return Next::Nothing };
        if !self.sources.allow(way.0, way.1) {
            return Next::Reply(self.finish(&request, &reply(&request, ResponseCode::Refused), transport));
        }
        let known = self.known(&query);
        let mut reply = reply(&request, ResponseCode::NoError);
        match known {
            None => reply.metadata.response_code = ResponseCode::ServFail,
            Some(Answer::NotOurs) => return self.outside(request, (transport, way.0), vec![], query),
            Some(Answer::Elsewhere { chain, target }) => {
                let asked = Query::query(target, query.query_type);
                return self.outside(request, (transport, way.0), chain, asked);
            }
            Some(Answer::Records { answers, additionals }) => {
                reply.metadata.authoritative = true;
                (reply.answers, reply.additionals) = (answers, additionals);
            }
            Some(Answer::NoData) => self.deny(&mut reply, ResponseCode::NoError),
            Some(Answer::NoName) => self.deny(&mut reply, ResponseCode::NXDomain),
        }
        Next::Reply(self.finish(&request, &reply, transport))
    }

    /// Our own answer; `None` where it cannot be given yet.
    fn known(&self, query: &Query) -> Option<Answer> {
        let ours = self.zone.meaning(&query.name) != Meaning::Foreign || address_of(&query.name).is_some();
        if !ours {
            return Some(Answer::NotOurs);
        }
        if !self.is_ready() {
            return None;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let records = self.records.read().unwrap_or_else(PoisonError::into_inner);
        Some(answer(&self.zone, &records, &query.name, query.query_type, turn))
    }

    fn deny(&self, reply: &mut Message, code: ResponseCode) {
        let serial = self.records.read().unwrap_or_else(PoisonError::into_inner).changes();
        reply.metadata.authoritative = true;
        reply.metadata.response_code = code;
        reply.authorities.extend(self.zone.soa(serial));
    }

    fn outside(
        &self,
        request: Message,
        (transport, asker): (Transport, IpAddr),
        chain: Vec<Record>,
        query: Query,
    ) -> Next {
        let asked = Asked {
            query,
            checking_disabled: request.metadata.checking_disabled,
            dnssec_ok: request.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok),
        };
        if let Some(kept) = self.forwarder.kept(&asked) {
            self.counters.kept();
            return Next::Reply(self.pass(&request, transport, chain, kept));
        }
        match self.places.enter(asker) {
            Some(place) => {
                let fetch = Fetch { request, transport, chain, asked, _place: place };
                Next::Fetch(Box::new(fetch))
            }
            None => {
                self.counters.crowded();
                Next::Reply(self.finish(&request, &reply(&request, ResponseCode::ServFail), transport))
            }
        }
    }

    /// Asks the upstreams for what [`Dns::take`] could not answer.
    pub(crate) async fn fetch(&self, fetch: Fetch) -> Vec<u8> {
        self.counters.forwarded();
        match self.forwarder.ask(&fetch.asked).await {
            Ok(answer) => self.pass(&fetch.request, fetch.transport, fetch.chain, answer),
            Err(error) => {
                self.counters.failed();
                tracing::debug!(name = %fetch.asked.query.name, %error, "not answered");
                let mut reply = reply(&fetch.request, ResponseCode::ServFail);
                reply.answers = fetch.chain;
                self.finish(&fetch.request, &reply, fetch.transport)
            }
        }
    }

    /// An upstream's reply as ours, behind what we know ourselves.
    fn pass(&self, request: &Message, transport: Transport, chain: Vec<Record>, answer: Message) -> Vec<u8> {
        let mut reply = reply(request, answer.metadata.response_code);
        reply.metadata.authentic_data = answer.metadata.authentic_data && chain.is_empty();
        reply.metadata.truncation = answer.metadata.truncation;
        reply.answers = chain;
        reply.answers.extend(answer.answers);
        reply.authorities = answer.authorities;
        reply.additionals = answer.additionals;
        self.finish(request, &reply, transport)
    }

    fn finish(&self, request: &Message, reply: &Message, transport: Transport) -> Vec<u8> {
        self.counters.replied(reply.metadata.response_code);
        bytes(reply, limit(request, transport))
    }
}
