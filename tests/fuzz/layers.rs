//! Layers: whatever a tar archive holds, it is unpacked inside its folder or refused by the entry's name; over lower
//! layers with links that lead out, too.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use harness::image::{Layer, header};
use image::layer::{Wanted, unpack, walk};
use image::{Digest, Limits};

use crate::mutate::{self, Verdict};

const BLOCK: usize = 512;
const WORDS: [&str; 14] = [
    "out/inside",
    "away/x",
    "..",
    "../out",
    "/",
    "link/x",
    ".wh.a",
    ".wh..wh..opq",
    "SCHILY.xattr.trusted.overlay.redirect",
    "GNU.sparse.map",
    "mtime",
    "size",
    "path",
    "linkpath",
];

fn corpus() -> Vec<Vec<u8>> {
    let plain = Layer::new()
        .folder("./", 0o750)
        .folder("dir/", 0o2775)
        .owner(1000, 2000)
        .record("mtime", b"1234567890.987654321")
        .record("SCHILY.xattr.user.note", b"a\nb")
        .file("dir/file", 0o4755, b"content")
        .hard_link("dir/same", "dir/file")
        .symlink("link", "/etc")
        .fifo("pipe", 0o600);
    let hiding = Layer::new()
        .file("dir/.wh.file", 0o644, b"")
        .file("dir/.wh..wh..opq", 0o644, b"")
        .file("lower/x/y", 0o644, b"implicit")
        .hard_link("copy", "lower-file")
        .file("side/inside", 0o644, b"through a link")
        .file(&format!("{}name", "long/".repeat(40)), 0o644, b"deep");
    vec![plain.tar(), hiding.tar()]
}

/// Damage that only breaks checksums gets no further than the header.
fn mended(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for block in bytes.chunks_exact_mut(BLOCK).filter(|block| block[257..262] == *b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}

/// A layer below, with a link that leads out of it.
fn lower(folder: &Path) {
    std::fs::create_dir_all(folder.join("lower")).expect("a folder");
    std::fs::write(folder.join("lower-file"), "low").expect("a file");
    std::os::unix::fs::symlink("../../victim", folder.join("out")).expect("a link");
    std::os::unix::fs::symlink("/nonexistent-victim", folder.join("away")).expect("a link");
    std::os::unix::fs::symlink("lower", folder.join("side")).expect("a link");
}

#[test]
fn layers() {
    if !harness::root_or_skip("layers") {
        return;
    }
    let ground = tempfile::tempdir().expect("a folder");
    let (below, victim) = (ground.path().join("below"), ground.path().join("victim"));
    lower(&below);
    std::fs::create_dir(&victim).expect("a folder");
    let mut beside = names(ground.path());
    beside.sort();
    let corpus = corpus();
    let corpus: Vec<&[u8]> = corpus.iter().map(Vec::as_slice).collect();
    // A checksum that is right for the crate that made it.
    assert_eq!(header("a", b'0', 0o644, 0).as_bytes().len(), BLOCK);
    mutate::run("layer", &corpus, &WORDS, |input| {
        let bytes = mended(input);
        let target = tempfile::tempdir_in(ground.path()).expect("a folder");
        let digest = Digest::of(&bytes);
        let wanted = Wanted { digest: None, size: bytes.len() as u64, diff_id: digest };
        let limits = Limits { unpacked_bytes: 1 << 20, entries: 1000, reserve_bytes: 0, ..Limits::default() };
        let budget = Arc::new(AtomicU64::new(limits.unpacked_bytes));
        let done = unpack(bytes.as_slice(), &wanted, target.path(), &limits, budget)
            .and_then(|unpacked| unpacked.deferred.settle(target.path(), std::slice::from_ref(&below)));
        target.close().expect("what was unpacked can be removed");
        let mut now = names(ground.path());
        now.sort();
        assert_eq!(now, beside, "nothing outside of the layer");
        assert!(names(&victim).is_empty() && !Path::new("/nonexistent-victim").exists());
        assert_eq!(std::fs::read(below.join("lower-file")).expect("a file"), b"low");
        match done {
            Ok(()) => Verdict::Understood,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                // Only an honest input's refusal is a failure, and then this is what one wants to know.
                if corpus.contains(&input) {
                    eprintln!("{error}");
                }
                Verdict::Refused
            }
        }
    });
}

fn names(folder: &Path) -> Vec<std::ffi::OsString> {
    std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.file_name()).collect()
}

/// Archives of images, of which only the members' places are read.
#[test]
fn archives() {
    use std::io::Write as _;
    let corpus = corpus();
    let corpus: Vec<&[u8]> = corpus.iter().map(Vec::as_slice).collect();
    mutate::run("archive", &corpus, &WORDS, |input| {
        let bytes = mended(input);
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&bytes).expect("written");
        std::io::Seek::rewind(&mut file).expect("rewound");
        let walked = walk(file, |_, offset| {
            assert!(offset <= bytes.len() as u64);
            Ok(())
        });
        if walked.is_ok() { Verdict::Understood } else { Verdict::Refused }
    });
}
