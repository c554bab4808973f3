//! Cron schedules: five fields or a word for them, and the next time that fits.
//!
//! Not time zones' rules (the zone is passed in), nor what a CronJob does at that time.
//!
//! Invariants: a day matches by month, and by day of month *or* day of week unless one of the two is `*`; a time that
//! the clocks skip does not fit; the search ends after five years.
//! Reference: crontab(5), and the words and errors of the parser that Kubernetes uses.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

/// How far ahead a fitting time is looked for.
const LAST_DAY: i32 = 5 * 366;
const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// When something is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// At the minutes that fit.
    Fields(Box<Fields>),
    /// `@every`.
    Every(SignedDuration),
}

/// The five fields, each as a set of bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
    /// The field was `*`: the other of the two decides alone.
    any_day: bool,
    any_weekday: bool,
}

impl Schedule {
    /// Reads a schedule; the error is the sentence that users see.
    pub fn parse(text: &str) -> Result<Schedule, String> {
        if let Some(word) = text.strip_prefix('@') {
            return described(word).unwrap_or_else(|| Err(format!("unrecognized descriptor: {text}")));
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
        };
        let is_any = |field: &str| field.split(',').any(|part| matches!(part, "*" | "?"));
        Ok(Schedule::Fields(Box::new(Fields {
            minute: set(minute, (0, 59), &[], 0)?,
            hour: set(hour, (0, 23), &[], 0)?,
            day: set(day, (1, 31), &[], 0)?,
            month: set(month, (1, 12), MONTHS, 1)?,
            weekday: set(weekday, (0, 6), DAYS, 0)?,
            any_day: is_any(day),
            any_weekday: is_any(weekday),
        })))
    }

    /// The first time after `after`; none within five years.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let second = Timestamp::from_second(after.as_second()).ok()?;
        let fields = match self {
            Schedule::Every(every) => return second.checked_add(*every).ok(),
            Schedule::Fields(fields) => fields,
        };
        let from = second.to_zoned(zone.clone()).datetime();
        let mut day = from.date();
        for _ in 0..LAST_DAY {
            if fields.has_day(day) {
                for time in fields.times() {
                    let at = day.to_datetime(time);
                    let Ok(zoned) = zone.to_zoned(at) else { continue };
                    // A time that the clocks skip is no time; one that they repeat is the first of the two.
                    if zoned.datetime() == at && zoned.timestamp() > after {
                        return Some(zoned.timestamp());
                    }
                }
            }
            day = day.checked_add(1.day()).ok()?;
        }
        None
    }
}

impl Fields {
    fn has_day(&self, day: Date) -> bool {
        let has = |set: u64, value: i8| set & (1 << value) != 0;
        let by_month = has(self.day, day.day());
        let by_week = has(self.weekday, day.weekday().to_sunday_zero_offset());
        let fits = if self.any_day || self.any_weekday { by_month && by_week } else { by_month || by_week };
        has(self.month, day.month()) && fits
    }

    /// The times of a day, in order.
    fn times(&self) -> impl Iterator<Item = Time> + '_ {
        let bits = |set: u64, most: i8| (0..=most).filter(move |value| set & (1 << value) != 0);
        bits(self.hour, 23).flat_map(move |hour| {
            bits(self.minute, 59).map(move |minute| jiff::civil::time(hour, minute, 0, 0))
        })
    }
}

/// `@hourly` and the others.
fn described(word: &str) -> Option<Result<Schedule, String>> {
    let fields = match word {
        "yearly" | "annually" => "0 0 1 1 *",
        "monthly" => "0 0 1 * *",
        "weekly" => "0 0 * * 0",
        "daily" | "midnight" => "0 0 * * *",
        "hourly" => "0 * * * *",
        _ => {
            let text = word.strip_prefix("every ")?;
            let parsed = duration(text).map(|every| Schedule::Every(every.max(SignedDuration::from_secs(1))));
            return Some(
                parsed.ok_or_else(|| format!("failed to parse duration @{word}: invalid duration {text:?}")),
            );
        }
    };
    Some(Schedule::parse(fields))
}

/// `1h30m10s`.
fn duration(text: &str) -> Option<SignedDuration> {
    let mut seconds = 0_i64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..end].parse().ok()?;
        let mut letters = rest[end..].chars();
        let unit = match letters.next()? {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        seconds = seconds.checked_add(number.checked_mul(unit)?)?;
        rest = letters.as_str();
    }
    (!text.is_empty()).then(|| SignedDuration::from_secs(seconds))
}

/// A field: ranges with steps, between commas.
fn set(field: &str, (least, most): (u32, u32), names: &[&str], first: u32) -> Result<u64, String> {
    let number = |text: &str| -> Result<u32, String> {
        if let Some(at) = names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(at as u32 + first);
        }
        let parsed = text.parse::<i64>().map_err(|_| {
            format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")
        })?;
        u32::try_from(parsed).map_err(|_| format!("negative number ({parsed}) not allowed: {text}"))
    };
    let mut bits = 0;
    for part in field.split(',').filter(|part| !part.is_empty()) {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) if !step.contains('/') => (range, Some(number(step)?)),
            Some(_) => return Err(format!("too many slashes: {part}")),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if matches!(range, "*" | "?") => (least, most),
            Some((from, to)) if !to.contains('-') => (number(from)?, number(to)?),
            Some(_) => return Err(format!("too many hyphens: {part}")),
            None => (number(range)?, if step.is_some() { most } else { number(range)? }),
        };
        let step = step.unwrap_or(1);
        if from < least {
            return Err(format!("beginning of range ({from}) below minimum ({least}): {part}"));
        }
        if to > most {
            return Err(format!("end of range ({to}) above maximum ({most}): {part}"));
        }
        if from > to {
            return Err(format!("beginning of range ({from}) beyond end of range ({to}): {part}"));
        }
        if step == 0 {
            return Err(format!("step of range should be a positive number: {part}"));
        }
        (from..=to).step_by(step as usize).for_each(|value| bits |= 1 << value);
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_time() {
        let check = |schedule: &str, zone: &str, after: &str, expect: &[&str]| {
            let (parsed, zone) = (Schedule::parse(schedule).unwrap(), TimeZone::posix(zone).unwrap());
            let mut at: Timestamp = after.parse().unwrap();
            for expect in expect {
                at = parsed.next(at, &zone).unwrap();
                assert_eq!(at, expect.parse().unwrap(), "{schedule}");
            }
        };
        check(
            "*/15 * * * *",
            "UTC0",
            "2026-01-01T00:07:30Z",
            &["2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z"],
        );
        check("0 0 29 2 *", "UTC0", "2026-01-01T00:00:00Z", &["2028-02-29T00:00:00Z"]);
        check(
            "0 12 1 * mon",
            "UTC0",
            "2026-02-01T12:00:00Z",
            &["2026-02-02T12:00:00Z", "2026-02-09T12:00:00Z"],
        );
        check("@hourly", "UTC0", "2026-01-01T23:00:00Z", &["2026-01-02T00:00:00Z"]);
        check("@every 90m", "UTC0", "2026-01-01T00:00:00.5Z", &["2026-01-01T01:30:00Z"]);
        // 02:30 does not exist on 2026-03-29 in central Europe.
        check("30 2 * * *", "CET-1CEST,M3.5.0,M10.5.0/3", "2026-03-28T12:00:00Z", &["2026-03-30T00:30:00Z"]);
        assert_eq!(Schedule::parse("0 0 30 2 *").unwrap().next(Timestamp::UNIX_EPOCH, &TimeZone::UTC), None);
    }

    #[test]
    fn sentences() {
        for (text, sentence) in [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("@never", "unrecognized descriptor: @never"),
            ("@every 1é", "failed to parse duration @every 1é: invalid duration \"1é\""),
        ] {
            assert_eq!(Schedule::parse(text), Err(sentence.into()));
        }
    }
}
