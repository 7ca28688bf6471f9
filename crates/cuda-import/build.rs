//! Checks that exactly one version of the CUDA bindings is enabled, because cudarc would report
//! hundreds of errors otherwise.

use std::env;

/// The binding features of `Cargo.toml`.
const BINDINGS: [&str; 4] = ["cuda-12000", "cuda-12080", "cuda-12090", "cuda-13000"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is_chosen = |name: &&str| {
        let name = name.to_uppercase().replace('-', "_");
        env::var_os(format!("CARGO_FEATURE_{name}")).is_some()
    };
    let chosen: Vec<_> = BINDINGS.into_iter().filter(is_chosen).collect();
    if chosen.len() == 1 {
        return;
    }
    let chosen = if chosen.is_empty() { "none".to_owned() } else { chosen.join(", ") };
    println!(
        "cargo::error=choose exactly one version of CUDA's binding, of the features {}; chosen: {chosen}. \
         The default is cuda-12000, which runs on the most drivers; for another one turn the default features \
         off, in every crate of the program that has them (vk-cuda-bridge, -view, -worker, adapters): \
         `cargo tree -e features -i cuda-import` shows which one chose what. `--all-features` cannot build",
        BINDINGS.join(", ")
    );
}
