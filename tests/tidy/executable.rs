//! The executable is one static file: nothing is loaded, relocated or looked up through the C library.

/// Calls that make a static glibc program load libraries of the machine it runs on. (glibc's own archive
/// always carries dlopen, for character sets that nobody asks it for; these are what would call it.)
const LOADS_LIBRARIES: &[&str] = &[
    "getaddrinfo",
    "gethostbyname_r",
    "getpwnam",
    "getpwnam_r",
    "getpwuid",
    "getpwuid_r",
    "getgrnam",
    "getgrnam_r",
    "getgrgid",
    "getgrouplist",
    "iconv_open",
];

#[test]
fn is_static_and_fixed_in_place() {
    let file = std::fs::read(env!("CARGO_BIN_EXE_keelson")).expect("the executable");
    assert_eq!(&file[..4], b"\x7fELF");
    let kind = u16::from_le_bytes([file[16], file[17]]);
    assert_eq!(
        kind, 2,
        "ET_EXEC: not position-independent; were RUSTFLAGS set, dropping .cargo/config.toml?"
    );
    for header in program_headers(&file) {
        let interpreter = 3;
        assert_ne!(header, interpreter, "the executable asks for an interpreter");
    }
}

#[test]
fn whose_output_nobody_reads_ends_quietly() {
    for arguments in [&["--help"][..], &["version"], &["check"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_keelson"));
        let output = command.args(arguments).stdout(writer).stderr(std::process::Stdio::piped());
        let output = output.spawn().expect("keelson").wait_with_output().expect("its end");
        assert_eq!(output.status.code(), Some(141), "{arguments:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
}

#[test]
fn calls_nothing_that_loads_libraries() {
    let file = std::fs::read(env!("CARGO_BIN_EXE_keelson")).expect("the executable");
    let functions = functions(&file);
    assert!(functions.contains(&"main"), "the symbol table is readable");
    let found: Vec<&&str> = LOADS_LIBRARIES.iter().filter(|name| functions.contains(*name)).collect();
    assert!(found.is_empty(), "functions in the executable: {found:?}");
}

/// OCI commands are to begin before the C library (`sys::early`): nothing would fail without that, it would be slow.
#[cfg(target_arch = "x86_64")]
#[test]
fn begins_at_its_own_entry() {
    let file = std::fs::read(env!("CARGO_BIN_EXE_keelson")).expect("the executable");
    assert!(functions(&file).contains("keelson_entry"), "the entry is linked");
    let entry = number(&file, 24, 8);
    let (table, size, count) = (number(&file, 32, 8), number(&file, 54, 2), number(&file, 56, 2));
    let segment = (0..count).map(|index| table + index * size).find(|header| {
        let (address, bytes) = (number(&file, header + 16, 8), number(&file, header + 32, 8));
        number(&file, *header, 4) == 1 && (address..address + bytes).contains(&entry)
    });
    let header = segment.expect("a segment with the entry");
    let first = number(&file, header + 8, 8) + entry - number(&file, header + 16, 8);
    // `xor ebp, ebp; mov rdi, rsp`, with which the entry begins.
    assert_eq!(file[first..first + 5], [0x31, 0xed, 0x48, 0x89, 0xe7], "the file begins elsewhere");
}

/// Names of the functions in the symbol table. (The bare names also stand in glibc's data, unused.)
fn functions(file: &[u8]) -> std::collections::HashSet<&str> {
    const SYMBOL_TABLE: usize = 2;
    const FUNCTION: usize = 2;
    let (table, size, count) = (number(file, 40, 8), number(file, 58, 2), number(file, 60, 2));
    let section = |index: usize| table + index * size;
    let part = |index: usize| (number(file, section(index) + 24, 8), number(file, section(index) + 32, 8));
    let mut functions = std::collections::HashSet::new();
    for index in (0..count).filter(|index| number(file, section(*index) + 4, 4) == SYMBOL_TABLE) {
        let (symbols, bytes) = part(index);
        let (names, _) = part(number(file, section(index) + 40, 4));
        for symbol in (symbols..symbols + bytes).step_by(24) {
            if number(file, symbol + 4, 1) & 0xf == FUNCTION {
                let name = file[names + number(file, symbol, 4)..].split(|byte| *byte == 0).next();
                functions.extend(name.and_then(|name| std::str::from_utf8(name).ok()));
            }
        }
    }
    functions
}

/// Types of the program headers of a 64-bit little-endian ELF file.
fn program_headers(file: &[u8]) -> Vec<u32> {
    let (table, size, count) = (number(file, 32, 8), number(file, 54, 2), number(file, 56, 2));
    (0..count).map(|index| number(file, table + index * size, 4) as u32).collect()
}

/// A little-endian number.
fn number(file: &[u8], at: usize, size: usize) -> usize {
    file[at..at + size].iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte))
}
