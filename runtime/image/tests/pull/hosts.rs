//! Mirrors: asked in order, told which registry is meant, and never shown its credentials.

use harness::image::{Compression, ImageBuilder, Layer};
use harness::registry::Message;
use harness::registry::fake::{Answer, Fake};
use image::{Credentials, PullError};

use super::{Ground, noise, shown, small};

const CHALLENGE: &str = "Basic realm=\"x\"";

fn denied() -> Answer {
    Answer::Status("401 Unauthorized", vec![("www-authenticate", CHALLENGE.to_owned())])
}

fn serves(_: &Message, _: usize) -> Answer {
    Answer::Serve
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_are_asked_in_order() {
    if !harness::root_or_skip("mirrors_are_asked_in_order") {
        return;
    }
    let image = small("mirrored").build();
    let gone = harness::api::free_address();
    let empty = Fake::start(&[], serves);
    let broken = Fake::start(&[("1", &image)], |_, _| Answer::Status("503 Service Unavailable", vec![]));
    let lying = Fake::start(&[("1", &image)], |request, _| {
        // Right about the tag, wrong about the content.
        if request.target().contains("/blobs/") { Answer::Flip } else { Answer::Serve }
    });
    let right = Fake::start(&[("1", &image)], serves);
    let after = Fake::start(&[("1", &image)], serves);
    let ground = Ground::fresh();
    let hosts = [
        gone.to_string(),
        empty.address.clone(),
        broken.address.clone(),
        right.address.clone(),
        after.address.clone(),
    ];
    let text: String = hosts.iter().map(|host| format!("[host.'http://{host}']\n")).collect();
    ground.hosts("registry.example", &text);
    ground.store.pull("registry.example/team/app:1", None).await.unwrap();
    assert_eq!((empty.asked().is_empty(), broken.asked().is_empty(), after.asked().len()), (false, false, 0));
    for request in right.asked() {
        let target = request.target().to_owned();
        assert!(target.starts_with("/v2/team/app/") && target.ends_with("?ns=registry.example"), "{target}");
    }
    // What is not what its digest says is taken from the next host.
    let ground = Ground::fresh();
    ground.hosts(
        "registry.example",
        &format!("[host.'http://{}']\n[host.'http://{}']\n", lying.address, right.address),
    );
    let before = right.count("/blobs/");
    ground.store.pull("registry.example/a:1", None).await.unwrap();
    assert_eq!((lying.count("/blobs/"), right.count("/blobs/") - before), (2, 2));
    let ground = Ground::fresh();
    ground.hosts("registry.example", &format!("server = 'http://{}'\n", lying.address));
    let error = ground.store.pull("registry.example/a:1", None).await.unwrap_err();
    assert!(matches!(error, PullError::Corrupt { .. }), "{}", shown(&error));
    ground.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_sends_anything_spoils_nothing() {
    if !harness::root_or_skip("a_mirror_that_sends_anything_spoils_nothing") {
        return;
    }
    let image = ImageBuilder::new()
        .layer(Layer::new().file("noise", 0o644, &noise(1 << 20, 21)), Compression::Gzip)
        .build();
    let right = Fake::start(&[("1", &image)], serves);
    // A page to log in at, a layer that is too long, and one that is wrong and then cut for good.
    let page = Answer::Body(b"<html>Welcome to this network</html>".to_vec());
    let long = Answer::Body(noise(2 << 20, 22));
    let layer = image.layers[0].clone();
    for answer in [page, long, Answer::CutAfter(500_000)] {
        let (layer, what) = (layer.clone(), answer.clone());
        let mirror =
            Fake::start(&[("1", &image)], move |request, before| match request.target().contains(&layer) {
                true if answer != Answer::CutAfter(500_000) => answer.clone(),
                true if before == 0 => Answer::Body(noise(600_000, 23)),
                true => Answer::Status("500 Internal Server Error", vec![]),
                false => Answer::Serve,
            });
        let ground = Ground::fresh();
        let text = [&mirror, &right].map(|host| format!("[host.'http://{}']\n", host.address)).concat();
        ground.hosts("registry.example", &text);
        let pulled = ground.store.pull("registry.example/a:1", None).await;
        assert!(pulled.is_ok(), "{what:?}: {}", shown(&pulled.unwrap_err()));
    }
}

/// Who is redirected to is not who the credentials are for.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_names_no_place_to_log_in() {
    if !harness::root_or_skip("a_redirect_names_no_place_to_log_in") {
        return;
    }
    let image = small("redirected").build();
    let thief = Fake::start(&[], serves);
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"x\"", thief.address);
    let storage = Fake::start(&[("1", &image)], move |_, _| {
        Answer::Status("401 Unauthorized", vec![("www-authenticate", realm.clone())])
    });
    let elsewhere = storage.address.clone();
    let upstream = Fake::start(&[("1", &image)], move |request, _| match request.header("authorization") {
        Some(_) if request.target().contains("/blobs/") => {
            let place = format!("http://{elsewhere}{}", request.target());
            Answer::Status("307 Temporary Redirect", vec![("location", place)])
        }
        Some(_) => Answer::Serve,
        None => denied(),
    });
    let ground = Ground::fresh();
    let reference = format!("{}/app:1", upstream.address);
    let credentials = Some(Credentials::basic("mate", "ahoy"));
    let error = ground.store.pull(&reference, credentials).await.unwrap_err();
    assert!(matches!(error, PullError::Denied { .. }), "{}", shown(&error));
    assert!(!storage.asked().is_empty());
    assert!(thief.asked().is_empty(), "{:?}", thief.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_may_do_less_or_sit_elsewhere() {
    if !harness::root_or_skip("a_host_may_do_less_or_sit_elsewhere") {
        return;
    }
    let image = small("parts").build();
    let content = Fake::start(&[("1", &image)], serves);
    let names = Fake::start(&[("1", &image)], serves);
    let ground = Ground::fresh();
    ground.hosts(
        "registry.example",
        &format!(
            "server = 'http://{}/hub/v2/proxy'\noverride_path = true\n\
             [host.'http://{}']\ncapabilities = ['pull']\nheader.x-team = ['blue']\n",
            names.address, content.address
        ),
    );
    ground.store.pull("registry.example/app:1", None).await.unwrap();
    assert_eq!(content.count("/manifests/1"), 0, "it may not turn tags into digests");
    assert_eq!(content.count("/blobs/"), 2);
    assert!(content.asked().iter().all(|request| request.header("x-team") == Some("blue")));
    let asked = names.asked();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].target().starts_with("/hub/v2/proxy/app/manifests/1"), "{}", asked[0].target());
    assert_eq!(asked[0].header("x-team"), None, "headers are of one host");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_stay_with_their_registry() {
    if !harness::root_or_skip("credentials_stay_with_their_registry") {
        return;
    }
    let image = small("secret").build();
    let mirror = Fake::start(&[("1", &image)], |_, _| denied());
    let thief = Fake::start(&[], |_, _| Answer::Serve);
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"x\"", thief.address);
    let tempting = Fake::start(&[("1", &image)], move |_, _| {
        Answer::Status("401 Unauthorized", vec![("www-authenticate", realm.clone())])
    });
    let storage = Fake::start(&[("1", &image)], serves);
    let elsewhere = storage.address.clone();
    let upstream = Fake::start(&[("1", &image)], move |request, _| match request.header("authorization") {
        Some("Basic bWF0ZTphaG95") if request.target().contains("/blobs/") => {
            let place = format!("http://{elsewhere}{}", request.target());
            Answer::Status("307 Temporary Redirect", vec![("location", place)])
        }
        Some("Basic bWF0ZTphaG95") => Answer::Serve,
        _ => denied(),
    });
    let ground = Ground::fresh();
    let text = [&mirror, &tempting].map(|host| format!("[host.'http://{}']\n", host.address)).concat();
    ground.hosts(&upstream.address, &text);
    let reference = format!("{}/app:1", upstream.address);
    ground.store.pull(&reference, Some(Credentials::basic("mate", "ahoy"))).await.unwrap();
    for (name, host) in
        [("mirror", &mirror), ("tempting", &tempting), ("thief", &thief), ("storage", &storage)]
    {
        assert!(!host.asked().is_empty(), "{name} was asked");
        for request in host.asked() {
            assert_eq!(request.header("authorization"), None, "{name}");
            assert!(!String::from_utf8_lossy(&request.body).contains("ahoy"), "{name}");
        }
    }
    // A registry token is sent as it is, and only there.
    let ground = Ground::fresh();
    ground.hosts(&upstream.address, &text);
    let token = Credentials { registry_token: "opaque".into(), ..Credentials::default() };
    let error = ground.store.pull(&reference, Some(token)).await.unwrap_err();
    assert!(matches!(error, PullError::Denied { .. }), "{}", shown(&error));
    assert!(upstream.asked().iter().any(|request| request.header("authorization") == Some("Bearer opaque")));
    assert!(mirror.asked().iter().all(|request| request.header("authorization").is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_tokens_are_exchanged() {
    if !harness::root_or_skip("identity_tokens_are_exchanged") {
        return;
    }
    let image = small("identity").build();
    let body = br#"{"access_token":"granted"}"#.to_vec();
    let tokens = Fake::start(&[("token", &image)], move |_, _| Answer::Body(body.clone()));
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", tokens.address);
    let registry = Fake::start(&[("1", &image)], move |request, _| match request.header("authorization") {
        Some("Bearer granted") => Answer::Serve,
        _ => Answer::Status("401 Unauthorized", vec![("www-authenticate", realm.clone())]),
    });
    let ground = Ground::fresh();
    let credentials = Credentials { identity_token: "long lived".into(), ..Credentials::default() };
    ground.store.pull(&format!("{}/a/b:1", registry.address), Some(credentials)).await.unwrap();
    let asked = tokens.asked();
    assert_eq!(asked.len(), 1, "one log-in serves the whole pull");
    assert!(asked[0].start.starts_with("POST /token"));
    let form = String::from_utf8(asked[0].body.clone()).unwrap();
    assert!(
        form.contains("refresh_token=long%20lived") && form.contains("scope=repository%3Aa%2Fb%3Apull"),
        "{form}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_image_of_two_hosts_is_one_image_with_two_tags() {
    if !harness::root_or_skip("one_image_of_two_hosts_is_one_image_with_two_tags") {
        return;
    }
    let image = small("the same").build();
    let one = Fake::start(&[("1", &image)], serves);
    let two = Fake::start(&[("2", &image)], serves);
    let (first, second) = (format!("{}/team/a:1", one.address), format!("{}/else/b:2", two.address));
    let ground = Ground::fresh();
    let id = ground.store.pull(&first, None).await.unwrap();
    assert_eq!(ground.store.pull(&second, None).await.unwrap(), id);
    let all = ground.store.list();
    assert_eq!(all.len(), 1, "{all:?}");
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    assert_eq!(sorted(all[0].tags.clone()), sorted(vec![first.clone(), second.clone()]));
    let by_digest = [format!("{}/team/a", one.address), format!("{}/else/b", two.address)];
    let by_digest = by_digest.map(|name| format!("{name}@{}", image.manifest));
    assert_eq!(sorted(all[0].digests.clone()), sorted(by_digest.to_vec()));
    assert_eq!((one.count(&image.layers[0]), two.count(&image.layers[0])), (1, 0), "it was there");
    for name in [&first, &second, &by_digest[0], &by_digest[1]] {
        assert_eq!(ground.store.get(name).map(|image| image.id), Some(id.clone()), "{name}");
    }
}
