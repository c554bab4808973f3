//! An image as the CRI describes it.

use cri_api::v1;
use image::Image;

use super::pinned::{Pattern, is_pinned};

pub fn image(image: &Image, pins: &[Pattern]) -> v1::Image {
    let user = image.config.user.split(':').next().unwrap_or_default();
    let uid = uid(user);
    v1::Image {
        id: image.id.to_string(),
        repo_tags: image.tags.clone(),
        repo_digests: image.digests.clone(),
        size: image.size,
        uid: uid.map(|value| v1::Int64Value { value }),
        username: if uid.is_some() { String::new() } else { user.to_owned() },
        spec: Some(v1::ImageSpec { image: image.id.to_string(), ..Default::default() }),
        pinned: is_pinned(image, pins),
    }
}

/// The number that a container would run as. The kubelet trusts it where pods must not run as root, so what the
/// runtime would not take as a number is told as a name.
fn uid(user: &str) -> Option<i64> {
    if user.is_empty() {
        Some(0)
    } else {
        user.parse::<u32>().ok().filter(|id| *id != u32::MAX).map(i64::from)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_real_ids_are_told_as_numbers() {
        for (user, expect) in [
            ("", Some(0)),
            ("33", Some(33)),
            ("web", None),
            ("-1", None),
            ("4294967295", None),
            ("4294967296", None),
        ] {
            assert_eq!(super::uid(user), expect, "{user}");
        }
    }
}
