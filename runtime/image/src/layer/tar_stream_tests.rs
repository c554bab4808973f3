//! Streams made by the `tar` crate's writer, by GNU tar, and by hand.

use super::*;

fn entries(bytes: &[u8]) -> io::Result<Vec<(Entry, Vec<u8>)>> {
    let mut stream = TarStream::new(bytes);
    let mut found = Vec::new();
    while let Some(entry) = stream.next()? {
        let mut data = Vec::new();
        let mut buffer = [0u8; 100];
        loop {
            match stream.read_data(&mut buffer)? {
                0 => break,
                got => data.extend_from_slice(&buffer[..got]),
            }
        }
        found.push((entry, data));
    }
    Ok(found)
}

fn file(builder: &mut tar::Builder<Vec<u8>>, name: &str, data: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_size(data.len() as u64);
    header.set_mode(0o4755);
    header.set_uid(7);
    header.set_gid(8);
    header.set_mtime(99);
    header.set_cksum();
    builder.append_data(&mut header, name, data).unwrap();
}

#[test]
fn pax_records_override_and_hold_any_bytes() {
    let mut builder = tar::Builder::new(Vec::new());
    builder
        .append_pax_extensions([
            ("uid", b"3000000".as_slice()),
            ("mtime", b"-1.25".as_slice()),
            ("SCHILY.xattr.security.capability", b"\x01\n\x00=\n".as_slice()),
            ("SCHILY.xattr.user.empty", b"".as_slice()),
        ])
        .unwrap();
    file(&mut builder, "a/b", b"hello");
    file(&mut builder, "plain", b"");
    let found = entries(&builder.into_inner().unwrap()).unwrap();
    let (first, data) = &found[0];
    assert_eq!((first.path.as_slice(), data.as_slice()), (b"a/b".as_slice(), b"hello".as_slice()));
    assert_eq!((first.uid, first.gid, first.mode), (3_000_000, 8, 0o4755));
    assert_eq!(first.mtime, (-2, 750_000_000));
    assert_eq!(first.xattrs[0], (b"security.capability".to_vec(), b"\x01\n\x00=\n".to_vec()));
    assert_eq!(first.xattrs[1], (b"user.empty".to_vec(), Vec::new()));
    assert_eq!((found[1].0.uid, found[1].0.xattrs.len(), found[1].0.mtime), (7, 0, (99, 0)));
}

/// One header of extended attributes after the other is as large as one large header.
#[test]
fn extensions_are_bounded_together() {
    let extension = |kind: u8, records: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(records.len() as u64);
        header.set_cksum();
        let mut block = header.as_bytes().to_vec();
        block.extend_from_slice(records);
        block.resize(block.len().next_multiple_of(512), 0);
        block
    };
    let attribute = |number: usize, value: usize| {
        let text = format!("SCHILY.xattr.user.{number:05}={}\n", "v".repeat(value));
        // Five digits and a space.
        format!("{:05} {text}", text.len() + 6).into_bytes()
    };
    let large = |kind: u8| (0..20).flat_map(|n| extension(kind, &attribute(n, 60_000))).collect::<Vec<u8>>();
    let many: Vec<u8> = (0..1025).flat_map(|n| attribute(n, 1)).collect();
    let long_names = extension(b'L', &[b'n'; 300_000]).repeat(4);
    for (bytes, wanted) in [
        (large(b'x'), "longer than 1 MiB"),
        (large(b'g'), "longer than 1 MiB"),
        (extension(b'x', b"").repeat(2049), "longer than 1 MiB"),
        (long_names, "longer than 1 MiB"),
        (extension(b'x', &many), "1024 extended attributes"),
    ] {
        let said = TarStream::new(bytes.as_slice()).next().unwrap_err().to_string();
        assert!(said.contains(wanted), "{said}");
    }
    let earliest = format!("-{}.5", i64::MAX.unsigned_abs() + 1);
    assert_eq!(time(&earliest), None);
}

#[test]
fn long_names_come_in_two_forms() {
    let long = "d/".repeat(120) + "file";
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, &long, &long).unwrap();
    builder.append_pax_extensions([("path", long.as_bytes())]).unwrap();
    file(&mut builder, "short", b"x");
    for (entry, _) in entries(&builder.into_inner().unwrap()).unwrap() {
        assert_eq!(String::from_utf8(entry.path).unwrap(), long);
    }
}

#[test]
fn damaged_streams_are_refused() {
    let mut builder = tar::Builder::new(Vec::new());
    file(&mut builder, "a", &[7; 2000]);
    let whole = builder.into_inner().unwrap();
    assert_eq!(entries(&whole[..512 + 2048]).unwrap().len(), 1, "the end marker may be missing");
    let mut huge = tar::Header::new_ustar();
    huge.set_entry_type(tar::EntryType::XHeader);
    huge.set_size(1 << 40);
    huge.set_cksum();
    let mut wrong_sum = whole.clone();
    wrong_sum[0] = b'b';
    let mut bad_pax = tar::Header::new_ustar();
    bad_pax.set_entry_type(tar::EntryType::XHeader);
    bad_pax.set_size(8);
    bad_pax.set_cksum();
    let bad_pax = [bad_pax.as_bytes().as_slice(), b"99 path=", &[0; 504]].concat();
    for (bytes, wanted) in [
        (&whole[..700], "ends in the middle"),
        (&whole[..100], "ends in the middle"),
        (&wrong_sum, "checksum"),
        (huge.as_bytes(), "longer than 1 MiB"),
        (&bad_pax, "PAX record"),
    ] {
        let said = entries(bytes).unwrap_err().to_string();
        assert!(said.contains(wanted), "{said}");
    }
}

#[test]
fn sparse_files_of_gnu_tar_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("holes");
    let mut wanted = vec![0u8; 3 << 20];
    for at in (0..wanted.len()).step_by(200_000) {
        wanted[at] = 1;
    }
    {
        use std::os::unix::fs::FileExt as _;
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(wanted.len() as u64).unwrap();
        for at in (0..wanted.len()).step_by(200_000) {
            file.write_all_at(&[1], at as u64).unwrap();
        }
    }
    for form in ["--format=gnu", "--sparse-version=0.0", "--sparse-version=0.1", "--sparse-version=1.0"] {
        let format = if form.starts_with("--sparse") { "--format=posix" } else { form };
        let output = std::process::Command::new("tar")
            .args(["-cSf", "-", format, form, "-C"])
            .arg(folder.path())
            .arg("holes")
            .output()
            .unwrap();
        let found = entries(&output.stdout).unwrap_or_else(|e| panic!("{form}: {e}"));
        let (entry, data) = &found[0];
        assert_eq!(entry.path, b"holes", "{form}");
        let map = entry.sparse.as_ref().unwrap_or_else(|| panic!("{form}: the file has holes"));
        let mut rebuilt = vec![0u8; usize::try_from(map.length).unwrap()];
        let mut from = data.as_slice();
        for (offset, length) in &map.pieces {
            let (piece, rest) = from.split_at(usize::try_from(*length).unwrap());
            let offset = usize::try_from(*offset).unwrap();
            rebuilt[offset..offset + piece.len()].copy_from_slice(piece);
            from = rest;
        }
        assert!(rebuilt == wanted, "{form}");
    }
}
