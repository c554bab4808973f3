//! Who asks.

use std::collections::BTreeMap;

/// An authenticated user as authorizers and admission see one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// `system:anonymous` where nobody is known.
    pub name: String,
    /// Empty for users who have none.
    pub uid: String,
    /// Groups, `system:authenticated` or `system:unauthenticated` included.
    pub groups: Vec<String>,
    /// Further attributes, such as the credential's id.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Whether the user is in a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|member| member == group)
    }

    /// The user that requests without credentials get.
    pub fn anonymous() -> User {
        User {
            name: "system:anonymous".into(),
            groups: vec!["system:unauthenticated".into()],
            ..User::default()
        }
    }
}
