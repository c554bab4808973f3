//! Images that a request mounts into a container besides its own: found, held by the container's snapshot, looked into,
//! and told to the plan.
//!
//! The mount is made by whoever launches the container (`oci`): the host never sees it. What it shows is read-only;
//! its programs run as anybody's do, without set-user-id. The image may be removed meanwhile: its layers stay until the container is removed.
//!
//! Reference: CRI `Mount.image`, `Mount.image_sub_path`; KEP-4639.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::path::{Component, Path, PathBuf};

use cri_api::v1;
use cri_api::v1::MountPropagation;
use image::{ImageId, Snapshot};
use oci::ImageVolume;
use sys::rooted::{self, Links};

use super::rootfs;
use crate::fault::{Doing as _, Fault, Outcome};
use crate::node::Node;

/// The image that a mount shows, if it shows one.
pub fn name(mount: &v1::Mount) -> Option<&str> {
    mount.image.as_ref().map(|image| image.image.as_str()).filter(|name| !name.is_empty())
}

/// The mounts that show images, with their positions among all of the request.
fn all(mounts: &[v1::Mount]) -> impl Iterator<Item = (usize, &v1::Mount)> {
    mounts.iter().enumerate().filter(|(_, mount)| name(mount).is_some())
}

/// What stands for the image where a specification has the source of a bind mount.
pub fn source(position: usize) -> PathBuf {
    Path::new("image-volumes").join(position.to_string())
}

/// Why a mount of an image cannot be; nothing is looked up.
pub fn refusal(mount: &v1::Mount) -> Option<&'static str> {
    let mut parts = Path::new(&mount.image_sub_path).components();
    if !mount.host_path.is_empty() {
        return Some("host_path and image exclude each other");
    }
    if !mount.readonly {
        return Some("an image can be mounted read-only only: readonly must be set");
    }
    if mount.propagation() != MountPropagation::PropagationPrivate {
        return Some("an image can be mounted with private propagation only");
    }
    if !parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Some("image_sub_path must be relative, without `..`");
    }
    None
}

/// The images, each of which must be here.
pub fn find(node: &Node, mounts: &[v1::Mount]) -> Outcome<Vec<ImageId>> {
    let one = |mount: &v1::Mount| {
        let asked = name(mount).unwrap_or_default();
        let found = node.images.get(asked).map(|image| image.id);
        found.ok_or_else(|| {
            let at = &mount.container_path;
            Fault::NotFound(format!("image volume at {at:?}: image {asked:?} not found: pull it first"))
        })
    };
    all(mounts).map(|(_, mount)| one(mount)).collect()
}

/// Notes beside each mount which image it shows: a name may mean another one later.
pub fn note(mounts: &mut [v1::Mount], images: &[ImageId]) {
    let specs =
        mounts.iter_mut().filter(|mount| name(mount).is_some()).filter_map(|mount| mount.image.as_mut());
    for (spec, image) in specs.zip(images) {
        spec.image_ref = image.to_string();
    }
}

/// Looks whether each image has what its mount is to show. Blocks.
pub fn look(mounts: &[v1::Mount], snapshot: &Snapshot) -> Outcome<()> {
    for ((_, mount), lower) in all(mounts).zip(&snapshot.volumes) {
        let path = Path::new(&mount.image_sub_path);
        let is_whole = path.components().all(|part| part == Component::CurDir);
        if is_whole {
            continue;
        }
        let image = name(mount).unwrap_or_default();
        let root = rootfs::view(lower)?;
        let what = || format!("image volume at {:?}: sub path {path:?} of {image:?}", mount.container_path);
        match rooted::locate(root.as_fd(), path, Links::Follow) {
            Ok(_) => {}
            Err(sys::Errno::NOENT | sys::Errno::NOTDIR) => {
                return Err(Fault::invalid(format!("{} does not exist", what())));
            }
            Err(errno) => return Err(errno).doing(what),
        }
    }
    Ok(())
}

/// What the plan is to mount for each source.
pub fn planned(mounts: &[v1::Mount], snapshot: &Snapshot) -> BTreeMap<PathBuf, ImageVolume> {
    let volume = |((position, mount), lower): ((usize, &v1::Mount), &Vec<PathBuf>)| {
        let shown = Path::new(&mount.image_sub_path).components().filter(|part| *part != Component::CurDir);
        let volume = ImageVolume { lower: lower.clone(), sub_path: shown.collect() };
        (source(position), volume)
    };
    all(mounts).zip(&snapshot.volumes).map(volume).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(image: &str, sub_path: &str) -> v1::Mount {
        v1::Mount {
            container_path: "/data".into(),
            readonly: true,
            image: Some(v1::ImageSpec { image: image.into(), ..Default::default() }),
            image_sub_path: sub_path.into(),
            ..Default::default()
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let check = |mount: v1::Mount, expect: Option<&str>| {
            let found = refusal(&mount);
            assert!(
                match expect {
                    None => found.is_none(),
                    Some(part) => found.is_some_and(|found| found.contains(part)),
                },
                "{mount:?}: {found:?}"
            );
        };
        check(mount("i", ""), None);
        check(mount("i", "a/./b"), None);
        check(mount("i", "/a"), Some("relative"));
        check(mount("i", "a/../../b"), Some("relative"));
        check(v1::Mount { host_path: "/etc".into(), ..mount("i", "") }, Some("exclude"));
        check(v1::Mount { readonly: false, ..mount("i", "") }, Some("read-only"));
        let shared = MountPropagation::PropagationBidirectional.into();
        check(v1::Mount { propagation: shared, ..mount("i", "") }, Some("private"));
    }

    #[test]
    fn each_image_stands_where_it_was_asked_for() {
        let plain = v1::Mount { host_path: "/etc".into(), container_path: "/e".into(), ..Default::default() };
        let mounts = [mount("a", ""), plain, mount("b", "./x")];
        let snapshot = Snapshot {
            lower: Vec::new(),
            upper: PathBuf::new(),
            work: PathBuf::new(),
            volumes: vec![vec!["/a".into()], vec!["/b".into(), "/c".into()]],
        };
        let whole = ImageVolume { lower: vec!["/a".into()], sub_path: PathBuf::new() };
        let part = ImageVolume { lower: vec!["/b".into(), "/c".into()], sub_path: "x".into() };
        assert_eq!(planned(&mounts, &snapshot), BTreeMap::from([(source(0), whole), (source(2), part)]));
    }
}
