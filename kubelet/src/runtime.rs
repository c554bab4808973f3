//! The runtime over CRI: one channel to its socket, both services.
//!
//! Clones share the channel. A lost connection is made anew by the next call, so a restart of the runtime costs
//! the calls that are under way and nothing else.

use cri_api::v1::image_service_client::ImageServiceClient;
use cri_api::v1::runtime_service_client::RuntimeServiceClient;
use tonic::transport::{Channel, Endpoint};

/// The largest message: lists of a full node.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Both CRI services of one runtime.
#[derive(Clone, Debug)]
pub struct Runtime {
    channel: Channel,
}

/// The endpoint is no address of a unix socket.
#[derive(Debug, thiserror::Error)]
#[error("--container-runtime-endpoint {endpoint:?}: {why}; unix:///run/keelson/cri.sock is one")]
pub struct EndpointError {
    endpoint: String,
    why: String,
}

impl Runtime {
    /// Connects when the first call is made.
    pub fn at(endpoint: &str) -> Result<Runtime, EndpointError> {
        Ok(Runtime { channel: Runtime::address(endpoint)?.connect_lazy() })
    }

    /// A path may come with or without `unix://`.
    pub fn address(endpoint: &str) -> Result<Endpoint, EndpointError> {
        let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
        let wrong = |why: String| EndpointError { endpoint: endpoint.to_owned(), why };
        if !path.starts_with('/') {
            return Err(wrong("not the absolute path of a socket".into()));
        }
        Endpoint::try_from(format!("unix://{path}")).map_err(|error| wrong(error.to_string()))
    }

    pub fn service(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}
