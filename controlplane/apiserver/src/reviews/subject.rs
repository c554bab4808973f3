//! SelfSubjectReview: who am I.

use serde_json::{Map, Value, json};

use crate::user::User;

/// The status: the user as the API sees one.
pub(super) fn status(user: &User) -> Value {
    json!({"userInfo": info(user)})
}

/// A `UserInfo`.
pub(super) fn info(user: &User) -> Value {
    let mut info = Map::new();
    info.insert("username".into(), user.name.clone().into());
    if !user.uid.is_empty() {
        info.insert("uid".into(), user.uid.clone().into());
    }
    if !user.groups.is_empty() {
        info.insert("groups".into(), json!(user.groups));
    }
    if !user.extra.is_empty() {
        info.insert("extra".into(), json!(user.extra));
    }
    Value::Object(info)
}
