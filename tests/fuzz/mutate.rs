//! Makes inputs from honest ones by a seeded chain of small damages, and runs a target on them until its time is up.
//!
//! Stable Rust has no coverage to steer by. Instead inputs that the target says it understood become part of the
//! corpus, so that damage adds up on inputs that still get deep into the code.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

/// What a target runs for when the environment does not say.
pub const SECONDS: f64 = 1.0;
/// Inputs at least, until one is understood.
const RUNS_MIN: u64 = 10_000;
/// Inputs are cut to this.
const BYTES_MAX: usize = 64 << 10;
/// Understood inputs that are kept beside the honest ones.
const KEPT_MAX: usize = 256;
/// The most damages to one input.
const DAMAGES_MAX: u64 = 8;

/// What the target made of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It got deep: worth building on.
    Understood,
    Refused,
}

/// Runs a target.
///
/// # Panics
/// With the target's own panic, after the input was printed; and when no damaged input was understood, because then the
/// target tests its front door only.
pub fn run(name: &str, corpus: &[&[u8]], words: &[&str], target: impl Fn(&[u8]) -> Verdict) {
    let number = |variable: &str| std::env::var(variable).ok().and_then(|text| text.parse::<f64>().ok());
    let seed = number("KEELSON_FUZZ_SEED").unwrap_or(1.0) as u64;
    let budget = Duration::from_secs_f64(number("KEELSON_FUZZ_SECONDS").unwrap_or(SECONDS));
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut pool: Vec<Vec<u8>> = corpus.iter().map(|input| input.to_vec()).collect();
    let (mut runs, mut understood) = (0_u64, 0_u64);
    for input in corpus {
        assert_eq!(judge(name, input, &target), Verdict::Understood, "{name}: an honest input is refused");
    }
    let began = Instant::now();
    // A machine that stands still may take the time; it takes no runs.
    while began.elapsed() < budget || (understood == 0 && runs < RUNS_MIN) {
        let input = random.damaged(&pool, words);
        runs += 1;
        if judge(name, &input, &target) == Verdict::Understood {
            understood += 1;
            let place = random.below(KEPT_MAX as u64) as usize + corpus.len();
            match pool.get_mut(place) {
                Some(old) => *old = input,
                None => pool.push(input),
            }
        }
    }
    println!("{name}: {runs} inputs from seed {seed}, {understood} understood");
    assert!(understood > 0, "{name}: of {runs} damaged inputs none was understood");
}

fn judge(name: &str, input: &[u8], target: &impl Fn(&[u8]) -> Verdict) -> Verdict {
    catch_unwind(AssertUnwindSafe(|| target(input))).unwrap_or_else(|panic| {
        eprintln!("{name}: failed on b\"{}\"", input.escape_ascii());
        resume_unwind(panic)
    })
}

/// Xorshift: the same inputs from the same seed, everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end.max(1)
    }

    fn place(&mut self, input: &[u8]) -> usize {
        self.below(input.len() as u64 + 1) as usize
    }

    fn damaged(&mut self, pool: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
        let mut input = pool[self.below(pool.len() as u64) as usize].clone();
        for _ in 0..=self.below(DAMAGES_MAX) {
            self.damage(&mut input, pool, words);
        }
        input.truncate(BYTES_MAX);
        input
    }

    fn damage(&mut self, input: &mut Vec<u8>, pool: &[Vec<u8>], words: &[&str]) {
        /// Where lengths, ids and times break.
        const NUMBERS: [&str; 10] = [
            "0",
            "-1",
            "1",
            "255",
            "65536",
            "2147483648",
            "4294967295",
            "18446744073709551615",
            "-9223372036854775808",
            "1e400",
        ];
        let (a, b) = (self.place(input), self.place(input));
        let (from, to) = (a.min(b), a.max(b));
        match self.below(8) {
            0 if from < input.len() => input[from] ^= 1 << self.below(8),
            1 if from < input.len() => input[from] = self.next() as u8,
            2 => drop(input.drain(from..to)),
            3 => {
                let piece = input[from..to].to_vec();
                let place = self.place(input);
                input.splice(place..place, piece);
            }
            4 => {
                let other = &pool[self.below(pool.len() as u64) as usize];
                let (c, d) = (self.place(other), self.place(other));
                input.splice(from..to, other[c.min(d)..c.max(d)].iter().copied());
            }
            5 if !words.is_empty() => {
                let word = words[self.below(words.len() as u64) as usize];
                self.replace_token(input, word);
            }
            6 => {
                let number = NUMBERS[self.below(NUMBERS.len() as u64) as usize];
                self.replace_token(input, number);
            }
            _ => input.truncate(to),
        }
    }

    /// Puts a word in the place of one: text formats keep their shape that way.
    fn replace_token(&mut self, input: &mut Vec<u8>, word: &str) {
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
        let start = self.place(input);
        let Some(first) = input[start..].iter().position(is_word).map(|offset| start + offset) else {
            return;
        };
        let length = input[first..].iter().take_while(|byte| is_word(byte)).count();
        input.splice(first..first + length, word.bytes());
    }
}
