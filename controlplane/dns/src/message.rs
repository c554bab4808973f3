//! Questions in, replies out: the DNS message around an answer.
//!
//! A reply never exceeds what the asker takes: what is too long for UDP loses its tail and says so, and the asker
//! comes again over TCP. What fits is kept, because some resolvers use what they get.
//!
//! Reference: RFC 1035, RFC 6891 (EDNS), RFC 9210.

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};

/// Without EDNS.
const SMALLEST_UDP: u16 = 512;
/// Bytes over UDP that pass every link without fragments.
pub(crate) const LARGEST_UDP: u16 = 1232;
/// Bytes of a header, the least that can be answered.
const HEADER: usize = 12;
/// Set in the third byte of a header where the message is a reply.
const IS_REPLY: u8 = 0x80;

/// How a message reached us: how long the reply may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// What came in.
pub(crate) enum Incoming {
    /// A question to be answered.
    Question(Box<Message>),
    /// Answered without looking into it.
    Refused(Box<Message>),
    /// Not to be answered at all.
    Noise,
}

/// Reads a message and refuses what is not an ordinary question.
pub(crate) fn read(bytes: &[u8]) -> Incoming {
    if bytes.len() < HEADER || bytes[2] & IS_REPLY != 0 {
        return Incoming::Noise;
    }
    let Ok(message) = Message::from_vec(bytes) else {
        let id = u16::from_be_bytes([bytes[0], bytes[1]]);
        return Incoming::Refused(Box::new(Message::error_msg(id, OpCode::Query, ResponseCode::FormErr)));
    };
    let refusal = if message.metadata.op_code != OpCode::Query {
        Some(ResponseCode::NotImp)
    } else if message.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        Some(ResponseCode::BADVERS)
    } else if let [question] = message.queries.as_slice() {
        let transfer = matches!(question.query_type, RecordType::AXFR | RecordType::IXFR);
        (question.query_class != DNSClass::IN || transfer).then_some(ResponseCode::Refused)
    } else {
        Some(ResponseCode::FormErr)
    };
    match refusal {
        Some(code) => Incoming::Refused(Box::new(reply(&message, code))),
        None => Incoming::Question(Box::new(message)),
    }
}

/// A reply without records yet.
pub(crate) fn reply(request: &Message, code: ResponseCode) -> Message {
    let mut metadata = Metadata::response_from_request(&request.metadata);
    metadata.response_code = code;
    metadata.recursion_available = true;
    metadata.authoritative = false;
    let mut reply = Message::new(metadata.id, MessageType::Response, metadata.op_code);
    reply.metadata = metadata;
    reply.queries.clone_from(&request.queries);
    if let Some(asked) = &request.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(LARGEST_UDP).set_dnssec_ok(asked.flags().dnssec_ok);
        reply.edns = Some(edns);
    }
    reply
}

/// The one question of a message that [`read`] let through.
pub(crate) fn question(request: &Message) -> Option<&Query> {
    request.queries.first()
}

/// The bytes of a reply, cut to what the asker of `request` takes.
pub(crate) fn bytes(reply: &Message, largest: usize) -> Vec<u8> {
    let whole = reply.to_vec().unwrap_or_default();
    if !whole.is_empty() && whole.len() <= largest {
        return whole;
    }
    let mut cut = reply.clone();
    cut.additionals.clear();
    cut.authorities.clear();
    let attempt = cut.to_vec().unwrap_or_default();
    if !attempt.is_empty() && attempt.len() <= largest && !reply.answers.is_empty() {
        // Only what nobody asked for is missing.
        return attempt;
    }
    cut.metadata.truncation = true;
    // The most answers that fit, by halving.
    let (mut fits, mut fails) = (0, reply.answers.len());
    let with = |count: usize| {
        let mut some = cut.clone();
        some.answers.truncate(count);
        some.to_vec().unwrap_or_default()
    };
    while fits + 1 < fails {
        let middle = usize::midpoint(fits, fails);
        let length = with(middle).len();
        if length <= largest && length > 0 { fits = middle } else { fails = middle }
    }
    with(fits)
}

/// How many bytes a reply may have.
pub(crate) fn limit(request: &Message, transport: Transport) -> usize {
    match transport {
        Transport::Tcp => u16::MAX.into(),
        Transport::Udp => request
            .edns
            .as_ref()
            .map_or(SMALLEST_UDP, |edns| edns.max_payload().clamp(SMALLEST_UDP, LARGEST_UDP))
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::Name;
    use std::net::Ipv4Addr;

    fn request(edns: Option<u16>) -> Message {
        let mut request = Message::new(7, MessageType::Query, OpCode::Query);
        request.queries.push(Query::query(Name::from_ascii("many.example.").unwrap(), RecordType::A));
        request.edns = edns.map(|payload| {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            edns
        });
        request
    }

    fn refusal(request: &Message) -> Option<ResponseCode> {
        match read(&request.to_vec().unwrap()) {
            Incoming::Refused(reply) => Some(reply.metadata.response_code),
            Incoming::Question(_) => None,
            Incoming::Noise => Some(ResponseCode::Unknown(0)),
        }
    }

    #[test]
    fn odd_messages() {
        assert_eq!(refusal(&request(None)), None);
        let mut two = request(None);
        two.queries.push(two.queries[0].clone());
        assert_eq!(refusal(&two), Some(ResponseCode::FormErr));
        let mut update = request(None);
        update.metadata.op_code = OpCode::Status;
        assert_eq!(refusal(&update), Some(ResponseCode::NotImp));
        let mut chaos = request(None);
        chaos.queries[0].query_class = DNSClass::CH;
        assert_eq!(refusal(&chaos), Some(ResponseCode::Refused));
        let mut late = request(Some(1232));
        late.edns.as_mut().unwrap().set_version(1);
        assert_eq!(refusal(&late), Some(ResponseCode::BADVERS));
        let bytes = request(None).to_vec().unwrap();
        assert!(matches!(read(&bytes[..20]), Incoming::Refused(_)));
        assert!(matches!(read(&bytes[..8]), Incoming::Noise));
        let answered = reply(&request(None), ResponseCode::NoError).to_vec().unwrap();
        assert!(matches!(read(&answered), Incoming::Noise));
    }

    #[test]
    fn what_is_too_long_loses_its_tail() {
        for (edns, most) in [(None, 512), (Some(100), 512), (Some(900), 900), (Some(65_000), 1232)] {
            let request = request(edns);
            let mut reply = reply(&request, ResponseCode::NoError);
            for last in 0..200 {
                let name = request.queries[0].name.clone();
                reply.answers.push(crate::zone::address(name, Ipv4Addr::new(10, 0, 0, last).into()));
            }
            let cut = bytes(&reply, limit(&request, Transport::Udp));
            assert!(cut.len() <= most && cut.len() + 16 > most, "{edns:?}: {}", cut.len());
            let read = Message::from_vec(&cut).unwrap();
            assert!(read.metadata.truncation && read.edns.is_some() == edns.is_some());
            let whole = bytes(&reply, limit(&request, Transport::Tcp));
            let read = Message::from_vec(&whole).unwrap();
            assert!(!read.metadata.truncation && read.answers.len() == 200);
        }
    }
}
