//! Pictures in memory, read from files.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, bail};
use png::{BitDepth, ColorType, Decoder, Limits, Transformations};

use crate::resample::resample;

/// The maximum width or height of a picture, in pixels.
pub const MAX_SIDE: u32 = 32_768;
/// The maximum memory for decoding a picture, in bytes.
pub const MAX_BYTES: u64 = 512 << 20;

/// A picture: RGBA8 with straight alpha, row by row from the top, in the color space of the file
/// (normally sRGB).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `4 * width * height` bytes.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// Reads a PNG of any kind: gray, palette, 1 to 16 bits per channel, with or without alpha,
    /// interlaced. For an animated PNG, reads the default image.
    ///
    /// # Errors
    /// The error names the file and says whether it could not be read, is not a PNG, is damaged, or
    /// is larger than [`MAX_SIDE`] or [`MAX_BYTES`] allow.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display();
        if path.is_dir() {
            bail!("cannot read the picture {name}: it is a folder, not a PNG file");
        }
        let file = File::open(path).with_context(|| format!("cannot read the picture {name}"))?;
        Self::read(file).with_context(|| format!("cannot use the picture {name}"))
    }

    fn read(file: File) -> Result<Self> {
        let mut file = BufReader::new(file);
        if let Some(other) = other_format(file.fill_buf().context("cannot read its beginning")?) {
            bail!("it is {other}, whatever its name says; convert it to PNG first");
        }
        let no_picture = "it is not a PNG file, or damaged at its beginning, or too large";
        let mut decoder = Decoder::new_with_limits(file, Limits { bytes: MAX_BYTES as usize });
        decoder.set_transformations(Transformations::EXPAND);
        let header = decoder.read_header_info().context(no_picture)?;
        let (width, height) = header.size();
        // The limit applies to the four bytes per pixel of the result as well as to the file's
        // format.
        let pixel = header.bytes_per_pixel().max(4) as u64;
        let too_long = width > MAX_SIDE || height > MAX_SIDE;
        if too_long || u64::from(width) * u64::from(height) * pixel > MAX_BYTES {
            bail!(
                "{width} x {height} pixels are too many: at most {MAX_SIDE} on a side and {} million in all (8-bit)",
                MAX_BYTES / 4_000_000
            );
        }
        let damaged = || format!("the PNG file of {width} x {height} pixels is damaged or cut short");
        let mut reader = decoder.read_info().context(no_picture)?;
        let mut samples = vec![0; reader.output_buffer_size().with_context(damaged)?];
        reader.next_frame(&mut samples).with_context(damaged)?;
        let (color, depth) = reader.output_color_type();
        if depth == BitDepth::Sixteen {
            samples = samples.as_chunks::<2>().0.iter().map(|sample| to_8_bits(u16::from_be_bytes(*sample))).collect();
        }
        Ok(Self { width, height, pixels: to_rgba(samples, color)? })
    }

    /// Returns the picture at another size. If it becomes smaller, each pixel is the weighted mean
    /// of the area that it replaces; transparent pixels contribute no color.
    pub fn resampled(self, width: u32, height: u32) -> Self {
        if (width, height) == (self.width, self.height) {
            return self;
        }
        Self { width, height, pixels: resample(&self.pixels, [self.width, self.height], [width, height]) }
    }
}

/// Returns the format of a file with this beginning, if it is a known format other than PNG.
fn other_format(start: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], _); 7] = [
        (b"\xff\xd8\xff", "a JPEG file"),
        (b"GIF8", "a GIF file"),
        (b"BM", "a BMP file"),
        (b"II*\0", "a TIFF file"),
        (b"MM\0*", "a TIFF file"),
        (b"DDS ", "a DDS file"),
        (b"qoif", "a QOI file"),
    ];
    // These tags follow a length field.
    let behind = |from: usize, tag: &[u8]| start.get(from..).is_some_and(|rest| rest.starts_with(tag));
    if start.starts_with(b"RIFF") && behind(8, b"WEBP") {
        return Some("a WebP file");
    }
    if behind(4, b"ftypavif") {
        return Some("an AVIF file");
    }
    known.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, name)| *name)
}

/// Returns the nearest 8-bit value.
fn to_8_bits(sample: u16) -> u8 {
    ((u32::from(sample) + 128) / 257) as u8
}

fn to_rgba(samples: Vec<u8>, color: ColorType) -> Result<Vec<u8>> {
    Ok(match color {
        ColorType::Rgba => samples,
        ColorType::Rgb => samples.as_chunks().0.iter().flat_map(|&[r, g, b]| [r, g, b, 255]).collect(),
        ColorType::Grayscale => samples.iter().flat_map(|&gray| [gray, gray, gray, 255]).collect(),
        ColorType::GrayscaleAlpha => {
            samples.as_chunks().0.iter().flat_map(|&[gray, a]| [gray, gray, gray, a]).collect()
        }
        // `EXPAND` has converted them to colors.
        ColorType::Indexed => bail!("its palette was not applied"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jpeg_is_recognized_whatever_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let error = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            format!("{:#}", Picture::open(&path).unwrap_err())
        };
        let text = error("a.png", b"\xff\xd8\xff\xe0\0\x10JFIF\0");
        assert!(text.contains("a.png") && text.contains("JPEG file") && text.contains("convert"), "{text}");
        assert!(error("b.png", b"RIFF\0\0\0\0WEBPVP8 ").contains("WebP file"));
        assert!(error("c.png", b"").contains("not a PNG file") && error("d.png", b"text").contains("not a PNG file"));
    }
}
