//! The shaders in `shaders/`, compiled to SPIR-V when this crate was built.

use anyhow::{Context, Result};

/// Every `NAME.vert` and `NAME.frag` with its SPIR-V.
const ALL: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/shaders.rs"));

/// Returns the SPIR-V words of the shader `name`, such as `spark.vert`. Its entry point is `main`.
///
/// # Errors
/// There is no such shader.
pub fn spirv(name: &str) -> Result<Vec<u32>> {
    let (_, bytes) = ALL.iter().find(|(known, _)| *known == name).with_context(|| format!("no shader {name:?}"))?;
    Ok(bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shader_is_spirv() {
        assert!(!ALL.is_empty());
        for (name, _) in ALL {
            assert_eq!(spirv(name).unwrap()[0], 0x0723_0203, "{name}");
        }
    }

    #[test]
    fn an_unknown_shader_is_named() {
        assert!(spirv("nothing.frag").unwrap_err().to_string().contains("nothing.frag"));
    }
}
