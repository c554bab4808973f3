//! Resource quantities: exact fixed-point numbers with Kubernetes' suffixes.
//!
//! Not units of anything: the resource's name says what is counted.
//!
//! Invariants: one billionth is the finest step, finer values round away from zero; the text form is canonical
//! (largest suffix without a fraction) in the family the value was written in.
//! Reference: API conventions, "Quantity".

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, Sub};

use thiserror::Error;

const NANO: i128 = 1_000_000_000;
/// Beyond this magnitude (in billionths) values are capped, far above any resource.
const MAX: i128 = 10i128.pow(37);
/// Digits are read while one more fits.
const DIGITS_FULL: i128 = i128::MAX / 10 - 1;

const DECIMAL: [(&str, i32); 9] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15)];
const EXA: (&str, i32) = ("E", 18);
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

/// The family of suffixes a value is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// `n u m k M G T P E`
    #[default]
    DecimalSi,
    /// `Ki Mi Gi Ti Pi Ei`
    BinarySi,
    /// `e3`
    DecimalExponent,
}

/// A number of something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum QuantityError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Form,
    #[error("unable to parse quantity's suffix")]
    Suffix,
    #[error("unable to parse numeric part of quantity")]
    Number,
}

impl Quantity {
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::DecimalSi };

    pub fn parse(text: &str) -> Result<Quantity, QuantityError> {
        let text = text.trim();
        let negative = text.starts_with('-');
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let split = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(split);
        if number.is_empty() || !well_formed(suffix) {
            return Err(QuantityError::Form);
        }
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(QuantityError::Number);
        }
        let (base, exponent, format) = interpret(suffix)?;
        let magnitude = magnitude(whole, fraction, base, exponent);
        Ok(Quantity { nanos: if negative { -magnitude } else { magnitude }, format })
    }

    /// The text Go keeps for a quantity: the canonical one, except that short exact numbers stay as they were written
    /// (`1.500`, `12E6`, `+5`).
    pub fn canonical(text: &str) -> Result<String, QuantityError> {
        let text = text.trim();
        let quantity = Quantity::parse(text)?;
        Ok(if kept_as_written(text) { text.to_owned() } else { quantity.to_string() })
    }

    pub fn from_units(units: i64, format: Format) -> Quantity {
        Quantity { nanos: i128::from(units) * NANO, format }
    }

    pub fn from_millis(millis: i64) -> Quantity {
        Quantity { nanos: i128::from(millis) * (NANO / 1000), format: Format::DecimalSi }
    }

    /// Whole units, rounded up.
    pub fn units(&self) -> i64 {
        saturate(ceiling(self.nanos, NANO))
    }

    /// Thousandths, rounded up: CPU shares.
    pub fn millis(&self) -> i64 {
        saturate(ceiling(self.nanos, NANO / 1000))
    }

    /// The number where it is a whole one that fits.
    pub fn as_i64(&self) -> Option<i64> {
        (self.nanos % NANO == 0).then(|| i64::try_from(self.nanos / NANO).ok()).flatten()
    }

    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        self.nanos.signum() as i32
    }

    /// Whether the value is a whole number.
    pub fn is_whole(&self) -> bool {
        self.nanos % NANO == 0
    }

    pub fn format(&self) -> Format {
        self.format
    }
}

/// The sum keeps the family of the first operand that is not zero.
impl Add for Quantity {
    type Output = Quantity;

    fn add(self, other: Quantity) -> Quantity {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Quantity { nanos: (self.nanos + other.nanos).clamp(-MAX, MAX), format }
    }
}

impl Sub for Quantity {
    type Output = Quantity;

    fn sub(self, other: Quantity) -> Quantity {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Quantity { nanos: (self.nanos - other.nanos).clamp(-MAX, MAX), format }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl std::str::FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Quantity::parse(text)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let small = self.nanos.abs() < 1024 * NANO;
        if self.format == Format::BinarySi && !small {
            let units = ceiling(self.nanos, NANO);
            let fits = BINARY.iter().rev().find(|(_, bits)| units % (1i128 << bits) == 0);
            return match fits {
                Some((suffix, bits)) => write!(f, "{}{suffix}", units >> bits),
                None => write!(f, "{units}"),
            };
        }
        let (mut mantissa, mut exponent) = (self.nanos, -9);
        while exponent < EXA.1 && mantissa % 1000 == 0 {
            mantissa /= 1000;
            exponent += 3;
        }
        if self.format == Format::DecimalExponent {
            return if exponent == 0 { write!(f, "{mantissa}") } else { write!(f, "{mantissa}e{exponent}") };
        }
        let suffix = DECIMAL.iter().find(|(_, known)| *known == exponent).map_or(EXA.0, |(suffix, _)| suffix);
        write!(f, "{mantissa}{suffix}")
    }
}

/// `[eEinumkKMGTP]*[-+]?[0-9]*`
fn well_formed(suffix: &str) -> bool {
    let rest = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    rest.strip_prefix(['+', '-']).unwrap_or(rest).bytes().all(|b| b.is_ascii_digit())
}

/// Upstream's short way: numbers that fit an integer and look canonical are not written anew.
fn kept_as_written(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let split = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(split);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    let Ok((base, exponent, _)) = interpret(suffix) else { return false };
    let digits = i32::try_from(whole.len() + fraction.len()).unwrap_or(i32::MAX);
    if base == 2 {
        let fits = fraction.is_empty() && 15 - digits - exponent * 3 / 10 > 0;
        return fits && whole.parse::<u64>().is_ok_and(|value| value % 8 != 0);
    }
    let scale = exponent.saturating_sub(i32::try_from(fraction.len()).unwrap_or(i32::MAX));
    let round = format!("{whole}{fraction}");
    digits <= EXA.1 && scale >= -9 && scale % 3 == 0 && !round.ends_with("000") && !round.starts_with('0')
}

/// Base (2 or 10), exponent and family of a suffix.
fn interpret(suffix: &str) -> Result<(u32, i32, Format), QuantityError> {
    if let Some((_, exponent)) = DECIMAL.iter().chain([&EXA]).find(|(known, _)| *known == suffix) {
        return Ok((10, *exponent, Format::DecimalSi));
    }
    if let Some((_, bits)) = BINARY.iter().find(|(known, _)| *known == suffix) {
        return Ok((2, i32::try_from(*bits).unwrap_or_default(), Format::BinarySi));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
    let exponent: i32 = exponent.parse().map_err(|_| QuantityError::Suffix)?;
    Ok((10, exponent, Format::DecimalExponent))
}

/// Billionths of `whole.fraction * base^exponent`, rounded up, capped.
fn magnitude(whole: &str, fraction: &str, base: u32, exponent: i32) -> i128 {
    let digits = whole.bytes().chain(fraction.bytes());
    let (mut mantissa, mut dropped, mut inexact) = (0i128, 0i32, false);
    for digit in digits {
        if mantissa > DIGITS_FULL {
            dropped += 1;
            inexact |= digit != b'0';
            continue;
        }
        mantissa = mantissa * 10 + i128::from(digit - b'0');
    }
    let binary = if base == 2 { exponent } else { 0 };
    let decimal = if base == 10 { exponent } else { 0 };
    let fraction_digits = i32::try_from(fraction.len()).unwrap_or(i32::MAX);
    let mut power = 9i32.saturating_add(decimal).saturating_add(dropped).saturating_sub(fraction_digits);
    // Double first where it fits: division rounds once, at the end.
    let mut left = binary;
    while left > 0 && mantissa <= MAX / 2 {
        mantissa *= 2;
        left -= 1;
    }
    while power > 0 && mantissa != 0 {
        if mantissa > MAX / 10 {
            return MAX;
        }
        mantissa *= 10;
        power -= 1;
    }
    while power < 0 && mantissa != 0 {
        inexact |= mantissa % 10 != 0;
        mantissa /= 10;
        power += 1;
        if mantissa == 0 {
            return 1;
        }
    }
    while left > 0 {
        if mantissa > MAX / 2 {
            return MAX;
        }
        mantissa *= 2;
        left -= 1;
    }
    (mantissa + i128::from(inexact)).min(MAX)
}

fn ceiling(value: i128, step: i128) -> i128 {
    // Away from zero, as upstream's RoundUp.
    let quotient = value / step;
    if value % step == 0 { quotient } else { quotient + value.signum() }
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn canonical_forms() {
        let cases = [
            ("0", "0"),
            ("0.0", "0"),
            ("100m", "100m"),
            ("0.1", "100m"),
            ("1000m", "1"),
            ("1.5", "1500m"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("1023Mi", "1023Mi"),
            ("1Ki", "1Ki"),
            ("512", "512"),
            ("0.5Ki", "512"),
            ("0.1Ki", "102400m"),
            ("1000", "1k"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("1E", "1E"),
            ("12e6", "12e6"),
            ("1e0", "1"),
            ("100e-3", "100e-3"),
            ("-1", "-1"),
            ("+5", "5"),
            (".5", "500m"),
            ("5.", "5"),
            ("0.0000000001", "1n"),
            ("1.0000000001", "1000000001n"),
            ("123456789", "123456789"),
            ("64M", "64M"),
            ("0.1m", "100u"),
            ("1Ei", "1Ei"),
            ("9223372036854775807", "9223372036854775807"),
        ];
        for (text, expect) in cases {
            assert_eq!(
                Quantity::parse(text).map(|quantity| quantity.to_string()),
                Ok(expect.into()),
                "{text}"
            );
        }
    }

    #[test]
    fn short_exact_numbers_stay_as_written() {
        let cases = [
            ("12E6", "12E6"),
            ("1.500", "1.500"),
            ("1.5", "1500m"),
            ("1000m", "1"),
            ("0.500", "500m"),
            ("1024Mi", "1Gi"),
            ("+5", "+5"),
            ("1000", "1k"),
            ("0", "0"),
            ("8Ki", "8Ki"),
        ];
        for (text, expect) in cases {
            assert_eq!(Quantity::canonical(text), Ok(expect.into()), "{text}");
        }
    }

    #[test]
    fn errors() {
        let cases = [
            ("", QuantityError::Form),
            ("abc", QuantityError::Form),
            ("1x", QuantityError::Form),
            ("1 Gi", QuantityError::Form),
            ("1KiB", QuantityError::Form),
            ("1K", QuantityError::Suffix),
            ("1mm", QuantityError::Suffix),
            ("1.2.3", QuantityError::Number),
            (".", QuantityError::Number),
        ];
        for (text, expect) in cases {
            assert_eq!(Quantity::parse(text), Err(expect), "{text}");
        }
    }

    #[test]
    fn arithmetic() {
        let parse = |text| Quantity::parse(text).expect("valid");
        assert_eq!((parse("1Gi") + parse("512Mi")).to_string(), "1536Mi");
        assert_eq!((parse("1") - parse("1100m")).to_string(), "-100m");
        assert_eq!((parse("1500m").units(), parse("0.0001").millis()), (2, 1));
        assert!(parse("1000Mi") < parse("1Gi"));
    }

    proptest! {
        #[test]
        fn the_text_form_is_a_fixed_point(text in "[+-]?[0-9]{1,20}(\\.[0-9]{0,12})?(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e-?[0-9]|)") {
            let first = Quantity::parse(&text).expect("well formed");
            let printed = first.to_string();
            let second = Quantity::parse(&printed).expect("canonical");
            if first.format() != Format::BinarySi || second.format() == Format::BinarySi {
                prop_assert_eq!(second.to_string(), printed);
            } else {
                // A binary one without a suffix is read as a decimal one, as upstream: it may get another text, once.
                prop_assert_eq!(second.units(), first.units());
                let third = Quantity::parse(&second.to_string()).expect("canonical");
                prop_assert_eq!(third.to_string(), second.to_string());
            }
            if first.format() != Format::BinarySi {
                prop_assert_eq!(first, second);
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,30}") {
            let _ = Quantity::parse(&text);
        }
    }
}
