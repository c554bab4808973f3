//! Reading JSON with the way to each value in hand, so that an error can name it.

use std::str::FromStr;

use serde_json::Value;

/// Longest part of a wrong value that an error repeats.
const SHOWN_BYTES: usize = 80;

/// A value inside a document, and where it stands.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    path: String,
    value: &'a Value,
}

/// A document does not have the shape that the specification gives it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("not JSON: {0}")]
    NotJson(String),
    #[error("{field} is missing: expected {expected}")]
    Missing { field: String, expected: String },
    #[error("{field} is {got}: expected {expected}")]
    Wrong { field: String, got: String, expected: String },
}

impl<'a> Field<'a> {
    /// The document itself.
    #[must_use]
    pub fn root(value: &'a Value) -> Field<'a> {
        Field { path: String::new(), value }
    }

    #[must_use]
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// A member that is there and not null.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Field<'a>> {
        let value = self.value.get(name).filter(|value| !value.is_null())?;
        Some(Field { path: self.below(name), value })
    }

    pub fn need(&self, name: &str, expected: &str) -> Result<Field<'a>, Misfit> {
        let missing = || Misfit::Missing { field: self.below(name), expected: expected.to_owned() };
        self.get(name).ok_or_else(missing)
    }

    /// This value is not what `expected` describes.
    #[must_use]
    pub fn wrong(&self, expected: impl Into<String>) -> Misfit {
        let mut got = self.value.to_string();
        if got.len() > SHOWN_BYTES {
            let end = (0..=SHOWN_BYTES).rev().find(|at| got.is_char_boundary(*at)).unwrap_or(0);
            got.truncate(end);
            got.push_str("...");
        }
        let field = if self.path.is_empty() { "the document".to_owned() } else { self.path.clone() };
        Misfit::Wrong { field, got, expected: expected.into() }
    }

    pub fn text(&self) -> Result<&'a str, Misfit> {
        self.value.as_str().ok_or_else(|| self.wrong("a string"))
    }

    pub fn flag(&self) -> Result<bool, Misfit> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    /// A whole number that fits `T`.
    pub fn number<T: TryFrom<u64>>(&self) -> Result<T, Misfit> {
        let number = self.value.as_u64().and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| self.wrong(format!("a whole number that fits {} bits", size_of::<T>() * 8)))
    }

    /// A string with the syntax of `T`.
    pub fn parse<T: FromStr>(&self, expected: &str) -> Result<T, Misfit> {
        self.text()?.parse().map_err(|_| self.wrong(expected))
    }

    pub fn list(&self) -> Result<Vec<Field<'a>>, Misfit> {
        let items = self.value.as_array().ok_or_else(|| self.wrong("a list"))?;
        let at = |(k, value)| Field { path: format!("{}[{k}]", self.path), value };
        Ok(items.iter().enumerate().map(at).collect())
    }

    pub fn texts(&self) -> Result<Vec<String>, Misfit> {
        self.list()?.iter().map(|item| item.text().map(str::to_owned)).collect()
    }

    /// The object's members.
    pub fn object(&self) -> Result<&'a serde_json::Map<String, Value>, Misfit> {
        self.value.as_object().ok_or_else(|| self.wrong("an object"))
    }

    fn below(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

/// Parses a document.
pub(crate) fn document(bytes: &[u8]) -> Result<Value, Misfit> {
    serde_json::from_slice(bytes).map_err(|error| Misfit::NotJson(error.to_string()))
}

/// Optional members: `None` if absent, an error if wrong.
pub(crate) trait Maybe<'a> {
    fn and_read<T>(self, read: impl FnOnce(&Field<'a>) -> Result<T, Misfit>) -> Result<Option<T>, Misfit>;
}

impl<'a> Maybe<'a> for Option<Field<'a>> {
    fn and_read<T>(self, read: impl FnOnce(&Field<'a>) -> Result<T, Misfit>) -> Result<Option<T>, Misfit> {
        self.as_ref().map(read).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_name_field_and_value() {
        let value = json!({"ipam": {"ranges": [[{"subnet": "10.0.0.0/99"}]], "n": 70000}});
        let root = Field::root(&value);
        let ipam = root.get("ipam").unwrap();
        let ranges = ipam.get("ranges").unwrap().list().unwrap();
        let subnet = ranges[0].list().unwrap()[0].get("subnet").unwrap();
        let error = subnet.parse::<ipnet::IpNet>("a network such as 10.0.0.0/24").unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"ipam.ranges[0][0].subnet is "10.0.0.0/99": expected a network such as 10.0.0.0/24"#
        );
        assert_eq!(
            ipam.get("n").unwrap().number::<u16>().unwrap_err().to_string(),
            "ipam.n is 70000: expected a whole number that fits 16 bits"
        );
        assert_eq!(root.need("name", "a name").unwrap_err().to_string(), "name is missing: expected a name");
    }
}
