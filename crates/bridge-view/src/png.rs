//! Encoding of a picture as a PNG file.

use std::path::Path;

use crate::error::{Error, Result};

/// Rejects file names whose extension is that of another format.
pub(crate) fn check_name(path: &Path) -> Result<()> {
    if path.extension().is_none_or(|extension| extension.eq_ignore_ascii_case("png")) {
        return Ok(());
    }
    let reason = "pictures are written as PNG: the file's name ends in .png, or has no extension";
    Err(Error::invalid(path.display().to_string(), reason))
}

/// Returns the bytes of the file. `pixels` are rows from top to bottom, with four bytes per pixel.
pub(crate) fn png([width, height]: [u32; 2], pixels: &[u8]) -> Result<Vec<u8>> {
    let failed = |error: png::EncodingError| Error::File { reason: format!("it cannot be encoded: {error}") };
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(pixels).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_extensions_of_other_formats_are_refused() {
        for name in ["a.png", "folder.jpg/a.PNG", "picture", ".hidden", "/dev/stdout"] {
            assert!(check_name(Path::new(name)).is_ok(), "{name}");
        }
        for name in ["a.jpg", "b/a.png.gz", "a.", "a.pn"] {
            let error = check_name(Path::new(name)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name}: ")) && error.contains("ends in .png"), "{error}");
        }
    }
}
