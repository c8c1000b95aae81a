//! The house keeps its shape: who may depend on whom, where unsafe code may be, what the README claims of the table.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Package and what it depends on.
type Edges = BTreeSet<(String, String)>;

/// All normal dependencies among our own packages, and those on other people's.
fn edges() -> (Edges, Edges) {
    let cargo = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&cargo.stdout).unwrap();
    let (mut inside, mut outside) = (Edges::new(), Edges::new());
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap().to_owned();
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap().to_owned();
            match (dependency["kind"].as_str(), dependency["path"].is_string()) {
                (None, true) => inside.insert((name.clone(), to)),
                (None, false) => outside.insert((name.clone(), to)),
                _ => false,
            };
        }
    }
    (inside, outside)
}

fn is_architecture(package: &str) -> bool {
    package.starts_with("guestdump-") && !["guestdump-arch", "guestdump-core"].contains(&package)
}

#[test]
fn dependencies_point_one_way() {
    let (inside, outside) = edges();
    assert!(inside.len() > 5);
    for (from, to) in &inside {
        let allowed = match (from.as_str(), to.as_str()) {
            ("guestdump", "guestdump-core" | "guestdump-arch") | ("guestdump-x86_64", "guestdump-i386") => true,
            ("guestdump-core", to) => to == "guestdump-arch" || is_architecture(to),
            (from, "guestdump-arch") => is_architecture(from),
            _ => false,
        };
        assert!(allowed, "{from} must not depend on {to}");
    }
    for (from, to) in &outside {
        assert!(!is_architecture(from), "{from} depends on {to}: architectures depend on the contract alone");
        assert!(from != "guestdump-arch" || to == "thiserror", "the contract depends on {to}");
    }
}

/// All our Rust files below a folder of the project.
fn sources(below: &str) -> Vec<(PathBuf, String)> {
    let mut out = Vec::new();
    let mut folders = vec![root().join(below)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                out.push((path, text));
            }
        }
    }
    out
}

#[test]
fn unsafe_code_is_where_it_is_said_to_be() {
    let allowed = ["frontend/src/output.rs", "frontend/src/source/process/process_memory.rs"];
    for (path, text) in sources("frontend/src") {
        let named = allowed.iter().any(|name| path.ends_with(name.strip_prefix("frontend/").unwrap()));
        assert!(named || !text.contains("unsafe {"), "{}", path.display());
    }
    for below in ["arch", "core"] {
        let manifest = std::fs::read_to_string(root().join(below).join("Cargo.toml")).unwrap();
        assert!(manifest.contains("unsafe_code = \"forbid\""), "{below}");
    }
}

#[test]
fn core_names_no_architecture_but_in_its_table() {
    let ids: Vec<String> =
        guestdump_core::arch::ALL.iter().map(|arch| format!("guestdump_{}", arch.identity().name)).collect();
    for (path, text) in sources("core/src") {
        let named = ids.iter().any(|id| text.contains(id.as_str()));
        assert_eq!(named, path.ends_with("core/src/arch.rs"), "{}", path.display());
    }
}

#[test]
fn the_readme_shows_the_table_of_architectures() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let shown = Command::new(env!("CARGO_BIN_EXE_guestdump")).arg("arches").output().unwrap();
    assert!(
        readme.contains(&String::from_utf8(shown.stdout).unwrap()),
        "README: replace the matrix by `guestdump arches`"
    );
}

#[test]
fn every_file_says_what_lives_in_it() {
    for below in ["arch", "core/src", "frontend/src"] {
        for (path, text) in sources(below) {
            assert!(text.starts_with("//!"), "{} has no head", path.display());
        }
    }
}
