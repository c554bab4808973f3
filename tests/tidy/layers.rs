//! The staircase: a crate may use crates of lower layers only; inside a layer, only the edges below.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Every crate of ours and its layer. A new crate must be entered here.
const LAYERS: &[(&str, u8)] = &[
    ("api", 0),
    ("cni-api", 0),
    ("abi", 0),
    ("programs", 1),
    ("sys", 1),
    ("netlink", 1),
    ("streaming", 1),
    ("host-names", 1),
    ("cri-api", 1),
    ("keeper-api", 1),
    ("pki", 1),
    ("serve", 1),
    ("oci", 2),
    ("image", 2),
    ("store", 2),
    ("client", 2),
    ("datapath", 2),
    ("apiserver", 3),
    ("controllers", 3),
    ("join", 3),
    ("scheduler", 3),
    ("keeper", 3),
    ("cri", 3),
    ("cni-plugin", 3),
    ("agent", 3),
    ("proxy", 3),
    ("dns", 3),
    ("kubelet", 3),
    ("keelson", 4),
];

/// Edges inside a layer, each with its reason.
const SIDEWAYS: &[(&str, &str, &str)] = &[
    ("netlink", "sys", "sockets are opened inside a network namespace"),
    ("keeper-api", "sys", "messages carry descriptors"),
];

/// Test support: may see everything, and only tests may see it.
const TEST_ONLY: &[&str] = &["harness"];

#[test]
fn arrows_point_down() {
    let mut wrong = Vec::new();
    let layers: BTreeMap<&str, u8> = LAYERS.iter().copied().collect();
    for (from, to, kind) in edges() {
        if TEST_ONLY.contains(&from.as_str()) || kind == "dev" {
            continue;
        }
        if TEST_ONLY.contains(&to.as_str()) {
            wrong.push(format!("{from} uses {to} outside its tests"));
            continue;
        }
        let (Some(&above), Some(&below)) = (layers.get(from.as_str()), layers.get(to.as_str())) else {
            wrong.push(format!("{from} -> {to}: a crate without a layer; enter it in LAYERS"));
            continue;
        };
        let named = SIDEWAYS.iter().any(|(a, b, _)| *a == from && *b == to);
        if above < below || (above == below && !named) {
            wrong.push(format!("{from} (L{above}) -> {to} (L{below})"));
        }
    }
    assert!(wrong.is_empty(), "arrows that nobody argued for:\n  {}", wrong.join("\n  "));
}

#[test]
fn the_tables_name_only_what_exists() {
    let edges = edges();
    for (from, to, _) in SIDEWAYS {
        assert!(
            edges.iter().any(|(a, b, _)| a == from && b == to),
            "no edge {from} -> {to} any more: drop it"
        );
    }
}

/// Edges between crates of ours: (from, to, kind), by short name.
fn edges() -> Vec<(String, String, String)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(super::root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let short = |name: &str| name.strip_prefix("keelson-").unwrap_or(name).to_owned();
    let mut edges = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let from = short(package["name"].as_str().expect("a name"));
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            if dependency["path"].is_string() {
                let to = short(dependency["name"].as_str().expect("a name"));
                edges.push((from.clone(), to, dependency["kind"].as_str().unwrap_or("normal").to_owned()));
            }
        }
    }
    assert!(edges.len() > 10, "cargo metadata lists the edges of this workspace");
    edges
}
