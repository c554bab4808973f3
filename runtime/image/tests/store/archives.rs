//! Archives: our own, and those of skopeo and umoci where they are installed.

use std::process::Command;

use harness::image::{BuiltImage, Compression, ImageBuilder, Layer, busybox, compress};
use image::PullError;

use super::Ground;

fn plain() -> ImageBuilder {
    ImageBuilder::new()
        .layer(Layer::new().folder("./", 0o755).file("one", 0o644, b"1"), Compression::None)
        .layer(Layer::new().file("two", 0o644, b"2"), Compression::None)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_archive_is_imported() {
    if !harness::root_or_skip("every_form_of_archive_is_imported") {
        return;
    }
    let image = plain().build();
    let tag = "docker.io/library/app:v1";
    let gzip = compress(&image.archive("app:v1"), Compression::Gzip);
    let zstd = compress(&image.docker_archive("app:v1"), Compression::Zstd);
    let index = BuiltImage::index(&[plain().architecture("s390x").build(), image.clone()]);
    for (form, bytes, digest) in [
        ("layout", image.archive("app:v1"), Some(&image.manifest)),
        ("docker", image.docker_archive("app:v1"), None),
        ("gzip", gzip, Some(&image.manifest)),
        ("zstd", zstd, None),
        ("index", index.archive("app:v1"), Some(&index.manifest)),
    ] {
        let ground = Ground::fresh();
        let path = ground.path("archive");
        std::fs::write(&path, bytes).unwrap();
        let ids = ground.store.import(&path).await.unwrap_or_else(|error| panic!("{form}: {error}"));
        assert_eq!(ids.len(), 1, "{form}");
        let found = ground.store.get("app:v1").unwrap_or_else(|| panic!("{form}"));
        assert_eq!(
            (found.id.as_str(), found.tags.as_slice()),
            (image.config.as_str(), [tag.to_owned()].as_slice()),
            "{form}"
        );
        let digests: Vec<String> =
            digest.iter().map(|digest| format!("docker.io/library/app@{digest}")).collect();
        assert_eq!(found.digests, digests, "{form}");
        let snapshot = ground.store.snapshot("c", &found.id).await.unwrap();
        let read = |at: usize, name: &str| std::fs::read_to_string(snapshot.lower[at].join(name)).unwrap();
        assert_eq!((read(0, "two"), read(1, "one")), ("2".into(), "1".into()), "{form}");
        assert!(super::list(&ground.store.root().join("tmp")).is_empty(), "{form}");
    }
    let ground = Ground::fresh();
    image.write_layout(&ground.path("layout"), "app:v1");
    ground.store.import(&ground.path("layout")).await.unwrap();
    assert!(ground.store.get("app:v1").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_archives_say_what_is_wrong() {
    if !harness::root_or_skip("wrong_archives_say_what_is_wrong") {
        return;
    }
    let image = plain().build();
    let whole = image.archive("app:v1");
    let files = image.layout_files("app:v1");
    let pack = |files: Vec<(String, Vec<u8>)>| {
        files.into_iter().fold(Layer::new(), |layer, (name, bytes)| layer.file(&name, 0o644, &bytes)).tar()
    };
    let layer_file = format!("blobs/{}", image.layers[1].replace(':', "/"));
    let without = |name: &str| pack(files.iter().filter(|(file, _)| file != name).cloned().collect());
    let mut flipped = files.clone();
    for (name, bytes) in &mut flipped {
        if *name == layer_file {
            bytes[600] ^= 1;
        }
    }
    let escape = pack(vec![(
        "manifest.json".to_owned(),
        br#"[{"Config":"../../etc/passwd","RepoTags":null,"Layers":[]}]"#.to_vec(),
    )]);
    for (bytes, said) in [
        (whole[..1600].to_vec(), "ends in the middle"),
        (b"no archive at all".repeat(100), "checksum"),
        (pack(vec![("other".into(), vec![])]), "neither index.json nor manifest.json"),
        (without(&layer_file), "is not in it"),
        (pack(flipped), "wanted sha256:"),
        (escape, "is not in it"),
    ] {
        let ground = Ground::fresh();
        let path = ground.path("archive");
        std::fs::write(&path, bytes).unwrap();
        let error = ground.store.import(&path).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(said) && text.contains("archive"), "{text}");
        assert!(super::list(&ground.store.root().join("tmp")).is_empty());
        assert!(ground.store.list().is_empty());
    }
    let ground = Ground::fresh();
    let missing = ground.store.import(&ground.path("nowhere")).await.unwrap_err();
    assert!(matches!(missing, PullError::Io { .. }), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_of_other_programs_are_imported() {
    let test = "archives_of_other_programs_are_imported";
    if !harness::root_or_skip(test) {
        return;
    }
    let Some(image) = busybox() else { return harness::skip(test, "busybox is missing") };
    let ground = Ground::fresh();
    let layout = ground.path("layout");
    image.build().write_layout(&layout, "latest");
    let shown = layout.display();
    let (oci, docker) = (ground.path("oci.tar"), ground.path("docker.tar"));
    let run = |program: &str, arguments: &[String]| {
        let output = match Command::new(program).args(arguments).output() {
            Err(_) => return harness::skip(test, &format!("{program} is not installed")),
            Ok(output) => output,
        };
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let copy = |to: String| ["copy".into(), "--insecure-policy".into(), format!("oci:{shown}:latest"), to];
    run("skopeo", &copy(format!("oci-archive:{}:by/skopeo:1", oci.display())));
    run("skopeo", &copy(format!("docker-archive:{}:by/skopeo:2", docker.display())));
    run(
        "umoci",
        &["config".into(), "--image".into(), format!("{shown}:latest"), "--config.user".into(), "7".into()],
    );
    for (path, name) in [(&oci, Some("by/skopeo:1")), (&docker, Some("by/skopeo:2")), (&layout, None)] {
        if !path.exists() {
            continue;
        }
        let ids =
            ground.store.import(path).await.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let found = ground.store.get(name.unwrap_or(ids[0].as_str())).expect("the image is there");
        let snapshot = ground.store.snapshot(&format!("c{}", found.id.digest().hex()), &found.id).await;
        assert!(
            snapshot.is_ok_and(|s| s.lower.iter().any(|lower| lower.join("bin/busybox").exists()))
                || name.is_some()
        );
    }
}
