//! Compiles every GLSL shader in `shaders/` to SPIR-V with naga, so that no shader compiler needs
//! to be installed.
//!
//! Compiles `shaders/NAME.vert` and `shaders/NAME.frag` to `$OUT_DIR/NAME.vert.spv` and
//! `$OUT_DIR/NAME.frag.spv`, and writes a list of them to `$OUT_DIR/shaders.rs`. A line `#include
//! "NAME.glsl"` is replaced with the text of `shaders/NAME.glsl`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use naga::back::spv::{self, WriterFlags};
use naga::front::glsl::{Frontend, Options};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{ShaderStage, proc::BoundsCheckPolicies};

fn main() -> Result<()> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).with_context(|| format!("{name} is not set"));
    let out = variable("OUT_DIR")?;
    let folder = variable("CARGO_MANIFEST_DIR")?.join("../shaders");
    println!("cargo::rerun-if-changed={}", folder.display());

    let mut sources: Vec<(PathBuf, ShaderStage)> = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("no folder {}", folder.display()))? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("vert") => sources.push((path, ShaderStage::Vertex)),
            Some("frag") => sources.push((path, ShaderStage::Fragment)),
            _ => {}
        }
    }
    sources.sort();

    let mut list = String::from("&[\n");
    for (path, stage) in &sources {
        let name = path.file_name().and_then(|name| name.to_str()).context("a shader's name is not UTF-8")?;
        let words = compile(path, *stage).with_context(|| format!("shaders/{name} does not compile"))?;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        fs::write(out.join(format!("{name}.spv")), bytes)?;
        writeln!(list, "    ({name:?}, include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}.spv\"))),")?;
    }
    list.push_str("]\n");
    fs::write(out.join("shaders.rs"), list)?;
    Ok(())
}

/// Returns the text of a shader with its includes.
fn source(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().map(|line| {
        let name = line.strip_prefix("#include \"").and_then(|rest| rest.strip_suffix('"'));
        name.map_or(Ok(line.to_owned()), |name| source(&path.with_file_name(name)))
    });
    Ok(lines.collect::<Result<Vec<_>>>()?.join("\n"))
}

fn compile(path: &Path, stage: ShaderStage) -> Result<Vec<u32>> {
    let source = source(path)?;
    let module = Frontend::default()
        .parse(&Options::from(stage), &source)
        .map_err(|errors| anyhow!("{}", errors.emit_to_string(&source)))?;
    // Point coordinates are not in naga's default set, because WebGPU does not have them.
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .validate(&module)
        .map_err(|error| anyhow!("{}", error.emit_to_string(&source)))?;
    let options = spv::Options {
        // The shaders use Vulkan's clip space, so the y axis is not flipped.
        flags: WriterFlags::LABEL_VARYINGS,
        // Every texel access is within its texture.
        bounds_check_policies: BoundsCheckPolicies::default(),
        ..spv::Options::default()
    };
    Ok(spv::write_vec(&module, &info, &options, None)?)
}
