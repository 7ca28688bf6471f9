//! The resources of a latest exchange, and how each side writes and reads them.

use std::sync::Arc;
use std::time::Duration;

use bridge::ash::vk;
use bridge::cudarc::driver::{CudaSlice, CudaStream};
use bridge::{BufferAccess, BufferSpec, CudaWork, ExportDevice, ImageAccess, ImageSpec, RenderRead, Resources};
use bridge_tests::Readback;

/// Number of elements in the longest frame.
const MAX_LEN: usize = 1024;
/// Extent of an image whose rows do not fit any row alignment without padding.
const EXTENT: [u32; 2] = [31, 33];
/// Maximum size of a frame in bytes.
pub(crate) const SIZE: u64 = 4 * MAX_LEN as u64;

/// Resources of 32-bit words.
pub(crate) trait Frames: Resources {
    /// Number of elements in a frame.
    const LEN: usize;
    /// `true` if slots can be brought back that were lost with reads of unfinished frames.
    ///
    /// For images, the validation layer (1.4.364) then reports a hand-over during a read. It does
    /// not take into account the fence that is waited for in between if the read's own wait was
    /// submitted before its signal; with the signal first it reports nothing
    /// (`images_are_recovered_after_a_read` in `tests/latest`). The specification orders the
    /// two: the first synchronization scope of a fence's signal includes "all commands that occur
    /// earlier in submission order" ("Fences").
    const BROUGHT_BACK_UNFINISHED: bool;

    fn spec() -> Self;

    /// Writes a frame in two halves.
    fn write(lent: Self::Host<'_>, word: u32, delay: Duration);

    /// Passes all words to `visit`, in pieces.
    fn look(lent: Self::Host<'_>, visit: &mut dyn FnMut(&[u32]));

    /// Enqueues the write of a frame.
    fn write_on_cuda(cuda: CudaWork<'_, Self>, word: u32);

    /// Enqueues a copy of a frame.
    fn copy_on_cuda(cuda: CudaWork<'_, Self>) -> (Arc<CudaStream>, CudaSlice<u32>);

    /// Records the write of a frame.
    fn record_write(device: &ExportDevice, commands: vk::CommandBuffer, lent: Self::Render<'_>, word: u32);

    /// Records a copy of a frame.
    fn record_read(readback: &Readback, turn: &RenderRead<Self>) -> vk::CommandBuffer;
}

impl Frames for BufferSpec<u32> {
    const LEN: usize = MAX_LEN;
    const BROUGHT_BACK_UNFINISHED: bool = true;

    fn spec() -> Self {
        Self::new(MAX_LEN, BufferAccess::TRANSFER_READ | BufferAccess::TRANSFER_WRITE)
    }

    fn write(words: &mut [u32], word: u32, delay: Duration) {
        let (first, second) = words.split_at_mut(MAX_LEN / 2);
        first.fill(word);
        std::thread::sleep(delay);
        second.fill(word);
    }

    fn look(words: &mut [u32], visit: &mut dyn FnMut(&[u32])) {
        visit(words);
    }

    /// Writes in two halves.
    fn write_on_cuda(mut cuda: CudaWork<'_, Self>, word: u32) {
        let half = [word; MAX_LEN / 2];
        for range in [0..MAX_LEN / 2, MAX_LEN / 2..MAX_LEN] {
            cuda.stream.memcpy_htod(&half, &mut cuda.resources.slice_mut(range).unwrap()).unwrap();
        }
    }

    fn copy_on_cuda(cuda: CudaWork<'_, Self>) -> (Arc<CudaStream>, CudaSlice<u32>) {
        let mut copy = cuda.stream.alloc_zeros(MAX_LEN).unwrap();
        cuda.stream.memcpy_dtod(&cuda.resources.as_view(), &mut copy).unwrap();
        (Arc::clone(cuda.stream), copy)
    }

    /// Writes in two halves.
    fn record_write(device: &ExportDevice, commands: vk::CommandBuffer, lent: Self::Render<'_>, word: u32) {
        for offset in [0, SIZE / 2] {
            // SAFETY: recording; both halves are inside the buffer, which may be filled.
            unsafe { device.as_raw().cmd_fill_buffer(commands, lent.as_raw(), offset, SIZE / 2, word) };
        }
    }

    fn record_read(readback: &Readback, turn: &RenderRead<Self>) -> vk::CommandBuffer {
        readback.record_read(turn, &[(turn.resources().as_raw(), SIZE)])
    }
}

impl Frames for ImageSpec<u32> {
    const LEN: usize = (EXTENT[0] * EXTENT[1]) as usize;
    const BROUGHT_BACK_UNFINISHED: bool = false;

    fn spec() -> Self {
        Self::new(vk::Format::R32_UINT, EXTENT, ImageAccess::TRANSFER_READ | ImageAccess::TRANSFER_WRITE)
    }

    fn write(mut image: Self::Host<'_>, word: u32, delay: Duration) {
        for (row, texels) in image.rows_mut().enumerate() {
            if row == EXTENT[1] as usize / 2 {
                std::thread::sleep(delay);
            }
            texels.fill(word);
        }
    }

    fn look(mut image: Self::Host<'_>, visit: &mut dyn FnMut(&[u32])) {
        image.rows_mut().for_each(|row| visit(row));
    }

    fn write_on_cuda(mut cuda: CudaWork<'_, Self>, word: u32) {
        // Not a copy from the host, which would wait for the stream.
        let source = cuda.stream.clone_htod(&[word; Self::LEN]).unwrap();
        cuda.resources.copy_from_buffer(cuda.stream, 0, .., &source).unwrap();
    }

    fn copy_on_cuda(cuda: CudaWork<'_, Self>) -> (Arc<CudaStream>, CudaSlice<u32>) {
        let mut copy = cuda.stream.alloc_zeros(Self::LEN).unwrap();
        cuda.resources.copy_to_buffer(cuda.stream, 0, .., &mut copy).unwrap();
        (Arc::clone(cuda.stream), copy)
    }

    fn record_write(device: &ExportDevice, commands: vk::CommandBuffer, lent: Self::Render<'_>, word: u32) {
        let color = vk::ClearColorValue { uint32: [word; 4] };
        let (image, layout, range) = (lent.as_raw(), lent.layout(), [lent.range()]);
        // SAFETY: recording; the image is in that layout between the turn's barriers.
        unsafe { device.as_raw().cmd_clear_color_image(commands, image, layout, &color, &range) };
    }

    fn record_read(readback: &Readback, turn: &RenderRead<Self>) -> vk::CommandBuffer {
        let image = turn.resources();
        readback.record_read_all(turn, &[], &[(image.as_raw(), image.layout(), EXTENT)])
    }
}

/// Copies of the frames that were read, which are checked at the end.
#[derive(Default)]
pub(crate) struct Looks {
    stream: Option<Arc<CudaStream>>,
    copies: Vec<(CudaSlice<u32>, u64)>,
}

impl Looks {
    /// Enqueues a copy of a frame.
    pub(crate) fn take<S: Frames>(&mut self, cuda: CudaWork<'_, S>, frame: u64) {
        let (stream, copy) = S::copy_on_cuda(cuda);
        self.stream = Some(stream);
        self.copies.push((copy, frame));
    }

    /// Checks all copies.
    pub(crate) fn end(self) {
        let Some(stream) = self.stream else { return };
        for (copy, frame) in self.copies {
            assert_eq!(super::whole(&stream.clone_dtoh(&copy).unwrap(), frame), Ok(()));
        }
    }
}
