//! Registries that cut, lie and dawdle, and layers that no honest builder makes.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use harness::image::{Compression, ImageBuilder, Layer, sha256};
use harness::registry::fake::{Answer, Fake};
use image::{Limits, PullError};

use super::{Ground, noise, shown, small};

/// An image of one layer that takes a while.
fn large(seed: u64) -> ImageBuilder {
    let layer = Layer::new().file("noise", 0o644, &noise(3 << 20, seed));
    ImageBuilder::new().layer(layer, Compression::Gzip)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_download_goes_on_where_it_stopped() {
    if !harness::root_or_skip("a_cut_download_goes_on_where_it_stopped") {
        return;
    }
    let image = large(7).build();
    let layer = image.layers[0].clone();
    let is_layer = move |target: &str| target.contains(&layer);
    let layer = is_layer.clone();
    let cutting = Fake::start(&[("1", &image)], move |request, before| {
        if layer(request.target()) && before < 3 { Answer::CutAfter(900_000) } else { Answer::Serve }
    });
    let ground = Ground::fresh();
    ground.store.pull(&format!("{}/a:1", cutting.address), None).await.unwrap();
    let ranges: Vec<_> = cutting
        .asked()
        .iter()
        .filter(|request| is_layer(request.target()))
        .map(|request| request.header("range").map(str::to_owned))
        .collect();
    assert_eq!(ranges.len(), 4, "{ranges:?}");
    assert_eq!(ranges[0], None);
    assert!(
        ranges[1..].iter().all(|range| range.as_deref().is_some_and(|r| r.starts_with("bytes="))),
        "{ranges:?}"
    );
    let layer = is_layer.clone();
    let refusing = Fake::start(&[("1", &image)], move |request, before| match layer(request.target()) {
        true if before == 0 => Answer::CutAfter(1_000_000),
        true if request.header("range").is_some() => Answer::Status("416 Range Not Satisfiable", vec![]),
        _ => Answer::Serve,
    });
    let ground = Ground::fresh();
    ground.store.pull(&format!("{}/a:1", refusing.address), None).await.unwrap();
    // A host that knows no ranges, and one that gives up for good: the next one goes on.
    let layer = is_layer.clone();
    let whole = Fake::start(&[("1", &image)], move |request, before| match layer(request.target()) {
        true if before == 0 => Answer::CutAfter(1_000_000),
        true => Answer::WholeOnly,
        false => Answer::Serve,
    });
    let layer = is_layer.clone();
    let dying = Fake::start(&[("1", &image)], move |request, before| match layer(request.target()) {
        true if before == 0 => Answer::CutAfter(2_000_000),
        true => Answer::Status("500 Internal Server Error", vec![]),
        false => Answer::Serve,
    });
    for (first, second) in [(&whole, &cutting), (&dying, &cutting)] {
        let ground = Ground::fresh();
        let text = [first, second].map(|host| format!("[host.'http://{}']\n", host.address)).concat();
        ground.hosts("registry.example", &text);
        ground.store.pull("registry.example/a:1", None).await.unwrap();
    }
    let went_on = cutting.asked().iter().any(|request| request.header("range") == Some("bytes=2000000-"));
    assert!(went_on, "the second host starts where the first one stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_layer_is_downloaded_once() {
    if !harness::root_or_skip("the_same_layer_is_downloaded_once") {
        return;
    }
    let shared = || Layer::new().file("shared", 0o644, &noise(1 << 20, 3));
    let first = ImageBuilder::new().layer(shared(), Compression::Gzip).command(&["one"]).build();
    let second = ImageBuilder::new().layer(shared(), Compression::Gzip).command(&["two"]).build();
    let layer = first.layers[0].clone();
    assert_eq!(layer, second.layers[0]);
    let name = layer.clone();
    let slow = Fake::start(&[("1", &first), ("2", &second)], move |request, _| {
        if request.target().contains(&name) {
            Answer::Slow(Duration::from_millis(300))
        } else {
            Answer::Serve
        }
    });
    let ground = Ground::fresh();
    let pull = |tag: &str| {
        let (store, reference) = (ground.store.clone(), format!("{}/a:{tag}", slow.address));
        tokio::spawn(async move { store.pull(&reference, None).await })
    };
    let all = [pull("1"), pull("2"), pull("1"), pull("2")];
    for one in all {
        one.await.unwrap().unwrap();
    }
    assert_eq!(slow.count(&layer), 1);
    assert_eq!(ground.store.list().len(), 2);
    let mut usage = ground.store.usage();
    assert!(usage.bytes > 1 << 20 && usage.bytes < 2 << 20, "{usage:?}");
    ground.store.remove(&first.config).await.unwrap();
    assert_eq!(ground.store.usage(), usage, "the other image needs the layer");
    ground.store.remove(&second.config).await.unwrap();
    usage = ground.store.usage();
    assert_eq!((usage.bytes, usage.inodes), (0, 0));
    ground.assert_clean();
}

/// A registry that answers for a layer only once the other one was asked for too: one after the other would fail.
#[tokio::test(flavor = "multi_thread")]
async fn layers_come_in_parallel() {
    if !harness::root_or_skip("layers_come_in_parallel") {
        return;
    }
    let layer = |name: &str, seed: u64| Layer::new().file(name, 0o644, &noise(1 << 16, seed));
    let image = ImageBuilder::new()
        .layer(layer("first", 31), Compression::Gzip)
        .layer(layer("second", 32), Compression::Gzip)
        .build();
    let names = image.layers.clone();
    let asked: (Mutex<[bool; 2]>, Condvar) = Default::default();
    let registry = Fake::start(&[("1", &image)], move |request, _| {
        let Some(index) = names.iter().position(|name| request.target().contains(name)) else {
            return Answer::Serve;
        };
        let (seen, more) = &asked;
        let mut seen = seen.lock().unwrap();
        seen[index] = true;
        more.notify_all();
        let alone = |seen: &mut [bool; 2]| *seen != [true; 2];
        let (_seen, waited) = more.wait_timeout_while(seen, Duration::from_secs(30), alone).unwrap();
        if waited.timed_out() { Answer::Status("404 Not Found", vec![]) } else { Answer::Serve }
    });
    let ground = Ground::fresh();
    ground.store.pull(&format!("{}/a:1", registry.address), None).await.unwrap();
    assert_eq!(image.layers.iter().map(|layer| registry.count(layer)).collect::<Vec<_>>(), [1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_leave_the_store_clean() {
    if !harness::root_or_skip("wrong_bytes_leave_the_store_clean") {
        return;
    }
    let image = large(11).build();
    let plain =
        ImageBuilder::new().layer(Layer::new().file("noise", 0o644, &noise(3 << 20, 5)), Compression::None);
    let plain = plain.build();
    let manifest = image.blobs[&image.manifest].clone();
    let schema_one = br#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#.to_vec();
    let huge = vec![b' '; 5 << 20];
    type Case<'a> = (&'a str, Answer, &'a str, fn(&PullError) -> bool);
    let cases: [Case<'_>; 8] = [
        ("/blobs/", Answer::Flip, "", |e| matches!(e, PullError::Corrupt { .. })),
        ("/blobs/", Answer::Short(1000), "", |e| {
            matches!(e, PullError::Corrupt { .. } | PullError::Unreachable { .. })
        }),
        ("/blobs/", Answer::Status("404 Not Found", vec![]), "not found", |e| {
            matches!(e, PullError::NotFound { .. })
        }),
        ("/manifests/", Answer::Body(schema_one), "schema 1", |e| matches!(e, PullError::Unsupported { .. })),
        ("/manifests/", Answer::Body(b"<html>".to_vec()), "cannot be read", |e| {
            matches!(e, PullError::Unsupported { .. })
        }),
        ("/manifests/", Answer::Body(manifest[..100].to_vec()), "cannot be read", |e| {
            matches!(e, PullError::Unsupported { .. })
        }),
        ("/manifests/", Answer::Body(huge), "limit", |_| true),
        ("/manifests/", Answer::Status("429 Too Many Requests", vec![]), "429", |e| {
            matches!(e, PullError::Unreachable { .. })
        }),
    ];
    for built in [&image, &plain] {
        for (path, answer, said, kind) in &cases {
            let (part, given) = ((*path).to_owned(), answer.clone());
            let config = built.config.clone();
            let fake = Fake::start(&[("1", built)], move |request, _| {
                // The configuration is right, so that the layers are reached.
                let wrong = request.target().contains(&part) && !request.target().contains(&config);
                if wrong { given.clone() } else { Answer::Serve }
            });
            let ground = Ground::fresh();
            let error = ground.store.pull(&format!("{}/a:1", fake.address), None).await.unwrap_err();
            let shown = shown(&error);
            assert!(kind(&error) && shown.contains(said), "{path} {answer:?}: {shown}");
            assert!(shown.contains(&fake.address), "{shown}");
            ground.assert_clean();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_layers_are_refused_by_entry() {
    if !harness::root_or_skip("hostile_layers_are_refused_by_entry") {
        return;
    }
    let good = || Layer::new().file("good", 0o644, &noise(1 << 20, 1));
    for (layer, entry) in [
        (Layer::new().symlink("etc", "/").file("etc/passwd", 0o644, b"x"), "etc/passwd"),
        (Layer::new().file("../../escape", 0o644, b"x"), "../../escape"),
        (Layer::new().device("dev/sda", b'4', (8, 0)), "dev/sda"),
        (Layer::new().hard_link("shadow", "etc/shadow"), "shadow"),
    ] {
        // Between honest layers: they are unpacked at the same time and must go as well.
        let image = ImageBuilder::new()
            .layer(good(), Compression::Gzip)
            .layer(layer, Compression::Gzip)
            .layer(good().file("more", 0o644, b""), Compression::Gzip)
            .build();
        let fake = Fake::start(&[("1", &image)], |_, _| Answer::Serve);
        let ground = Ground::fresh();
        let error = ground.store.pull(&format!("{}/a:1", fake.address), None).await.unwrap_err();
        let text = shown(&error);
        assert!(
            matches!(&error, PullError::Refused { what, .. } if what.contains(&format!("entry {entry:?}"))),
            "{text}"
        );
        assert!(super::names(&ground.root().join("tmp")).is_empty());
        // What was complete may stay until something is removed.
        ground.store.remove("nothing").await.unwrap();
        ground.assert_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_held_to_their_limits() {
    if !harness::root_or_skip("manifests_are_held_to_their_limits") {
        return;
    }
    let many = (0..6).fold(ImageBuilder::new(), |image, at| {
        image.layer(Layer::new().file(&format!("f{at}"), 0o644, b""), Compression::Gzip)
    });
    let unlike = small("x").raw_layer(b"more".to_vec(), sha256(b"more"), Compression::None).build();
    let mut unlike_manifest: serde_json::Value =
        serde_json::from_slice(&unlike.blobs[&unlike.manifest]).unwrap();
    unlike_manifest["layers"].as_array_mut().unwrap().pop();
    let body = unlike_manifest.to_string().into_bytes();
    let (many, nested) = (
        many.build(),
        harness::image::BuiltImage::index(&[harness::image::BuiltImage::index(&[small("n").build()])]),
    );
    for (image, body, said) in [
        (&many, None, "6 layers, the limit is 5"),
        (&unlike, Some(body), "the manifest has 1 layers, the configuration 2"),
        (&nested, None, "nested too deeply"),
    ] {
        let fake = Fake::start(&[("1", image)], move |request, _| match &body {
            Some(body) if request.target().contains("/manifests/") => Answer::Body(body.clone()),
            _ => Answer::Serve,
        });
        let ground = Ground::with(|options| {
            options.limits = Limits { layers: 5, index_depth: 1, reserve_bytes: 0, ..Limits::default() };
        });
        let error = ground.store.pull(&format!("{}/a:1", fake.address), None).await.unwrap_err();
        assert!(
            matches!(error, PullError::Refused { .. }) && shown(&error).contains(said),
            "{}",
            shown(&error)
        );
        ground.assert_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_given_up_leaves_nothing() {
    if !harness::root_or_skip("a_pull_that_is_given_up_leaves_nothing") {
        return;
    }
    let image = large(13).build();
    let layer = image.layers[0].clone();
    let stuck = Fake::start(&[("1", &image)], move |request, _| {
        if request.target().contains(&layer) { Answer::Slow(Duration::from_secs(120)) } else { Answer::Serve }
    });
    let ground = Ground::fresh();
    let reference = format!("{}/a:1", stuck.address);
    let pull = ground.store.pull(&reference, None);
    assert!(tokio::time::timeout(Duration::from_millis(500), pull).await.is_err());
    // The thread that waited for bytes sees that none will come.
    for _ in 0..3_000 {
        if super::names(&ground.root().join("tmp")).is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ground.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_nobody_wants_stops() {
    if !harness::root_or_skip("a_pull_that_nobody_wants_stops") {
        return;
    }
    let image = large(23).build();
    let layer = image.layers[0].clone();
    let slow = Fake::start(&[("1", &image)], move |request, _| {
        if request.target().contains(&layer) { Answer::Slow(Duration::from_secs(120)) } else { Answer::Serve }
    });
    let ground = Ground::fresh();
    let (follow, stop) = image::Follow::until_dropped();
    let (follow, mut rows) = follow.showing();
    let (store, reference) = (ground.store.clone(), format!("{}/a:1", slow.address));
    let pull = tokio::spawn(async move { store.pull_followed(&reference, None, follow).await });
    rows.wait_for(|rows| rows.iter().any(|row| row.state == image::follow::State::Running)).await.unwrap();
    let began = std::time::Instant::now();
    drop(stop);
    let error = pull.await.unwrap().unwrap_err();
    assert!(matches!(error, PullError::Stopped(_)), "{}", shown(&error));
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    ground.assert_clean();
}
