//! An image that holds this executable and nothing else, as an OCI layout in a folder.
//!
//! Reference: OCI image spec, image-layout.md.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Write};
use std::path::Path;

use anyhow::Context as _;
use aws_lc_rs::digest::{Context, SHA256};
use serde_json::{Value, json};

/// What pods name it.
pub const NAME: &str = "keelson.dev/demo:latest";
/// Where the executable is in it.
pub const PROGRAM: &str = "/keelson";
const CHUNK: usize = 1 << 20;

/// Writes the layout into `folder`, which must be empty.
pub fn write(folder: &Path) -> anyhow::Result<()> {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).with_context(|| format!("making {}", blobs.display()))?;
    let layer = write_layer(&blobs)?;
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {"Entrypoint": [PROGRAM, "demo-workload"], "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    });
    let config = write_json(&blobs, "application/vnd.oci.image.config.v1+json", &config)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [layer],
    });
    let mut manifest = write_json(&blobs, "application/vnd.oci.image.manifest.v1+json", &manifest)?;
    manifest["annotations"] = json!({"io.containerd.image.name": NAME});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    std::fs::write(folder.join("index.json"), index.to_string())?;
    std::fs::write(folder.join("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string())?;
    Ok(())
}

/// A layer with this executable: read, digested and written once.
fn write_layer(blobs: &Path) -> anyhow::Result<Value> {
    let program = File::open("/proc/self/exe").context("opening this executable")?;
    let size = program.metadata()?.len();
    let unnamed = blobs.join("layer");
    let mut output = Digesting::new(BufWriter::with_capacity(CHUNK, File::create(&unnamed)?));
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o755);
    header.set_entry_type(tar::EntryType::Regular);
    let mut archive = tar::Builder::new(&mut output);
    archive.append_data(
        &mut header,
        PROGRAM.trim_start_matches('/'),
        BufReader::with_capacity(CHUNK, program.take(size)),
    )?;
    archive.into_inner()?;
    output.flush()?;
    let (digest, size) = (hex(output.digest.finish().as_ref()), output.size);
    std::fs::rename(&unnamed, blobs.join(&digest))?;
    Ok(descriptor("application/vnd.oci.image.layer.v1.tar", &digest, size))
}

fn write_json(blobs: &Path, media_type: &str, document: &Value) -> io::Result<Value> {
    let text = document.to_string();
    let digest = hex(aws_lc_rs::digest::digest(&SHA256, text.as_bytes()).as_ref());
    std::fs::write(blobs.join(&digest), &text)?;
    Ok(descriptor(media_type, &digest, text.len() as u64))
}

fn descriptor(media_type: &str, digest: &str, size: u64) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size})
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Counts and digests what passes.
struct Digesting<W> {
    inner: W,
    digest: Context,
    size: u64,
}

impl<W: Write> Digesting<W> {
    fn new(inner: W) -> Digesting<W> {
        Digesting { inner, digest: Context::new(&SHA256), size: 0 }
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.inner.write(bytes)?;
        self.digest.update(&bytes[..taken]);
        self.size += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
