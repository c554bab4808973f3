//! `ps`: the processes of a container, shown by the host's ps(1).

use std::process::Command;

use clap::Args;
use sys::cgroup::{Cgroup, Layout};

use crate::container::{ContainerError, Store};

#[derive(Debug, Args)]
pub(super) struct Ps {
    #[arg(long, short, default_value = "table", value_parser = ["table", "json"])]
    format: String,
    id: String,
    /// Options for ps(1)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

impl Ps {
    pub(super) fn run(self, store: &Store) -> Result<u8, ContainerError> {
        let record = store.load(&self.id)?;
        let pids = Cgroup::open(&Layout::detect()?, &record.cgroup)?.pids()?;
        if self.format == "json" {
            println!("{}", serde_json::json!(pids));
            return Ok(0);
        }
        let options = if self.options.is_empty() { vec!["-ef".to_owned()] } else { self.options };
        let output = Command::new("ps").args(&options).output().map_err(ContainerError::file("run", "ps"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        match filter(&text, &pids) {
            Some(rows) => {
                print!("{rows}");
                Ok(0)
            }
            None => Err(ContainerError::Usage("couldn't find PID field in ps output".into())),
        }
    }
}

/// The header and the rows of the given processes.
fn filter(text: &str, pids: &[i32]) -> Option<String> {
    let header = text.lines().next()?;
    let column = header.split_whitespace().position(|name| name == "PID")?;
    let rows = text.lines().skip(1).filter(|row| {
        let pid = row.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    });
    Some(std::iter::once(header).chain(rows).map(|row| format!("{row}\n")).collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_the_containers_rows() {
        let text = "UID   PID PPID CMD\nroot  7 1 a b\nroot  8 7 c\n";
        assert_eq!(super::filter(text, &[8]).unwrap(), "UID   PID PPID CMD\nroot  8 7 c\n");
        assert_eq!(super::filter("UID CMD\n", &[8]), None);
    }
}
