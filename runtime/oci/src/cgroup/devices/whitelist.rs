//! The v1 devices controller's own view: everything or nothing is allowed, but for exceptions.
//!
//! A container's list starts from nothing. The kernel finds an exception by exact kind and numbers, so a deny
//! takes accesses off an exception of the same kind and numbers and cannot cut a hole into a wider one.

use super::{EVERY_ACCESS, Kind, MKNOD, READ, Rule, WRITE};
use crate::cgroup::ResourceError;
use crate::cgroup::plan::refuse;
use std::collections::BTreeMap;

type Key = (Kind, Option<u32>, Option<u32>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whitelist {
    /// Everything is allowed; what a list of exceptions would then say is not shown to us.
    everything: bool,
    exceptions: BTreeMap<Key, u8>,
}

impl Whitelist {
    /// What the rules leave, starting from nothing.
    pub fn from_rules(rules: &[Rule]) -> Result<Whitelist, ResourceError> {
        let mut list = Whitelist { everything: false, exceptions: BTreeMap::new() };
        for rule in rules {
            let any_number = rule.major.is_none() && rule.minor.is_none();
            if rule.kind.is_none() && any_number && rule.access == EVERY_ACCESS {
                list = Whitelist { everything: rule.allow, exceptions: BTreeMap::new() };
                continue;
            }
            let kinds = rule.kind.map_or(vec![Kind::Block, Kind::Character], |kind| vec![kind]);
            for kind in kinds {
                list.take(rule, (kind, rule.major, rule.minor))?;
            }
        }
        Ok(list)
    }

    /// Lines as devices.list has them: `c 1:3 rwm`, or `a *:* rwm`.
    pub fn parse(text: &str) -> Whitelist {
        let mut list = Whitelist { everything: false, exceptions: BTreeMap::new() };
        for line in text.lines() {
            let mut words = line.split([' ', ':']);
            let (kind, major, minor) = (words.next(), words.next(), words.next());
            let number = |text: Option<&str>| text.and_then(|text| text.parse().ok());
            let kind = match kind {
                Some("a") => {
                    list.everything = true;
                    continue;
                }
                Some("b") => Kind::Block,
                Some("c") => Kind::Character,
                _ => continue,
            };
            let access = words.next().unwrap_or_default().chars().fold(0, |access, letter| {
                access
                    | match letter {
                        'r' => READ,
                        'w' => WRITE,
                        'm' => MKNOD,
                        _ => 0,
                    }
            });
            list.exceptions.insert((kind, number(major), number(minor)), access);
        }
        list
    }

    /// The writes that turn this list into the wanted one.
    pub fn writes_to(&self, wanted: &Whitelist) -> Vec<(&'static str, String)> {
        if wanted.everything {
            let all = ("devices.allow", "a".to_owned());
            return if self.everything { Vec::new() } else { vec![all] };
        }
        let nothing = BTreeMap::new();
        let mut writes = Vec::new();
        let present = if self.everything {
            writes.push(("devices.deny", "a".to_owned()));
            &nothing
        } else {
            &self.exceptions
        };
        // What is added comes first: a device in both keeps working throughout.
        for (from, to, file) in
            [(present, &wanted.exceptions, "devices.allow"), (&wanted.exceptions, present, "devices.deny")]
        {
            for (key, access) in to {
                let surplus = access & !from.get(key).copied().unwrap_or(0);
                if surplus != 0 {
                    writes.push((file, line(key, surplus)));
                }
            }
        }
        writes
    }

    fn take(&mut self, rule: &Rule, key: Key) -> Result<(), ResourceError> {
        if self.everything {
            if rule.allow {
                return Ok(());
            }
            return Err(refuse(
                "devices",
                line(&key, rule.access),
                "a single device cannot be denied after all were allowed on cgroup v1",
            ));
        }
        if rule.allow {
            *self.exceptions.entry(key).or_default() |= rule.access;
            return Ok(());
        }
        let hole = self
            .exceptions
            .iter()
            .any(|(other, access)| other != &key && covers(other, &key) && access & rule.access != 0);
        if hole {
            return Err(refuse(
                "devices",
                line(&key, rule.access),
                "a deny cannot cut into a wider allow on cgroup v1",
            ));
        }
        // A wide deny takes every exception inside it.
        for (other, access) in &mut self.exceptions {
            if covers(&key, other) {
                *access &= !rule.access;
            }
        }
        self.exceptions.retain(|_, access| *access != 0);
        Ok(())
    }
}

fn covers(wide: &Key, narrow: &Key) -> bool {
    let number = |wide: Option<u32>, narrow: Option<u32>| wide.is_none() || wide == narrow;
    wide.0 == narrow.0 && number(wide.1, narrow.1) && number(wide.2, narrow.2)
}

fn line((kind, major, minor): &Key, access: u8) -> String {
    let kind = if *kind == Kind::Block { 'b' } else { 'c' };
    let number = |number: &Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
    let letters = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')];
    let access: String =
        letters.iter().filter(|(bit, _)| access & bit != 0).map(|(_, letter)| letter).collect();
    format!("{kind} {}:{} {access}", number(major), number(minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, text: &str) -> Rule {
        let parsed = Whitelist::parse(text);
        let Some(((kind, major, minor), access)) = parsed.exceptions.into_iter().next() else {
            return Rule { allow, kind: None, major: None, minor: None, access: EVERY_ACCESS };
        };
        Rule { allow, kind: Some(kind), major, minor, access }
    }

    fn check(present: &str, rules: &[(bool, &str)], expect: &[&str]) {
        let rules: Vec<Rule> = rules.iter().map(|(allow, text)| rule(*allow, text)).collect();
        let writes = Whitelist::parse(present).writes_to(&Whitelist::from_rules(&rules).unwrap());
        let lines: Vec<String> = writes.into_iter().map(|(file, value)| format!("{file} {value}")).collect();
        assert_eq!(lines, expect);
    }

    #[test]
    fn difference_only() {
        let all = "a *:* rwm\n";
        check(all, &[(false, "a"), (true, "c 1:3 rwm")], &["devices.deny a", "devices.allow c 1:3 rwm"]);
        check(all, &[(true, "a")], &[]);
        check("c 1:3 rwm\nb *:* m\n", &[(true, "c 1:3 rwm"), (true, "b *:* m")], &[]);
        check(
            "c 1:3 rwm\nc 1:5 r\n",
            &[(true, "c 1:3 r"), (true, "c 1:7 rw")],
            &["devices.allow c 1:7 rw", "devices.deny c 1:3 wm", "devices.deny c 1:5 r"],
        );
        check("c 1:3 rwm\n", &[(true, "c 1:3 rwm"), (false, "c 1:* w")], &["devices.deny c 1:3 w"]);
        check("c 1:3 rwm\n", &[(true, "a")], &["devices.allow a"]);
    }

    #[test]
    fn what_v1_cannot_say() {
        for rules in
            [[rule(true, "c 1:* rwm"), rule(false, "c 1:3 w")], [rule(true, "a"), rule(false, "c 1:3 w")]]
        {
            assert!(matches!(Whitelist::from_rules(&rules), Err(ResourceError::Value { .. })));
        }
    }
}
