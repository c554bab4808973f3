//! What is not needed any more in memory is given back: when a burst of calls has its last answer, and after pods and images
//! are gone and nothing more goes.

use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::sandbox::execute::blocking;

/// How long nothing must go.
const QUIET: Duration = Duration::from_secs(2);
/// A churn that never rests is interrupted after so many.
const MOST: u32 = 64;

/// Gives back at once when a burst is `over`, and after each bout of what has `gone`; no periodic timer runs in between.
pub async fn watch(gone: &Notify, over: &Notify, cancel: CancellationToken) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = over.notified() => {}
            () = gone.notified() => {
                if cancel.run_until_cancelled(rest(gone)).await.is_none() {
                    return;
                }
            }
        }
        let given_back = blocking(|| {
            sys::memory::give_back();
            Ok(())
        });
        if let Err(error) = given_back.await {
            tracing::warn!(%error, "giving memory back");
        }
    }
}

/// Until nothing has gone for a while.
async fn rest(gone: &Notify) {
    for _ in 0..MOST {
        if tokio::time::timeout(QUIET, gone.notified()).await.is_err() {
            return;
        }
    }
}
