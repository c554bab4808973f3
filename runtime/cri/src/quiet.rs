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
    let watching = async {
        loop {
            tokio::select! {
                () = over.notified() => {}
                () = gone.notified() => rest(gone, over).await,
            }
            give_back().await;
        }
    };
    cancel.run_until_cancelled(watching).await;
}

/// Until nothing has gone for a while. A burst that ends meanwhile does not wait for that.
async fn rest(gone: &Notify, over: &Notify) {
    let mut went = 0;
    while went < MOST {
        tokio::select! {
            () = over.notified() => give_back().await,
            more = tokio::time::timeout(QUIET, gone.notified()) => match more {
                Ok(()) => went += 1,
                Err(_) => return,
            }
        }
    }
}

async fn give_back() {
    let given_back = blocking(|| {
        sys::memory::give_back();
        Ok(())
    });
    if let Err(error) = given_back.await {
        tracing::warn!(%error, "giving memory back");
    }
}
