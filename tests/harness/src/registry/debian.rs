//! Debian's docker-registry on a free loopback port.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::http::request;
use super::token::{ISSUER, SERVICE, TokenServer};
use crate::image::BuiltImage;

const PROGRAM: &str = "docker-registry";
pub const USER: &str = "mate";
pub const PASSWORD: &str = "ahoy";
/// bcrypt of [`PASSWORD`]: the registry takes nothing else.
const HTPASSWD: &str = "mate:$2y$05$t/dRZvydf6tybhBaGqnI2.feiYblmzE0uFTTHumJPm6Gj2H5WYjei\n";

/// How the registry asks who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    None,
    Basic,
    Bearer,
}

/// A running registry; it ends with this value.
pub struct Debian {
    /// `127.0.0.1:port`.
    pub address: String,
    login: Login,
    tokens: Option<TokenServer>,
    child: Child,
    _folder: TempDir,
}

/// Starts the registry; none where it is not installed.
///
/// # Panics
/// When it is installed and does not start.
#[must_use]
pub fn debian(login: Login) -> Option<Debian> {
    Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
    let folder = tempfile::tempdir().expect("a folder");
    let port = crate::api::free_port();
    let address = format!("127.0.0.1:{port}");
    let tokens = (login == Login::Bearer).then(|| TokenServer::start(USER, PASSWORD));
    let path = |name: &str| folder.path().join(name).display().to_string();
    let auth = match &tokens {
        Some(tokens) => {
            std::fs::write(path("roots.pem"), &tokens.certificate_pem).expect("a file");
            format!(
                "auth:\n  token:\n    realm: {}\n    service: {SERVICE}\n    issuer: {ISSUER}\n    rootcertbundle: {}\n",
                tokens.realm(),
                path("roots.pem")
            )
        }
        None if login == Login::Basic => {
            std::fs::write(path("htpasswd"), HTPASSWD).expect("a file");
            format!("auth:\n  htpasswd:\n    realm: keelson\n    path: {}\n", path("htpasswd"))
        }
        None => String::new(),
    };
    let config = format!(
        "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n{auth}",
        path("data")
    );
    std::fs::write(path("config.yml"), config).expect("a file");
    let mut child = Command::new(PROGRAM)
        .args(["serve", &path("config.yml")])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("docker-registry starts");
    wait_until_listening(&mut child);
    Some(Debian { address, login, tokens, child, _folder: folder })
}

/// The registry logs when it listens.
fn wait_until_listening(child: &mut Child) {
    let mut log = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut said = String::new();
    loop {
        let mut line = String::new();
        let length = log.read_line(&mut line).expect("a log");
        assert!(length > 0, "docker-registry ended: {said}");
        said.push_str(&line);
        if line.contains("listening on") {
            break;
        }
    }
    // Somebody must go on reading, or the registry blocks.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
}

// === impl Debian ===

impl Debian {
    /// Uploads an image and names it; returns its reference.
    ///
    /// # Panics
    /// When the registry refuses it.
    pub fn push(&self, repository: &str, tag: &str, image: &BuiltImage) -> String {
        let authorization = match (&self.tokens, self.login) {
            (Some(tokens), _) => format!("Bearer {}", tokens.push_token(USER, PASSWORD, repository)),
            (None, Login::Basic) => format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}"))),
            _ => String::new(),
        };
        let send = |start: &str, kind: &str, body: &[u8], wanted: u16| {
            let mut headers = vec![("content-type", kind)];
            if !authorization.is_empty() {
                headers.push(("authorization", &authorization));
            }
            let answer = request(&self.address, start, &headers, body).expect("the registry answers");
            let said = String::from_utf8_lossy(&answer.body).into_owned();
            assert_eq!(answer.status(), wanted, "{start}: {} {said}", answer.start);
            answer
        };
        let kind = |bytes: &[u8]| {
            let json = serde_json::from_slice::<serde_json::Value>(bytes).ok()?;
            let kind = json["mediaType"].as_str()?.to_owned();
            (json["config"]["digest"].is_string() || json["manifests"].is_array()).then_some(kind)
        };
        let binary = "application/octet-stream";
        for (digest, bytes) in image.blobs.iter().filter(|(_, bytes)| kind(bytes).is_none()) {
            let start = send(&format!("POST /v2/{repository}/blobs/uploads/"), binary, b"", 202);
            let location = start.header("location").expect("a place to upload to").to_owned();
            let path = location
                .split_once("://")
                .map_or(location.as_str(), |(_, rest)| &rest[rest.find('/').unwrap_or(0)..]);
            let joint = if path.contains('?') { '&' } else { '?' };
            send(&format!("PUT {path}{joint}digest={digest}"), binary, bytes, 201);
        }
        // Members of an index come before it.
        let mut manifests: Vec<_> = image.blobs.iter().filter_map(|(d, b)| Some((d, b, kind(b)?))).collect();
        manifests.sort_by_key(|(digest, _, _)| **digest == image.manifest);
        for (digest, bytes, kind) in manifests {
            let name = if *digest == image.manifest { tag } else { digest };
            send(&format!("PUT /v2/{repository}/manifests/{name}"), &kind, bytes, 201);
        }
        format!("{}/{repository}:{tag}", self.address)
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
