//! Sets of completion indexes as runs, so that what they cost grows with the gaps and not with the indexes. Pure.
//!
//! Text form: `0-2,5`, as upstream writes it.

use std::collections::BTreeMap;
use std::fmt;

/// Runs of indexes, apart from each other: first to last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct IndexSet(BTreeMap<i64, i64>);

impl IndexSet {
    /// Reads the text form, of indexes below a bound; what cannot be read is left out.
    pub(super) fn parse(text: &str, below: i64) -> IndexSet {
        let mut all = IndexSet::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            if let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>()) {
                all.insert_run(first.max(0), last.min(below - 1));
            }
        }
        all
    }

    pub(super) fn insert(&mut self, index: i64) {
        self.insert_run(index, index);
    }

    fn insert_run(&mut self, mut first: i64, mut last: i64) {
        if first > last {
            return;
        }
        // Every run that touches the new one becomes part of it; the last of them is found first.
        while let Some((begin, end)) =
            self.0.range(..=last + 1).next_back().map(|(begin, end)| (*begin, *end))
        {
            if end + 1 < first {
                break;
            }
            (first, last) = (first.min(begin), last.max(end));
            self.0.remove(&begin);
        }
        self.0.insert(first, last);
    }

    /// The last index of the run that holds this one.
    pub(super) fn end_of_run(&self, index: i64) -> Option<i64> {
        self.0.range(..=index).next_back().map(|(_, last)| *last).filter(|last| *last >= index)
    }

    pub(super) fn contains(&self, index: i64) -> bool {
        self.end_of_run(index).is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> i64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// How many indexes are in both.
    pub(super) fn shared(&self, other: &IndexSet) -> i64 {
        let within = |first: i64, last: i64| {
            let before = other.0.range(..first).next_back().into_iter();
            let runs = before.chain(other.0.range(first..=last));
            runs.map(|(begin, end)| (last.min(*end) - first.max(*begin) + 1).max(0)).sum::<i64>()
        };
        self.0.iter().map(|(first, last)| within(*first, *last)).sum()
    }

    /// What is not in the other.
    pub(super) fn without(&self, other: &IndexSet) -> IndexSet {
        let mut left = IndexSet::default();
        for (first, last) in &self.0 {
            let mut next = *first;
            while next <= *last {
                if let Some(end) = other.end_of_run(next) {
                    next = end + 1;
                    continue;
                }
                let stop = other.0.range(next..).next().map_or(*last, |(begin, _)| (begin - 1).min(*last));
                left.insert_run(next, stop);
                next = stop + 1;
            }
        }
        left
    }
}

/// Runs of three and more with a dash, of two as upstream has them, without.
impl fmt::Display for IndexSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (first, last)) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for text in ["", "0", "0,1", "0-2,5", "1,3,5-9"] {
            assert_eq!(IndexSet::parse(text, 100).to_string(), text);
        }
        for (text, below, expect) in
            [("1,3-9,12", 6, "1,3-5"), ("5,1-3,4,0", 9, "0-5"), ("2-4,0-9", 9, "0-8"), ("x,7-5,-3", 9, "")]
        {
            assert_eq!(IndexSet::parse(text, below).to_string(), expect, "{text}");
        }
    }

    #[test]
    fn sets() {
        let set = |text: &str| IndexSet::parse(text, i64::MAX);
        for (one, other, shared, without) in [
            ("0-9", "3-5", 3, "0-2,6-9"),
            ("3-5", "0-9", 3, ""),
            ("0-2,5,8-9", "1,5-8", 3, "0,2,9"),
            ("4", "5", 0, "4"),
            ("", "1", 0, ""),
        ] {
            assert_eq!(set(one).shared(&set(other)), shared, "{one} {other}");
            assert_eq!(set(one).without(&set(other)).to_string(), without, "{one} {other}");
        }
        let most = i64::from(i32::MAX);
        let all = IndexSet::parse("0-2147483646", most);
        assert_eq!(
            (all.len(), all.shared(&set("7,9-2147483646")), all.contains(most)),
            (most, most - 8, false)
        );
    }
}
