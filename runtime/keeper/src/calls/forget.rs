//! Forget: drop an ended process.

use keeper_api::{Failure, FailureKind, ProcessId};

use crate::calls::{launch, unknown};
use crate::processes::Stage;
use crate::server::Keeper;

/// Drops an ended process; one that runs stays.
pub fn forget(keeper: &mut Keeper, id: &ProcessId) -> Result<(), Failure> {
    let running = keeper.processes.get_mut(id).filter(|process| matches!(process.stage, Stage::Running));
    if let Some(number) = running.map(|process| process.number) {
        // Whoever asks may have seen its end before us: our report of it may stand behind this call.
        launch::ended(keeper, number);
    }
    let process = keeper.processes.get_mut(id).ok_or_else(|| unknown(id))?;
    if !matches!(process.stage, Stage::Ended(_)) {
        return Err(Failure { kind: FailureKind::Busy, message: format!("process {id} has not ended") });
    }
    keeper.processes.remove(id, &keeper.poll);
    Ok(())
}
