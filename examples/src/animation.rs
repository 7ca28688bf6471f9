//! A small GIF of the frames, for pages that cannot play videos.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use gif::{DisposalMethod, Encoder, Frame, Repeat};

use crate::files::{AtomicFile, cannot_write};
use crate::palette::{COLORS, Histogram, Palette};
use crate::resample::resample;

/// The maximum width, in pixels.
const WIDTH: u32 = 640;
/// The maximum length, in frames.
const LENGTH: u64 = 300;
/// How long each frame but the last is shown, in hundredths of a second.
const DELAY: u16 = 4;
/// How long the last frame is shown, in hundredths of a second.
const LAST_DELAY: u16 = 120;
/// The index that leaves a pixel unchanged.
const UNCHANGED: u8 = COLORS as u8;

/// Collects scaled-down frames in an unnamed temporary file until all of them are there, because
/// all frames share one palette.
///
/// Frames may come from several threads and in any order.
pub struct Animation {
    size: [u32; 2],
    stride: u64,
    folder: PathBuf,
    state: Mutex<State>,
}

struct State {
    spool: File,
    colors: Histogram,
    count: u64,
}

impl Animation {
    /// Creates an animation of `frames` frames of `size` pixels each. A long run is reduced to
    /// every n-th frame. The temporary file is created in `folder`.
    pub fn new(size: [u32; 2], frames: u64, folder: &Path) -> Result<Self> {
        let [width, height] = size;
        let small = width.min(WIDTH);
        let rows = (f64::from(height) * f64::from(small) / f64::from(width)).round().clamp(1.0, 65535.0);
        let spool = tempfile::tempfile_in(folder)
            .with_context(|| format!("cannot make a temporary file in {}", folder.display()))?;
        let folder = folder.to_owned();
        let state = State { spool, colors: Histogram::default(), count: 0 };
        let stride = frames.div_ceil(LENGTH).max(1);
        Ok(Self { size: [small, rows as u32], stride, folder, state: Mutex::new(state) })
    }

    /// Returns `true` if the animation shows frame `frame`.
    pub fn wants(&self, frame: u64) -> bool {
        frame.is_multiple_of(self.stride)
    }

    /// Adds frame `frame`: RGBA8 of `width` x `height` pixels. Ignores a frame that the animation
    /// does not show.
    pub fn add(&self, frame: u64, rgba: &[u8], width: u32, height: u32) -> Result<()> {
        if !self.wants(frame) {
            return Ok(());
        }
        ensure!(rgba.len() as u64 == 4 * u64::from(width) * u64::from(height), "a frame has a wrong size");
        let small = resample(rgba, [width, height], self.size);
        let rgb: Vec<u8> = small.as_chunks::<4>().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect();
        let index = frame / self.stride;
        let mut state = self.lock();
        let place = SeekFrom::Start(index * rgb.len() as u64);
        let written = state.spool.seek(place).and_then(|_| state.spool.write_all(&rgb));
        written.map_err(|error| cannot_write(&self.folder.join("the animation's temporary file"), error))?;
        state.colors.add(&rgb);
        state.count = state.count.max(index + 1);
        Ok(())
    }

    /// Writes the animation to `path`.
    pub fn write(self, path: &Path) -> Result<()> {
        let [width, height] = self.size.map(|n| n as usize);
        let State { mut spool, colors, count } = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut palette = colors.palette();
        let cannot = |error| cannot_write(path, error);
        let mut file = AtomicFile::create(path)?;
        let mut encoder = Encoder::new(&mut file, width as u16, height as u16, &global(&palette)).map_err(cannot)?;
        encoder.set_repeat(Repeat::Infinite).map_err(cannot)?;
        spool.seek(SeekFrom::Start(0))?;
        let mut rgb = vec![0; width * height * 3];
        let mut shown = vec![UNCHANGED; width * height];
        for number in 0..count {
            spool.read_exact(&mut rgb).context("cannot read back the animation's temporary file")?;
            let frame = Frame {
                width: width as u16,
                height: height as u16,
                delay: if number + 1 == count { LAST_DELAY } else { DELAY },
                dispose: DisposalMethod::Keep,
                transparent: Some(UNCHANGED),
                buffer: changes(&rgb, &mut shown, &mut palette, width).into(),
                ..Frame::default()
            };
            encoder.write_frame(&frame).map_err(cannot)?;
        }
        drop(encoder);
        file.commit()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the palette, padded to the 256 entries that the index [`UNCHANGED`] requires.
fn global(palette: &Palette) -> Vec<u8> {
    let mut bytes = palette.bytes();
    bytes.resize(3 * (COLORS + 1), 0);
    bytes
}

/// Returns the indices of a frame, with [`UNCHANGED`] where `shown` already has the same index.
fn changes(rgb: &[u8], shown: &mut [u8], palette: &mut Palette, width: usize) -> Vec<u8> {
    let pixels = rgb.as_chunks::<3>().0.iter().zip(shown).enumerate();
    let index = |(at, (&pixel, shown)): (usize, (&[u8; 3], &mut u8))| {
        let index = palette.index(pixel, at % width, at / width);
        if *shown == index {
            return UNCHANGED;
        }
        *shown = index;
        index
    };
    pixels.map(index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solid(color: [u8; 4]) -> Vec<u8> {
        color.repeat(1280 * 20)
    }

    #[test]
    fn frames_are_read_back_in_order_and_at_most_640_wide() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("animation.gif");
        let animation = Animation::new([1280, 20], 2, folder.path()).unwrap();
        animation.add(1, &solid([0, 0, 200, 255]), 1280, 20).unwrap();
        animation.add(0, &solid([200, 0, 0, 255]), 1280, 20).unwrap();
        animation.write(&path).unwrap();

        let mut options = gif::DecodeOptions::new();
        options.set_color_output(gif::ColorOutput::RGBA);
        let mut decoder = options.read_info(File::open(&path).unwrap()).unwrap();
        assert_eq!((decoder.width(), decoder.height()), (640, 10));
        let mut colors = Vec::new();
        while let Some(frame) = decoder.read_next_frame().unwrap() {
            colors.push((frame.buffer[0], frame.buffer[2]));
        }
        assert_eq!(colors, [(200, 0), (0, 200)]);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn a_long_run_is_thinned_out() {
        let animation = Animation::new([4, 4], 1000, &std::env::temp_dir()).unwrap();
        assert_eq!((0..1000).filter(|&frame| animation.wants(frame)).count(), 250);
    }
}
