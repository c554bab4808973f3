//! Lists of CPUs as the kernel writes them: `0-3,7`.

use super::PlanError;

/// More CPUs than a kernel's set has room for here.
const CPUS_MAX: u32 = 1024;

pub(super) fn parse(field: &str, list: &str) -> Result<Vec<u32>, PlanError> {
    let wrong = || PlanError::invalid(field, format!("`{list}` is not a list of CPUs below {CPUS_MAX}"));
    let mut cpus = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<u32>().ok().filter(|cpu| *cpu < CPUS_MAX);
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => cpus.extend(first..=last),
            _ => return Err(wrong()),
        }
    }
    if cpus.is_empty() { Err(wrong()) } else { Ok(cpus) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn lists() {
        for (list, expect) in [
            ("0", Some(vec![0])),
            ("0-2,7", Some(vec![0, 1, 2, 7])),
            (" 1 , 3-3", Some(vec![1, 3])),
            ("", None),
            ("2-1", None),
            ("x", None),
            ("0-99999", None),
        ] {
            assert_eq!(super::parse("f", list).ok(), expect, "{list}");
        }
    }
}
