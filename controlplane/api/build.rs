//! Turns `schema/table.txt` (the fields) and k8s-openapi's schemas (the descriptions) into static data.
//!
//! Not part of the crate: the binary holds only the result, which needs no work at start.
//! A name that the two sources do not agree on fails the build.

#[path = "build/docs.rs"]
mod docs;
#[path = "build/emit.rs"]
mod emit;
#[path = "build/table.rs"]
mod table;

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=schema/table.txt");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    let text = std::fs::read_to_string("schema/table.txt").expect("schema/table.txt is readable");
    let table = table::parse(&text);
    let mut docs = docs::Docs::collect();
    let code = emit::code(&table, &mut docs);
    let out = std::env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    std::fs::write(Path::new(&out).join("schema.rs"), code).expect("OUT_DIR is writable");
    std::fs::write(Path::new(&out).join("docs.txt"), docs.text()).expect("OUT_DIR is writable");
}
