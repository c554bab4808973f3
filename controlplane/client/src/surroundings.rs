//! The clock and the random numbers that the rest is given.

use jiff::Timestamp;

/// Where time and chance come from; tests bring their own.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    /// The wall clock.
    pub now: fn() -> Timestamp,
    /// A number below the argument.
    pub random: fn(u64) -> u64,
}

impl Surroundings {
    /// The machine's clock and generator.
    pub fn system() -> Surroundings {
        Surroundings { now: Timestamp::now, random: below }
    }
}

fn below(bound: u64) -> u64 {
    let mut bytes = [0; 8];
    // Only spreads retries: without entropy they are merely not spread.
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return 0;
    }
    u64::from_le_bytes(bytes) % bound.max(1)
}
