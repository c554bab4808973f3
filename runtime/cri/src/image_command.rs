//! What `keelson image` asks beyond CRI: transfers with their progress, and pruning.
//!
//! The store belongs to this process, so commands come here instead of opening it beside us. A client that goes
//! away gives its transfer up.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cri_api::images_v1 as api;
use cri_api::images_v1::images_server::Images;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use image::follow::{Row, State};
use image::{Credentials, Follow, PullError, Stop};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::container::image_volume;
use crate::fault::{Fault, Outcome};
use crate::image_service::is_pinned;
use crate::node::Node;

/// Between two looks at a transfer, however fast it changes.
const LOOK: Duration = Duration::from_millis(100);
/// Messages that wait for a client.
const MESSAGES: usize = 4;

/// The service over one node.
#[derive(Clone)]
pub struct Commands {
    pub node: Arc<Node>,
}

type Stream = BoxStream<'static, Result<api::Progress, Status>>;
type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Images for Commands {
    type PullStream = Stream;
    type PushStream = Stream;
    type ImportStream = Stream;
    type ExportStream = Stream;

    async fn pull(&self, request: Request<api::PullRequest>) -> Answer<Stream> {
        let api::PullRequest { image, credentials } = request.into_inner();
        let store = self.node.images.clone();
        Ok(self.followed(async move |follow| {
            let id = store.pull_followed(&image, credentials.map(basic), follow).await?;
            Ok(vec![id.to_string()])
        }))
    }

    async fn push(&self, request: Request<api::PushRequest>) -> Answer<Stream> {
        let api::PushRequest { image, target, credentials } = request.into_inner();
        let store = self.node.images.clone();
        Ok(self.followed(async move |follow| {
            let digest = store.push(&image, &target, credentials.map(basic), follow).await?;
            Ok(vec![digest.to_string()])
        }))
    }

    async fn import(&self, request: Request<api::ImportRequest>) -> Answer<Stream> {
        let path = absolute(request.into_inner().path)?;
        let store = self.node.images.clone();
        Ok(self.followed(async move |follow| {
            let ids = store.import_followed(&path, follow).await?;
            Ok(ids.iter().map(ToString::to_string).collect())
        }))
    }

    async fn export(&self, request: Request<api::ExportRequest>) -> Answer<Stream> {
        let api::ExportRequest { image, path } = request.into_inner();
        let path = absolute(path)?;
        let store = self.node.images.clone();
        Ok(self.followed(async move |follow| {
            let digest = store.export(&image, &path, follow).await?;
            Ok(vec![digest.to_string()])
        }))
    }

    async fn prune(&self, request: Request<api::PruneRequest>) -> Answer<api::PruneResponse> {
        prune(&self.node, request.into_inner()).await.map(Response::new).map_err(Status::from)
    }
}

// === impl Commands ===

impl Commands {
    /// Runs a transfer whose client is shown how far it is, until it ends or the client leaves.
    fn followed<F>(&self, transfer: impl FnOnce(Follow) -> F) -> Response<Stream>
    where
        F: Future<Output = Result<Vec<String>, PullError>> + Send + 'static,
    {
        let (follow, stop) = Follow::until_dropped();
        let (follow, rows) = follow.showing();
        let (sender, receiver) = mpsc::channel(MESSAGES);
        let transfer = self.node.tasks.spawn(transfer(follow));
        self.node.tasks.spawn(show(transfer, rows, sender, stop));
        Response::new(ReceiverStream::new(receiver).boxed())
    }
}

type Transfer = tokio::task::JoinHandle<Result<Vec<String>, PullError>>;

async fn show(
    mut transfer: Transfer,
    mut rows: watch::Receiver<Vec<Row>>,
    client: mpsc::Sender<Result<api::Progress, Status>>,
    stop: Stop,
) {
    let ended = loop {
        tokio::select! {
            ended = &mut transfer => break ended,
            () = client.closed() => {
                drop(stop);
                let _given_up = transfer.await;
                return;
            }
            changed = rows.changed(), if rows.has_changed().is_ok() => {
                if changed.is_ok() {
                    let layers = described(&rows.borrow_and_update());
                    let _gone = client.send(Ok(api::Progress { layers, results: Vec::new() })).await;
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    };
    let last = match ended {
        Ok(Ok(results)) => Ok(api::Progress { layers: described(&rows.borrow()), results }),
        Ok(Err(error)) => Err(Status::from(Fault::from(error))),
        Err(error) => Err(Status::internal(error.to_string())),
    };
    let _gone = client.send(last).await;
}

fn described(rows: &[Row]) -> Vec<api::Layer> {
    let state = |state: State| match state {
        State::Waiting => api::State::Waiting,
        State::Running => api::State::Running,
        State::Present => api::State::Present,
        State::Done => api::State::Done,
    };
    rows.iter()
        .map(|row| api::Layer {
            digest: row.digest.clone(),
            size: row.size,
            done: row.done,
            state: state(row.state).into(),
        })
        .collect()
}

fn basic(given: api::Credentials) -> Credentials {
    Credentials::basic(given.username, given.password)
}

fn absolute(path: String) -> Result<PathBuf, Status> {
    let path = PathBuf::from(path);
    if path.is_absolute() {
        return Ok(path);
    }
    Err(Fault::invalid(format!("path {} is not absolute", path.display())).into())
}

/// Images that no container uses and nobody pinned: those without a name, or all.
async fn prune(node: &Arc<Node>, request: api::PruneRequest) -> Outcome<api::PruneResponse> {
    let mut used = BTreeSet::new();
    for container in node.containers.all() {
        let record = container.record();
        used.insert(record.image_id.clone());
        let mounted = record.config.mounts.iter().filter_map(image_volume::name);
        used.extend(mounted.filter_map(|name| Some(node.images.get(name)?.id.to_string())));
    }
    let mut removed = Vec::new();
    for image in node.images.list() {
        let unwanted = !is_pinned(&image, &node.options.pinned_images) && !used.contains(image.id.as_str());
        if !unwanted || !(request.all || image.tags.is_empty()) {
            continue;
        }
        if !request.dry_run {
            node.images.remove(image.id.as_str()).await?;
        }
        let names = if image.tags.is_empty() { image.digests } else { image.tags };
        removed.push(api::Removed { id: image.id.to_string(), names, size: image.size });
    }
    Ok(api::PruneResponse { removed })
}
