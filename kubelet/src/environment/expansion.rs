//! `$(NAME)` in values, commands and arguments.
//!
//! `$$` stands for one `$`, so `$$(NAME)` is left alone; a reference to an unknown name stays as it is written.

/// Replaces each reference by what `lookup` makes of its name.
pub fn expand(text: &str, mut lookup: impl FnMut(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        rest = match after.chars().next() {
            None => {
                out.push('$');
                after
            }
            Some('$') => {
                out.push('$');
                &after[1..]
            }
            Some('(') => match after.find(')') {
                Some(end) => {
                    out.push_str(&lookup(&after[1..end]));
                    &after[end + 1..]
                }
                None => {
                    out.push_str("$(");
                    &after[1..]
                }
            },
            Some(other) => {
                out.push('$');
                out.push(other);
                &after[other.len_utf8()..]
            }
        };
    }
    out.push_str(rest);
    out
}

/// Expands over names and values; the last of a name counts.
pub fn expand_from(text: &str, environment: &[(String, String)]) -> String {
    expand(text, |name| match environment.iter().rev().find(|(known, _)| known == name) {
        Some((_, value)) => value.clone(),
        None => format!("$({name})"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_and_escapes_kept() {
        let environment =
            [("A", "1"), ("B", "$(A)"), ("EMPTY", ""), ("A", "one")].map(|(k, v)| (k.into(), v.into()));
        for (text, expect) in [
            ("", ""),
            ("plain", "plain"),
            ("$(A)", "one"),
            ("x$(A)y$(A)", "xoneyone"),
            ("$(B)", "$(A)"),
            ("[$(EMPTY)]", "[]"),
            ("$(UNKNOWN)", "$(UNKNOWN)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$one"),
            ("$$$$(A)", "$$(A)"),
            ("$(A", "$(A"),
            ("a$", "a$"),
            ("$", "$"),
            ("$A", "$A"),
            ("$é(A)", "$é(A)"),
            ("$()", "$()"),
            ("$($(A))", "$($(A))"),
        ] {
            assert_eq!(expand_from(text, &environment), expect, "{text}");
        }
    }
}
