//! Memory and CPU of the node's own processes, from /proc. Pods' programs do not count.

use std::collections::BTreeMap;

use harness::process;

/// The node's parts, by the word behind `keelson`.
const PARTS: &[&str] = &["server", "control", "node", "keeper"];

/// Proportional set size in kilobytes, by part.
pub fn memory(init: i32) -> BTreeMap<String, u64> {
    by_part(init, |pid| process::proportional(pid.unsigned_abs()))
}

/// Seconds of CPU used so far, by part.
pub fn cpu(init: i32) -> BTreeMap<String, f64> {
    by_part(init, |pid| process::cpu_seconds(pid.unsigned_abs()))
}

fn by_part<T: std::ops::AddAssign>(init: i32, measure: impl Fn(i32) -> T) -> BTreeMap<String, T> {
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let ours = namespace(init);
    assert!(ours.is_some(), "the node runs");
    let mut sums = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if namespace(pid) != ours {
            continue;
        }
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let Some(part) = line.split('\0').nth(1).filter(|word| PARTS.contains(word)) else { continue };
        let value = measure(pid);
        match sums.get_mut(part) {
            Some(sum) => *sum += value,
            None => {
                sums.insert(part.to_owned(), value);
            }
        }
    }
    sums
}
