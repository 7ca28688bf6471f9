//! The license texts of the crates that are linked into a package.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Beginnings of the names of files with license texts and notices, in capital letters.
const NAMES: &[&str] = &["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

/// Returns the license texts of the crates that the root package of `cargo metadata`'s output
/// links, other than those in this repository. Equal texts appear once, with all crates that they
/// are of.
///
/// Fails if a crate comes without its license text.
pub(crate) fn text(metadata: &Value) -> Result<String> {
    let packages = linked(metadata)?;
    let mut list = String::new();
    // By the words, since the lines of the same text are broken differently.
    let mut texts: BTreeMap<Vec<String>, (String, BTreeSet<String>)> = BTreeMap::new();
    let mut without = Vec::new();
    for package in packages.into_iter().filter(|package| !package["source"].is_null()) {
        let field = |name: &str| package[name].as_str().with_context(|| format!("a package has no {name}"));
        let name = format!("{} {}", field("name")?, field("version")?);
        list += &format!("- {name}: {}\n", package["license"].as_str().unwrap_or("see its text"));
        let found = texts_in(Path::new(field("manifest_path")?).parent().context("a manifest has no folder")?)?;
        if found.is_empty() {
            without.push(name.clone());
        }
        for text in found {
            let words = text.split_whitespace().map(str::to_owned).collect();
            texts.entry(words).or_insert_with(|| (text, BTreeSet::new())).1.insert(name.clone());
        }
    }
    if !without.is_empty() {
        bail!("crates without a file with their license: {}", without.join(", "));
    }
    let mut sections: Vec<_> = texts.into_values().map(|(text, names)| (names, text)).collect();
    sections.sort();
    let mut all = format!("This package links these Rust crates:\n\n{list}");
    for (names, text) in sections {
        let names = Vec::from_iter(names).join(", ");
        all += &format!("\n{}\n{names}\n\n{}\n", "-".repeat(80), text.trim_matches(['\n', '\r']));
    }
    Ok(all)
}

/// Returns the texts in the files of a crate's folder.
fn texts_in(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut texts = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        if NAMES.iter().any(|start| name.starts_with(start)) && path.is_file() {
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            texts.push(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    Ok(texts)
}

/// Returns the root package and its direct and indirect dependencies, in the order of their names.
/// Dependencies of build scripts, tests and procedural macros are not linked.
fn linked(metadata: &Value) -> Result<Vec<&Value>> {
    let by_id = |list: &'_ Value| -> Option<BTreeMap<String, usize>> {
        let items = list.as_array()?.iter().enumerate();
        Some(items.filter_map(|(index, item)| Some((item["id"].as_str()?.to_owned(), index))).collect())
    };
    let (packages, nodes) = (&metadata["packages"], &metadata["resolve"]["nodes"]);
    let package_of = by_id(packages).context("`cargo metadata` lists no packages")?;
    let node_of = by_id(nodes).context("`cargo metadata` lists no dependencies")?;
    let mut open = vec![metadata["resolve"]["root"].as_str().context("the workspace has no root package")?];
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    while let Some(id) = open.pop() {
        let (package, node) = package_of.get(id).zip(node_of.get(id)).context("a dependency is not listed")?;
        let is_macro =
            |target: &Value| target["kind"].as_array().is_some_and(|kinds| kinds.contains(&"proc-macro".into()));
        let package = &packages[*package];
        if package["targets"].as_array().is_some_and(|targets| targets.iter().any(is_macro)) || !seen.insert(id) {
            continue;
        }
        found.push(package);
        for dependency in nodes[*node]["deps"].as_array().into_iter().flatten() {
            let is_linked = |kind: &Value| kind["kind"].is_null();
            if dependency["dep_kinds"].as_array().is_some_and(|kinds| kinds.iter().any(is_linked)) {
                open.extend(dependency["pkg"].as_str());
            }
        }
    }
    found.sort_by_key(|package| package["name"].as_str().map(str::to_owned));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LINKED: &[Option<&str>] = &[None];
    const BUILD: &[Option<&str>] = &[Some("build")];

    /// Returns metadata of a root package `own` with these dependencies: their names, target kinds
    /// and dependency kinds.
    fn metadata(folder: &Path, dependencies: &[(&str, &str, &[Option<&str>])]) -> Value {
        let package = |name: &str, kind: &str| {
            let manifest = folder.join(name).join("Cargo.toml");
            let source = if name == "own" { Value::Null } else { json!("registry") };
            json!({ "id": name, "name": name, "version": "1.0.0", "license": "MIT", "source": source,
                    "manifest_path": manifest, "targets": [{ "kind": [kind] }] })
        };
        let deps = |(name, _, kinds): &(&str, &str, &[Option<&str>])| {
            let kinds: Vec<_> = kinds.iter().map(|kind| json!({ "kind": kind })).collect();
            json!({ "pkg": name, "dep_kinds": kinds })
        };
        let deps: Vec<_> = dependencies.iter().map(deps).collect();
        let mut packages = vec![package("own", "cdylib")];
        let mut nodes = vec![json!({ "id": "own", "deps": deps })];
        for (name, kind, _) in dependencies {
            packages.push(package(name, kind));
            nodes.push(json!({ "id": name, "deps": [] }));
        }
        json!({ "packages": packages, "resolve": { "root": "own", "nodes": nodes } })
    }

    fn write(folder: &Path, file: &str, text: &str) {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn equal_texts_appear_once_and_crates_that_are_not_linked_never() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, "a/LICENSE-MIT", "Copyright A\nPermission");
        write(folder, "a/README.md", "Read me");
        write(folder, "b/license.txt", "Copyright A Permission\n");
        write(folder, "c/COPYING", "Copyright C");
        let all: &[(&str, &str, &[Option<&str>])] = &[
            ("a", "lib", LINKED),
            ("b", "lib", LINKED),
            ("c", "lib", LINKED),
            ("m", "proc-macro", LINKED),
            ("t", "lib", BUILD),
        ];
        let text = text(&metadata(folder, all)).unwrap();
        assert!(text.contains("- a 1.0.0: MIT\n- b 1.0.0: MIT\n- c 1.0.0: MIT\n\n---"), "{text}");
        assert!(text.contains("\na 1.0.0, b 1.0.0\n\nCopyright A\nPermission\n"), "{text}");
        assert!(text.ends_with("\nc 1.0.0\n\nCopyright C\n"), "{text}");
        for absent in ["Read me", "m 1.0.0", "t 1.0.0", "own 1.0.0"] {
            assert!(!text.contains(absent), "{absent}: {text}");
        }
    }

    #[test]
    fn a_crate_without_a_text_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a/README.md", "MIT");
        let error = text(&metadata(folder.path(), &[("a", "lib", LINKED)])).unwrap_err();
        assert_eq!(error.to_string(), "crates without a file with their license: a 1.0.0");
    }
}
