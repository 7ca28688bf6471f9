//! A picture as a PNG file.

use crate::error::{Error, Result};

/// The file's bytes; `pixels` are rows from the top, four bytes a pixel.
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
