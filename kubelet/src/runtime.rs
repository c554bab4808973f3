//! The runtime over CRI: one channel to its socket, both services.
//!
//! Clones share the channel. A lost connection is made anew by the next call, so a restart of the runtime costs
//! the calls that are under way and nothing else.

use std::path::PathBuf;

use cri_api::v1::image_service_client::ImageServiceClient;
use cri_api::v1::runtime_service_client::RuntimeServiceClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
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
        let path = Runtime::address(endpoint)?;
        // Our own connector: the library's would bring the resolver of the C library along.
        let connector = tower::service_fn(move |_: http::Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        Ok(Runtime { channel })
    }

    /// The socket's path; it may come with or without `unix://`.
    pub fn address(endpoint: &str) -> Result<PathBuf, EndpointError> {
        let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
        let why = "not the absolute path of a socket".to_owned();
        match path.starts_with('/') {
            true => Ok(path.into()),
            false => Err(EndpointError { endpoint: endpoint.to_owned(), why }),
        }
    }

    pub fn service(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}
