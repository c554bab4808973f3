//! The instructions of the object, as far as tests look at them: functions, whom they call, how deep their frames are.
//!
//! Calls are found in the instructions: one to a function of the same object has the pseudo source register
//! 1, and leads to where its relocation says, or, without one, past as many instructions as it says. A frame is as deep
//! as the lowest address that is made of its register; a number that is taken away elsewhere counts too, so the
//! depth may be told too great and never too small.

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
/// Adds a number to a register.
const ADD: u8 = 0x07;
/// The class of an instruction, and those that read or write memory by a register.
const CLASS: u8 = 0x07;
const LOAD: u8 = 0x01;
const STORE_NUMBER: u8 = 0x02;
const STORE: u8 = 0x03;
const FRAME_REGISTER: u8 = 10;
/// The deepest frame there can be.
const FRAME_MAX: i64 = 512;

/// A function of the object.
#[derive(Debug, Default)]
pub struct Function {
    /// Bytes of its own frame.
    pub frame: u64,
    pub calls: Vec<String>,
}

/// Every function, by symbol. What could not be found is called "?".
pub fn functions() -> BTreeMap<String, Function> {
    let file = ElfFile64::<object::Endianness>::parse(OBJECT).expect("an ELF object");
    // Functions by section and offset.
    let mut places: BTreeMap<(usize, u64), String> = BTreeMap::new();
    for symbol in file.symbols() {
        let SymbolFlags::Elf { st_info, .. } = symbol.flags() else { continue };
        if st_info & 0xf == STT_FUNC
            && let Some(section) = symbol.section_index()
        {
            places.insert((section.0, symbol.address()), symbol.name().unwrap_or("?").to_owned());
        }
    }
    let at = |section: usize, offset: u64| {
        let before = places.range(..=(section, offset)).next_back();
        before.filter(|((of, _), _)| *of == section).map_or("?".to_owned(), |(_, name)| name.clone())
    };
    let mut functions: BTreeMap<String, Function> = BTreeMap::new();
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
        if sh_flags & u64::from(SHF_EXECINSTR) == 0 {
            continue;
        }
        let data = section.data().expect("instructions");
        let relocated: BTreeMap<u64, RelocationTarget> =
            section.relocations().map(|(offset, relocation)| (offset, relocation.target())).collect();
        for (number, instruction) in data.chunks_exact(INSTRUCTION).enumerate() {
            let offset = (number * INSTRUCTION) as u64;
            let function = functions.entry(at(section.index().0, offset)).or_default();
            function.frame = function.frame.max(depth(instruction));
            if instruction[0] != CALL || instruction[1] >> 4 != PSEUDO_CALL {
                continue;
            }
            let past = |from: i64| ((from + 1 + i64::from(value(instruction))) * INSTRUCTION as i64) as u64;
            function.calls.push(match relocated.get(&offset) {
                Some(RelocationTarget::Symbol(index)) => {
                    let symbol = file.symbol_by_index(*index).expect("a symbol");
                    match symbol.name() {
                        Ok(name) if !name.is_empty() => name.to_owned(),
                        _ => at(symbol.section_index().map_or(0, |index| index.0), past(0)),
                    }
                }
                _ => at(section.index().0, past(number as i64)),
            });
        }
    }
    functions
}

fn value(instruction: &[u8]) -> i32 {
    i32::from_le_bytes([instruction[4], instruction[5], instruction[6], instruction[7]])
}

/// How far below the frame's register an instruction reaches.
fn depth(instruction: &[u8]) -> u64 {
    let (source, destination) = (instruction[1] >> 4, instruction[1] & 0xf);
    let distance = i64::from(i16::from_le_bytes([instruction[2], instruction[3]]));
    let reached = match instruction[0] & CLASS {
        LOAD if source == FRAME_REGISTER => distance,
        STORE | STORE_NUMBER if destination == FRAME_REGISTER => distance,
        _ if instruction[0] == ADD => i64::from(value(instruction)),
        _ => 0,
    };
    if (-FRAME_MAX..0).contains(&reached) { reached.unsigned_abs() } else { 0 }
}
