//! Images made for tests, honest and hostile: layers entry by entry, as OCI layout, archive, `docker
//! save` archive, or the blobs that a registry serves.
//!
//! Nothing outside this process is needed but `/bin/busybox` (static), and only for [`busybox`].

mod program;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use aws_lc_rs::digest;
use serde_json::{Value, json};

pub use program::nginx;

/// How a layer is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// Whose media types the manifest has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Oci,
    Docker,
}

/// A layer in the making. Names are written as given: `..` and worse included.
#[derive(Default)]
pub struct Layer {
    tar: Vec<u8>,
    owner: (u64, u64),
    mtime: u64,
    records: Vec<(String, Vec<u8>)>,
}

/// An image in the making.
#[derive(Clone)]
pub struct ImageBuilder {
    layers: Vec<Blob>,
    dialect: Dialect,
    process: Value,
    architecture: String,
}

#[derive(Clone)]
struct Blob {
    bytes: Vec<u8>,
    diff_id: String,
    compression: Compression,
}

/// An image as a registry has it.
#[derive(Clone, Debug)]
pub struct BuiltImage {
    /// Everything by digest, manifest included.
    pub blobs: BTreeMap<String, Vec<u8>>,
    pub manifest: String,
    pub manifest_type: &'static str,
    pub config: String,
    /// Digests of the layers as stored, bottom first.
    pub layers: Vec<String>,
    /// `docker save` needs them unpacked.
    pub diff_ids: Vec<String>,
    architecture: String,
}

/// `sha256:...` of these bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, bytes);
    hash.as_ref().iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// An image of Debian's static busybox with `/bin/sh` and the other applets that tests use; none where it
/// is not installed.
#[must_use]
pub fn busybox() -> Option<ImageBuilder> {
    let program = ["/bin/busybox", "/usr/bin/busybox"].iter().find_map(|path| std::fs::read(path).ok())?;
    let mut layer =
        Layer::new().folder("./", 0o755).folder("bin/", 0o755).file("bin/busybox", 0o755, &program);
    for applet in [
        "sh",
        "cat",
        "echo",
        "ls",
        "sleep",
        "true",
        "false",
        "id",
        "env",
        "mount",
        "umount",
        "ps",
        "kill",
        "nc",
        "wget",
        "httpd",
        "seq",
        "stat",
        "head",
        "tail",
        "dd",
        "yes",
        "touch",
        "mkdir",
        "rm",
        "ln",
        "chmod",
        "pwd",
        "hostname",
        "ip",
        "ifconfig",
        "ping",
        "nslookup",
        "test",
        "tty",
        "stty",
        "date",
        "grep",
        "sed",
        "awk",
        "printf",
        "wc",
        "tr",
        "cut",
        "sort",
        "tee",
        "usleep",
        "df",
        "du",
        "mknod",
        "chown",
        "su",
        "top",
        "free",
        "cp",
        "mv",
        "find",
        "xargs",
        "uname",
        "whoami",
        "basename",
        "dirname",
        "readlink",
        "md5sum",
        "sha256sum",
    ] {
        layer = layer.symlink(&format!("bin/{applet}"), "busybox");
    }
    let passwd =
        b"root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/false\nuser:x:1000:1000::/home:/bin/sh\n";
    let group = b"root:x:0:\ndaemon:x:1:\nuser:x:1000:\nextra:x:2000:user\n";
    let layer = layer
        .folder("etc/", 0o755)
        .file("etc/passwd", 0o644, passwd)
        .file("etc/group", 0o644, group)
        .folder("tmp/", 0o1777)
        .folder("root/", 0o700)
        .folder("home/", 0o755)
        .folder("dev/", 0o755)
        .folder("proc/", 0o555)
        .folder("sys/", 0o555)
        .folder("var/", 0o755);
    let image = ImageBuilder::new().layer(layer, Compression::Gzip).command(&["/bin/sh"]);
    Some(image.set("Env", json!(["PATH=/bin:/usr/bin:/sbin"])))
}

// === impl Layer ===

impl Layer {
    #[must_use]
    pub fn new() -> Layer {
        Layer::default()
    }

    /// Owner of all entries from here on.
    #[must_use]
    pub fn owner(mut self, uid: u64, gid: u64) -> Layer {
        self.owner = (uid, gid);
        self
    }

    #[must_use]
    pub fn mtime(mut self, seconds: u64) -> Layer {
        self.mtime = seconds;
        self
    }

    /// A PAX record of the next entry: `SCHILY.xattr.user.x`, `mtime`, ...
    #[must_use]
    pub fn record(mut self, key: &str, value: &[u8]) -> Layer {
        self.records.push((key.to_owned(), value.to_vec()));
        self
    }

    #[must_use]
    pub fn file(self, name: &str, mode: u32, data: &[u8]) -> Layer {
        self.entry(name, b'0', mode, "", (0, 0), data)
    }

    #[must_use]
    pub fn folder(self, name: &str, mode: u32) -> Layer {
        self.entry(name, b'5', mode, "", (0, 0), b"")
    }

    #[must_use]
    pub fn symlink(self, name: &str, target: &str) -> Layer {
        self.entry(name, b'2', 0o777, target, (0, 0), b"")
    }

    #[must_use]
    pub fn hard_link(self, name: &str, target: &str) -> Layer {
        self.entry(name, b'1', 0o644, target, (0, 0), b"")
    }

    #[must_use]
    pub fn fifo(self, name: &str, mode: u32) -> Layer {
        self.entry(name, b'6', mode, "", (0, 0), b"")
    }

    /// `kind`: b'3' for character devices, b'4' for block devices.
    #[must_use]
    pub fn device(self, name: &str, kind: u8, numbers: (u32, u32)) -> Layer {
        self.entry(name, kind, 0o666, "", numbers, b"")
    }

    /// Any entry, with any type byte.
    #[must_use]
    pub fn entry(
        mut self,
        name: &str,
        kind: u8,
        mode: u32,
        target: &str,
        numbers: (u32, u32),
        data: &[u8],
    ) -> Layer {
        let mut records = std::mem::take(&mut self.records);
        if name.len() > 99 {
            records.push(("path".to_owned(), name.as_bytes().to_vec()));
        }
        if target.len() > 99 {
            records.push(("linkpath".to_owned(), target.as_bytes().to_vec()));
        }
        if !records.is_empty() {
            let block: Vec<u8> = records.iter().flat_map(|(key, value)| pax(key, value)).collect();
            let header = header("pax", b'x', 0o644, block.len() as u64);
            self.append(header, &block);
        }
        let mut header = header(name, kind, mode, data.len() as u64);
        header.set_uid(self.owner.0);
        header.set_gid(self.owner.1);
        header.set_mtime(self.mtime);
        let length = target.len().min(99);
        header.as_old_mut().linkname[..length].copy_from_slice(&target.as_bytes()[..length]);
        header.set_device_major(numbers.0).expect("a ustar header has devices");
        header.set_device_minor(numbers.1).expect("a ustar header has devices");
        self.append(header, data);
        self
    }

    /// The archive.
    #[must_use]
    pub fn tar(mut self) -> Vec<u8> {
        self.tar.extend_from_slice(&[0; 1024]);
        self.tar
    }

    fn append(&mut self, mut header: tar::Header, data: &[u8]) {
        header.set_cksum();
        self.tar.extend_from_slice(header.as_bytes());
        self.tar.extend_from_slice(data);
        self.tar.resize(self.tar.len().next_multiple_of(512), 0);
    }
}

/// A ustar header whose name is taken as it is.
#[must_use]
pub fn header(name: &str, kind: u8, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    let length = name.len().min(99);
    header.as_old_mut().name[..length].copy_from_slice(&name.as_bytes()[..length]);
    header.as_old_mut().linkflag[0] = kind;
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn pax(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

/// These bytes, compressed.
#[must_use]
pub fn compress(bytes: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::None => bytes.to_vec(),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).expect("memory takes bytes");
            encoder.finish().expect("memory takes bytes")
        }
        Compression::Zstd => zstd::encode_all(bytes, 1).expect("memory takes bytes"),
    }
}

/// A gzip layer of one file of zeros, made without unpacking it anywhere. Its diff id is not known.
#[must_use]
pub fn zeros(name: &str, mebibytes: u64) -> Vec<u8> {
    let mut header = header(name, b'0', 0o644, mebibytes << 20);
    header.set_cksum();
    let mut bytes = compress(header.as_bytes(), Compression::Gzip);
    let mebibyte = compress(&vec![0; 1 << 20], Compression::Gzip);
    for _ in 0..mebibytes {
        bytes.extend_from_slice(&mebibyte);
    }
    bytes.extend_from_slice(&compress(&[0; 1024], Compression::Gzip));
    bytes
}

// === impl ImageBuilder ===

impl ImageBuilder {
    #[must_use]
    pub fn new() -> ImageBuilder {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        ImageBuilder {
            layers: Vec::new(),
            dialect: Dialect::Oci,
            process: json!({}),
            architecture: architecture.to_owned(),
        }
    }

    #[must_use]
    pub fn layer(self, layer: Layer, compression: Compression) -> ImageBuilder {
        let tar = layer.tar();
        let diff_id = sha256(&tar);
        self.raw_layer(compress(&tar, compression), diff_id, compression)
    }

    /// A layer as it is stored, with whatever diff id the configuration should say.
    #[must_use]
    pub fn raw_layer(mut self, bytes: Vec<u8>, diff_id: String, compression: Compression) -> ImageBuilder {
        self.layers.push(Blob { bytes, diff_id, compression });
        self
    }

    #[must_use]
    pub fn dialect(mut self, dialect: Dialect) -> ImageBuilder {
        self.dialect = dialect;
        self
    }

    #[must_use]
    pub fn architecture(mut self, architecture: &str) -> ImageBuilder {
        architecture.clone_into(&mut self.architecture);
        self
    }

    #[must_use]
    pub fn command(self, command: &[&str]) -> ImageBuilder {
        self.set("Cmd", json!(command))
    }

    #[must_use]
    pub fn entrypoint(self, entrypoint: &[&str]) -> ImageBuilder {
        self.set("Entrypoint", json!(entrypoint))
    }

    /// A field of the configuration's `config`: `User`, `WorkingDir`, `Env`, ...
    #[must_use]
    pub fn set(mut self, field: &str, value: Value) -> ImageBuilder {
        self.process[field] = value;
        self
    }

    #[must_use]
    pub fn build(&self) -> BuiltImage {
        let mut blobs = BTreeMap::new();
        let mut put = |bytes: Vec<u8>| {
            let digest = sha256(&bytes);
            let size = bytes.len();
            blobs.insert(digest.clone(), bytes);
            (digest, size)
        };
        let diff_ids: Vec<String> = self.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let config = json!({
            "architecture": self.architecture, "os": "linux", "created": "2026-01-01T00:00:00Z",
            "config": self.process, "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": [],
        });
        let (config, config_size) = put(config.to_string().into_bytes());
        let docker = self.dialect == Dialect::Docker;
        let mut layers = Vec::new();
        let mut descriptors = Vec::new();
        for layer in &self.layers {
            let kind = match (docker, layer.compression) {
                (true, Compression::None) => "application/vnd.docker.image.rootfs.diff.tar",
                (true, _) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
                (false, Compression::None) => "application/vnd.oci.image.layer.v1.tar",
                (false, Compression::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
                (false, Compression::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            };
            let (digest, size) = put(layer.bytes.clone());
            descriptors.push(json!({"mediaType": kind, "digest": digest, "size": size}));
            layers.push(digest);
        }
        let (manifest_type, config_type) = if docker {
            (
                "application/vnd.docker.distribution.manifest.v2+json",
                "application/vnd.docker.container.image.v1+json",
            )
        } else {
            ("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.config.v1+json")
        };
        let manifest = json!({
            "schemaVersion": 2, "mediaType": manifest_type, "layers": descriptors,
            "config": {"mediaType": config_type, "digest": config, "size": config_size},
        });
        let (manifest, _) = put(manifest.to_string().into_bytes());
        BuiltImage {
            blobs,
            manifest,
            manifest_type,
            config,
            layers,
            diff_ids,
            architecture: self.architecture.clone(),
        }
    }
}

impl Default for ImageBuilder {
    fn default() -> ImageBuilder {
        ImageBuilder::new()
    }
}

// === impl BuiltImage ===

impl BuiltImage {
    /// An index of several images, as an image whose manifest is the index.
    #[must_use]
    pub fn index(members: &[BuiltImage]) -> BuiltImage {
        let mut whole = members[0].clone();
        let descriptors: Vec<Value> = members.iter().map(BuiltImage::descriptor).collect();
        for member in members {
            whole.blobs.extend(member.blobs.clone());
        }
        whole.architecture.clear();
        whole.manifest_type = "application/vnd.oci.image.index.v1+json";
        let index = json!({"schemaVersion": 2, "mediaType": whole.manifest_type, "manifests": descriptors});
        let bytes = index.to_string().into_bytes();
        whole.manifest = sha256(&bytes);
        whole.blobs.insert(whole.manifest.clone(), bytes);
        whole
    }

    fn descriptor(&self) -> Value {
        let size = self.blobs[&self.manifest].len();
        let mut descriptor = json!({"mediaType": self.manifest_type, "digest": self.manifest, "size": size});
        // An index is for no platform in particular.
        if !self.architecture.is_empty() {
            descriptor["platform"] = json!({"os": "linux", "architecture": self.architecture});
        }
        descriptor
    }

    /// The files of an OCI layout. `name` becomes the reference annotation.
    #[must_use]
    pub fn layout_files(&self, name: &str) -> Vec<(String, Vec<u8>)> {
        let mut descriptor = self.descriptor();
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        let index = json!({"schemaVersion": 2, "manifests": [descriptor]});
        let mut files = vec![
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json".to_owned(), index.to_string().into_bytes()),
        ];
        let blobs = self.blobs.iter();
        files.extend(
            blobs.map(|(digest, bytes)| (format!("blobs/{}", digest.replace(':', "/")), bytes.clone())),
        );
        files
    }

    /// Writes an OCI layout directory.
    pub fn write_layout(&self, folder: &Path, name: &str) {
        for (file, bytes) in self.layout_files(name) {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, bytes).expect("a file");
        }
    }

    /// An OCI archive: a tar archive of the layout.
    #[must_use]
    pub fn archive(&self, name: &str) -> Vec<u8> {
        let files = self.layout_files(name).into_iter();
        files.fold(Layer::new(), |layer, (file, bytes)| layer.file(&file, 0o644, &bytes)).tar()
    }

    /// What `docker save` writes. Layers must be uncompressed.
    #[must_use]
    pub fn docker_archive(&self, tag: &str) -> Vec<u8> {
        let config = format!("{}.json", self.config.trim_start_matches("sha256:"));
        let names: Vec<String> = (0..self.layers.len()).map(|at| format!("layer{at}/layer.tar")).collect();
        let list = json!([{"Config": config, "RepoTags": [tag], "Layers": names}]);
        let mut archive = Layer::new().file(&config, 0o644, &self.blobs[&self.config]);
        for (name, digest) in names.iter().zip(&self.layers) {
            archive = archive.file(name, 0o644, &self.blobs[digest]);
        }
        archive.file("manifest.json", 0o644, list.to_string().as_bytes()).tar()
    }
}
