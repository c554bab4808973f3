//! Packets as bytes, and what is read of them.

use std::vec::Vec;

use super::*;

fn ethernet(kind: u16) -> Vec<u8> {
    let mut frame = std::vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(kind.to_be_bytes());
    frame
}

/// An IPv4 header of `words` words with protocol and the flags and offset of fragments.
fn header4(words: u8, protocol: u8, fragment: u16) -> Vec<u8> {
    let mut header = std::vec![0x40 | words, 0, 0, 60, 0x12, 0x34];
    header.extend(fragment.to_be_bytes());
    header.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    header.resize(usize::from(words) * 4, 0);
    header
}

fn tcp(flags: u8) -> Vec<u8> {
    let mut header = std::vec![0x1f, 0x90, 0x00, 0x50, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags];
    header.resize(20, 0);
    header
}

fn read4(frame: &[u8]) -> Result<Seen<Ip4>, Unread> {
    let start = frame.as_ptr() as usize;
    // SAFETY: the whole frame is ours.
    unsafe { ipv4(start, start + frame.len()) }
}

fn frame(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn whole_packets_have_ports_and_flags() {
    let check = |words: u8, transport: u32| {
        let seen = read4(&frame(&[ethernet(0x0800), header4(words, 6, 0x4000), tcp(0x12)])).unwrap();
        assert_eq!((seen.part, seen.tcp, seen.transport), (Part::Whole, 0x12, transport));
        assert_eq!(seen.flow.source.bits.to_ne_bytes(), [10, 0, 0, 1]);
        assert_eq!(
            (u16::from_be(seen.flow.source_port), u16::from_be(seen.flow.destination_port)),
            (8080, 80)
        );
    };
    check(5, 34);
    check(8, 46);
}

#[test]
fn fragments_are_told_apart() {
    let check = |fragment: u16, expect: Part| {
        let seen =
            read4(&frame(&[ethernet(0x0800), header4(5, 17, fragment), std::vec![0, 9, 0, 10, 0, 8, 0, 0]]));
        assert_eq!(seen.unwrap().part, expect, "{fragment:x}");
    };
    check(0, Part::Whole);
    check(0x2000, Part::First);
    check(0x2001, Part::Later);
    check(0x0007, Part::Later);
}

#[test]
fn echoes_have_their_identifier_as_a_port() {
    let check = |kind: u8, expect: (u16, u16), part: Part| {
        let icmp = std::vec![kind, 0, 0, 0, 0xab, 0xcd, 0, 1];
        let seen = read4(&frame(&[ethernet(0x0800), header4(5, 1, 0), icmp])).unwrap();
        assert_eq!((u16::from_be(seen.flow.source_port), u16::from_be(seen.flow.destination_port)), expect);
        assert_eq!(seen.part, part);
    };
    check(8, (0xabcd, 0), Part::Whole);
    check(0, (0, 0xabcd), Part::Whole);
    check(13, (0, 0), Part::Portless);
    check(3, (0, 0), Part::Error);
}

#[test]
fn errors_show_the_packet_they_are_about() {
    let icmp = std::vec![3, 4, 0, 0, 0, 0, 5, 0xdc];
    let bytes = frame(&[ethernet(0x0800), header4(5, 1, 0), icmp, header4(6, 6, 0), tcp(2)]);
    let about = |length: usize| {
        let start = bytes.as_ptr() as usize;
        // SAFETY: the whole frame is ours.
        unsafe { about4(start, start + length, 34) }
    };
    let whole = about(bytes.len()).unwrap();
    assert_eq!((whole.header, whole.transport), (42, 66));
    assert_eq!((whole.flow.protocol, u16::from_be(whole.flow.source_port)), (6, 8080));
    assert_eq!(about(70), about(bytes.len()));
    assert_eq!(about(69), None);
    assert_eq!(about(40), None);
}

#[test]
fn short_and_false_headers_are_refused() {
    let whole = frame(&[ethernet(0x0800), header4(5, 6, 0), tcp(2)]);
    for length in 14..48 {
        assert_eq!(read4(&whole[..length]), Err(Unread::Short), "{length}");
    }
    assert!(read4(&whole[..48]).is_ok());
    let check = |first: u8| {
        let mut bytes = whole.clone();
        bytes[14] = first;
        assert_eq!(read4(&bytes), Err(Unread::Malformed), "{first:x}");
    };
    check(0x65);
    check(0x44);
}

fn read6(next: u8, rest: &[Vec<u8>]) -> Result<Seen<Ip6>, Unread> {
    let mut header = std::vec![0x60, 0, 0, 0, 0, 20, next, 64];
    header.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    header.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    let bytes = [ethernet(0x86dd), header, rest.concat()].concat();
    let start = bytes.as_ptr() as usize;
    // SAFETY: the whole frame is ours.
    unsafe {
        let mut seen = MaybeUninit::uninit();
        ipv6(start, start + bytes.len(), &mut seen)?;
        let mut seen = seen.assume_init();
        let whole = seen.part != Part::Chain || beyond6(start, start + bytes.len(), &mut seen);
        if whole { Ok(seen) } else { Err(Unread::Malformed) }
    }
}

#[test]
fn ipv6_has_ports_behind_its_extension_headers() {
    let check = |next: u8, extensions: &[[u8; 8]], expect: (Part, u8, u32)| {
        let rest: Vec<Vec<u8>> = extensions.iter().map(|e| e.to_vec()).chain([tcp(2), tcp(2)]).collect();
        let seen = read6(next, &rest).unwrap();
        assert_eq!((seen.part, seen.flow.protocol, seen.transport), expect, "{extensions:?}");
        let ports = matches!(seen.part, Part::Whole | Part::First);
        assert_eq!(u16::from_be(seen.flow.source_port), if ports { 8080 } else { 0 });
    };
    check(6, &[], (Part::Whole, 6, 54));
    check(17, &[], (Part::Whole, 17, 54));
    check(47, &[], (Part::Portless, 47, 54));
    check(0, &[[6, 0, 0, 0, 0, 0, 0, 0]], (Part::Whole, 6, 62));
    check(60, &[[6, 0, 0, 0, 0, 0, 0, 0]], (Part::Whole, 6, 62));
    check(60, &[[60, 0, 0, 0, 0, 0, 0, 0], [17, 0, 0, 0, 0, 0, 0, 0]], (Part::Whole, 17, 70));
    // Fragments: the first, a later one, and one that is all there is.
    check(44, &[[17, 0, 0, 1, 0, 0, 0, 9]], (Part::First, 17, 62));
    check(44, &[[17, 0, 0, 8, 0, 0, 0, 9]], (Part::Later, 17, 62));
    check(44, &[[17, 0, 0, 0, 0, 0, 0, 9]], (Part::Whole, 17, 62));
    let three = [[60, 0, 0, 0, 0, 0, 0, 0]; 3];
    check(60, &three, (Part::Portless, 60, 70));
    assert_eq!(read6(60, &[std::vec![6, 30, 0, 0, 0, 0, 0, 0]]), Err(Unread::Malformed));
}

#[test]
fn ipv6_errors_are_about_a_packet() {
    let error = std::vec![1, 4, 0, 0, 0, 0, 0, 0];
    let mut about = std::vec![0x60, 0, 0, 0, 0, 20, 17, 64];
    about.extend([0xfd; 32]);
    let seen = read6(58, &[error, about.clone(), std::vec![0, 9, 0, 10, 0, 0, 0, 0]]).unwrap();
    assert_eq!(seen.part, Part::Error);
    assert_eq!(read6(58, &[std::vec![135, 0, 0, 0, 0, 0, 0, 0]]).unwrap().part, Part::Portless);
    let check = |about: Vec<u8>, rest: &[u8], expect: Option<(u32, u8)>| {
        let bytes = [&std::vec![0; 62], &about, rest].concat();
        let start = bytes.as_ptr() as usize;
        // SAFETY: all of it is ours.
        let about = unsafe { about6(start, start + bytes.len(), 54) };
        assert_eq!(about.as_ref().map(|about| (about.transport, about.flow.protocol)), expect);
        let Some(about) = about else { return };
        assert_eq!(about.header, 62);
        let ports = (u16::from_be(about.flow.source_port), u16::from_be(about.flow.destination_port));
        assert_eq!(ports, (9, 10));
    };
    check(about.clone(), &[0, 9, 0, 10], Some((102, 17)));
    // One of a datagram in fragments: the first tells whose it was, a later one does not.
    about[6] = 44;
    check(about.clone(), &[17, 0, 0, 1, 0, 0, 0, 7, 0, 9, 0, 10], Some((110, 17)));
    check(about, &[17, 0, 0, 8, 0, 0, 0, 7, 0, 9, 0, 10], None);
}
