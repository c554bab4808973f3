//! `docs/api.md` names every kind that is served, with its verbs: the page is compared with the table of kinds.
//!
//! `KEELSON_WRITE_DOCS=1 cargo test -p keelson-api --test api_page` writes the table into the page.

use std::fmt::Write as _;
use std::path::Path;

use keelson_api::kind::{Kind, Registry, Verb};

const BEGIN: &str = "<!-- kinds: begin -->\n";
const END: &str = "<!-- kinds: end -->\n";

#[test]
fn the_page_names_what_is_served() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/api.md");
    let text = std::fs::read_to_string(&page).expect("docs/api.md is there");
    let (before, rest) = text.split_once(BEGIN).expect("the beginning is marked");
    let (told, after) = rest.split_once(END).expect("the end is marked");
    let table = table();
    if std::env::var_os("KEELSON_WRITE_DOCS").is_some() {
        std::fs::write(&page, format!("{before}{BEGIN}{table}{END}{after}"))
            .expect("docs/api.md can be written");
        return;
    }
    assert!(
        told == table,
        "docs/api.md is not about the kinds that are served; KEELSON_WRITE_DOCS=1 mends it"
    );
}

fn table() -> String {
    let registry = Registry::builtin();
    let mut out = String::new();
    for group in registry.groups() {
        for version in registry.versions(group) {
            let name = if group.is_empty() { "core".to_owned() } else { group.to_owned() };
            let _ = writeln!(
                out,
                "\n### {name}/{version}\n\n| kind | resource | verbs | subresources |\n|---|---|---|---|"
            );
            for kind in registry.of_version(group, version) {
                row(&mut out, kind);
            }
        }
    }
    out
}

fn row(out: &mut String, kind: &Kind) {
    let mut resource = format!("`{}`", kind.resource);
    let short_names = kind.short_names();
    if !short_names.is_empty() {
        let _ = write!(resource, " ({})", short_names.join(", "));
    }
    if !kind.namespaced {
        resource.push_str(", cluster");
    }
    let subresources: Vec<String> =
        kind.subresources.iter().map(|sub| format!("{} ({})", sub.name, verbs(sub.verbs))).collect();
    let _ =
        writeln!(out, "| {} | {resource} | {} | {} |", kind.kind, verbs(kind.verbs), subresources.join(", "));
}

fn verbs(verbs: &[Verb]) -> String {
    const ALL: &[Verb] = &[
        Verb::Create,
        Verb::Delete,
        Verb::DeleteCollection,
        Verb::Get,
        Verb::List,
        Verb::Patch,
        Verb::Update,
        Verb::Watch,
    ];
    if verbs == ALL {
        return "all".into();
    }
    verbs.iter().map(|verb| verb.as_str()).collect::<Vec<_>>().join(", ")
}
