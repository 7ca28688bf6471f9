//! Compiles the shaders of the test `rays` to SPIR-V with naga.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use naga::back::spv;
use naga::front::wgsl;
use naga::valid::{Capabilities, ValidationFlags, Validator};

const SOURCE: &str = "rays/ray.wgsl";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={SOURCE}");
    let source = fs::read_to_string(SOURCE)?;
    let capabilities = Capabilities::RAY_TRACING_PIPELINE;
    let mut frontend = wgsl::Frontend::new_with_options(wgsl::Options { capabilities, ..wgsl::Options::new() });
    let module = frontend.parse(&source).map_err(|error| error.emit_to_string(&source))?;
    let validated = Validator::new(ValidationFlags::all(), capabilities).validate(&module);
    let info = validated.map_err(|error| error.emit_to_string(&source))?;
    // What VK_KHR_ray_tracing_pipeline takes.
    let options = spv::Options { lang_version: (1, 4), ..spv::Options::default() };
    let words = spv::write_vec(&module, &info, &options, None)?;
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    fs::write(out.join("ray.spv"), bytes)?;
    Ok(())
}
