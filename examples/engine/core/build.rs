//! Compiles the shaders of the tests to SPIR-V with naga.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use naga::back::spv;
use naga::front::wgsl;
use naga::valid::{Capabilities, ValidationFlags, Validator};

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    for name in ["vertex", "copy"] {
        let path = format!("src/tests/{name}.wgsl");
        println!("cargo::rerun-if-changed={path}");
        let source = fs::read_to_string(path)?;
        let module = wgsl::parse_str(&source).map_err(|error| error.emit_to_string(&source))?;
        let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
            .validate(&module)
            .map_err(|error| error.emit_to_string(&source))?;
        let words = spv::write_vec(&module, &info, &spv::Options::default(), None)?;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        fs::write(out.join(format!("{name}.spv")), bytes)?;
    }
    Ok(())
}
