//! Layers made entry by entry, unpacked into real directories. Needs root, as unpacking does.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;

use harness::image::{self, Compression, Layer, compress, sha256};
use tempfile::TempDir;

use super::*;

fn wanted(stored: &[u8], tar: &[u8]) -> Wanted {
    Wanted {
        digest: Some(sha256(stored).parse().unwrap()),
        size: stored.len() as u64,
        diff_id: sha256(tar).parse().unwrap(),
    }
}

fn limits() -> Limits {
    Limits { reserve_bytes: 0, ..Limits::default() }
}

/// Unpacks beside a folder that must stay empty: the host.
struct Ground {
    folder: TempDir,
}

impl Ground {
    fn new() -> Ground {
        let folder = tempfile::tempdir().unwrap();
        for name in ["root", "host"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Ground { folder }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn unpack(&self, layer: Layer) -> Result<Unpacked, LayerError> {
        self.unpack_within(layer.tar(), &limits())
    }

    fn unpack_within(&self, tar: Vec<u8>, limits: &Limits) -> Result<Unpacked, LayerError> {
        let budget = Arc::new(AtomicU64::new(limits.unpacked_bytes));
        let done = unpack(tar.as_slice(), &wanted(&tar, &tar), &self.root(), limits, budget);
        let names: Vec<_> =
            fs::read_dir(self.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "nothing beside the layer: {names:?}");
        assert_eq!(
            fs::read_dir(self.folder.path().join("host")).unwrap().count(),
            0,
            "the host is untouched"
        );
        done
    }
}

fn root(test: &str) -> bool {
    harness::root_or_skip(test)
}

#[test]
fn entries_become_what_they_say() {
    if !root("entries_become_what_they_say") {
        return;
    }
    let ground = Ground::new();
    let deep = "long/".repeat(40) + "name";
    let layer = Layer::new()
        .mtime(1_000_000_000)
        .folder("./", 0o750)
        .owner(1000, 2000)
        .folder("home/", 0o2775)
        .record("mtime", b"1234567890.987654321")
        .record("SCHILY.xattr.user.note", b"a\nb=\0c")
        .record("SCHILY.xattr.user.empty", b"")
        .record(
            "SCHILY.xattr.security.capability",
            b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        )
        .record("SCHILY.xattr.security.selinux", b"label")
        .file("home/tool", 0o4755, b"content")
        .hard_link("home/same", "home/tool")
        .symlink("home/link", "/etc/passwd")
        .fifo("home/pipe", 0o622)
        .file("/absolute", 0o600, b"")
        .file(&deep, 0o644, b"deep")
        .owner(0, 0)
        .file("opt/x/y", 0o644, b"implicit");
    let unpacked = ground.unpack(layer).unwrap();
    let at = |name: &str| ground.root().join(name);
    let stat = |name: &str| fs::symlink_metadata(at(name)).unwrap();
    assert!(unpacked.root_described);
    assert_eq!(stat(".").mode() & 0o7777, 0o750);
    assert_eq!(stat(".").mtime(), 1_000_000_000, "folder times survive what is made in them");
    assert_eq!((stat("home").mode() & 0o7777, stat("home").mtime()), (0o2775, 1_000_000_000));
    let tool = stat("home/tool");
    assert_eq!((tool.mode() & 0o7777, tool.uid(), tool.gid(), tool.nlink()), (0o4755, 1000, 2000, 2));
    assert_eq!((tool.mtime(), tool.mtime_nsec()), (1_234_567_890, 987_654_321));
    assert_eq!(stat("home/same").ino(), tool.ino());
    assert_eq!(fs::read_link(at("home/link")).unwrap(), PathBuf::from("/etc/passwd"));
    assert_eq!((stat("home/link").uid(), stat("home/link").mtime()), (1000, 1_000_000_000));
    assert!(stat("home/pipe").file_type().is_fifo() && stat("home/pipe").mode() & 0o777 == 0o622);
    assert_eq!(fs::read(at("absolute")).unwrap(), b"");
    assert_eq!(fs::read(at(&deep)).unwrap(), b"deep");
    for implicit in ["opt", "opt/x"] {
        let stat = stat(implicit);
        assert_eq!((stat.uid(), stat.gid(), stat.mode() & 0o7777), (0, 0, 0o755), "{implicit}");
    }
    let folder = rustix::fs::open(at("home"), rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    let xattr = |name| sys::xattr::get(std::os::fd::AsFd::as_fd(&folder), "tool".as_ref(), name).unwrap();
    if xattr(c"user.note").is_some() {
        assert_eq!(xattr(c"user.note").unwrap(), b"a\nb=\0c");
        assert_eq!(xattr(c"user.empty").unwrap(), b"");
    }
    assert_eq!(xattr(c"security.capability").map(|value| value.len()), Some(20), "set after the owner");
    let folders: Vec<_> = unpacked.deferred.folders.iter().map(|f| f.bytes().to_vec()).collect();
    assert!(folders.contains(&b"opt".to_vec()) && !folders.contains(&b"home".to_vec()));
}

#[test]
fn later_entries_replace_earlier_ones() {
    if !root("later_entries_replace_earlier_ones") {
        return;
    }
    let ground = Ground::new();
    let layer = Layer::new()
        .file("a", 0o644, b"old")
        .file("a", 0o600, b"new")
        .file("folder/inner", 0o644, b"")
        .file("folder", 0o644, b"now a file")
        .symlink("link", "folder")
        .folder("link/", 0o700)
        .folder("real/", 0o700)
        .symlink("alias", "real")
        .file("alias/first", 0o644, b"")
        .folder("alias/", 0o700)
        .file("alias/second", 0o644, b"")
        .folder("twice/", 0o700)
        .file("twice/kept", 0o644, b"")
        .folder("twice/", 0o711)
        .hard_link("late", "missing")
        .file("late", 0o644, b"no link any more");
    let unpacked = ground.unpack(layer).unwrap();
    let read = |name: &str| fs::read_to_string(ground.root().join(name)).unwrap();
    assert_eq!(
        (read("a"), read("folder"), read("late")),
        ("new".into(), "now a file".into(), "no link any more".into())
    );
    assert!(fs::symlink_metadata(ground.root().join("link")).unwrap().is_dir());
    let exists = |name: &str| ground.root().join(name).exists();
    assert!(exists("real/first") && exists("alias/second") && !exists("real/second"));
    assert_eq!(fs::metadata(ground.root().join("twice")).unwrap().mode() & 0o777, 0o711);
    assert!(ground.root().join("twice/kept").exists());
    assert!(unpacked.deferred.is_empty(), "{:?}", unpacked.deferred);
}

#[test]
fn hostile_entries_are_refused_by_name() {
    if !root("hostile_entries_are_refused_by_name") {
        return;
    }
    let name = "n".repeat(256);
    let path = "p/".repeat(2100) + "x";
    let target = "t".repeat(4096);
    for (layer, entry, reason) in [
        (Layer::new().file("../escape", 0o644, b""), "../escape", "'..'"),
        (Layer::new().file("a/../../escape", 0o644, b""), "a/../../escape", "'..'"),
        (Layer::new().symlink("etc", "/").file("etc/passwd", 0o644, b"x"), "etc/passwd", "leads out"),
        (Layer::new().symlink("etc", "/etc").file("etc/passwd", 0o644, b"x"), "etc/passwd", "leads out"),
        (Layer::new().symlink("up", "../host").file("up/x", 0o644, b""), "up/x", "leads out"),
        (
            Layer::new().symlink("up", "a/../../host").folder("a/", 0o755).file("up/x", 0o644, b""),
            "up/x",
            "leads out",
        ),
        (Layer::new().symlink("loop", "loop").file("loop/x", 0o644, b""), "loop/x", "leads out"),
        (Layer::new().symlink("gone", "nowhere").file("gone/x", 0o644, b""), "gone/x", "no folder"),
        (Layer::new().file("f", 0o644, b"").file("f/x", 0o644, b""), "f/x", "no folder"),
        (Layer::new().symlink("out", "/").hard_link("x", "out/etc/passwd"), "x", "leads out"),
        (Layer::new().hard_link("x", "../../etc/passwd"), "x", "'..'"),
        (Layer::new().hard_link("x", "x"), "x", "itself"),
        (Layer::new().folder("d/", 0o755).hard_link("x", "d"), "x", "folder"),
        (Layer::new().device("dev/sda", b'4', (8, 0)), "dev/sda", "devices"),
        (Layer::new().device("dev/kmem", b'3', (1, 2)), "dev/kmem", "devices"),
        (Layer::new().symlink("w", "/").file("w/.wh.etc", 0o644, b""), "w/.wh.etc", "leads out"),
        (Layer::new().file("a/.wh...", 0o644, b""), "a/.wh...", "whiteout of nothing"),
        (Layer::new().file("a/.wh.", 0o644, b""), "a/.wh.", "whiteout of nothing"),
        (
            Layer::new().record("SCHILY.xattr.trusted.overlay.opaque", b"y").folder("o/", 0o755),
            "o/",
            "not for layers",
        ),
        (
            Layer::new().record("SCHILY.xattr.trusted.overlay.redirect", b"/x").folder("o/", 0o755),
            "o/",
            "not for layers",
        ),
        (
            Layer::new().record("SCHILY.xattr.user.overlay.opaque", b"y").folder("o/", 0o755),
            "o/",
            "not for layers",
        ),
        (Layer::new().record("uid", b"4294967295").file("u", 0o644, b""), "u", "owner"),
        (Layer::new().entry("v", b'V', 0o644, "", (0, 0), b""), "v", "unknown"),
        (Layer::new().symlink("./", "x"), "./", "root"),
        (Layer::new().file(&name, 0o644, b""), &name, "255"),
        (Layer::new().file(&path, 0o644, b""), &path, "4096"),
        (Layer::new().symlink("s", &target), "s", "4095"),
    ] {
        let error = Ground::new().unpack(layer).unwrap_err();
        assert_eq!(
            error.entry.as_deref().map(|e| e.trim_end_matches('/')),
            Some(entry.trim_end_matches('/')),
            "{error}"
        );
        assert!(matches!(&error.fault, Fault::Refused(said) if said.contains(reason)), "{entry}: {error}");
    }
}

/// Links make folders deeper than any path of an entry, and deeper than a recursion that deletes them may go.
#[test]
fn folders_nested_by_links_are_replaced() {
    if !root("folders_nested_by_links_are_replaced") {
        return;
    }
    let inner = "a/".repeat(100);
    let mut layer = Layer::new();
    for turn in 0..3 {
        let top = if turn == 0 { "top".to_owned() } else { format!("l{turn}") };
        layer = layer.file(&format!("{top}/{inner}end"), 0o644, b"");
        layer = layer.symlink(&format!("l{}", turn + 1), &format!("{top}/{}", inner.trim_end_matches('/')));
    }
    let ground = Ground::new();
    ground.unpack(layer.file("top", 0o644, b"now a file")).unwrap();
    assert_eq!(fs::read(ground.root().join("top")).unwrap(), b"now a file");
}

#[test]
fn links_inside_a_layer_are_followed() {
    if !root("links_inside_a_layer_are_followed") {
        return;
    }
    let ground = Ground::new();
    let layer = Layer::new()
        .folder("usr/", 0o755)
        .folder("usr/lib/", 0o755)
        .symlink("lib", "usr/lib")
        .file("lib/x", 0o644, b"x")
        .symlink("usr/up", "../usr/lib")
        .file("usr/up/y", 0o644, b"y");
    ground.unpack(layer).unwrap();
    assert!(ground.root().join("usr/lib/x").exists() && ground.root().join("usr/lib/y").exists());
}

#[test]
fn limits_hold() {
    if !root("limits_hold") {
        return;
    }
    let small = Limits { entries: 3, unpacked_bytes: 64 << 10, ..limits() };
    let many = (0..5).fold(Layer::new(), |layer, at| layer.file(&format!("f{at}"), 0o644, b""));
    let big = Layer::new().file("big", 0o644, &vec![1; 100 << 10]);
    for (layer, entry, reason) in [(many, "f3", "more than 3 entries"), (big, "big", "more than 65536 bytes")]
    {
        let error = Ground::new().unpack_within(layer.tar(), &small).unwrap_err();
        assert_eq!(error.entry.as_deref(), Some(entry), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
    // Zeros compress a thousandfold.
    let stored = image::zeros("zeros", 32);
    let tight = Limits { ratio: 100, ratio_free_bytes: 4 << 20, ..limits() };
    let ground = Ground::new();
    let budget = Arc::new(AtomicU64::new(u64::MAX));
    let error = unpack(stored.as_slice(), &wanted(&stored, b""), &ground.root(), &tight, budget).unwrap_err();
    assert_eq!(error.entry.as_deref(), Some("zeros"));
    assert!(error.to_string().contains("100 times"), "{error}");
}

#[test]
fn every_compression_is_recognised_and_checked() {
    if !root("every_compression_is_recognised_and_checked") {
        return;
    }
    let random: Vec<u8> = (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let tar = Layer::new().file("data", 0o644, &random).tar();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let stored = compress(&tar, compression);
        let run = |bytes: &[u8], wanted: &Wanted| {
            let ground = Ground::new();
            unpack(bytes, wanted, &ground.root(), &limits(), Arc::new(AtomicU64::new(u64::MAX)))
        };
        let right = wanted(&stored, &tar);
        assert!(run(&stored, &right).is_ok(), "{compression:?}");
        let other_digest = Wanted { digest: Some(sha256(b"other").parse().unwrap()), ..right.clone() };
        assert!(
            matches!(run(&stored, &other_digest).unwrap_err().fault, Fault::Digest { .. }),
            "{compression:?}"
        );
        let other_diff = Wanted { diff_id: sha256(b"other").parse().unwrap(), ..right.clone() };
        assert!(
            matches!(run(&stored, &other_diff).unwrap_err().fault, Fault::DiffId { .. }),
            "{compression:?}"
        );
        let cut = run(&stored[..stored.len() / 2], &right).unwrap_err();
        assert!(matches!(cut.fault, Fault::Size { .. }), "{compression:?}: {cut}");
        let mut flipped = stored.clone();
        flipped[stored.len() / 2] ^= 0x10;
        assert!(matches!(run(&flipped, &right).unwrap_err().fault, Fault::Digest { .. }), "{compression:?}");
        let mut longer = stored.clone();
        longer.extend_from_slice(&stored);
        assert!(matches!(run(&longer, &right).unwrap_err().fault, Fault::Size { .. } | Fault::Damaged(_)));
    }
    let empty = Ground::new().unpack_within(Vec::new(), &limits());
    assert!(empty.is_ok(), "a layer may be empty");
}

#[test]
fn whiteouts_speak_about_lower_layers_only() {
    if !root("whiteouts_speak_about_lower_layers_only") {
        return;
    }
    let ground = Ground::new();
    let layer = Layer::new()
        .folder("d/", 0o755)
        .file("d/.wh.gone", 0o644, b"")
        .file(".wh.before", 0o644, b"")
        .folder("before/", 0o755)
        .folder("after/", 0o755)
        .file(".wh.after", 0o644, b"")
        .file("file", 0o644, b"mine")
        .file(".wh.file", 0o644, b"")
        .file("opaque/.wh..wh..opq", 0o644, b"")
        .file(".wh..wh.plnk", 0o644, b"")
        .device("devicewise", b'3', (0, 0));
    ground.unpack(layer).unwrap();
    let folder =
        rustix::fs::open(ground.root(), rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    let opaque = |name: &str| {
        sys::overlay::is_opaque(
            std::os::fd::AsFd::as_fd(&folder),
            std::ffi::OsStr::from_bytes(name.as_bytes()),
        )
        .unwrap()
    };
    let whiteout = |name: &str| {
        let stat = fs::symlink_metadata(ground.root().join(name)).unwrap();
        stat.file_type().is_char_device() && stat.rdev() == 0
    };
    assert!(whiteout("d/gone") && whiteout("devicewise"));
    assert!(opaque("before") && opaque("after") && opaque("opaque") && !opaque("d"));
    assert_eq!(fs::read(ground.root().join("file")).unwrap(), b"mine");
    assert!(!ground.root().join(".wh..wh.plnk").exists());
}

#[test]
fn what_lower_layers_know_is_settled() {
    if !root("what_lower_layers_know_is_settled") {
        return;
    }
    let lower = Ground::new();
    let base = Layer::new()
        .folder("usr/", 0o755)
        .folder("usr/lib/", 0o755)
        .symlink("lib", "usr/lib")
        .symlink("run", "/var/run")
        .folder("var/", 0o755)
        .folder("var/run/", 0o711)
        .owner(7, 8)
        .folder("home/", 0o2750)
        .file("home/shared", 0o640, b"from below")
        .owner(0, 0);
    lower.unpack(base).unwrap();
    let middle = Ground::new();
    middle.unpack(Layer::new().folder("var/", 0o755).file("var/.wh.gone", 0o644, b"")).unwrap();
    let upper = Ground::new();
    let layer = Layer::new()
        .file("lib/plugin/x.so", 0o644, b"x")
        .file("run/pid", 0o644, b"1")
        .file("home/mine", 0o644, b"")
        .file("new/place", 0o644, b"")
        .hard_link("home/link", "home/shared")
        .hard_link("home/again", "home/link")
        .hard_link("tool", "lib/plugin/x.so");
    let unpacked = upper.unpack(layer).unwrap();
    assert!(!unpacked.deferred.is_empty());
    unpacked.deferred.settle(&upper.root(), &[middle.root(), lower.root()]).unwrap();
    let at = |name: &str| upper.root().join(name);
    let stat = |name: &str| fs::symlink_metadata(at(name)).unwrap();
    assert!(!at("lib").exists() && !at("run").exists(), "links of lower layers stay");
    assert_eq!(fs::read(at("usr/lib/plugin/x.so")).unwrap(), b"x");
    assert_eq!(fs::read(at("var/run/pid")).unwrap(), b"1");
    assert_eq!(stat("var/run").mode() & 0o7777, 0o711);
    assert_eq!((stat("home").uid(), stat("home").gid(), stat("home").mode() & 0o7777), (7, 8, 0o2750));
    assert_eq!(stat("new").mode() & 0o7777, 0o755);
    assert_eq!(fs::read(at("home/link")).unwrap(), b"from below");
    assert_eq!((stat("home/link").mode() & 0o7777, stat("home/link").uid()), (0o640, 7));
    let same = [stat("home/shared").ino(), stat("home/link").ino(), stat("home/again").ino()];
    assert!(same.iter().all(|ino| *ino == same[0]), "{same:?}");
    assert_eq!(stat("tool").ino(), stat("usr/lib/plugin/x.so").ino());
}

#[test]
fn a_link_to_nothing_is_refused_by_name() {
    if !root("a_link_to_nothing_is_refused_by_name") {
        return;
    }
    let ground = Ground::new();
    let unpacked = ground.unpack(Layer::new().hard_link("x", "usr/bin/nothing")).unwrap();
    let error = unpacked.deferred.settle(&ground.root(), &[]).unwrap_err();
    assert_eq!(error.entry.as_deref(), Some("x"));
    assert!(error.to_string().contains("usr/bin/nothing"), "{error}");
}
