//! Cluster addresses and IP families of a Service, and how they may change: a second one may come and go, the first stays.

use std::collections::HashSet;

use serde_json::Value;

use super::super::address;
use super::super::fields::{Fields, items};
use super::super::report::Report;
use super::is_headless;
use crate::field::Path;

const FAMILIES: &[&str] = &["IPv4", "IPv6"];
const FAMILY_POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
const ADDRESSES_MAX: usize = 2;
const SET: &str = "may not change once set";

pub(super) fn check(report: &mut Report, spec: &Value, path: &Path) {
    if spec.text("type") == "ExternalName" {
        return;
    }
    let (all, list) = (path.child("clusterIPs"), spec.list("clusterIPs"));
    let first = spec.text("clusterIP");
    match (first.is_empty(), list.first()) {
        (false, None) => report.required(&all, ""),
        (false, Some(listed)) if listed != first => {
            report.invalid(&all, spec["clusterIPs"].clone(), "first value must match `clusterIP`");
        }
        (true, Some(_)) => {
            let why = "must be empty when `clusterIP` is not specified";
            report.invalid(&all, spec["clusterIPs"].clone(), why);
        }
        _ => {}
    }
    families(report, spec, path);
    if !addresses(report, spec, &all) {
        return;
    }
    if list.len() > 1 && !address::is_dual_stack(spec.texts("clusterIPs")) {
        let why = "may specify no more than one IP for each IP family";
        report.invalid(&all, spec["clusterIPs"].clone(), why);
    }
    if is_headless(spec) {
        return;
    }
    for (index, (ip, family)) in spec.texts("clusterIPs").zip(spec.texts("ipFamilies")).enumerate() {
        let v6 = address::sloppy(ip).is_some_and(|address| address.is_ipv6());
        if FAMILIES.contains(&family) && v6 != (family == "IPv6") {
            let why = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            report.invalid(&all.index(index), ip, why);
        }
    }
}

fn families(report: &mut Report, spec: &Value, path: &Path) {
    let mut seen = HashSet::new();
    for (path, family) in items(spec, "ipFamilies", path) {
        let family = family.as_str().unwrap_or_default();
        if !FAMILIES.contains(&family) {
            report.not_supported(&path, family, FAMILIES);
        }
        if !seen.insert(family) {
            report.duplicate(&path, family);
        }
    }
    if let Some(policy) = spec.part("ipFamilyPolicy").and_then(Value::as_str)
        && !FAMILY_POLICIES.contains(&policy)
    {
        report.not_supported(&path.child("ipFamilyPolicy"), policy, FAMILY_POLICIES);
    }
}

/// Whether every address is one, or the only one is `None`.
fn addresses(report: &mut Report, spec: &Value, path: &Path) -> bool {
    let count = spec.list("clusterIPs").len();
    let mut fine = true;
    for (index, ip) in spec.texts("clusterIPs").enumerate() {
        if index == 0 && ip == "None" {
            if count > 1 {
                fine = false;
                let why = "'None' must be the first and only value";
                report.invalid(path, spec["clusterIPs"].clone(), why);
            }
            continue;
        }
        let before = report.len();
        address::ip(report, &path.index(index), ip);
        fine &= report.len() == before;
    }
    if count > ADDRESSES_MAX {
        report.invalid(path, spec["clusterIPs"].clone(), "may only hold up to 2 values");
    }
    fine
}

pub(super) fn update(report: &mut Report, new: &Value, old: &Value, path: &Path) {
    if new.text("type") == "ExternalName" || old.text("type") == "ExternalName" {
        return;
    }
    let (headless, was_headless) = (is_headless(new), is_headless(old));
    if !(headless && was_headless) {
        changed_addresses(report, new, old, path);
    }
    if !headless && !was_headless {
        changed_families(report, new, old, path);
    }
}

fn changed_addresses(report: &mut Report, new: &Value, old: &Value, path: &Path) {
    let (all, value) = (path.child("clusterIPs"), &new["clusterIPs"]);
    let (after, before) = (new.list("clusterIPs"), old.list("clusterIPs"));
    if after.len() == before.len() {
        for (index, (after, before)) in after.iter().zip(before).enumerate() {
            if after != before {
                report.invalid(&all.index(index), value.clone(), SET);
            }
        }
        return;
    }
    let shrinks = after.len() < before.len();
    if shrinks && after.is_empty() {
        report.invalid(&all.index(0), value.clone(), "primary clusterIP can not be unset");
    }
    if let (Some(after), Some(before)) = (after.first(), before.first())
        && after != before
    {
        report.invalid(&all.index(0), value.clone(), SET);
    }
    if shrinks && after.len() == 1 {
        released(report, new, "clusterIP", path);
    }
}

fn changed_families(report: &mut Report, new: &Value, old: &Value, path: &Path) {
    let first = path.child("ipFamilies").index(0);
    let (after, before) = (new.list("ipFamilies"), old.list("ipFamilies"));
    if after.len() == before.len() {
        if after != before {
            report.invalid(&first, new["ipFamilies"].clone(), SET);
        }
        return;
    }
    let shrinks = after.len() < before.len();
    if shrinks && new.list("clusterIPs").is_empty() {
        report.invalid(&first, new["ipFamilies"].clone(), "primary ipFamily can not be unset");
    }
    if let (Some(after), Some(before)) = (after.first(), before.first())
        && after != before
    {
        // The addresses as the bad value are upstream's.
        report.invalid(&first, new["clusterIPs"].clone(), SET);
    }
    if shrinks && after.len() == 1 {
        released(report, new, "ipFamily", path);
    }
}

/// Giving up the second address takes a policy that says so.
fn released(report: &mut Report, new: &Value, what: &str, path: &Path) {
    if new.text("ipFamilyPolicy") != "SingleStack" {
        let policy = new["ipFamilyPolicy"].clone();
        let why = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        report.invalid(&path.child("ipFamilyPolicy"), policy, why);
    }
}
