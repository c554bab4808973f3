//! Secrets at rest: what the store's files hold, keys that change while the server runs, and keys that are missing.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::api::Server;
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson");
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const PLAIN: &str = "a-word-that-nobody-else-writes";
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// How long the server may take to see a new file.
const LIMIT: Duration = Duration::from_secs(120);

/// Whether any file below a folder holds these bytes.
fn holds(folder: &Path, wanted: &str) -> bool {
    std::fs::read_dir(folder).expect("a folder").flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return holds(&path, wanted);
        }
        // The store takes old ones away.
        let bytes = std::fs::read(&path).unwrap_or_default();
        bytes.windows(wanted.len()).any(|found| found == wanted.as_bytes())
    })
}

fn configuration(keys: &[(&str, &str)], resources: &str) -> String {
    let keys: Vec<String> = keys
        .iter()
        .map(|(provider, name)| format!("  - {provider}: {{keys: [{{name: {name}, secret: {KEY}}}]}}\n"))
        .collect();
    format!(
        "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n- resources: [{resources}]\n  providers:\n{}  - identity: {{}}\n",
        keys.concat()
    )
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < LIMIT, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn secrets_are_never_plain_in_the_store() {
    let mut server = Server::start(PROGRAM);
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"word": PLAIN}});
    server.admin().post(SECRETS, &secret).expect(201);
    let map = json!({"metadata": {"name": "m"}, "data": {"word": "a-word-of-a-configmap"}});
    server.admin().post("/api/v1/namespaces/default/configmaps", &map).expect(201);
    let told = server.admin().get(&format!("{SECRETS}/s")).expect(200)["data"]["word"].clone();
    let encoded = told.as_str().expect("a word").to_owned();
    let store = server.data().join("store");
    let file = server.data().join("pki/encryption.yaml");
    assert_eq!(std::fs::metadata(&file).expect("the keys").permissions().mode() & 0o777, 0o600);
    assert!(holds(&store, "a-word-of-a-configmap"), "the test looks where the store writes");
    assert!(!holds(&store, PLAIN) && !holds(&store, &encoded));
    server.stop();
    assert!(!holds(&store, PLAIN) && !holds(&store, &encoded));
    server.restart();
    assert_eq!(server.admin().get(&format!("{SECRETS}/s")).expect(200)["data"]["word"], told);
    // Without its key a store is not served: a list without its secrets would be believed.
    server.stop();
    let kept = std::fs::read(&file).expect("the keys");
    std::fs::remove_file(&file).expect("taking the keys away");
    let refused = server.command().output().expect("the server");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("a key that is not configured"), "{said}");
    std::fs::write(&file, kept).expect("putting the keys back");
    server.restart();
    assert_eq!(server.admin().get(&format!("{SECRETS}/s")).expect(200)["data"]["word"], told);
}

#[test]
fn keys_are_changed_while_the_server_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("encryption.yaml");
    let write = |content: &str| {
        let new = folder.path().join("new");
        std::fs::write(&new, content).expect("a file");
        std::fs::rename(&new, &file).expect("a file in its place");
    };
    write(&configuration(&[("aesgcm", "first")], "secrets"));
    let path = file.display().to_string();
    let mut server = Server::start_with(PROGRAM, &["--encryption-provider-config", &path]);
    let admin = server.admin();
    let store = server.data().join("store");
    let made =
        admin.post(SECRETS, &json!({"metadata": {"name": "s"}, "stringData": {"word": PLAIN}})).expect(201);
    assert!(holds(&store, "aesgcm:v1:first") && !holds(&store, "secretbox:v1:second"));
    let mut watch = admin.watch(&format!(
        "{SECRETS}?watch=1&resourceVersion={}",
        made["metadata"]["resourceVersion"].as_str().expect("a version")
    ));
    // A configuration that could not read what is there is not taken.
    write(&configuration(&[("secretbox", "second")], "secrets"));
    std::thread::sleep(Duration::from_millis(300));
    admin.post(SECRETS, &json!({"metadata": {"name": "t"}, "stringData": {"word": PLAIN}})).expect(201);
    assert!(!holds(&store, "secretbox:v1:second"));
    assert_eq!(watch.next_event().expect("an event")["type"], "ADDED");
    // With the old key behind the new one it counts at once, and everything is written anew.
    write(&configuration(&[("secretbox", "second"), ("aesgcm", "first")], "secrets"));
    let version = |name: &str| {
        admin.get(&format!("{SECRETS}/{name}")).expect(200)["metadata"]["resourceVersion"].clone()
    };
    let before = made["metadata"]["resourceVersion"].clone();
    wait_until("the secret is written with the second key", || version("s") != before);
    for _ in 0..2 {
        let event = watch.next_event().expect("an event");
        assert_eq!((&event["type"], &event["object"]["data"]), (&json!("MODIFIED"), &made["data"]));
    }
    assert!(holds(&store, "secretbox:v1:second"));
    // Nothing is of the first key any more: it may go.
    write(&configuration(&[("secretbox", "second")], "secrets, configmaps"));
    let map = |name: &str, word: &str| {
        let map = json!({"metadata": {"name": name}, "data": {"word": word}});
        admin.post("/api/v1/namespaces/default/configmaps", &map).expect(201);
    };
    let mut turn = 0;
    wait_until("configmaps are encrypted too", || {
        turn += 1;
        let word = format!("word-number-{turn}-of-a-configmap");
        map(&format!("m{turn}"), &word);
        !holds(&store, &word)
    });
    server.stop();
    server.restart();
    assert_eq!(server.admin().get(&format!("{SECRETS}/s")).expect(200)["data"], made["data"]);
    assert!(!holds(&store, PLAIN));
    // What is not there is refused at the start, by name.
    server.stop();
    write(&configuration(&[("aescbc", "third")], "secrets"));
    let refused = server.command().output().expect("the server");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("aescbc (it is not authenticated) is not supported"), "{said}");
}
