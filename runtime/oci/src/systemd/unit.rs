//! Names of units: `slice:prefix:name` in `cgroupsPath`, as runc reads it.
//!
//! Reference: systemd.unit(5), systemd.slice(5).

/// What systemd takes.
const NAME_BYTES_MAX: usize = 255;
const DEFAULT_SLICE: &str = "system.slice";
/// In the place of a prefix nobody gave: so that tools that look for runc's units find ours.
const DEFAULT_PREFIX: &str = "runc";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    slice: String,
    name: String,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error(
        "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"{0}\" instead"
    )]
    Format(String),
    #[error("`{0}` is not the name of a systemd slice: words joined by single dashes, then `.slice`")]
    Slice(String),
    #[error(
        "`{0}` is not the name of a systemd unit: letters, digits, `:`, `-`, `_`, `.` and `\\`, at most 255"
    )]
    Name(String),
}

impl Unit {
    /// The unit of a container. An empty path is one of its own below system.slice.
    pub fn of_container(path: &str, id: &str) -> Result<Unit, UnitError> {
        let parts: Vec<&str> = path.split(':').collect();
        let (slice, prefix, name) = match parts[..] {
            [""] => ("", DEFAULT_PREFIX, id),
            [slice, prefix, name] => (slice, prefix, name),
            _ => return Err(UnitError::Format(path.to_owned())),
        };
        let slice = if slice.is_empty() { DEFAULT_SLICE } else { slice };
        let name = if name.ends_with(".slice") { name.to_owned() } else { format!("{prefix}-{name}.scope") };
        check_slice(slice)?;
        check_name(&name)?;
        if name.ends_with(".slice") {
            check_slice(&name)?;
        }
        Ok(Unit { slice: slice.to_owned(), name })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn slice(&self) -> &str {
        &self.slice
    }

    /// A slice holds units, not processes of its own.
    pub fn is_slice(&self) -> bool {
        self.name.ends_with(".slice")
    }

    /// Where systemd makes its cgroup, below the mount.
    pub fn cgroup(&self) -> String {
        if self.is_slice() { expand(&self.name) } else { format!("{}/{}", expand(&self.slice), self.name) }
            .trim_start_matches('/')
            .to_owned()
    }
}

/// A slice's name says where it is: `a-b.slice` lies in `a.slice`. The root is `-.slice`.
fn expand(slice: &str) -> String {
    let words = slice.trim_end_matches(".slice");
    if words == "-" {
        return String::new();
    }
    let ends = words.match_indices('-').map(|(at, _)| at).chain([words.len()]);
    ends.map(|end| format!("{}.slice", &words[..end])).collect::<Vec<_>>().join("/")
}

fn check_slice(slice: &str) -> Result<(), UnitError> {
    let words = slice.strip_suffix(".slice").filter(|words| !words.is_empty());
    let good = words.is_some_and(|words| words == "-" || words.split('-').all(|word| !word.is_empty()));
    if good && check_name(slice).is_ok() { Ok(()) } else { Err(UnitError::Slice(slice.to_owned())) }
}

fn check_name(name: &str) -> Result<(), UnitError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ":-_.\\".contains(c);
    if name.len() <= NAME_BYTES_MAX && name.chars().all(plain) {
        return Ok(());
    }
    Err(UnitError::Name(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_paths() {
        for (path, expect) in [
            ("system.slice:runc:web", Some(("runc-web.scope", "system.slice/runc-web.scope"))),
            (
                "machine-a-b.slice:libpod:0f",
                Some(("libpod-0f.scope", "machine.slice/machine-a.slice/machine-a-b.slice/libpod-0f.scope")),
            ),
            ("", Some(("runc-id.scope", "system.slice/runc-id.scope"))),
            (":cri:x", Some(("cri-x.scope", "system.slice/cri-x.scope"))),
            ("-.slice:cri:x", Some(("cri-x.scope", "cri-x.scope"))),
            ("a.slice:p:a-x.slice", Some(("a-x.slice", "a.slice/a-x.slice"))),
            ("/kubepods/x", None),
            ("a:b", None),
            ("a:b:c:d", None),
            ("nosuffix:b:c", None),
            ("a--b.slice:b:c", None),
            ("-a.slice:b:c", None),
            (".slice:b:c", None),
            ("../x.slice:b:c", None),
            ("a.slice:b:../c", None),
        ] {
            let unit = Unit::of_container(path, "id");
            let found = unit.as_ref().ok().map(|unit| (unit.name().to_owned(), unit.cgroup()));
            let expect = expect.map(|(name, cgroup)| (name.to_owned(), cgroup.to_owned()));
            assert_eq!(found, expect, "{path}: {unit:?}");
        }
    }

    #[test]
    fn the_format_is_told_in_runcs_words() {
        let error = Unit::of_container("/a/b", "x").unwrap_err().to_string();
        assert!(error.contains("expected cgroupsPath to be of format \"slice:prefix:name\""), "{error}");
    }
}
