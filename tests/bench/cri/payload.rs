//! The images, made for the occasion and pushed to the registry: a pause, busybox, busybox with lines to say, and a large one.

use std::io::Write as _;
use std::process::{Command, Stdio};

use harness::image::{Compression, ImageBuilder, Layer, busybox, sha256};
use harness::registry::Debian;

pub const LINES: usize = 100_000;
/// With its end.
pub const LINE_BYTES: usize = 100;
pub const LAST_LINE: &[u8; 9] = b"the last\n";

/// Layers of the large image.
const LAYERS: usize = 5;
/// Of a tree of sources and texts.
const SMALL_BYTES: u64 = 32 << 10;
/// Of programs and libraries.
const BIG_BYTES: u64 = 4 << 20;
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// References.
pub struct Images {
    pub pause: String,
    pub busybox: String,
    pub lines: String,
    pub large: String,
    pub large_description: String,
}

/// `large`: how many megabytes that image unpacks to, if it is wanted.
pub fn push(registry: &Debian, large: Option<usize>) -> Images {
    let base = || busybox().expect("busybox is installed");
    let line = [vec![b'x'; LINE_BYTES - 1], vec![b'\n']].concat();
    let lines = Layer::new().file("lines", 0o644, &line.repeat(LINES)).file("last", 0o644, LAST_LINE);
    let (large, large_description) =
        large.map(|megabytes| push_large(registry, megabytes)).unwrap_or_default();
    Images {
        pause: harness::containerd::push_pause(registry),
        busybox: registry.push("busybox", "1", &base().build()),
        lines: registry.push("lines", "1", &base().layer(lines, Compression::Gzip).build()),
        large,
        large_description,
    }
}

fn push_large(registry: &Debian, megabytes: usize) -> (String, String) {
    let mut random = Random(SEED);
    let text = text(&mut random);
    let (mut image, mut stored, mut files) = (ImageBuilder::new(), 0, 0);
    for number in 0..LAYERS {
        let (layer, count) = layer(number, (megabytes << 20) / LAYERS, &text, &mut random);
        let tar = layer.tar();
        let packed = gzip(&tar);
        (stored, files) = (stored + packed.len(), files + count);
        image = image.raw_layer(packed, sha256(&tar), Compression::Gzip);
    }
    let description = format!(
        "{megabytes} MB of {files} files in {LAYERS} layers of gzip, {} MB on the wire",
        stored >> 20
    );
    (registry.push("large", "1", &image.command(&["/bin/true"]).build()), description)
}

/// Half of it small files of text, the rest large ones of which a third cannot be compressed.
fn layer(number: usize, bytes: usize, text: &[u8], random: &mut Random) -> (Layer, usize) {
    let mut layer = Layer::new().folder(&format!("layer{number}/"), 0o755);
    let (mut written, mut files) = (0, 0_usize);
    while written < bytes {
        let small = written < bytes / 2;
        let most = if small { SMALL_BYTES } else { BIG_BYTES };
        let length = (random.next() % most + 1) as usize;
        let at = random.next() as usize % (text.len() - length);
        let mut content = text[at..at + length].to_vec();
        if !small {
            let noise = length / 3;
            content[..noise].chunks_mut(8).for_each(|piece| {
                piece.copy_from_slice(&random.next().to_le_bytes()[..piece.len()]);
            });
        }
        if files.is_multiple_of(100) {
            layer = layer.folder(&format!("layer{number}/{}/", files / 100), 0o755);
        }
        layer = layer.file(&format!("layer{number}/{}/file{files}", files / 100), 0o644, &content);
        (written, files) = (written + length, files + 1);
    }
    (layer, files)
}

/// Words that gzip makes about a third of.
fn text(random: &mut Random) -> Vec<u8> {
    let words: Vec<String> =
        (0..600).map(|_| format!("{:x}", random.next() >> (random.next() % 40 + 20))).collect();
    let mut text = Vec::new();
    while text.len() < 4 * BIG_BYTES as usize {
        text.extend_from_slice(words[random.next() as usize % words.len()].as_bytes());
        text.push(if random.next().is_multiple_of(12) { b'\n' } else { b' ' });
    }
    text
}

/// By the program: this one's own is slow in a debug build.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let child = Command::new("gzip").args(["-1", "-n"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("gzip runs");
    let mut input = child.stdin.take().expect("its input");
    std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(bytes).expect("gzip reads"));
        let output = child.wait_with_output().expect("gzip ends");
        assert!(output.status.success(), "gzip: {}", output.status);
        output.stdout
    })
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
