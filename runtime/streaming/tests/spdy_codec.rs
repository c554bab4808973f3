//! The codec against arbitrary bytes and arbitrary frames: no panic, bounded memory, nothing lost.

use bytes::{Bytes, BytesMut};
use keelson_streaming::spdy::{Decoder, Encoder, Frame, Headers};
use proptest::prelude::*;

fn headers() -> impl Strategy<Value = Headers> {
    prop::collection::btree_map("[a-z][a-z-]{0,12}", "[ -~]{0,40}", 0..6)
        .prop_map(|pairs| pairs.into_iter().fold(Headers::new(), |all, (name, value)| all.with(&name, value)))
}

fn frame() -> impl Strategy<Value = Frame> {
    let id = 1u32..0x7fff_ffff;
    prop_oneof![
        (id.clone(), 0u32..100, 0u8..8, 0u8..4, headers()).prop_map(
            |(stream, associated, priority, flags, headers)| {
                Frame::SynStream { stream, associated, priority, flags, headers }
            }
        ),
        (id.clone(), any::<bool>(), headers()).prop_map(|(stream, fin, headers)| Frame::SynReply {
            stream,
            fin,
            headers
        }),
        (id.clone(), any::<bool>(), headers()).prop_map(|(stream, fin, headers)| Frame::Headers {
            stream,
            fin,
            headers
        }),
        (id.clone(), any::<u32>()).prop_map(|(stream, status)| Frame::Reset { stream, status }),
        (id.clone(), any::<u32>()).prop_map(|(last_good, status)| Frame::GoAway { last_good, status }),
        (id.clone(), 0u32..0x7fff_ffff).prop_map(|(stream, delta)| Frame::WindowUpdate { stream, delta }),
        any::<u32>().prop_map(Frame::Ping),
        prop::collection::vec((any::<u32>(), any::<u32>()), 0..5).prop_map(Frame::Settings),
        (id, any::<bool>(), prop::collection::vec(any::<u8>(), 0..2000))
            .prop_map(|(stream, fin, data)| Frame::Data { stream, fin, data: Bytes::from(data) }),
    ]
}

/// Puts pieces of data that belong together back together.
fn gather(frames: Vec<Frame>) -> Vec<Frame> {
    let mut gathered: Vec<Frame> = Vec::new();
    for frame in frames {
        if let (Some(Frame::Data { stream, fin, data }), Frame::Data { stream: next, fin: last, data: more }) =
            (gathered.last_mut(), &frame)
            && stream == next
            && !*fin
        {
            *data = [data.as_ref(), more].concat().into();
            *fin = *last;
            continue;
        }
        gathered.push(frame);
    }
    gathered
}

proptest! {
    #[test]
    fn frames_come_back_whatever_the_pieces(
        frames in prop::collection::vec(frame(), 1..20),
        sizes in prop::collection::vec(1usize..700, 1..40),
    ) {
        let mut encoder = Encoder::new();
        let mut wire = BytesMut::new();
        for frame in &frames {
            encoder.encode(frame, &mut wire).expect("encoded");
        }
        let mut decoder = Decoder::new();
        let mut got = Vec::new();
        let mut sizes = sizes.iter().cycle();
        while !wire.is_empty() {
            let size = *sizes.next().expect("a cycle");
            decoder.input.extend_from_slice(&wire.split_to(size.min(wire.len())));
            while let Some(frame) = decoder.frame().expect("decoded") {
                got.push(frame);
            }
        }
        prop_assert!(decoder.between_frames());
        prop_assert_eq!(gather(got), gather(frames));
    }

    #[test]
    fn arbitrary_bytes_neither_panic_nor_pile_up(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4096), 1..40),
    ) {
        drain(&chunks)?;
    }

    #[test]
    fn arbitrary_frames_of_known_types_neither_panic_nor_pile_up(
        bodies in prop::collection::vec((0u16..12, any::<u8>(), prop::collection::vec(any::<u8>(), 0..300)), 1..40),
    ) {
        let chunks: Vec<Vec<u8>> = bodies
            .into_iter()
            .map(|(kind, flags, body)| {
                let mut frame = vec![0x80, 3, 0, kind as u8, flags, 0];
                frame.extend_from_slice(&(body.len() as u16).to_be_bytes());
                frame.extend(body);
                frame
            })
            .collect();
        drain(&chunks)?;
    }

    #[test]
    fn damaged_frames_neither_panic_nor_pile_up(
        frames in prop::collection::vec(frame(), 1..10),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut encoder = Encoder::new();
        let mut wire = BytesMut::new();
        for frame in &frames {
            encoder.encode(frame, &mut wire).expect("encoded");
        }
        let mut wire = wire.to_vec();
        for (place, value) in damage {
            let place = place.index(wire.len());
            wire[place] = value;
        }
        drain(&[wire])?;
    }
}

/// Decodes until the end or an error; what is kept back stays below one control frame.
fn drain(chunks: &[Vec<u8>]) -> Result<(), TestCaseError> {
    let mut decoder = Decoder::new();
    for chunk in chunks {
        decoder.input.extend_from_slice(chunk);
        loop {
            match decoder.frame() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return Ok(()),
            }
        }
        prop_assert!(decoder.input.len() <= 64 * 1024 + 8);
    }
    Ok(())
}
