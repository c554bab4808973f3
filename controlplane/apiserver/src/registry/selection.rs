//! Which objects a list or watch shows.

use std::borrow::Cow;

use api::kind::Kind;
use api::path::ListOptions;
use api::selector::{FieldSelector, LabelSelector};
use api::status::Status;

use crate::object::Object;

/// Namespace, labels and fields that an object must have.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Empty: all.
    pub namespace: String,
    labels: LabelSelector,
    /// The selector with the path in the stored form of each of its labels.
    fields: FieldSelector,
    paths: Vec<(String, &'static str)>,
}

impl Selection {
    /// Refuses field labels that the kind does not offer.
    pub fn new(kind: &Kind, namespace: &str, options: &ListOptions) -> Result<Selection, Status> {
        let mut paths = Vec::new();
        for requirement in options.field_selector.requirements() {
            let selectable = kind
                .field_label(&requirement.field)
                .map_err(|error| Status::bad_request(error.to_string()))?;
            paths.push((requirement.field.clone(), selectable.path));
        }
        Ok(Selection {
            namespace: namespace.to_owned(),
            labels: options.label_selector.clone(),
            fields: options.field_selector.clone(),
            paths,
        })
    }

    /// Whether every object of the namespace is shown.
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// Whether an object is shown.
    pub fn shows(&self, object: &Object) -> bool {
        (self.namespace.is_empty() || object.namespace() == self.namespace) && self.matches(object)
    }

    fn matches(&self, object: &Object) -> bool {
        if self.is_everything() {
            return true;
        }
        let field = |label: &str| {
            let path = self.paths.iter().find(|(known, _)| known == label).map_or("", |(_, path)| *path);
            Cow::Borrowed(match path {
                "metadata.name" => object.name(),
                "metadata.namespace" => object.namespace(),
                path => object.field(path),
            })
        };
        self.labels.matches(&object.labels) && self.fields.matches(field)
    }
}
