//! hostPath: a place of the node, looked at before it is used. Nothing is ever removed from there.
//!
//! Reference: core/v1 HostPathVolumeSource `type`.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Component, Path};

/// Checks the path, and makes what is missing where the type allows it. The error is upstream's sentence.
pub fn check(path: &Path, kind: &str) -> Result<(), String> {
    let shown = path.display();
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(format!("invalid HostPath `{shown}`: must not contain '..'"));
    }
    let found = fs::metadata(path).ok().map(|found| found.file_type());
    let is = |wanted: fn(&fs::FileType) -> bool, name: &str| match &found {
        Some(found) if wanted(found) => Ok(()),
        _ => Err(format!("hostPath type check failed: {shown} is not a {name}")),
    };
    let failed = |error: std::io::Error| error.to_string();
    match kind {
        "" => Ok(()),
        "DirectoryOrCreate" if found.is_none() => {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(failed)
        }
        "DirectoryOrCreate" | "Directory" => is(fs::FileType::is_dir, "directory"),
        "FileOrCreate" if found.is_none() => {
            let mut open = fs::OpenOptions::new();
            open.write(true).create_new(true).mode(0o644).open(path).map(drop).map_err(failed)
        }
        "FileOrCreate" | "File" => is(fs::FileType::is_file, "file"),
        "Socket" => is(FileTypeExtra::is_socket, "socket file"),
        "CharDevice" => is(FileTypeExtra::is_char_device, "character device"),
        "BlockDevice" => is(FileTypeExtra::is_block_device, "block device"),
        other => Err(format!("{other} is an invalid volume type")),
    }
}

/// The kinds that only Unix has, as plain functions.
struct FileTypeExtra;

impl FileTypeExtra {
    fn is_socket(kind: &fs::FileType) -> bool {
        kind.is_socket()
    }

    fn is_char_device(kind: &fs::FileType) -> bool {
        kind.is_char_device()
    }

    fn is_block_device(kind: &fs::FileType) -> bool {
        kind.is_block_device()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn types_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("dir")).unwrap();
        fs::write(at("file"), "").unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        std::os::unix::fs::symlink("dir", at("link")).unwrap();
        let check = |path: &Path, kind: &str, expect: Result<(), &str>| {
            let found = check(path, kind);
            let expect = expect.map_err(|why| why.replace("{}", &path.display().to_string()));
            assert_eq!(found, expect, "{} {kind}", path.display());
        };
        let not = "hostPath type check failed: {} is not a";
        check(&at("dir"), "Directory", Ok(()));
        check(&at("link"), "Directory", Ok(()));
        check(&at("file"), "File", Ok(()));
        check(&at("socket"), "Socket", Ok(()));
        check(Path::new("/dev/null"), "CharDevice", Ok(()));
        check(&at("none"), "", Ok(()));
        check(&at("file"), "Directory", Err(&format!("{not} directory")));
        check(&at("file"), "DirectoryOrCreate", Err(&format!("{not} directory")));
        check(&at("dir"), "FileOrCreate", Err(&format!("{not} file")));
        check(&at("none"), "Socket", Err(&format!("{not} socket file")));
        check(&at("file"), "CharDevice", Err(&format!("{not} character device")));
        check(&at("file"), "BlockDevice", Err(&format!("{not} block device")));
        check(&at("none"), "Directory", Err(&format!("{not} directory")));
        check(&at("file"), "Pipe", Err("Pipe is an invalid volume type"));
        check(Path::new("/a/../b"), "", Err("invalid HostPath `{}`: must not contain '..'"));
        check(&at("new/deep"), "DirectoryOrCreate", Ok(()));
        check(&at("new/file"), "FileOrCreate", Ok(()));
        assert!(at("new/deep").is_dir() && at("new/file").is_file());
    }
}
