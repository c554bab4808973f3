//! Debian's docker-registry.

use harness::image::{BuiltImage, Compression, Dialect, ImageBuilder, Layer, busybox};
use harness::registry::{Debian, Login, debian};
use image::{Credentials, PullError};

use super::{Ground, shown, small};

fn registry(test: &str, login: Login) -> Option<Debian> {
    if !harness::root_or_skip(test) {
        return None;
    }
    let registry = debian(login);
    if registry.is_none() {
        harness::skip(test, "docker-registry is not installed");
    }
    registry
}

#[tokio::test(flavor = "multi_thread")]
async fn every_login_works_and_is_wanted() {
    for login in [Login::None, Login::Basic, Login::Bearer] {
        let Some(registry) = registry("every_login_works_and_is_wanted", login) else { return };
        let reference = registry.push("team/app", "v1", &small("hello").build());
        let right = Credentials::basic("mate", "ahoy");
        let from_auth = Credentials::from_auth("bWF0ZTphaG95").unwrap();
        for (credentials, works) in [
            (None, login == Login::None),
            (Some(Credentials::basic("mate", "wrong")), login == Login::None),
            (Some(right.clone()), true),
            (Some(from_auth), true),
            (
                Some(Credentials {
                    server_address: format!("https://{}/v2/", registry.address),
                    ..right.clone()
                }),
                true,
            ),
            (Some(Credentials { server_address: "other.example".into(), ..right }), login == Login::None),
        ] {
            let ground = Ground::fresh();
            let what = format!("{login:?} with {}", credentials.is_some());
            match ground.store.pull(&reference, credentials).await {
                Ok(id) => {
                    assert!(works, "{what}");
                    assert_eq!(ground.store.list()[0].id, id);
                }
                Err(error) => {
                    assert!(!works, "{what}: {}", shown(&error));
                    assert!(matches!(error, PullError::Denied { .. }), "{what}: {}", shown(&error));
                    assert!(!error.to_string().contains("wrong"), "passwords are not shown");
                    ground.assert_clean();
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_image_under_two_names_is_one_image() {
    let Some(registry) = registry("one_image_under_two_names_is_one_image", Login::None) else { return };
    let Some(busybox) = busybox() else {
        return harness::skip("one_image_under_two_names", "busybox is missing");
    };
    let built = busybox.set("User", "user".into()).build();
    let first = registry.push("a/one", "v1", &built);
    let second = registry.push("b/two", "v2", &built);
    let ground = Ground::fresh();
    let id = ground.store.pull(&first, None).await.unwrap();
    assert_eq!(ground.store.pull(&second, None).await.unwrap(), id);
    let by_digest = format!("{}/b/two@{}", registry.address, built.manifest);
    assert_eq!(ground.store.pull(&by_digest, None).await.unwrap(), id);
    let all = ground.store.list();
    assert_eq!(all.len(), 1);
    let image = &all[0];
    assert_eq!(id.as_str(), built.config);
    assert_eq!(image.tags, [first.clone(), second.clone()]);
    assert_eq!(image.digests, [format!("{}/a/one@{}", registry.address, built.manifest), by_digest.clone()]);
    assert_eq!(
        (image.config.user.as_str(), image.config.cmd.as_slice()),
        ("user", ["/bin/sh".to_owned()].as_slice())
    );
    assert!(image.size > 500_000);
    for name in [first.as_str(), &second, &by_digest, id.as_str(), &id.digest().hex()[..12]] {
        assert_eq!(ground.store.get(name).map(|image| image.id), Some(id.clone()), "{name}");
    }
    for name in ["nothing", "f00", "sha256:", "", "docker.io/library/nothing@sha256:00"] {
        assert!(ground.store.get(name).is_none(), "{name}");
    }
    // The tag moves on, the image stays under its other names.
    let moved = registry.push("a/one", "v1", &small("newer").build());
    let newer = ground.store.pull(&moved, None).await.unwrap();
    assert_ne!(newer, id);
    assert_eq!(ground.store.get(&first).unwrap().id, newer);
    assert_eq!(ground.store.get(id.as_str()).unwrap().tags, [second]);
    let missing = ground.store.pull(&format!("{}/no/such:tag", registry.address), None).await.unwrap_err();
    assert!(matches!(missing, PullError::NotFound { .. }), "{}", shown(&missing));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_image_is_taken() {
    let Some(registry) = registry("every_form_of_image_is_taken", Login::None) else { return };
    let layer = |name: &str| Layer::new().file(name, 0o644, name.as_bytes());
    let docker = ImageBuilder::new().dialect(Dialect::Docker).layer(layer("docker"), Compression::Gzip);
    let zstd = ImageBuilder::new().layer(layer("zstd"), Compression::Zstd);
    let plain = ImageBuilder::new().layer(layer("plain"), Compression::None);
    let other = small("other").architecture("s390x");
    let index = BuiltImage::index(&[other.build(), plain.build()]);
    let nested = BuiltImage::index(&[other.build()]);
    let many = (0..40)
        .fold(ImageBuilder::new(), |image, at| image.layer(layer(&format!("f{at}")), Compression::Gzip));
    let none = ImageBuilder::new();
    for (name, image, wanted) in [
        ("docker", docker.build(), Ok(1)),
        ("zstd", zstd.build(), Ok(1)),
        ("plain", plain.build(), Ok(1)),
        ("index", index, Ok(1)),
        ("many", many.build(), Ok(40)),
        ("none", none.build(), Ok(0)),
        ("foreign", nested, Err("no image for linux/")),
        ("single", other.build(), Err("the image is for linux/s390x")),
    ] {
        let ground = Ground::fresh();
        let reference = registry.push(name, "x", &image);
        match (ground.store.pull(&reference, None).await, wanted) {
            (Ok(id), Ok(layers)) => {
                let snapshot = ground.store.snapshot("c1", &id).await.unwrap();
                // An image without layers stands on the empty one.
                assert_eq!(snapshot.lower.len(), layers.max(1), "{name}");
                if layers == 1 {
                    let file = if name == "index" { "plain" } else { name };
                    assert_eq!(std::fs::read_to_string(snapshot.lower[0].join(file)).unwrap(), file);
                }
            }
            (Err(error), Err(part)) => {
                assert!(
                    matches!(error, PullError::Unsupported { .. }) && shown(&error).contains(part),
                    "{name}: {}",
                    shown(&error)
                );
                ground.assert_clean();
            }
            (got, wanted) => panic!("{name}: {got:?}, wanted {wanted:?}"),
        }
    }
}
