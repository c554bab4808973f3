//! After pods and images are gone, and nothing more goes: what they have left in memory is given back.

use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::sandbox::execute::blocking;

/// How long nothing must go.
const QUIET: Duration = Duration::from_secs(2);
/// A churn that never rests is interrupted after so many.
const MOST: u32 = 64;

/// Gives back after each bout of [`Notify::notify_one`]; no periodic timer runs in between.
pub async fn watch(gone: &Notify, cancel: CancellationToken) {
    while cancel.run_until_cancelled(gone.notified()).await.is_some() {
        for _ in 0..MOST {
            match cancel.run_until_cancelled(tokio::time::timeout(QUIET, gone.notified())).await {
                Some(Ok(())) => {}
                Some(Err(_)) => break,
                None => return,
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
