//! Checks that `lib.rs` of each crate asserts `Send` and `Sync` for all its public types.

use std::fs;

use anyhow::{Context, Result, ensure};

/// The crates, and their packages, which the texts in `docs/api` are named for.
const CRATES: [(&str, &str); 8] = [
    ("bridge", "vk-cuda-bridge"),
    ("bridge-ipc", "vk-cuda-bridge-ipc"),
    ("bridge-trace", "vk-cuda-bridge-trace"),
    ("bridge-view", "vk-cuda-bridge-view"),
    ("bridge-worker", "vk-cuda-bridge-worker"),
    ("cuda-import", "cuda-import"),
    ("vk-export", "vk-export"),
    ("vk-local", "vk-local"),
];

/// Guards that count for the thread that created them.
const OF_ONE_THREAD: [&str; 4] =
    ["bridge_trace::Held", "cuda_import::LogHold", "cuda_import::Restoring", "vk_export::LogHold"];

/// Fails if a public type of a crate in the current folder is not asserted.
pub(super) fn check() -> Result<()> {
    let mut missing = Vec::new();
    for (folder, package) in CRATES {
        let read = |path: String| fs::read_to_string(&path).with_context(|| format!("cannot read {path}"));
        let root = read(format!("crates/{folder}/src/lib.rs"))?;
        let api = read(format!("docs/api/{package}.txt"))?;
        missing.extend(unasserted(&root, &api).into_iter().map(|name| format!("    {name}")));
    }
    ensure!(
        missing.is_empty(),
        "add `shared::<…>()` to `lib.rs` for each of these types, so that the compiler checks that it is `Send` and \
         `Sync`:\n{}",
        missing.join("\n")
    );
    Ok(())
}

/// Returns the types in `api` that the assertions of `root` do not name.
fn unasserted<'a>(root: &str, api: &'a str) -> Vec<&'a str> {
    let asserted = root.split_once("const fn shared<T: Send + Sync>").map_or("", |(_, assertions)| assertions);
    let names: Vec<_> = asserted.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let types = api.lines().filter_map(|line| {
        let line = line.strip_prefix("#[non_exhaustive] ").unwrap_or(line);
        let item = line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub enum "))?;
        item.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').next()
    });
    let is_missing = |item: &&str| {
        !OF_ONE_THREAD.contains(item) && !item.rsplit("::").next().is_some_and(|name| names.contains(&name))
    };
    types.filter(is_missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_is_not_asserted_is_named() {
        let api = "pub enum a::Error\n#[non_exhaustive] pub struct a::Of<'a, T>(_)\npub struct a::b::New\npub fn a::f()\n\
                   pub struct vk_export::LogHold(_)";
        let root =
            "pub use b::New;\nconst fn shared<T: Send + Sync>() {}\nshared::<Error>();\nshared::<Of<'_, f32>>();";
        assert_eq!(unasserted(root, api), ["a::b::New"]);
        assert_eq!(unasserted(&format!("{root}\nshared::<New>();"), api), [""; 0]);
        assert_eq!(unasserted("pub use a::Error;", api).len(), 3, "without any assertion");
    }
}
