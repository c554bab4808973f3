//! Volumes, claims, their classes, drivers and attachments.
//!
//! Not sources of a pod's volumes (`pod`), nor devices (`devices`).
//! Reference: `pkg/apis/storage/validation` and the volumes of `pkg/apis/core/validation`, by behaviour.

mod claim;
mod class;
mod driver;
mod source;
mod volume;

pub(super) use claim::{claim, claim_spec, claim_status, claim_update};
pub(super) use class::{attributes_class, attributes_class_update, class, class_update};
pub(super) use driver::{
    attachment, attachment_status, attachment_update, capacity, capacity_update, csi_node, csi_node_update,
    driver, driver_name, driver_update,
};
pub(super) use volume::{volume, volume_update};

use serde_json::Value;

use super::fields::{Fields, parse_quantity};
use super::report::{NOT_POSITIVE, Report};
use crate::field::Path;

const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];

/// How a volume may be accessed; `missing` is said where nothing is.
fn modes(report: &mut Report, of: &Value, path: &Path, missing: &str) {
    if of.list("accessModes").is_empty() {
        report.required(path, missing);
    }
    known_modes(report, of, path);
}

fn known_modes(report: &mut Report, of: &Value, path: &Path) {
    for mode in of.texts("accessModes").filter(|mode| !MODES.contains(mode)) {
        report.not_supported(path, mode, MODES);
    }
    let has = |wanted: &dyn Fn(&str) -> bool| of.texts("accessModes").any(wanted);
    let alone = |mode: &str| mode == "ReadWriteOncePod";
    if has(&alone) && has(&|mode| MODES.contains(&mode) && !alone(mode)) {
        report.forbidden(path, "may not use ReadWriteOncePod with other access modes");
    }
}

fn class_name(report: &mut Report, of: &Value, name: &str, path: &Path) {
    if !of.text(name).is_empty() {
        report.dns_subdomain(&path.child(name), of.text(name));
    }
}

fn volume_mode(report: &mut Report, spec: &Value, path: &Path) {
    let mode = spec.text("volumeMode");
    if spec.part("volumeMode").is_some() && !VOLUME_MODES.contains(&mode) {
        report.not_supported(&path.child("volumeMode"), mode, VOLUME_MODES);
    }
}

/// An amount that may be zero.
fn basic_amount(report: &mut Report, amount: &Value, path: &Path) {
    if let Some(amount) = parse_quantity(amount).filter(|amount| amount.sign() < 0) {
        report.invalid(path, amount.units(), "must be a valid resource quantity");
    }
}

fn positive_amount(report: &mut Report, amount: &Value, path: &Path) {
    if let Some(amount) = parse_quantity(amount).filter(|amount| amount.sign() <= 0) {
        report.invalid(path, amount.to_string(), NOT_POSITIVE);
    }
}
