//! `keelson image` against a node: every command, both outputs, exit codes, and progress only where it is seen.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use harness::image::{Compression, ImageBuilder, Layer};
use harness::registry::fake::{Answer, Fake};
use serde_json::Value;

use super::cri_node::{PATIENCE, stage};

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

/// A terminal: our end, and the program's.
fn terminal() -> (File, File) {
    use rustix::pty::OpenptFlags;
    let ours = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    rustix::pty::grantpt(&ours).expect("granted");
    rustix::pty::unlockpt(&ours).expect("unlocked");
    let name = rustix::pty::ptsname(&ours, Vec::new()).expect("a name").into_string().expect("text");
    let its = File::options().read(true).write(true).open(name).expect("the other end");
    (ours.into(), its)
}

/// Closed until opened; nobody waits for ever.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().expect("a lock") = true;
        self.1.notify_all();
    }

    fn pass(&self) {
        let closed = |open: &mut bool| !*open;
        let open = self.0.lock().expect("a lock");
        let (mut open, _) = self.1.wait_timeout_while(open, PATIENCE, closed).expect("a lock");
        *open = true;
    }
}

#[test]
fn a_terminal_shows_a_bar_for_each_layer() {
    stage("a_terminal_shows_a_bar_for_each_layer", async |stage, _| {
        let layer = |name: &str| {
            let mut noise = vec![0; 1 << 20];
            rustix::rand::getrandom(&mut noise, rustix::rand::GetRandomFlags::empty()).expect("noise");
            Layer::new().file(name, 0o644, &noise)
        };
        let image = ImageBuilder::new()
            .layer(layer("first"), Compression::Gzip)
            .layer(layer("second"), Compression::Gzip)
            .build();
        // A good half of the first layer comes, the rest when the half was seen.
        let (cut, half) = (image.layers[0].clone(), image.blobs[&image.layers[0]].len() * 17 / 32);
        let gate = Arc::new(Gate::default());
        let seen = gate.clone();
        let registry = Fake::start(&[("v1", &image)], move |request, before| {
            match (request.target().contains(&cut), before) {
                (true, 0) => return Answer::CutAfter(half),
                (true, _) => seen.pass(),
                _ => {}
            }
            Answer::Serve
        });
        let hosts = stage.folder.path().join("registries").join(registry.address.replace(':', "_"));
        std::fs::create_dir_all(&hosts).expect("a folder");
        let text = format!("server = \"http://{}\"\n", registry.address);
        std::fs::write(hosts.join("hosts.toml"), text).expect("a file");
        let (mut screen, its) = terminal();
        let mut pull = Command::new(env!("CARGO_BIN_EXE_keelson"))
            .args(["image", "--address", &stage.folder.path().join("cri.sock").display().to_string()])
            .args(["pull", &format!("{}/bars:v1", registry.address)])
            .stdout(Stdio::piped())
            .stderr(its)
            .spawn()
            .expect("keelson runs");
        let digit = |index: usize| image.layers[index]["sha256:".len()..][..12].to_owned();
        let mut shown = String::new();
        let mut piece = [0; 4096];
        let half_a_bar = format!("{}  [===============               ]", digit(0));
        // The end of the program is the end of the terminal.
        while let Ok(count @ 1..) = screen.read(&mut piece) {
            shown.push_str(std::str::from_utf8(&piece[..count]).expect("text"));
            if shown.contains(&half_a_bar) {
                gate.open();
            }
        }
        assert!(pull.wait().expect("it ends").success(), "{shown}");
        assert!(shown.contains(&half_a_bar), "{shown:?}");
        // Each frame goes back to the first line, so the last one is what stays.
        let frames: Vec<&str> = shown.split("\x1b[2A").collect();
        assert!(frames.len() > 1, "{shown:?}");
        let last: Vec<&str> = frames[frames.len() - 1].lines().collect();
        assert_eq!(last.len(), 2, "a line for each layer: {last:?}");
        for (index, line) in last.iter().enumerate() {
            let size = image.blobs[&image.layers[index]].len() as f64 / 1e6;
            let expect = format!("\x1b[2K{}  done            {size:.2}MB", digit(index));
            assert_eq!(*line, expect, "all of it");
        }
    });
}
