//! Stop signals: as images spell them, as the CRI numbers them, as the kernel does.

use cri_api::v1;

/// SIGTERM: what stops a container whose image and request say nothing.
pub const DEFAULT: i32 = libc_signal::TERM;
pub const KILL: i32 = libc_signal::KILL;

/// Linux numbers on the architectures we run on.
mod libc_signal {
    pub const KILL: i32 = 9;
    pub const TERM: i32 = 15;
    pub const RTMIN: i32 = 34;
    pub const RTMAX: i32 = 64;
}

/// Names and numbers; where two names share a number, the first is the one we print.
const NAMES: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// `SIGTERM`, `term`, `15`, `SIGRTMIN+3`, `RTMAX-1`.
pub fn parse(text: &str) -> Option<i32> {
    let upper = text.trim().to_ascii_uppercase();
    if let Ok(number) = upper.parse::<i32>() {
        return (1..=libc_signal::RTMAX).contains(&number).then_some(number);
    }
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        rest => rest.strip_prefix(sign)?.parse::<i32>().ok().filter(|n| (0..=15).contains(n)),
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return Some(libc_signal::RTMIN + offset(rest, '+')?);
    }
    name.strip_prefix("RTMAX").and_then(|rest| Some(libc_signal::RTMAX - offset(rest, '-')?))
}

/// The CRI's number; `RuntimeDefault` means "not said".
pub fn from_cri(signal: v1::Signal) -> Option<i32> {
    if signal == v1::Signal::RuntimeDefault {
        return None;
    }
    let name = signal.as_str_name();
    parse(&name.replace("PLUS", "+").replace("MINUS", "-"))
}

/// The CRI's name of a number.
pub fn to_cri(signal: i32) -> v1::Signal {
    let middle = 49;
    let name = match NAMES.iter().find(|(_, number)| *number == signal) {
        Some((name, _)) => format!("SIG{name}"),
        None if signal == libc_signal::RTMIN => "SIGRTMIN".to_owned(),
        None if signal == libc_signal::RTMAX => "SIGRTMAX".to_owned(),
        None if signal <= middle => format!("SIGRTMINPLUS{}", signal - libc_signal::RTMIN),
        None => format!("SIGRTMAXMINUS{}", libc_signal::RTMAX - signal),
    };
    v1::Signal::from_str_name(&name).unwrap_or(v1::Signal::RuntimeDefault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_read() {
        for (text, number) in
            [("SIGTERM", 15), ("quit", 3), ("9", 9), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("SIGRTMIN", 34)]
        {
            assert_eq!(parse(text), Some(number), "{text}");
        }
        for text in ["", "0", "65", "SIGNOPE", "RTMIN+99", "-1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_come_back() {
        for number in (1..=31).chain(34..=64) {
            assert_eq!(from_cri(to_cri(number)), Some(number), "{number}");
        }
        assert_eq!(from_cri(v1::Signal::RuntimeDefault), None);
    }
}
