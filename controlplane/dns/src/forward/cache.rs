//! Upstreams' replies, kept for as long as they say, but shortly.
//!
//! Two generations, each of half the size: a full one becomes the old one, and what is asked for in the old one
//! moves to the new. So what is used stays, and nothing is ever searched for what to throw away.
//!
//! **Invariants.** At most [`MOST`] replies, none older than [`LONGEST`].

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RData;
use tokio::time::Instant;

use super::Asked;

const MOST: usize = 4096;
const LONGEST: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(super) struct AnswerCache {
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<Asked, Kept>,
    old: HashMap<Asked, Kept>,
}

#[derive(Clone)]
struct Kept {
    reply: Message,
    since: Instant,
    lifetime: Duration,
}

impl AnswerCache {
    /// A reply that is still good, with what is left of its time.
    pub(super) fn get(&self, asked: &Asked) -> Option<Message> {
        let asked = lower(asked);
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = match generations.young.get(&asked) {
            Some(kept) => kept.clone(),
            None => {
                let kept = generations.old.remove(&asked)?;
                generations.put(asked, kept.clone());
                kept
            }
        };
        drop(generations);
        let age = kept.since.elapsed();
        if age >= kept.lifetime {
            return None;
        }
        let seconds = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
        let mut reply = kept.reply;
        for section in [&mut reply.answers, &mut reply.authorities, &mut reply.additionals] {
            for record in section {
                record.ttl = record.ttl.saturating_sub(seconds);
            }
        }
        Some(reply)
    }

    pub(super) fn put(&self, asked: &Asked, reply: &Message) {
        let Some(lifetime) = lifetime(reply) else { return };
        let kept = Kept { reply: reply.clone(), since: Instant::now(), lifetime };
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).put(lower(asked), kept);
    }
}

impl Generations {
    fn put(&mut self, asked: Asked, kept: Kept) {
        if self.young.len() >= MOST / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(asked, kept);
    }
}

/// Names are the same in any case.
fn lower(asked: &Asked) -> Asked {
    let mut asked = asked.clone();
    asked.query.name = asked.query.name.to_lowercase();
    asked
}

/// How long a reply may be kept; `None`: not at all.
fn lifetime(reply: &Message) -> Option<Duration> {
    let code = reply.metadata.response_code;
    if reply.metadata.truncation || !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
        return None;
    }
    let shortest = reply.answers.iter().chain(&reply.authorities).map(|record| record.ttl).min();
    let mut seconds = shortest?;
    if reply.answers.is_empty() {
        // RFC 2308: a denial lasts as its SOA says; one without is not kept.
        let minimum = reply.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some(soa.minimum),
            _ => None,
        });
        seconds = seconds.min(minimum?);
    }
    let lifetime = Duration::from_secs(seconds.into()).min(LONGEST);
    (!lifetime.is_zero()).then_some(lifetime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{MessageType, OpCode, Query};
    use hickory_proto::rr::{Name, Record, RecordType};
    use std::net::Ipv4Addr;

    fn asked(name: &str) -> Asked {
        let query = Query::query(Name::from_ascii(name).unwrap(), RecordType::A);
        Asked { query, checking_disabled: false, dnssec_ok: false }
    }

    fn reply(ttl: u32) -> Message {
        let mut reply = Message::new(1, MessageType::Response, OpCode::Query);
        let name = Name::from_ascii("a.example.").unwrap();
        reply.answers.push(Record::from_rdata(name, ttl, RData::A(Ipv4Addr::LOCALHOST.into())));
        reply
    }

    #[tokio::test(start_paused = true)]
    async fn replies_age() {
        let cache = AnswerCache::default();
        cache.put(&asked("A.example."), &reply(10));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(cache.get(&asked("a.EXAMPLE.")).unwrap().answers[0].ttl, 6);
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(cache.get(&asked("a.example.")).is_none());
        // However long the upstream says.
        cache.put(&asked("b.example."), &reply(86_400));
        tokio::time::advance(LONGEST).await;
        assert!(cache.get(&asked("b.example.")).is_none());
        // A denial without a SOA, and what must not be kept.
        let mut denial = reply(0);
        denial.answers.clear();
        cache.put(&asked("c.example."), &denial);
        cache.put(&asked("d.example."), &reply(0));
        assert!(cache.get(&asked("c.example.")).is_none() && cache.get(&asked("d.example.")).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_used_stays() {
        let cache = AnswerCache::default();
        cache.put(&asked("used.example."), &reply(30));
        for number in 0..MOST * 2 {
            cache.put(&asked(&format!("n{number}.example.")), &reply(30));
            assert!(cache.get(&asked("used.example.")).is_some(), "{number}");
        }
        let generations = cache.generations.lock().unwrap();
        assert!(generations.young.len() + generations.old.len() <= MOST + 1);
        assert!(!generations.old.contains_key(&asked("n0.example.")));
    }
}
