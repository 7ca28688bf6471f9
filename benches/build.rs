//! Compiles the shader of `bridge-view` that draws an image in a buffer, so that frames by hand are
//! drawn by the same one.

use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context, Result, anyhow};
use naga::back::spv;
use naga::front::wgsl;
use naga::valid::{Capabilities, ValidationFlags, Validator};

/// In `bridge-view`; together they are one shader.
const PARTS: [&str; 2] = ["picture.wgsl", "elements.wgsl"];

fn main() -> Result<()> {
    let variable = |name: &str| env::var_os(name).map(PathBuf::from).with_context(|| format!("{name} is not set"));
    let folder = variable("CARGO_MANIFEST_DIR")?.join("../crates/bridge-view/src/draw");
    let mut source = String::new();
    for part in PARTS {
        let path = folder.join(part);
        println!("cargo::rerun-if-changed={}", path.display());
        source += &fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
    }
    let module = wgsl::parse_str(&source).map_err(|error| anyhow!(error.emit_to_string(&source)))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .validate(&module)
        .map_err(|error| anyhow!(error.emit_to_string(&source)))?;
    let words = spv::write_vec(&module, &info, &spv::Options::default(), None)?;
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    fs::write(variable("OUT_DIR")?.join("picture.spv"), bytes)?;
    Ok(())
}
