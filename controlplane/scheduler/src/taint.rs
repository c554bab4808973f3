//! Taints of nodes and the tolerations of pods.

use serde_json::Value;

/// What a taint does to pods that do not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    pub key: String,
    pub value: String,
    pub effect: Effect,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toleration {
    /// Empty: every key.
    key: String,
    /// `None`: every value.
    value: Option<String>,
    /// `None`: every effect.
    effect: Option<Effect>,
}

impl Effect {
    fn read(text: &str) -> Option<Effect> {
        match text {
            "NoSchedule" => Some(Effect::NoSchedule),
            "PreferNoSchedule" => Some(Effect::PreferNoSchedule),
            "NoExecute" => Some(Effect::NoExecute),
            _ => None,
        }
    }
}

impl Taint {
    /// `spec.taints` of a node.
    pub fn read_all(taints: &Value) -> Vec<Taint> {
        let one = |taint: &Value| {
            let effect = Effect::read(text(taint, "effect"))?;
            Some(Taint { key: text(taint, "key").to_owned(), value: text(taint, "value").to_owned(), effect })
        };
        taints.as_array().into_iter().flatten().filter_map(one).collect()
    }

    pub fn repels(&self) -> bool {
        self.effect != Effect::PreferNoSchedule
    }

    pub fn is_tolerated(&self, tolerations: &[Toleration]) -> bool {
        tolerations.iter().any(|toleration| toleration.covers(self))
    }
}

impl Toleration {
    /// `spec.tolerations` of a pod.
    pub fn read_all(tolerations: &Value) -> Vec<Toleration> {
        let one = |toleration: &Value| {
            let value = match text(toleration, "operator") {
                "" | "Equal" => Some(text(toleration, "value").to_owned()),
                "Exists" => None,
                // An operator of a later release tolerates nothing here.
                _ => return None,
            };
            let effect = match text(toleration, "effect") {
                "" => None,
                effect => Some(Effect::read(effect)?),
            };
            Some(Toleration { key: text(toleration, "key").to_owned(), value, effect })
        };
        tolerations.as_array().into_iter().flatten().filter_map(one).collect()
    }

    fn covers(&self, taint: &Taint) -> bool {
        (self.key.is_empty() || self.key == taint.key)
            && self.value.as_ref().is_none_or(|value| *value == taint.value)
            && self.effect.is_none_or(|effect| effect == taint.effect)
    }
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(toleration: Value, expect: bool) {
        let taint = &Taint::read_all(&json!([{"key": "a", "value": "b", "effect": "NoSchedule"}]))[0];
        assert_eq!(taint.is_tolerated(&Toleration::read_all(&json!([toleration]))), expect, "{toleration}");
    }

    #[test]
    fn tolerations() {
        check(json!({"key": "a", "value": "b", "effect": "NoSchedule"}), true);
        check(json!({"key": "a", "operator": "Equal", "value": "b"}), true);
        check(json!({"key": "a", "operator": "Exists"}), true);
        check(json!({"operator": "Exists"}), true);
        check(json!({"key": "a", "value": "c"}), false);
        check(json!({"key": "c", "operator": "Exists"}), false);
        check(json!({"key": "a", "operator": "Exists", "effect": "NoExecute"}), false);
        check(json!({"key": "a", "operator": "Gt", "value": "1"}), false);
    }
}
