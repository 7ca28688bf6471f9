//! Pictures in memory, read from files.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, bail};
use image::imageops::{FilterType, resize};
use image::{DynamicImage, ImageBuffer, ImageDecoder, ImageFormat, Limits, Rgba};

/// The longest side of a picture that is read, in pixels.
pub const MAX_SIDE: u32 = 32_768;
/// The most memory that decoding one may take, in bytes.
pub const MAX_BYTES: u64 = 512 << 20;

/// RGBA8 with straight alpha, row by row from the top, in the colour space of the file (normally
/// sRGB).
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
    /// Reads a PNG of any kind: grey, palette, 1 to 16 bits a channel, with or without alpha,
    /// interlaced. Of an animated one it takes the still picture.
    ///
    /// # Errors
    /// Names the file, and says whether it could not be read, is no PNG, is damaged, or is larger
    /// than [`MAX_SIDE`] or [`MAX_BYTES`] allow.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display();
        if path.is_dir() {
            bail!("cannot read the picture {name}: it is a folder, not a PNG file");
        }
        let file = File::open(path).with_context(|| format!("cannot read the picture {name}"))?;
        Self::read(file).with_context(|| format!("cannot use the picture {name}"))
    }

    fn read(file: File) -> Result<Self> {
        let mut limits = Limits::default();
        limits.max_image_width = Some(MAX_SIDE);
        limits.max_image_height = Some(MAX_SIDE);
        limits.max_alloc = Some(MAX_BYTES);
        let mut file = BufReader::new(file);
        if let Some(other) = other_format(file.fill_buf().context("cannot read its beginning")?) {
            bail!("it is {other}, whatever its name says; convert it to PNG first");
        }
        let decoder = image::codecs::png::PngDecoder::with_limits(file, limits)
            .context("it is not a PNG file, or damaged at its beginning, or too large")?;
        let (width, height) = decoder.dimensions();
        // The four bytes per pixel that it becomes count as well as what the file holds.
        let bytes = (u64::from(width) * u64::from(height) * 4).max(decoder.total_bytes());
        if width > MAX_SIDE || height > MAX_SIDE || bytes > MAX_BYTES {
            bail!(
                "{width} x {height} pixels are too many: at most {MAX_SIDE} on a side and {} million in all (8-bit)",
                MAX_BYTES / 4_000_000
            );
        }
        let pixels = DynamicImage::from_decoder(decoder)
            .with_context(|| format!("the PNG file of {width} x {height} pixels is damaged or cut short"))?
            .into_rgba8()
            .into_raw();
        Ok(Self { width, height, pixels })
    }

    /// The picture at another size. Made smaller, each pixel is the weighted mean of the area that
    /// it replaces; transparent pixels lend no colour.
    pub fn resampled(self, width: u32, height: u32) -> Self {
        if (width, height) == (self.width, self.height) {
            return self;
        }
        let opaque = self.pixels.chunks_exact(4).all(|rgba| rgba[3] == 255);
        let pixels = if opaque {
            let image = ImageBuffer::<Rgba<u8>, _>::from_raw(self.width, self.height, self.pixels).unwrap_or_default();
            resize(&image, width, height, FilterType::Triangle).into_raw()
        } else {
            let weighted = premultiplied(&self.pixels);
            let image = ImageBuffer::<Rgba<u16>, _>::from_raw(self.width, self.height, weighted).unwrap_or_default();
            straight(resize(&image, width, height, FilterType::Triangle).as_raw())
        };
        Self { width, height, pixels }
    }
}

/// The kind of picture that begins like this, if it is a known one other than PNG.
fn other_format(start: &[u8]) -> Option<&'static str> {
    Some(match image::guess_format(start).ok()? {
        ImageFormat::Png => return None,
        ImageFormat::Jpeg => "a JPEG file",
        ImageFormat::Gif => "a GIF file",
        ImageFormat::WebP => "a WebP file",
        ImageFormat::Bmp => "a BMP file",
        ImageFormat::Tiff => "a TIFF file",
        ImageFormat::Avif => "an AVIF file",
        _ => "a picture of another kind",
    })
}

/// 16-bit channels, the colours multiplied by alpha.
fn premultiplied(rgba: &[u8]) -> Vec<u16> {
    let pixel = |rgba: &[u8]| {
        let alpha = u32::from(rgba[3]);
        let weigh = |channel: u8| ((u32::from(channel) * 257 * alpha + 127) / 255) as u16;
        [weigh(rgba[0]), weigh(rgba[1]), weigh(rgba[2]), rgba[3] as u16 * 257]
    };
    rgba.chunks_exact(4).flat_map(pixel).collect()
}

/// The way back to 8 bits and straight alpha.
fn straight(rgba: &[u16]) -> Vec<u8> {
    let pixel = |rgba: &[u16]| {
        let alpha = f32::from(rgba[3]).max(1.0);
        let channel = |value: u16| (f32::from(value) / alpha * 255.0 + 0.5).min(255.0) as u8;
        [channel(rgba[0]), channel(rgba[1]), channel(rgba[2]), ((u32::from(rgba[3]) + 128) / 257) as u8]
    };
    rgba.chunks_exact(4).flat_map(pixel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jpeg_is_called_one_whatever_its_name() {
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
