//! What happens to containers and sandboxes, told to everybody who listens.
//!
//! A listener that does not read is cut off with an error rather than held in memory: it lists again and
//! listens anew, which the kubelet does anyhow.

use std::sync::Arc;

use cri_api::v1;
use tokio::sync::broadcast;

/// Events kept for a listener that is slow.
const EVENTS_MAX: usize = 1024;

/// Shared: places for all of them are made at the start.
pub struct Events(broadcast::Sender<Arc<v1::ContainerEventResponse>>);

impl Default for Events {
    fn default() -> Events {
        Events(broadcast::Sender::new(EVENTS_MAX))
    }
}

impl Events {
    pub fn tell(&self, event: v1::ContainerEventResponse) {
        // Nobody listens: nobody has to know.
        let _ = self.0.send(Arc::new(event));
    }

    pub fn listen(&self) -> broadcast::Receiver<Arc<v1::ContainerEventResponse>> {
        self.0.subscribe()
    }
}
