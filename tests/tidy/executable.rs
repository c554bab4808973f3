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
fn calls_nothing_that_loads_libraries() {
    let file = std::fs::read(env!("CARGO_BIN_EXE_keelson")).expect("the executable");
    let has = |name: &str| {
        let wanted = [b"\0", name.as_bytes(), b"\0"].concat();
        file.windows(wanted.len()).any(|window| window == wanted)
    };
    assert!(has("main"), "the symbol table is readable");
    let found: Vec<&&str> = LOADS_LIBRARIES.iter().filter(|name| has(name)).collect();
    assert!(found.is_empty(), "symbols in the executable: {found:?}");
}

/// Types of the program headers of a 64-bit little-endian ELF file.
fn program_headers(file: &[u8]) -> Vec<u32> {
    let number = |at: usize, size: usize| {
        file[at..at + size].iter().rev().fold(0usize, |value, byte| value << 8 | usize::from(*byte))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).map(|index| number(table + index * size, 4) as u32).collect()
}
