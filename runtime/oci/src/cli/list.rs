//! `list`: all containers of a root.

use clap::Args;

use super::state::View;
use crate::container::{ContainerError, Record, Status, Store, status};

#[derive(Debug, Args)]
pub(super) struct List {
    #[arg(long, short, default_value = "table", value_parser = ["table", "json"])]
    format: String,
    /// Only ids
    #[arg(long, short)]
    quiet: bool,
}

impl List {
    pub(super) fn run(self, store: &Store) -> Result<u8, ContainerError> {
        let records = store.list()?;
        if self.quiet {
            records.iter().for_each(|record| println!("{}", record.id));
            return Ok(0);
        }
        let rows = records
            .iter()
            .map(|record| Ok((record, status(store, record)?)))
            .collect::<Result<Vec<_>, ContainerError>>()?;
        if self.format == "json" {
            let views: Vec<View<'_>> =
                rows.iter().map(|(record, status)| View::new(record, *status)).collect();
            let text = serde_json::to_string(&views)
                .map_err(|source| ContainerError::Json { file: "list".into(), source })?;
            println!("{text}");
        } else {
            print!("{}", table(&rows));
        }
        Ok(0)
    }
}

fn table(rows: &[(&Record, Status)]) -> String {
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let lines: Vec<[String; 6]> = std::iter::once(header)
        .chain(rows.iter().map(|(record, status)| {
            let pid = if *status == Status::Stopped { 0 } else { record.pid };
            let bundle = record.bundle.display().to_string();
            [
                record.id.clone(),
                pid.to_string(),
                status.to_string(),
                bundle,
                record.created.clone(),
                "root".into(),
            ]
        }))
        .collect();
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    lines
        .iter()
        .map(|line| {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("   ").trim_end().to_owned() + "\n"
        })
        .collect()
}
