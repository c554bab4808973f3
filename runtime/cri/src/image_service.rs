//! ImageService: one file per call. Here is only which file answers which call.
//!
//! Reference: CRI v1, `service ImageService`.

mod describe;
mod image_fs_info;
mod image_status;
mod list_images;
mod pinned;
mod pull_image;
mod remove_image;
mod stream_images;

use std::sync::Arc;

use cri_api::v1;
use cri_api::v1::image_service_server::ImageService;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status};

use crate::fault::Outcome;
use crate::node::Node;

pub use pinned::{Pattern, is_pinned};

/// The service over one node.
#[derive(Clone)]
pub struct Images {
    pub node: Arc<Node>,
}

type Answer<T> = Result<Response<T>, Status>;
type Stream<T> = BoxStream<'static, Result<T, Status>>;

fn answer<T>(outcome: Outcome<T>) -> Answer<T> {
    outcome.map(Response::new).map_err(Status::from)
}

#[tonic::async_trait]
impl ImageService for Images {
    type StreamImagesStream = Stream<v1::StreamImagesResponse>;

    async fn list_images(&self, request: Request<v1::ListImagesRequest>) -> Answer<v1::ListImagesResponse> {
        answer(list_images::call(&self.node, request.into_inner()).await)
    }

    async fn image_status(
        &self,
        request: Request<v1::ImageStatusRequest>,
    ) -> Answer<v1::ImageStatusResponse> {
        answer(image_status::call(&self.node, request.into_inner()).await)
    }

    async fn pull_image(&self, request: Request<v1::PullImageRequest>) -> Answer<v1::PullImageResponse> {
        answer(pull_image::call(&self.node, request.into_inner()).await)
    }

    async fn remove_image(
        &self,
        request: Request<v1::RemoveImageRequest>,
    ) -> Answer<v1::RemoveImageResponse> {
        answer(remove_image::call(&self.node, request.into_inner()).await)
    }

    async fn image_fs_info(
        &self,
        request: Request<v1::ImageFsInfoRequest>,
    ) -> Answer<v1::ImageFsInfoResponse> {
        answer(image_fs_info::call(&self.node, request.into_inner()).await)
    }

    async fn stream_images(
        &self,
        request: Request<v1::StreamImagesRequest>,
    ) -> Answer<Self::StreamImagesStream> {
        answer(stream_images::call(&self.node, request.into_inner()).await)
    }
}
