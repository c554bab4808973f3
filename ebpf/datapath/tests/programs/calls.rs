//! No program calls memset, memcpy or memmove: they are loops over single bytes, and cost a sixth of a packet's time.
//!
//! Calls are found in the instructions: one to a function of the same object has the pseudo source register
//! 1, and leads to where its relocation says, or, without one, past as many instructions as it says.

use std::collections::BTreeMap;

use object::elf::{SHF_EXECINSTR, STT_FUNC};
use object::read::elf::ElfFile64;
use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionFlags, SymbolFlags,
};

static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/programs.o"));

const CALL: u8 = 0x85;
const PSEUDO_CALL: u8 = 1;
const INSTRUCTION: usize = 8;

/// (caller, callee), by symbol.
fn calls() -> Vec<(String, String)> {
    let file = ElfFile64::<object::Endianness>::parse(OBJECT).expect("an ELF object");
    // Functions by section and offset.
    let mut functions: BTreeMap<(usize, u64), String> = BTreeMap::new();
    for symbol in file.symbols() {
        let SymbolFlags::Elf { st_info, .. } = symbol.flags() else { continue };
        if st_info & 0xf == STT_FUNC
            && let Some(section) = symbol.section_index()
        {
            functions.insert((section.0, symbol.address()), symbol.name().unwrap_or("?").to_owned());
        }
    }
    let at = |section: usize, offset: u64| {
        let before = functions.range(..=(section, offset)).next_back();
        before.filter(|((of, _), _)| *of == section).map_or("?".to_owned(), |(_, name)| name.clone())
    };
    let mut calls = Vec::new();
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
        if sh_flags & u64::from(SHF_EXECINSTR) == 0 {
            continue;
        }
        let data = section.data().expect("instructions");
        let relocated: BTreeMap<u64, RelocationTarget> =
            section.relocations().map(|(offset, relocation)| (offset, relocation.target())).collect();
        for (number, instruction) in data.chunks_exact(INSTRUCTION).enumerate() {
            if instruction[0] != CALL || instruction[1] >> 4 != PSEUDO_CALL {
                continue;
            }
            let offset = (number * INSTRUCTION) as u64;
            let distance =
                i32::from_le_bytes([instruction[4], instruction[5], instruction[6], instruction[7]]);
            let past = |from: i64| ((from + 1 + i64::from(distance)) * INSTRUCTION as i64) as u64;
            let callee = match relocated.get(&offset) {
                Some(RelocationTarget::Symbol(index)) => {
                    let symbol = file.symbol_by_index(*index).expect("a symbol");
                    match symbol.name() {
                        Ok(name) if !name.is_empty() => name.to_owned(),
                        _ => at(symbol.section_index().map_or(0, |index| index.0), past(0)),
                    }
                }
                _ => at(section.index().0, past(number as i64)),
            };
            calls.push((at(section.index().0, offset), callee));
        }
    }
    calls
}

#[test]
fn no_program_moves_memory_byte_by_byte() {
    let calls = calls();
    assert!(calls.iter().any(|(_, callee)| callee.contains("pod4")), "calls are found: {calls:?}");
    assert!(calls.iter().all(|(caller, callee)| caller != "?" && callee != "?"), "{calls:?}");
    let slow: Vec<_> =
        calls.iter().filter(|(_, callee)| callee.starts_with("mem") || callee == "bcmp").collect();
    assert!(
        slow.is_empty(),
        "{slow:?}: padding that is an array, or a record that is too large to be copied inline"
    );
}
