//! Whether one set of rules gives more than another: nobody hands out what they do not hold.
//!
//! Reference: Kubernetes "Privilege escalation prevention and bootstrapping".

use std::collections::{BTreeMap, BTreeSet};

use api::field::quote;

use super::Rule;

/// What of `given` is not covered by `held`, one line per rule as upstream prints it; empty where all is.
pub fn missing(held: &[&Rule], given: &[Rule]) -> Vec<String> {
    let lacking: Vec<Rule> = given
        .iter()
        .flat_map(atoms)
        .filter(|atom| !held.iter().any(|rule| rule_covers(rule, atom)))
        .collect();
    let lines: BTreeSet<String> = compact(lacking).iter().map(shown).collect();
    lines.into_iter().collect()
}

/// A rule as rules about one verb of one resource, or of one path.
fn atoms(rule: &Rule) -> Vec<Rule> {
    let mut atoms = Vec::new();
    let one = |text: &String| vec![text.clone()];
    for verb in &rule.verbs {
        for group in &rule.api_groups {
            for resource in &rule.resources {
                let atom = Rule {
                    verbs: one(verb),
                    api_groups: one(group),
                    resources: one(resource),
                    ..Rule::default()
                };
                if rule.resource_names.is_empty() {
                    atoms.push(atom.clone());
                }
                for name in &rule.resource_names {
                    atoms.push(Rule { resource_names: one(name), ..atom.clone() });
                }
            }
        }
        for url in &rule.non_resource_urls {
            atoms.push(Rule { verbs: one(verb), non_resource_urls: one(url), ..Rule::default() });
        }
    }
    atoms
}

fn rule_covers(held: &Rule, atom: &Rule) -> bool {
    let all = |held: &[String], wanted: &[String]| {
        held.iter().any(|item| item == "*") || wanted.iter().all(|item| held.contains(item))
    };
    // A rule about some names covers those alone.
    let names = held.resource_names.is_empty()
        || (!atom.resource_names.is_empty()
            && atom.resource_names.iter().all(|name| held.resource_names.contains(name)));
    all(&held.verbs, &atom.verbs)
        && all(&held.api_groups, &atom.api_groups)
        && names
        && atom.resources.iter().all(|resource| resource_covers(&held.resources, resource))
        && atom.non_resource_urls.iter().all(|url| url_covers(&held.non_resource_urls, url))
}

fn resource_covers(held: &[String], wanted: &str) -> bool {
    held.iter().any(|resource| {
        resource == "*"
            || resource == wanted
            || resource
                .strip_prefix("*/")
                .is_some_and(|sub| wanted.split_once('/').is_some_and(|w| w.1 == sub))
    })
}

fn url_covers(held: &[String], wanted: &str) -> bool {
    held.iter()
        .any(|url| url == wanted || url.strip_suffix('*').is_some_and(|prefix| wanted.starts_with(prefix)))
}

/// Rules that differ in their verbs alone become one.
fn compact(atoms: Vec<Rule>) -> Vec<Rule> {
    let mut merged: BTreeMap<[Vec<String>; 4], Vec<String>> = BTreeMap::new();
    for atom in atoms {
        let key = [atom.api_groups, atom.resources, atom.non_resource_urls, atom.resource_names];
        let verbs = merged.entry(key).or_default();
        verbs.extend(atom.verbs.into_iter().filter(|verb| !verbs.contains(verb)).collect::<Vec<_>>());
    }
    merged
        .into_iter()
        .map(|([api_groups, resources, non_resource_urls, resource_names], verbs)| Rule {
            verbs,
            api_groups,
            resources,
            resource_names,
            non_resource_urls,
        })
        .collect()
}

fn shown(rule: &Rule) -> String {
    let parts = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ];
    let list = |items: &[String]| items.iter().map(|item| quote(item)).collect::<Vec<_>>().join(" ");
    let parts: Vec<String> = parts
        .iter()
        .filter(|(_, items)| !items.is_empty())
        .map(|(name, items)| format!("{name}:[{}]", list(items)))
        .collect();
    format!("{{{}}}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &[&str], group: &str, resources: &[&str], names: &[&str]) -> Rule {
        let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        Rule {
            verbs: list(verbs),
            api_groups: vec![group.into()],
            resources: list(resources),
            resource_names: list(names),
            ..Rule::default()
        }
    }

    fn url(path: &str) -> Rule {
        Rule { verbs: vec!["get".into()], non_resource_urls: vec![path.into()], ..Rule::default() }
    }

    #[test]
    fn nobody_gives_what_they_do_not_hold() {
        for (held, given, lacking) in [
            (rule(&["get", "list"], "", &["pods"], &[]), rule(&["get"], "", &["pods"], &[]), &[][..]),
            (rule(&["*"], "*", &["*"], &[]), rule(&["get", "x"], "apps", &["a", "b/c"], &["n"]), &[]),
            (rule(&["get"], "", &["*/scale"], &[]), rule(&["get"], "", &["pods/scale"], &[]), &[]),
            (rule(&["get"], "", &["pods"], &["a", "b"]), rule(&["get"], "", &["pods"], &["a"]), &[]),
            (
                rule(&["get"], "", &["pods"], &["a"]),
                rule(&["get"], "", &["pods"], &[]),
                &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["get"]}"#],
            ),
            (
                rule(&["get"], "", &["pods"], &[]),
                rule(&["get", "list", "watch"], "", &["pods", "secrets"], &[]),
                &[
                    r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}"#,
                    r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list" "watch"]}"#,
                ],
            ),
            (
                rule(&["get"], "apps", &["*"], &[]),
                rule(&["get"], "", &["pods"], &["a"]),
                &[r#"{APIGroups:[""], Resources:["pods"], ResourceNames:["a"], Verbs:["get"]}"#],
            ),
            (url("/api/*"), url("/api/v1"), &[]),
            (url("/api"), url("/apis"), &[r#"{NonResourceURLs:["/apis"], Verbs:["get"]}"#]),
        ] {
            assert_eq!(missing(&[&held], std::slice::from_ref(&given)), lacking, "{held:?} {given:?}");
        }
    }
}
