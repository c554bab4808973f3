//! Writes the table as Rust statics: no parsing, allocation or relocation at start.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::docs::Docs;
use crate::table::{Field, Table, full_name};

pub fn code(table: &Table, docs: &mut Docs) -> String {
    let mut out = String::new();
    for (index, (name, values)) in table.enums.iter().enumerate() {
        let _ = writeln!(out, "/// {name}\nstatic E{index}: &[&str] = &{values:?};");
    }
    for (index, (name, kind)) in table.types.iter().enumerate() {
        let full = full_name(name);
        let root = check(table, docs, name, &full);
        let (from, to) = docs.of_type(&full);
        let _ = writeln!(
            out,
            "static T{index}: Type = Type {{ name: {full:?}, root: {root}, atomic: {}, doc: Doc({from}, {to}), fields: &[",
            kind.atomic
        );
        for field in &kind.fields {
            emit_field(&mut out, table, docs, &full, field);
        }
        let mut order: Vec<usize> = (0..kind.fields.len()).collect();
        order.sort_by_key(|field| kind.fields[*field].number);
        let _ = writeln!(out, "], by_number: &{order:?} }};");
    }
    let mut order: Vec<(String, usize)> =
        table.types.keys().enumerate().map(|(index, name)| (full_name(name), index)).collect();
    order.sort();
    out.push_str("pub(super) static TYPES: &[&Type] = &[");
    for (_, index) in order {
        let _ = write!(out, "&T{index}, ");
    }
    out.push_str("];\n");
    out
}

fn emit_field(out: &mut String, table: &Table, docs: &mut Docs, full: &str, field: &Field) {
    let has = |flag: &str| field.flags.iter().any(|word| word == flag);
    let option = |key: &str| field.flags.iter().find_map(|word| word.strip_prefix(key)).unwrap_or_default();
    let (strategy, key) = option("p=").split_once(':').unwrap_or((option("p="), ""));
    let list = match option("l=").split_once(':').unwrap_or((option("l="), "")) {
        ("atomic", _) => "ListType::Atomic".to_owned(),
        ("set", _) => "ListType::Set".to_owned(),
        ("map", keys) => format!("ListType::Map(&{:?})", keys.split(',').collect::<Vec<_>>()),
        _ => "ListType::Unset".to_owned(),
    };
    let (from, to) = docs.of_field(full, &field.name);
    let name = if field.name == "." { "" } else { &field.name };
    let _ = writeln!(
        out,
        "Field {{ name: {name:?}, number: {}, shape: {}, pointer: {}, always: {}, omit_zero: {}, required: {}, \
         merge: {}, retain_keys: {}, merge_key: {key:?}, list: {list}, atomic: {}, doc: Doc({from}, {to}) }},",
        field.number,
        shape(table, &field.shape),
        has("*"),
        has("!"),
        has("z"),
        has("r"),
        strategy.split(',').any(|word| word == "merge"),
        strategy.split(',').any(|word| word == "retainKeys"),
        option("m=") == "atomic",
    );
}

fn shape(table: &Table, text: &str) -> String {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return format!("Shape::List(&{})", shape(table, inner));
    }
    if let Some(inner) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        return format!("Shape::Map(&{})", shape(table, inner));
    }
    if let Some(name) = text.strip_prefix("enum:") {
        let index = table.enums.keys().position(|known| known == name);
        return format!("Shape::Enum(E{})", index.unwrap_or_else(|| panic!("no enum {name}")));
    }
    for (word, variant) in [("orbool:", "OrBool"), ("items:", "OrList")] {
        if let Some(name) = text.strip_prefix(word) {
            return shape(table, name).replace("Shape::Object", &format!("Shape::{variant}"));
        }
    }
    let scalar = match text {
        "str" => "Str",
        "bool" => "Bool",
        "i32" => "I32",
        "i64" => "I64",
        "f64" => "F64",
        "bytes" => "Bytes",
        "time" => "Time",
        "microtime" => "MicroTime",
        "quantity" => "Quantity",
        "intorstr" => "IntOrString",
        "raw" => "Raw",
        "fieldsv1" => "FieldsV1",
        "extra" => "Strings",
        name => {
            let index = table.types.keys().position(|known| known == name);
            return format!("Shape::Object(&T{})", index.unwrap_or_else(|| panic!("no type {name}")));
        }
    };
    format!("Shape::{scalar}")
}

/// The table and k8s-openapi must name the same fields; says whether the type is an object of its own
/// (has `apiVersion` and `kind`).
fn check(table: &Table, docs: &Docs, name: &str, full: &str) -> bool {
    let mut ours = BTreeSet::new();
    collect(table, name, &mut ours);
    if !docs.has_type(full) {
        // Parts that appear inline only have no schema of their own.
        return false;
    }
    let theirs: BTreeSet<String> = docs.fields(full).into_iter().collect();
    let root = theirs.contains("apiVersion") && !ours.contains("apiVersion");
    let typed = ["apiVersion", "kind"];
    let missing: Vec<_> =
        theirs.difference(&ours).filter(|field| !root || !typed.contains(&field.as_str())).collect();
    let surplus: Vec<_> = ours.difference(&theirs).collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "{full}: table lacks {missing:?}, and has besides {surplus:?}"
    );
    root
}

fn collect(table: &Table, name: &str, into: &mut BTreeSet<String>) {
    for field in &table.types[name].fields {
        if field.name == "." {
            collect(table, &field.shape, into);
        } else {
            into.insert(field.name.clone());
        }
    }
}
