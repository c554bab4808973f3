//! Release: close what the keeper holds of a stream.

use keeper_api::{Failure, ProcessId, Stream};

use crate::calls::unknown;
use crate::server::Keeper;

/// Closes the keeper's end of a stream; fine if there is none.
pub fn release(keeper: &mut Keeper, id: &ProcessId, stream: Stream) -> Result<(), Failure> {
    let process = keeper.processes.get_mut(id).ok_or_else(|| unknown(id))?;
    process.held.retain(|(held, _)| *held != stream);
    Ok(())
}
