//! Which objects a list or watch shows.

use std::borrow::Cow;

use api::kind::Kind;
use api::path::{ListOptions, RequestInfo};
use api::selector::{FieldSelector, LabelSelector};
use api::status::Status;

use crate::object::Object;

/// Namespace, labels and fields that an object must have.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Empty: all.
    pub namespace: String,
    /// Empty: all. The name that the request was authorized for.
    name: String,
    labels: LabelSelector,
    /// The selector with the path in the stored form of each of its labels.
    fields: FieldSelector,
    paths: Vec<(String, Cow<'static, str>)>,
}

impl Selection {
    /// What a request about a collection selects, never more than the name in its path. Refuses field labels that
    /// the kind does not offer.
    pub fn new(kind: &Kind, info: &RequestInfo, options: &ListOptions) -> Result<Selection, Status> {
        let mut paths = Vec::new();
        for requirement in options.field_selector.requirements() {
            let selectable = kind
                .field_label(&requirement.field)
                .map_err(|error| Status::bad_request(error.to_string()))?;
            paths.push((requirement.field.clone(), selectable.path));
        }
        Ok(Selection {
            // A namespace lies in itself by its path, and in none by its key.
            namespace: if kind.namespaced { info.namespace.clone() } else { String::new() },
            name: info.name.clone(),
            labels: options.label_selector.clone(),
            fields: options.field_selector.clone(),
            paths,
        })
    }

    /// Whether every object of the namespace is shown.
    pub fn is_everything(&self) -> bool {
        self.name.is_empty() && self.labels.is_everything() && self.fields.is_everything()
    }

    /// Whether an object is shown.
    pub fn shows(&self, object: &Object) -> bool {
        (self.namespace.is_empty() || object.namespace() == self.namespace)
            && (self.name.is_empty() || object.name() == self.name)
            && self.matches(object)
    }

    fn matches(&self, object: &Object) -> bool {
        if self.is_everything() {
            return true;
        }
        let field = |label: &str| {
            let path = self.paths.iter().find(|(known, _)| known == label).map_or("", |(_, path)| &**path);
            Cow::Borrowed(match path {
                "metadata.name" => object.name(),
                "metadata.namespace" => object.namespace(),
                path => object.field(path),
            })
        };
        self.labels.matches(&object.labels) && self.fields.matches(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::kind::Registry;
    use api::path::Query;

    #[test]
    fn a_name_in_the_path_selects_that_name_alone() {
        let secrets = Registry::builtin().by_resource("", "v1", "secrets").unwrap();
        let object = |key: &str| Object::for_tests(key, &serde_json::Value::Null);
        for (path, key, shown) in [
            ("/api/v1/watch/namespaces/x/secrets/a", "x/a", true),
            ("/api/v1/watch/namespaces/x/secrets/a", "x/b", false),
            ("/api/v1/watch/namespaces/x/secrets/a", "y/a", false),
            ("/api/v1/watch/namespaces/x/secrets", "x/b", true),
        ] {
            let query = Query::parse("");
            let info = RequestInfo::parse("GET", path, &query).unwrap();
            let options = ListOptions::parse(&query).unwrap();
            let selection = Selection::new(secrets, &info, &options).unwrap();
            assert_eq!(selection.shows(&object(key)), shown, "{path} {key}");
        }
    }
}
