//! The options of each verb, from the query or (delete) from the body.
//!
//! Not what they do. Errors are finished `Status`es in upstream's words, because a bad option is the answer.

use serde_json::Value;

use super::Query;
use crate::field::{FieldError, quote};
use crate::selector::{FieldSelector, LabelSelector};
use crate::status::{Qualified, Status};

/// Longest `fieldManager`.
const FIELD_MANAGER_MAX: usize = 128;

/// How `resourceVersion` binds a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionMatch {
    Exact,
    NotOlderThan,
}

/// What to do about unknown and doubled fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// Options of list, watch and deletecollection.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    pub label_selector: LabelSelector,
    pub field_selector: FieldSelector,
    pub watch: bool,
    pub allow_watch_bookmarks: bool,
    /// Empty means unset; `0` means anything.
    pub resource_version: String,
    pub resource_version_match: Option<VersionMatch>,
    pub timeout_seconds: Option<i64>,
    pub limit: i64,
    pub continue_token: String,
    pub send_initial_events: Option<bool>,
}

impl ListOptions {
    pub fn parse(query: &Query) -> Result<ListOptions, Status> {
        let label_selector = LabelSelector::parse(query.get("labelSelector").unwrap_or_default())
            .map_err(|error| Status::bad_request(error.to_string()))?;
        let field_selector = FieldSelector::parse(query.get("fieldSelector").unwrap_or_default())
            .map_err(|error| Status::bad_request(error.to_string()))?;
        let match_text = query.get("resourceVersionMatch").unwrap_or_default();
        let options = ListOptions {
            label_selector,
            field_selector,
            watch: query.flag("watch"),
            allow_watch_bookmarks: query.flag("allowWatchBookmarks"),
            resource_version: query.get("resourceVersion").unwrap_or_default().to_owned(),
            resource_version_match: match match_text {
                "Exact" => Some(VersionMatch::Exact),
                "NotOlderThan" => Some(VersionMatch::NotOlderThan),
                _ => None,
            },
            timeout_seconds: query.get("timeoutSeconds").map(integer).transpose()?,
            limit: query.get("limit").map(integer).transpose()?.unwrap_or_default(),
            continue_token: query.get("continue").unwrap_or_default().to_owned(),
            send_initial_events: query.has("sendInitialEvents").then(|| query.flag("sendInitialEvents")),
        };
        let errors =
            if options.watch { options.watch_errors(match_text) } else { options.list_errors(match_text) };
        refuse("ListOptions", errors)?;
        Ok(options)
    }

    /// The revision as a number: `None` when unset.
    pub fn revision(&self) -> Result<Option<u64>, Status> {
        if self.resource_version.is_empty() {
            return Ok(None);
        }
        self.resource_version.parse().map(Some).map_err(|_| {
            let why = format!("strconv.ParseUint: parsing {}: invalid syntax", quote(&self.resource_version));
            Status::bad_request(format!("Invalid value: {}: {why}", quote(&self.resource_version)))
        })
    }

    fn list_errors(&self, match_text: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let field = "resourceVersionMatch";
        if !match_text.is_empty() {
            if self.resource_version.is_empty() {
                errors.push(FieldError::forbidden(
                    field,
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                ));
            }
            if !self.continue_token.is_empty() {
                errors.push(FieldError::forbidden(
                    field,
                    "resourceVersionMatch is forbidden when continue is provided",
                ));
            }
            if self.resource_version_match.is_none() {
                errors.push(FieldError::not_supported(field, match_text, &["Exact", "NotOlderThan", ""]));
            }
            if self.resource_version_match == Some(VersionMatch::Exact) && self.resource_version == "0" {
                let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                errors.push(FieldError::forbidden(field, why));
            }
        }
        if self.send_initial_events.is_some() {
            errors
                .push(FieldError::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        errors
    }

    fn watch_errors(&self, match_text: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let field = "resourceVersionMatch";
        let not_older = self.resource_version_match == Some(VersionMatch::NotOlderThan);
        if self.send_initial_events.is_some() && !not_older {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(FieldError::forbidden(field, why));
        }
        if !match_text.is_empty() {
            if self.send_initial_events.is_none() {
                let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                errors.push(FieldError::forbidden(field, why));
            }
            if !not_older {
                errors.push(FieldError::not_supported(field, match_text, &["NotOlderThan"]));
            }
            if !self.continue_token.is_empty() {
                errors.push(FieldError::forbidden(
                    field,
                    "resourceVersionMatch is forbidden when continue is provided",
                ));
            }
        }
        errors
    }
}

/// Options of create; [`UpdateOptions`] has the same fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateOptions {
    pub dry_run: bool,
    pub field_manager: String,
    pub field_validation: FieldValidation,
}

/// Options of update.
pub type UpdateOptions = CreateOptions;

impl CreateOptions {
    pub fn parse(query: &Query) -> Result<CreateOptions, Status> {
        Self::parse_as("CreateOptions", query)
    }

    pub fn parse_update(query: &Query) -> Result<UpdateOptions, Status> {
        Self::parse_as("UpdateOptions", query)
    }

    fn parse_as(kind: &str, query: &Query) -> Result<CreateOptions, Status> {
        let mut errors = manager_errors(query);
        errors.extend(dry_run_errors(query));
        let field_validation = field_validation(query, &mut errors);
        refuse(kind, errors)?;
        Ok(CreateOptions { dry_run: query.has("dryRun"), field_manager: manager(query), field_validation })
    }
}

/// Options of patch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatchOptions {
    pub dry_run: bool,
    pub field_manager: String,
    pub field_validation: FieldValidation,
    /// Apply only: take fields from their owners.
    pub force: bool,
}

impl PatchOptions {
    /// `apply` says that the body is an apply patch: it needs a manager, and only it may force.
    pub fn parse(query: &Query, apply: bool) -> Result<PatchOptions, Status> {
        let mut errors = Vec::new();
        if apply {
            if manager(query).is_empty() {
                errors.push(FieldError::required("fieldManager", "is required for apply patch"));
            }
        } else if query.has("force") {
            errors.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
        }
        errors.extend(manager_errors(query));
        errors.extend(dry_run_errors(query));
        let field_validation = field_validation(query, &mut errors);
        refuse("PatchOptions", errors)?;
        Ok(PatchOptions {
            dry_run: query.has("dryRun"),
            field_manager: manager(query),
            field_validation,
            force: query.flag("force"),
        })
    }
}

/// What becomes of dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// What must hold for a delete (or a binding, or a token) to happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

/// Options of delete and deletecollection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
    /// The deprecated boolean; `propagation` wins over nothing, both together are refused.
    pub orphan_dependents: Option<bool>,
    pub preconditions: Preconditions,
    pub dry_run: bool,
    pub ignore_store_read_error: bool,
}

impl DeleteOptions {
    /// From the query, when the request has no body.
    pub fn parse(query: &Query) -> Result<DeleteOptions, Status> {
        let mut errors = dry_run_errors(query);
        let propagation = propagation(query.get("propagationPolicy").unwrap_or_default(), &mut errors);
        let options = DeleteOptions {
            grace_period_seconds: query.get("gracePeriodSeconds").map(integer).transpose()?,
            propagation,
            orphan_dependents: query.has("orphanDependents").then(|| query.flag("orphanDependents")),
            preconditions: Preconditions {
                uid: query.get("preconditions.uid").map(str::to_owned),
                resource_version: query.get("preconditions.resourceVersion").map(str::to_owned),
            },
            dry_run: query.has("dryRun"),
            ignore_store_read_error: query.flag("ignoreStoreReadErrorWithClusterBreakingPotential"),
        };
        options.check(errors)
    }

    /// From a decoded `DeleteOptions` body.
    pub fn from_body(body: &Value) -> Result<DeleteOptions, Status> {
        let mut errors = Vec::new();
        let text = |at: &Value| at.as_str().map(str::to_owned);
        let dry_run: Vec<&str> =
            body["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if dry_run.iter().any(|value| *value != "All") {
            errors.push(FieldError::not_supported("dryRun", body["dryRun"].clone(), &["All"]));
        }
        let options = DeleteOptions {
            grace_period_seconds: body["gracePeriodSeconds"].as_i64(),
            propagation: propagation(body["propagationPolicy"].as_str().unwrap_or_default(), &mut errors),
            orphan_dependents: body["orphanDependents"].as_bool(),
            preconditions: Preconditions {
                uid: text(&body["preconditions"]["uid"]),
                resource_version: text(&body["preconditions"]["resourceVersion"]),
            },
            dry_run: !dry_run.is_empty(),
            ignore_store_read_error: body["ignoreStoreReadErrorWithClusterBreakingPotential"] == true,
        };
        options.check(errors)
    }

    fn check(self, mut errors: Vec<FieldError>) -> Result<DeleteOptions, Status> {
        if self.propagation.is_some() && self.orphan_dependents.is_some() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid("propagationPolicy", self.propagation_text(), why));
        }
        if self.grace_period_seconds.is_some_and(|seconds| seconds < 0) {
            let seconds = self.grace_period_seconds.unwrap_or_default();
            errors.push(FieldError::invalid(
                "gracePeriodSeconds",
                seconds,
                "must be greater than or equal to 0",
            ));
        }
        refuse("DeleteOptions", errors)?;
        Ok(self)
    }

    fn propagation_text(&self) -> &'static str {
        match self.propagation {
            None => "",
            Some(Propagation::Orphan) => "Orphan",
            Some(Propagation::Background) => "Background",
            Some(Propagation::Foreground) => "Foreground",
        }
    }
}

fn propagation(text: &str, errors: &mut Vec<FieldError>) -> Option<Propagation> {
    match text {
        "" => None,
        "Orphan" => Some(Propagation::Orphan),
        "Background" => Some(Propagation::Background),
        "Foreground" => Some(Propagation::Foreground),
        other => {
            let known = ["Foreground", "Background", "Orphan", "nil"];
            errors.push(FieldError::not_supported("propagationPolicy", other, &known));
            None
        }
    }
}

fn manager(query: &Query) -> String {
    query.get("fieldManager").unwrap_or_default().to_owned()
}

fn manager_errors(query: &Query) -> Vec<FieldError> {
    let manager = query.get("fieldManager").unwrap_or_default();
    let mut errors = Vec::new();
    if manager.len() > FIELD_MANAGER_MAX {
        errors.push(FieldError::too_long("fieldManager", FIELD_MANAGER_MAX));
    }
    if let Some((at, _)) = manager.char_indices().find(|(_, c)| c.is_control()) {
        let why =
            format!("should only contain printable characters, but found an invalid one at position {at}");
        errors.push(FieldError::invalid("fieldManager", manager, why));
    }
    errors
}

fn dry_run_errors(query: &Query) -> Vec<FieldError> {
    let values: Vec<&str> = query.all("dryRun").collect();
    if values.iter().all(|value| *value == "All") {
        return Vec::new();
    }
    vec![FieldError::not_supported("dryRun", values, &["All"])]
}

fn field_validation(query: &Query, errors: &mut Vec<FieldError>) -> FieldValidation {
    match query.get("fieldValidation").unwrap_or_default() {
        "" | "Warn" => FieldValidation::Warn,
        "Ignore" => FieldValidation::Ignore,
        "Strict" => FieldValidation::Strict,
        other => {
            errors.push(FieldError::not_supported("fieldValidation", other, &["Ignore", "Warn", "Strict"]));
            FieldValidation::Strict
        }
    }
}

/// An integer in a query, with the sentence of Go's parser.
fn integer(text: &str) -> Result<i64, Status> {
    text.parse().map_err(|error: std::num::ParseIntError| {
        let why = match error.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        Status::bad_request(format!("strconv.ParseInt: parsing {}: {why}", quote(text)))
    })
}

fn refuse(kind: &str, errors: Vec<FieldError>) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(Qualified { group: "meta.k8s.io", name: kind }, "", &errors))
}
