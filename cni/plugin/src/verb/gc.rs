//! GC: remove what belongs to no attachment that the runtime still knows: links first, then addresses.
//!
//! Reference: CNI 1.1 section 2, "GC: Clean up any stale resources".

use std::collections::BTreeSet;

use cni_api::agent::AgentCall;
use cni_api::{Attachment, CniError, Code};

use super::{names, tell_agent};
use crate::config::Config;
use crate::failure::Failure;
use crate::ipam::Store;
use crate::wiring::Wires;

pub fn gc(config: &Config) -> Result<(), Failure> {
    let valid: BTreeSet<&Attachment> = match &config.valid_attachments {
        Some(attachments) => attachments.iter().collect(),
        // Without the list everything would be stale.
        None => {
            let msg = "cni.dev/valid-attachments is missing";
            return Err(Failure::Asked(CniError::new(Code::InvalidConfig, msg)));
        }
    };
    let mut wires = Wires::open(None)?;
    // One that cannot be removed does not keep the others; the first failure is told.
    let mut outcome = Ok(());
    // Reservations are made before links and given back after them, so they name every link; links tell
    // of themselves in case the reservations were lost.
    let mut stale: BTreeSet<Attachment> = wires.owners(&config.network)?.into_iter().collect();
    let store = if config.state.exists() { Some(Store::lock(&config.state)?) } else { None };
    if let Some(store) = &store {
        stale.extend(store.reservations()?.into_values());
    }
    for attachment in stale.iter().filter(|attachment| !valid.contains(attachment)) {
        let removed = names(config, attachment).and_then(|names| wires.delete(&names.link, &names.alias));
        let released =
            removed.and_then(|()| store.iter().try_for_each(|store| Ok(store.release(attachment)?)));
        outcome = outcome.and(released);
    }
    if let Some(valid) = &config.valid_attachments {
        let (network, valid) = (config.network.clone(), valid.clone());
        tell_agent(config, &AgentCall::Gc { network, valid });
    }
    outcome
}
