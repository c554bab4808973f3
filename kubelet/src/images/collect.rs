//! Images that nobody uses, removed when the disk fills: the longest unused first, until enough is free.
//!
//! An image counts as used while any container, running or not, was made from it or has it mounted. What was used before we started is
//! taken for used at the start.
//!
//! Reference: upstream's `image_gc_manager.go`, `--image-gc-high-threshold` and `--image-gc-low-threshold`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use cri_api::v1;
use nix::sys::statvfs::statvfs;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::runtime::Runtime;

/// Between two looks at the disk.
const LOOK: Duration = Duration::from_secs(300);
/// An image that was pulled just now is about to be used.
const LEAST_AGE: Duration = Duration::from_secs(120);

/// Percent of the disk in use: from `high` on images go, until it is `low`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    pub high: u64,
    pub low: u64,
}

/// When each image was last seen in use.
type Seen = BTreeMap<String, Instant>;

/// Collects until `stopping`.
pub async fn collect(runtime: Runtime, thresholds: Thresholds, stopping: CancellationToken) {
    let mut seen = Seen::new();
    loop {
        match once(&runtime, thresholds, &mut seen).await {
            Ok(0) => {}
            Ok(missing) => {
                tracing::warn!(bytes = missing, "the disk of images is full, and no more images are unused")
            }
            Err(error) => tracing::warn!(%error, "images are not collected"),
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// The bytes that had to be freed and could not.
async fn once(runtime: &Runtime, thresholds: Thresholds, seen: &mut Seen) -> Result<u64, Status> {
    let images = runtime.images().list_images(v1::ListImagesRequest::default()).await?.into_inner().images;
    let used = used(runtime).await?;
    remember(seen, &images, &used, Instant::now());
    let info = runtime.images().image_fs_info(v1::ImageFsInfoRequest {}).await?.into_inner();
    let place = info.image_filesystems.into_iter().find_map(|system| system.fs_id).unwrap_or_default();
    let Ok(stat) = statvfs(Path::new(&place.mountpoint)) else { return Ok(0) };
    let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
    let wanted = to_free(bytes(stat.blocks()), bytes(stat.blocks_available()), thresholds);
    let mut freed = 0;
    for image in plan(&images, &used, seen, Instant::now(), wanted) {
        let spec = v1::ImageSpec { image: image.id.clone(), ..Default::default() };
        runtime.images().remove_image(v1::RemoveImageRequest { image: Some(spec) }).await?;
        tracing::info!(image = %image.id, bytes = image.size, "an unused image is removed: the disk fills");
        freed += image.size;
    }
    Ok(wanted.saturating_sub(freed))
}

/// Ids and references of the images that containers were made from, or have mounted.
async fn used(runtime: &Runtime) -> Result<BTreeSet<String>, Status> {
    let list = runtime.service().list_containers(v1::ListContainersRequest::default()).await?;
    let mut names = BTreeSet::new();
    for container in list.into_inner().containers {
        let asked = container.image.map(|spec| spec.image).unwrap_or_default();
        names.extend([container.image_id, container.image_ref, asked]);
        names.extend(volumes(runtime, &container.id).await?);
    }
    names.retain(|name| !name.is_empty());
    Ok(names)
}

/// The images that are mounted into a container; a list does not tell them.
async fn volumes(runtime: &Runtime, container: &str) -> Result<Vec<String>, Status> {
    let request = v1::ContainerStatusRequest { container_id: container.to_owned(), verbose: false };
    let status = match runtime.service().container_status(request).await {
        Ok(answer) => answer.into_inner().status.unwrap_or_default(),
        Err(gone) if gone.code() == Code::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let images = status.mounts.into_iter().filter_map(|mount| mount.image);
    Ok(images.map(|image| image.image).collect())
}

fn is_used(image: &v1::Image, used: &BTreeSet<String>) -> bool {
    std::iter::once(&image.id)
        .chain(&image.repo_digests)
        .chain(&image.repo_tags)
        .any(|name| used.contains(name))
}

fn remember(seen: &mut Seen, images: &[v1::Image], used: &BTreeSet<String>, now: Instant) {
    for image in images {
        let last = seen.entry(image.id.clone()).or_insert(now);
        if is_used(image, used) {
            *last = now;
        }
    }
    seen.retain(|id, _| images.iter().any(|image| image.id == *id));
}

/// Bytes over the low threshold, once the high one is reached.
fn to_free(size: u64, available: u64, thresholds: Thresholds) -> u64 {
    if size == 0 || size.saturating_sub(available) < size / 100 * thresholds.high {
        return 0;
    }
    (size / 100 * (100 - thresholds.low)).saturating_sub(available)
}

/// Which images go.
fn plan<'a>(
    images: &'a [v1::Image],
    used: &BTreeSet<String>,
    seen: &Seen,
    now: Instant,
    wanted: u64,
) -> Vec<&'a v1::Image> {
    let age =
        |image: &v1::Image| seen.get(&image.id).map_or(Duration::ZERO, |last| now.duration_since(*last));
    let may_go = |image: &&v1::Image| !image.pinned && !is_used(image, used) && age(image) >= LEAST_AGE;
    let mut unused: Vec<&v1::Image> = images.iter().filter(may_go).collect();
    unused.sort_by_key(|image| std::cmp::Reverse(age(image)));
    let mut freed = 0;
    let is_needed = |image: &&v1::Image| {
        let is_needed = freed < wanted;
        freed += image.size;
        is_needed
    };
    unused.into_iter().take_while(is_needed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, size: u64) -> v1::Image {
        v1::Image { id: id.to_owned(), size, ..Default::default() }
    }

    #[test]
    fn from_high_to_low() {
        let thresholds = Thresholds { high: 85, low: 80 };
        assert_eq!(to_free(1000, 200, thresholds), 0);
        assert_eq!(to_free(1000, 100, thresholds), 100);
        assert_eq!(to_free(0, 0, thresholds), 0);
    }

    #[test]
    fn the_longest_unused_go_first() {
        let mut images = vec![
            image("old", 10),
            image("older", 10),
            image("used", 10),
            image("new", 10),
            image("pinned", 10),
        ];
        images[4].pinned = true;
        let start = Instant::now();
        let now = start + Duration::from_secs(1000);
        let used = BTreeSet::from(["used".to_owned()]);
        let mut seen = Seen::new();
        remember(&mut seen, &images[1..3], &used, start);
        remember(&mut seen, &images[..3], &used, start + Duration::from_secs(500));
        assert!(!seen.contains_key("new"));
        remember(&mut seen, &images, &used, now);
        let ids = |wanted| -> Vec<&str> {
            plan(&images, &used, &seen, now, wanted).into_iter().map(|image| image.id.as_str()).collect()
        };
        assert_eq!(ids(5), ["older"]);
        assert_eq!(ids(15), ["older", "old"]);
        assert_eq!(ids(500), ["older", "old"]);
        assert!(ids(0).is_empty());
    }
}
