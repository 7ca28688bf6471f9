//! Exported objects of the exporting side: memory, and semaphores with their state, which both
//! sides share.

use std::collections::BTreeMap;

use crate::abi::{ARRAY_COLOR, ARRAY_CUBEMAP, ARRAY_LAYERED, ArrayDesc};
use crate::finding::Kind;
use crate::layout::Rows;
#[cfg(target_os = "linux")]
use crate::vulkan::Shared;

/// Exports by the number that their descriptors contain.
pub(crate) type Exports = BTreeMap<u64, Export>;

#[derive(Debug)]
pub(crate) enum Export {
    /// The ordinal of the GPU, the size in bytes, whether the allocation is dedicated, and the
    /// image in it, if any.
    Memory {
        device: i32,
        size: u64,
        dedicated: bool,
        image: Option<ExportedImage>,
    },
    Semaphore(Payload),
    /// Replaces a descriptor that was closed, see
    /// [`descriptor::replace`](crate::descriptor::replace).
    #[cfg(not(windows))]
    Decoy,
}

/// An image in exported memory.
#[derive(Clone, Debug)]
pub(crate) struct ExportedImage {
    pub(crate) shape: ImageShape,
    /// Where a Vulkan driver placed the levels; empty without a Vulkan driver.
    pub(crate) rows: Vec<Rows>,
}

impl ExportedImage {
    /// Returns the image as a mapping with `flags` may interpret it. Vulkan does not say whether
    /// an image with one layer is an array.
    pub(crate) fn mapped_with(mut self, flags: u32) -> Self {
        self.shape.layered |= !self.rows.is_empty() && flags & ARRAY_LAYERED != 0;
        self
    }
}

/// An image as the exporting side created it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ImageShape {
    /// Offset in the memory, in bytes.
    pub offset: u64,
    /// 1, 2 or 3; 2 for a cube.
    pub dimensions: u32,
    /// Extent of the first mip level; unused dimensions are 1.
    pub extent: [u32; 3],
    /// Number of layers; 6 for each cube.
    pub layers: u32,
    /// `true` if the layers are cube faces.
    pub cube: bool,
    /// Whether the image is viewed as an array even if it has only one layer or one cube.
    pub layered: bool,
    /// Number of mip levels.
    pub levels: u32,
    /// A `CUarray_format` value.
    pub format: u32,
    /// Number of channels of that format.
    pub channels: u32,
    /// `true` if the image can be a color attachment.
    pub color_attachment: bool,
}

impl ImageShape {
    fn is_layered(&self) -> bool {
        self.layered || self.layers > if self.cube { 6 } else { 1 }
    }

    /// Returns `true` if CUDA places the layers of an array where Vulkan does: with one mip level,
    /// or with several layers and all mip levels (measured).
    pub(crate) fn has_same_layout(&self) -> bool {
        let all = self.extent.into_iter().max().unwrap_or(1).max(1).ilog2() + 1;
        let is_array = self.layered || self.layers > 1;
        !is_array || self.levels == 1 || (self.layers > 1 && self.levels == all)
    }

    /// Returns the properties in which the importer's description differs from the image.
    pub(crate) fn differences(&self, offset: u64, array: &ArrayDesc, levels: u32) -> Vec<String> {
        let [width, height, depth] = self.extent.map(|size| size as usize);
        let height = if self.dimensions == 1 { 0 } else { height };
        let has = |flag| array.flags & flag != 0;
        let layers = self.layers as usize;
        let depth = match self.dimensions {
            3 => depth,
            _ if has(ARRAY_LAYERED) || self.cube || layers > 1 => layers,
            _ => 0,
        };
        let mut differences = Vec::new();
        let mut compare = |what: &str, same: bool| {
            if !same {
                differences.push(what.to_owned());
            }
        };
        compare("offset", offset == self.offset);
        compare("width", array.width == width);
        compare("height", array.height == height);
        compare("depth or layers", array.depth == depth);
        // Without the flag, the layers would be the depth of a 3D array.
        compare("layered flag", has(ARRAY_LAYERED) == self.is_layered());
        compare("levels", levels == self.levels);
        compare("format", array.format == self.format && array.channels == self.channels);
        compare("cubemap flag", has(ARRAY_CUBEMAP) == self.cube);
        compare("color attachment flag", has(ARRAY_COLOR) == self.color_attachment);
        differences
    }
}

/// The state of a semaphore.
#[derive(Debug)]
pub(crate) enum Payload {
    /// The highest value for which a signal was submitted, and the counter.
    Timeline { submitted: u64, value: u64 },
    /// The numbers of signals and waits submitted, and of signals and waits completed.
    Binary { signals: u64, waits: u64, signaled: u64, waited: u64 },
    /// A timeline whose counter is owned by Vulkan as long as the Vulkan semaphore exists, and the
    /// highest value for which CUDA submitted a signal.
    #[cfg(target_os = "linux")]
    Vulkan { shared: Option<Shared>, submitted: u64 },
}

impl Payload {
    pub(crate) fn new(timeline: bool) -> Self {
        match timeline {
            true => Self::Timeline { submitted: 0, value: 0 },
            false => Self::Binary { signals: 0, waits: 0, signaled: 0, waited: 0 },
        }
    }

    pub(crate) fn is_timeline(&self) -> bool {
        !matches!(self, Self::Binary { .. })
    }

    /// Detaches the state from the timeline that Vulkan destroys. Later changes of the semaphore
    /// are visible to CUDA only.
    #[cfg(target_os = "linux")]
    pub(crate) fn part(&mut self) {
        *self = Self::Timeline { submitted: self.value(), value: self.value() };
    }

    /// Records that a signal is enqueued, on either side.
    pub(crate) fn submit_signal(&mut self, to: u64) -> Result<(), (Kind, String)> {
        match self {
            Self::Timeline { submitted, .. } if to <= *submitted => {
                Err((Kind::ValueNotRising, format!("a signal of {to} after one of {submitted}")))
            }
            Self::Timeline { submitted, .. } => {
                *submitted = to;
                Ok(())
            }
            #[cfg(target_os = "linux")]
            Self::Vulkan { shared, submitted } => {
                let reached = shared.as_ref().map_or(0, Shared::value);
                if to <= reached.max(*submitted) {
                    let text = format!("a signal of {to} after one of {submitted}, with the counter at {reached}");
                    return Err((Kind::ValueNotRising, text));
                }
                *submitted = to;
                Ok(())
            }
            Self::Binary { signals, waits, .. } => {
                *signals += 1;
                match *signals - *waits {
                    0 | 1 => Ok(()),
                    _ => Err((Kind::SignalOverSignal, "signaled again with no wait in between".to_owned())),
                }
            }
        }
    }

    /// Records that a wait is enqueued, on either side. A wait for a timeline may be enqueued
    /// before its signal (measured).
    pub(crate) fn submit_wait(&mut self) -> Result<(), (Kind, String)> {
        match self {
            Self::Binary { signals, waits, .. } if *waits >= *signals => {
                Err((Kind::WaitBeforeSignal, "a wait with no signal submitted for it".to_owned()))
            }
            Self::Binary { waits, .. } => {
                *waits += 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Returns `true` if a wait for `value` can end now.
    pub(crate) fn is_reached(&self, value: u64) -> bool {
        match *self {
            Self::Binary { signaled, waited, .. } => signaled > waited,
            _ => self.value() >= value,
        }
    }

    /// Completes a signal. Timeline signals that complete out of order leave the counter at the
    /// lower value.
    pub(crate) fn complete_signal(&mut self, to: u64) -> Result<(), (Kind, String)> {
        match self {
            Self::Timeline { value, .. } => {
                let before = std::mem::replace(value, to);
                if to < before {
                    return Err((Kind::ValueFell, format!("a signal of {to} is done after one of {before}")));
                }
            }
            Self::Binary { signaled, .. } => *signaled += 1,
            #[cfg(target_os = "linux")]
            Self::Vulkan { shared, .. } => {
                let before = shared.as_ref().map_or(0, Shared::value);
                if shared.as_ref().is_some_and(|shared| to <= before || !shared.signal(to)) {
                    return Err((Kind::ValueFell, format!("a signal of {to} is done after one of {before}")));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn complete_wait(&mut self) {
        if let Self::Binary { waited, .. } = self {
            *waited += 1;
        }
    }

    /// Returns the counter, or 0 or 1 for a binary semaphore.
    pub(crate) fn value(&self) -> u64 {
        match self {
            Self::Timeline { value, .. } => *value,
            Self::Binary { signaled, waited, .. } => signaled - waited,
            #[cfg(target_os = "linux")]
            Self::Vulkan { shared, .. } => shared.as_ref().map_or(0, Shared::value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timelines_rise() {
        let mut timeline = Payload::new(true);
        timeline.submit_signal(2).unwrap();
        assert!(!timeline.is_reached(1));
        timeline.complete_signal(2).unwrap();
        assert!(timeline.is_reached(1) && timeline.is_reached(2) && !timeline.is_reached(3));
        assert_eq!(timeline.submit_signal(2).unwrap_err().0, Kind::ValueNotRising);
        assert_eq!(timeline.complete_signal(1).unwrap_err().0, Kind::ValueFell);
        assert_eq!(timeline.value(), 1);
        timeline.submit_wait().unwrap();
    }

    #[test]
    fn binary_signals_and_waits_pair_up() {
        let mut binary = Payload::new(false);
        assert_eq!(binary.submit_wait().unwrap_err().0, Kind::WaitBeforeSignal);
        binary.submit_signal(0).unwrap();
        binary.submit_wait().unwrap();
        assert!(!binary.is_reached(0));
        binary.complete_signal(0).unwrap();
        assert!(binary.is_reached(0));
        binary.complete_wait();
        assert!(!binary.is_reached(0));
        binary.submit_signal(0).unwrap();
        assert_eq!(binary.submit_signal(0).unwrap_err().0, Kind::SignalOverSignal);
    }
}
