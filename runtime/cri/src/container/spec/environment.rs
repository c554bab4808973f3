//! The environment of a container's first process: the image's, then the request's, later wins.

use cri_api::v1;

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `KEY=value` in the order in which keys first appear.
pub fn merge(
    image: &[String],
    request: &[v1::KeyValue],
    hostname: &str,
    tty: bool,
    home: &str,
) -> Vec<String> {
    let mut merged: Vec<String> = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if tty {
        merged.push("TERM=xterm".to_owned());
    }
    let given = request.iter().map(|pair| format!("{}={}", pair.key, pair.value));
    for entry in image.iter().cloned().chain(given) {
        let key = key_of(&entry);
        match merged.iter_mut().find(|known| key_of(known) == key) {
            Some(known) => *known = entry,
            None => merged.push(entry),
        }
    }
    if !home.is_empty() && !merged.iter().any(|entry| key_of(entry) == "HOME") {
        merged.push(format!("HOME={home}"));
    }
    merged
}

fn key_of(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(key, _)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_values_win_in_place() {
        let image = ["PATH=/bin".to_owned(), "A=1".to_owned()];
        let request = [("A", "2"), ("B", "x=y")]
            .map(|(key, value)| v1::KeyValue { key: key.into(), value: value.into() });
        assert_eq!(
            merge(&image, &request, "pod", true, "/root"),
            ["PATH=/bin", "HOSTNAME=pod", "TERM=xterm", "A=2", "B=x=y", "HOME=/root"]
        );
        assert_eq!(merge(&[], &[], "h", false, ""), [DEFAULT_PATH, "HOSTNAME=h"]);
    }
}
