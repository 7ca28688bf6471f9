//! Compiles the shaders to SPIR-V with naga, so that no shader compiler has to be installed.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use naga::back::spv;
use naga::front::wgsl;
use naga::valid::{Capabilities, ValidationFlags, Validator};

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    // Each shader consists of one or two files.
    for (name, parts) in
        [("elements", &["picture", "elements"][..]), ("texels", &["picture", "texels"]), ("points", &["points"])]
    {
        fs::write(out.join(format!("{name}.spv")), compile(parts)?)?;
    }
    Ok(())
}

fn compile(parts: &[&str]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut source = String::new();
    for part in parts {
        let path = format!("src/draw/{part}.wgsl");
        println!("cargo::rerun-if-changed={path}");
        source += &fs::read_to_string(path)?;
    }
    let module = wgsl::parse_str(&source).map_err(|error| error.emit_to_string(&source))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .validate(&module)
        .map_err(|error| error.emit_to_string(&source))?;
    let words = spv::write_vec(&module, &info, &spv::Options::default(), None)?;
    Ok(words.iter().flat_map(|word| word.to_le_bytes()).collect())
}
