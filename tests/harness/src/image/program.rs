//! Layers of programs that are installed on this host, with the libraries that they load.

use std::path::Path;
use std::process::Command;

use super::{Compression, ImageBuilder, Layer};

/// Serves `nginx\n` on port 8080 to everybody, as one worker.
const NGINX: &str = "user root;
daemon off;
worker_processes 1;
pid /tmp/nginx.pid;
error_log stderr notice;
events { worker_connections 64; }
http {
    access_log /dev/stdout;
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    server {
        listen 8080;
        location / { return 200 \"nginx on $hostname\\n\"; }
    }
}
";

/// An image of Debian's nginx; none where it is not installed.
#[must_use]
pub fn nginx() -> Option<ImageBuilder> {
    let layer = with_program(Layer::new().folder("./", 0o755).folder("tmp/", 0o1777), "/usr/sbin/nginx")?
        .folder("etc/nginx/", 0o755)
        .file("etc/nginx/nginx.conf", 0o644, NGINX.as_bytes())
        .file("etc/passwd", 0o644, b"root:x:0:0::/:/bin/false\n")
        .file("etc/group", 0o644, b"root:x:0:\n")
        .folder("var/log/nginx/", 0o755);
    Some(ImageBuilder::new().layer(layer, Compression::Gzip).command(&["/usr/sbin/nginx"]))
}

/// Adds a program and everything that `ldd` names, each under its own path.
fn with_program(mut layer: Layer, program: &str) -> Option<Layer> {
    if !Path::new(program).exists() {
        return None;
    }
    let output = Command::new("ldd").arg(program).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let libraries = text.split_whitespace().filter(|word| word.starts_with('/'));
    for path in std::iter::once(program).chain(libraries) {
        let content = std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        layer = layer.file(path.trim_start_matches('/'), 0o755, &content);
    }
    Some(layer)
}
