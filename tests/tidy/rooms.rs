//! File names, file lengths and the places where `unsafe` may stand.

use std::path::{Path, PathBuf};

/// Past this a file is hiding two rooms.
const LONGEST_FILE: usize = 600;

/// Names that say nothing.
const NAMELESS: &[&str] =
    &["util", "utils", "common", "helper", "helpers", "misc", "types", "manager", "mod"];

/// Crates whose purpose is unsafe code behind a safe face.
const UNSAFE_ROOMS: &[&str] = &["runtime/sys/", "ebpf/abi/", "ebpf/programs/", "ebpf/datapath/build.rs"];

/// Data tables: long because the world is, one row a line.
const TABLES: &[&str] = &[];

#[test]
fn files_have_names_and_lengths_of_rooms() {
    let mut wrong = Vec::new();
    for path in sources() {
        let shown = shown(&path);
        let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        if NAMELESS.contains(&stem) {
            wrong.push(format!("{shown}: the name says nothing"));
        }
        let lines = read(&path).lines().count();
        if lines > LONGEST_FILE && !TABLES.contains(&shown.as_str()) {
            wrong.push(format!("{shown}: {lines} lines are two rooms"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_say_what_they_are() {
    let silent: Vec<String> =
        sources().iter().filter(|path| !read(path).starts_with("//!")).map(|path| shown(path)).collect();
    assert!(silent.is_empty(), "files without a //! at their top: {silent:?}");
}

#[test]
fn unsafe_stays_in_its_rooms() {
    let allow = concat!("allow(", "unsafe_code)");
    let wrong: Vec<String> = sources()
        .iter()
        .filter(|path| read(path).contains(allow))
        .map(|path| shown(path))
        .filter(|shown| !UNSAFE_ROOMS.iter().any(|room| shown.starts_with(room)))
        .collect();
    assert!(wrong.is_empty(), "unsafe allowed outside its rooms: {wrong:?}");
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![super::root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 20, "the sources of this project are found");
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(super::root()).unwrap_or(path).display().to_string()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
