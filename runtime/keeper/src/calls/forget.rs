//! Forget: drop an ended process.

use keeper_api::{Failure, FailureKind, ProcessId};

use crate::calls::unknown;
use crate::processes::Stage;
use crate::server::Keeper;

/// Drops an ended process; one that runs stays.
pub fn forget(keeper: &mut Keeper, id: &ProcessId) -> Result<(), Failure> {
    let process = keeper.processes.get_mut(id).ok_or_else(|| unknown(id))?;
    if !matches!(process.stage, Stage::Ended(_)) {
        return Err(Failure { kind: FailureKind::Busy, message: format!("process {id} has not ended") });
    }
    keeper.processes.remove(id, &keeper.poll);
    Ok(())
}
