//! `keelson store snapshot`, `restore` and `recover`: what works on files.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use store::OpenError;
use store::raft::{self, Peer};

use super::{Place, USAGE};

/// Writes a snapshot: of the running member, or of the stopped store in the folder.
pub async fn snapshot(place: &Place, file: &Path) -> anyhow::Result<ExitCode> {
    if place.peer.is_none() {
        match raft::save_stopped(&place.store(), file) {
            Ok((revision, bytes)) => {
                println!("{}: revision {revision}, {bytes} bytes", file.display());
                return Ok(ExitCode::SUCCESS);
            }
            // It runs: it is asked.
            Err(OpenError::InUse { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let client = place.client()?;
    ensure!(!file.exists(), "{} exists; choose another name", file.display());
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut unfinished = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("making a file in {}", folder.display()))?;
    let bytes = client.snapshot(&mut unfinished).await?;
    unfinished.as_file().sync_all().with_context(|| format!("writing {}", file.display()))?;
    let revision = raft::check_snapshot(unfinished.path()).map_err(anyhow::Error::msg)?;
    unfinished.persist_noclobber(file).with_context(|| format!("naming {}", file.display()))?;
    println!("{}: revision {revision}, {bytes} bytes", file.display());
    Ok(ExitCode::SUCCESS)
}

/// Makes a store from a snapshot.
pub fn restore(place: &Place, file: &Path) -> anyhow::Result<ExitCode> {
    let revision = raft::restore(&place.store(), file)?;
    println!(
        "{}: restored; its revision is moved on to {revision}, so that nobody takes old objects for new ones.\n\
         Start this server; others join it with empty data folders.",
        place.store().display()
    );
    Ok(ExitCode::SUCCESS)
}

/// Makes a stopped member a cluster of its own.
pub fn recover(place: &Place, address: Option<String>, yes: bool) -> anyhow::Result<ExitCode> {
    let folder = place.store();
    let address = match address {
        Some(address) => address,
        None => raft::address(&folder).with_context(|| {
            format!("{} is not a member's folder: give --data-dir or --peer-address", folder.display())
        })?,
    };
    if !yes {
        eprintln!(
            "This makes the member in {} a cluster of its own. Writes that others acknowledged and this member never got \
             are lost; writes that it got and that were never acknowledged may be kept. The other members must never be \
             started again with their data. Give --yes to do it.",
            folder.display()
        );
        return Ok(ExitCode::from(USAGE));
    }
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let recovered = raft::recover(&folder, &Peer { name, address })?;
    println!(
        "Member {:x} is a cluster of its own, with everything up to revision {}.",
        recovered.id, recovered.revision
    );
    println!(
        "{} entries at the end of its log were not known to be committed; they are kept. What others acknowledged after \
         them is lost.",
        recovered.unsure
    );
    for (id, peer) in &recovered.left {
        println!(
            "No longer a member: {id:x} {} {}. Empty its data folder and join it anew.",
            peer.name, peer.address
        );
    }
    Ok(ExitCode::SUCCESS)
}
