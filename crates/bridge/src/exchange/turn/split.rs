//! A frame's work on several GPUs: each has a range of the elements, on its own stream.
#![allow(unsafe_code)] // Lends the resources that the turns own.

use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use cuda_import::cudarc::driver::CudaStream;
use cuda_import::{CudaDevice, DeviceViewMut};

use crate::buffer::spec::BufferSpec;
use crate::compute::cuda::CudaCompute;
use crate::error::{Error, Result};
use crate::exchange::direction::Direction;
use crate::exchange::turn::compute::ComputeTurn;
use crate::exchange::work::kernels::KernelWork;
use crate::resources::Share;

/// Granularity of the GPUs' ranges, in bytes: the largest unit that caches and links move, which
/// two GPUs must not share.
const GRANULARITY: usize = 128;

/// The part of a frame that one GPU computes, lent by [`ComputeTurn::work_split`].
#[derive(Debug)]
#[non_exhaustive]
pub struct CudaPart<'t, T> {
    /// The GPU that computes this part.
    pub device: &'t CudaDevice,
    /// The GPU's stream. Launch kernels that use the elements here; cudarc's copies may use any
    /// stream of the device.
    pub stream: &'t Arc<CudaStream>,
    /// Range of the elements in the buffer.
    pub range: Range<usize>,
    /// The elements, as a kernel argument and a cudarc slice; empty if the range is empty. If the
    /// program copies them to another device with cudarc, it must order that copy: see
    /// [`DeviceView`].
    ///
    /// [`DeviceView`]: cuda_import::DeviceView#to-another-device
    pub elements: DeviceViewMut<'t, T>,
}

impl<'t, T: Pod + Send + Sync> CudaPart<'t, T> {
    /// Returns the part for launching kernels that were loaded with
    /// [`Compute::load`](crate::Compute::load), which loads them for all GPUs of a group. Memory
    /// from [`Compute::kernel_memory`](crate::Compute::kernel_memory) belongs to the leading GPU;
    /// for the others use [`Compute::kernel_memory_split`](crate::Compute::kernel_memory_split).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the stream was replaced by another one, or the elements were
    /// swapped with those of a part on another stream. Otherwise the error of the failed driver
    /// call that should have ordered the work of the device's other streams on the elements before
    /// the launches.
    pub fn kernels(self) -> Result<KernelWork<'t, BufferSpec<T>>> {
        let elements = <BufferSpec<T> as Share<_>>::kernel(self.elements, self.stream)?;
        Ok(KernelWork::on_stream(self.stream, self.stream, elements))
    }
}

impl CudaCompute {
    /// Divides `len` elements evenly among the GPUs, for [`ComputeTurn::work_split`]. The parts end
    /// at multiples of 128 bytes, so the last parts may be smaller, or empty if there are very few
    /// elements.
    pub fn even_split<T: Pod>(&self, len: usize) -> Vec<Range<usize>> {
        even_ranges(len, size_of::<T>(), self.gpu_set().len())
    }
}

impl<T: Pod + Send + Sync, D: Direction> ComputeTurn<BufferSpec<T>, D> {
    /// Lends each GPU of a [`Compute::group`](crate::Compute::group) a range of the elements.
    /// `ranges` has one range for each GPU, in the order of the GPUs; [`CudaCompute::even_split`]
    /// divides the elements evenly. Ranges may leave elements out, and may be empty.
    ///
    /// Work on the parts' streams runs after all earlier work of this turn on any GPU, and before
    /// the work of a later [`work`](Self::work) or `work_split`. The stream of the leading GPU
    /// waits for all GPUs in [`finish`](Self::finish).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] on a backend other than CUDA, if there are not as many ranges as
    /// GPUs, if ranges overlap or end outside the buffer, or if one begins or ends between two
    /// multiples of 128 bytes, other than at the buffer's end, because two GPUs would write parts
    /// of one cache line. Otherwise the error of the failed driver call. On an error, nothing is
    /// lent.
    pub fn work_split(&mut self, ranges: &[Range<usize>]) -> Result<Vec<CudaPart<'_, T>>> {
        let invalid = |reason| Error::invalid(format!("the split work of exchange \"{}\"", self.shared.name), reason);
        let lender = &self.shared.objects.lender;
        let Some(cuda) = lender.cuda() else {
            let backend = self.shared.compute.backend();
            return Err(invalid(format!("the {backend} backend computes in one place only; use `ComputeTurn::work`")));
        };
        let (slot, gpus) = (&cuda.slots[self.slot], cuda.link.gpus());
        check_ranges(slot.len(), size_of::<T>(), ranges, gpus.len()).map_err(invalid)?;
        // SAFETY: this turn alone holds the slot and is borrowed exclusively, so everything that it
        // lent before has been dropped.
        unsafe { slot.assume_no_views() };
        // Covers the work of each GPU's other streams, and the parts that an earlier call lent.
        if self.split {
            lender.join(self.slot)?;
        } else {
            <BufferSpec<T> as Share<_>>::join(slot)?;
        }
        self.split = true;
        gpus.fan_out()?;
        let parts = gpus.devices().iter().zip(gpus.streams()).zip(ranges).enumerate();
        let parts = parts.map(|(place, ((device, stream), range))| {
            // SAFETY: rule "no access outside the turn": this turn alone holds the slot, the views
            // borrow the turn, and the ranges are disjoint. Work enqueued with them is ordered by
            // the events between the streams, and by the wait and the signal of the leading stream.
            let elements = unsafe { slot.part_mut_unchecked(place, range.clone()) };
            Some(CudaPart { device, stream, range: range.clone(), elements: elements? })
        });
        parts.collect::<Option<_>>().ok_or_else(|| invalid("a GPU of the group does not map the buffer".into()))
    }
}

/// Checks that `gpus` GPUs may each have one of `ranges`, of `len` elements of `size` bytes.
fn check_ranges(len: usize, size: usize, ranges: &[Range<usize>], gpus: usize) -> Result<(), String> {
    if ranges.len() != gpus {
        return Err(format!(
            "{} ranges were given for {gpus} GPUs; give one per GPU, empty if it has nothing to do",
            ranges.len()
        ));
    }
    let describe = |range: &Range<usize>| format!("elements {}..{}", range.start, range.end);
    if let Some(outside) = ranges.iter().find(|range| range.start > range.end || range.end > len) {
        return Err(format!("{} do not lie inside the buffer, which has {len}", describe(outside)));
    }
    let mut taken: Vec<_> = ranges.iter().filter(|range| !range.is_empty()).collect();
    taken.sort_by_key(|range| range.start);
    if let Some([first, second]) = taken.array_windows().find(|[first, second]| first.end > second.start) {
        return Err(format!("{} and {} overlap; each GPU needs its own elements", describe(first), describe(second)));
    }
    // Uses remainders only, because the size of `len` elements may overflow here.
    let is_edge = |at: usize| at == len || (at % GRANULARITY * (size % GRANULARITY)).is_multiple_of(GRANULARITY);
    match taken.iter().find(|range| !is_edge(range.start) || !is_edge(range.end)) {
        Some(uneven) if gpus > 1 => Err(format!(
            "{} of {size} bytes begin or end between two multiples of {GRANULARITY} bytes, so that two GPUs would write one cache line; \
             `CudaCompute::even_split` divides evenly",
            describe(uneven)
        )),
        _ => Ok(()),
    }
}

/// Returns ranges that [`check_ranges`] accepts, as equal as possible.
fn even_ranges(len: usize, size: usize, gpus: usize) -> Vec<Range<usize>> {
    // The smallest number of elements that ends at a multiple of a line.
    let whole = GRANULARITY / gcd(GRANULARITY, size.max(1));
    let each = len.div_ceil(gpus.max(1)).checked_next_multiple_of(whole).unwrap_or(usize::MAX);
    let edge = |gpu: usize| gpu.saturating_mul(each).min(len);
    (0..gpus).map(|gpu| edge(gpu)..edge(gpu + 1)).collect()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_checked() {
        let refused = |ranges: &[Range<usize>], why: &str| {
            let reason = check_ranges(1000, 4, ranges, 2).unwrap_err();
            assert!(reason.contains(why), "{reason}");
        };
        assert_eq!(check_ranges(1000, 4, &[0..512, 512..1000], 2), Ok(()));
        assert_eq!(check_ranges(1000, 4, &[512..1000, 0..512], 2), Ok(()), "in any order");
        assert_eq!(check_ranges(1000, 4, &[0..0, 32..64], 2), Ok(()), "with what is left out");
        assert_eq!(check_ranges(1000, 4, &[7..7, 0..1000], 2), Ok(()), "an empty one is anywhere");
        assert_eq!(check_ranges(1000, 4, std::slice::from_ref(&(3..7)), 1), Ok(()), "one GPU shares no cache line");
        refused(std::slice::from_ref(&(0..1000)), "1 ranges were given for 2 GPUs");
        refused(&[0..544, 512..1000], "elements 0..544 and elements 512..1000 overlap");
        refused(&[0..1000, 0..1000], "overlap");
        refused(&[0..512, 512..1001], "elements 512..1001 do not lie inside the buffer, which has 1000");
        #[allow(clippy::reversed_empty_ranges, reason = "what is tested")]
        refused(&[0..512, 600..512], "do not lie inside");
        refused(&[0..500, 500..1000], "one cache line");
        refused(&[0..512, 513..1000], "one cache line");
    }

    #[test]
    fn even_split_is_accepted() {
        for size in [1, 2, 4, 12, 16, 32, 48, 100, 128, 400] {
            for len in [0, 1, 2, 31, 1000, 4096, 1_000_003, usize::MAX - 1, usize::MAX] {
                for gpus in 1..=8 {
                    let ranges = even_ranges(len, size, gpus);
                    assert_eq!(check_ranges(len, size, &ranges, gpus), Ok(()), "{len} of {size} for {gpus}");
                    assert_eq!(ranges.iter().map(ExactSizeIterator::len).sum::<usize>(), len);
                }
            }
        }
        assert_eq!(even_ranges(1 << 20, 16, 2), [0..1 << 19, 1 << 19..1 << 20]);
    }
}
