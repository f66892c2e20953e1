//! The rules of ARCHITECTURE.md, held against the files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use toml::Table;

/// The one crate that may have unsafe code.
const UNSAFE_CRATE: &str = "retune-compute";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn manifest(folder: &Path) -> Table {
    let path = folder.join("Cargo.toml");
    read(&path)
        .parse()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The workspace's crates, as `Cargo.toml` lists them.
fn members() -> Vec<String> {
    let members = manifest(&root())["workspace"]["members"].clone();
    let name = |member: &toml::Value| {
        let path = member.as_str().expect("a path");
        path.strip_prefix("crates/")
            .expect("crates live in crates/")
            .to_owned()
    };
    members
        .as_array()
        .expect("a list")
        .iter()
        .map(name)
        .collect()
}

/// The rows of the dependency table, in order: a crate, and what it may use.
fn table() -> Vec<(String, Vec<String>)> {
    let page = read(&root().join("ARCHITECTURE.md"));
    let rows = page
        .lines()
        .skip_while(|line| *line != "| crate | may use |")
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let mut table: Vec<(String, Vec<String>)> = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, uses] = cells[..] else {
            panic!("two cells in {row:?}")
        };
        let uses = match uses {
            "none of ours" => Vec::new(),
            "all" => table.iter().map(|(name, _)| name.clone()).collect(),
            list => list.split(", ").map(str::to_owned).collect(),
        };
        table.push((name.to_owned(), uses));
    }
    assert!(
        table.len() > 5,
        "the table of ARCHITECTURE.md is missing or cut"
    );
    table
}

/// Crates of ours that `manifest` depends on, by any way but for its tests.
fn own_dependencies(manifest: &Table) -> Vec<String> {
    fn collect(table: &Table, found: &mut Vec<String>) {
        for (key, value) in table {
            let Some(inner) = value.as_table() else {
                continue;
            };
            match key.as_str() {
                "dependencies" | "build-dependencies" => {
                    let package = |(name, value): (&String, &toml::Value)| {
                        let renamed = value.get("package").and_then(toml::Value::as_str);
                        renamed.unwrap_or(name).to_owned()
                    };
                    found.extend(
                        inner
                            .iter()
                            .map(package)
                            .filter(|name| name.starts_with("retune")),
                    );
                }
                "dev-dependencies" => {}
                _ => collect(inner, found),
            }
        }
    }
    let mut found = Vec::new();
    collect(manifest, &mut found);
    found
}

#[test]
fn crates_use_only_what_the_table_allows() {
    let table: BTreeMap<String, Vec<String>> = table().into_iter().collect();
    for member in members() {
        let allowed = table
            .get(&member)
            .unwrap_or_else(|| panic!("{member} is not in the table of ARCHITECTURE.md"));
        for used in own_dependencies(&manifest(&root().join("crates").join(&member))) {
            assert!(
                allowed.contains(&used),
                "{member} depends on {used}, which the table of ARCHITECTURE.md does not allow"
            );
        }
    }
}

#[test]
fn a_dependency_is_found_wherever_a_manifest_can_hide_it() {
    let manifest: Table = "
        [dependencies]
        retune-data.workspace = true
        serde = '1'
        [build-dependencies]
        hidden = { package = 'retune-model', path = '../retune-model' }
        [dev-dependencies]
        retune-serve.workspace = true
        [target.'cfg(unix)'.dependencies]
        retune-train.workspace = true
    "
    .parse()
    .expect("a manifest");
    let mut found = own_dependencies(&manifest);
    found.sort();
    assert_eq!(found, ["retune-data", "retune-model", "retune-train"]);
}

#[test]
fn members_stand_in_the_order_in_which_data_flows() {
    let order: Vec<String> = table().into_iter().map(|(name, _)| name).collect();
    let members = members();
    let sorted: Vec<String> = order
        .into_iter()
        .filter(|name| members.contains(name))
        .collect();
    assert_eq!(
        members, sorted,
        "Cargo.toml's members against the table of ARCHITECTURE.md"
    );
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    for member in members() {
        let manifest = manifest(&root().join("crates").join(&member));
        let inherited = manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace"));
        assert_eq!(
            inherited,
            Some(&toml::Value::Boolean(true)),
            "{member}: [lints] workspace"
        );
    }
}

/// The files of a crate that Cargo compiles as crates of their own: its
/// library, programs, tests, benches and examples.
fn crate_roots(folder: &Path) -> Vec<PathBuf> {
    let entries = |folder: PathBuf| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten();
        entries
            .map(|entry| entry.expect("a readable entry").path())
            .collect()
    };
    let mut roots = vec![folder.join("src/lib.rs"), folder.join("src/main.rs")];
    for place in ["src/bin", "tests", "benches", "examples"] {
        for entry in entries(folder.join(place)) {
            if entry.is_dir() {
                roots.push(entry.join("main.rs"));
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                roots.push(entry);
            }
        }
    }
    roots.retain(|root| root.exists());
    assert!(!roots.is_empty(), "{} has no code", folder.display());
    roots
}

/// The compiler holds a crate to `forbid`, macros included; here it is held
/// that all crates but one have it.
#[test]
fn unsafe_code_stays_in_one_crate() {
    for member in members().iter().filter(|member| *member != UNSAFE_CRATE) {
        for root in crate_roots(&root().join("crates").join(member)) {
            let forbids = read(&root)
                .lines()
                .any(|line| line == "#![forbid(unsafe_code)]");
            assert!(forbids, "{} lacks #![forbid(unsafe_code)]", root.display());
        }
    }
}
