//! GetContainerEvents: what happens from now on, until the client leaves or is too slow.

use std::sync::Arc;

use cri_api::v1;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio_stream::wrappers::BroadcastStream;
use tonic::Status;

use crate::node::Node;

pub fn call(node: &Arc<Node>) -> BoxStream<'static, Result<v1::ContainerEventResponse, Status>> {
    let cancel = node.cancel.clone();
    BroadcastStream::new(node.events.listen())
        .map(|event| match event {
            Ok(event) => Ok(Arc::unwrap_or_clone(event)),
            Err(error) => Err(Status::data_loss(format!("{error}: list again and listen anew"))),
        })
        .take_until(cancel.cancelled_owned())
        .boxed()
}
