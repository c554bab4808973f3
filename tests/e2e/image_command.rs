//! `keelson image` against a node: every command, both outputs, exit codes, and progress only where it is seen.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::cri_node::stage;

/// The command against one node.
struct Cli {
    socket: PathBuf,
}

impl Cli {
    /// Code, stdout and stderr.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_keelson"))
            .arg("image")
            .arg("--address")
            .arg(&self.socket)
            .args(arguments)
            .output()
            .expect("keelson runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    fn done(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {out}{err}");
        assert!(!err.contains('\x1b') && !err.contains("waiting"), "no bars off a terminal: {err}");
        out
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["-o", "json"];
        all.extend(arguments);
        serde_json::from_str(&self.done(&all)).expect("JSON")
    }
}

#[test]
fn images_are_moved_by_hand() {
    stage("images_are_moved_by_hand", async |stage, mut client| {
        let cli = Cli { socket: stage.folder.path().join("cri.sock") };
        let (name, tag) = stage.image.rsplit_once(':').expect("a tag");
        let table = cli.done(&["ls"]);
        let columns: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(columns[0], ["IMAGE", "TAG", "IMAGE", "ID", "SIZE"]);
        assert_eq!(&columns[1][..2], [name, tag]);
        let id = cli.json(&["ls", &stage.image])[0]["id"].as_str().expect("an id").to_owned();
        assert_eq!(cli.json(&["ls", "nothing"]), Value::Array(vec![]));
        let shown = cli.json(&["inspect", &stage.image]);
        assert_eq!(
            (shown["id"].as_str(), shown["tags"][0].as_str()),
            (Some(id.as_str()), Some(stage.image.as_str()))
        );
        assert!(shown["info"]["imageSpec"]["rootfs"]["diff_ids"][0].is_string(), "{shown}");
        let (code, _, err) = cli.run(&["inspect", "nothing"]);
        assert!(code == 1 && err.contains("image nothing is not here"), "{code} {err}");
        to_a_registry_and_back(&cli, &stage.image, name);
        into_an_archive_and_back(&cli, &stage.image, stage.folder.path());
        what_nobody_uses_goes(&cli, &stage.image, &mut client).await;
        assert_eq!(cli.run(&["frobnicate"]).0, 2);
        let nobody = Cli { socket: "/nonexistent/cri.sock".into() };
        let (code, _, err) = nobody.run(&["ls"]);
        assert!(code == 1 && err.contains("no CRI server at"), "{code} {err}");
    });
}

fn to_a_registry_and_back(cli: &Cli, image: &str, name: &str) {
    let other = format!("{name}-copy:v1");
    let digest = cli.done(&["push", image, &other]);
    assert!(digest.starts_with("sha256:"), "{digest}");
    let pulled = cli.json(&["pull", &other]);
    assert_eq!(cli.json(&["ls", &other])[0]["id"], pulled[0]);
    let (code, _, err) = cli.run(&["pull", &format!("{name}:missing")]);
    assert!(code == 1 && err.contains("not found"), "{code} {err}");
    assert_eq!(cli.done(&["rm", &other]).trim(), other);
    assert_eq!(cli.run(&["rm", &other]).0, 1);
    cli.done(&["pull", image]);
}

fn into_an_archive_and_back(cli: &Cli, image: &str, folder: &Path) {
    let file = folder.join("image.tar").display().to_string();
    cli.done(&["export", image, &file]);
    let (code, _, err) = cli.run(&["export", image, &file]);
    assert!(code == 1 && err.contains("exists"), "{code} {err}");
    cli.done(&["rm", image]);
    let imported = cli.json(&["import", &file]);
    assert_eq!(cli.json(&["ls", image])[0]["id"], imported[0]);
    let (code, _, err) = cli.run(&["import", &folder.join("nothing.tar").display().to_string()]);
    assert!(code == 1 && err.contains("nothing.tar"), "{code} {err}");
}

async fn what_nobody_uses_goes(cli: &Cli, image: &str, client: &mut super::cri_node::Client) {
    let pod = client.pod("user");
    let mut host = pod.clone();
    let security = host.linux.get_or_insert_default().security_context.get_or_insert_default();
    security.namespace_options.get_or_insert_default().network = cri_api::v1::NamespaceMode::Node.into();
    let sandbox = client.run(&host).await.expect("a sandbox");
    client.create(&sandbox, &host, client.container("c", "sleep 1")).await.expect("created");
    assert_eq!(cli.json(&["prune", "--all"]), Value::Array(vec![]), "a container uses it");
    client.end(&sandbox).await.expect("removed");
    assert_eq!(cli.json(&["prune"]), Value::Array(vec![]), "it has a name");
    let would = cli.json(&["prune", "--all", "--dry-run"]);
    assert_eq!(would[0]["names"][0], image);
    assert_eq!(cli.json(&["ls"]).as_array().map(Vec::len), Some(1), "it was only told");
    assert!(cli.done(&["prune", "--all"]).contains(image));
    assert_eq!(cli.json(&["ls"]), Value::Array(vec![]));
}

#[test]
fn pinned_images_stay() {
    stage("pinned_images_stay", async |stage, mut client| {
        let cli = Cli { socket: stage.folder.path().join("cri.sock") };
        let pinned = async |client: &mut super::cri_node::Client| {
            let list = client.images.list_images(cri_api::v1::ListImagesRequest::default()).await;
            list.expect("a list").into_inner().images.iter().map(|image| image.pinned).collect::<Vec<_>>()
        };
        assert_eq!(pinned(&mut client).await, [false]);
        stage.kill();
        stage.arguments = vec!["--pinned-image".into(), format!("nothing,{}", stage.image)];
        stage.start();
        client = stage.connect().await;
        assert_eq!(pinned(&mut client).await, [true]);
        assert_eq!(cli.json(&["prune", "--all"]), Value::Array(vec![]));
        assert_eq!(cli.json(&["ls"])[0]["pinned"], true);
        // Whoever names it may remove it.
        cli.done(&["rm", &stage.image]);
        assert!(pinned(&mut client).await.is_empty());
    });
}
