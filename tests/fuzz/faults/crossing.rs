//! Resource kinds of exchanges in a case: how a CUDA stream works on them, and whether their
//! contents survive a replacement.

use bridge::cudarc::driver::result::{memcpy_dtod_async, memset_d8_async};
use bridge::cudarc::driver::{CudaSlice, CudaStream, DevicePtrMut, DriverError};
use bridge::{BufferAccess, BufferSpec, ComputeTurn, CudaWork, Direction, Error, Exchange, ImageSpec, RecordError};

use crate::shape::{Content, Shape};

/// The known contents of a slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    content: Content,
    /// The number of words, from the first on, that have these contents.
    len: usize,
}

impl Known {
    /// Returns the contents of a slot of any length whose words are all `word`.
    pub(crate) fn flat(word: u32) -> Self {
        Self { content: Content::Flat(word), len: usize::MAX }
    }

    /// Returns the contents if at most the first `len` words are still known.
    pub(crate) fn first(self, len: usize) -> Self {
        Self { len: self.len.min(len), ..self }
    }

    /// Returns the first known word that differs.
    pub(crate) fn difference(self, words: &[u32]) -> Option<String> {
        self.content.difference(&words[..words.len().min(self.len)])
    }
}

/// The result of split work: that of the bridge, and of the program's own calls.
pub(crate) type Split = Result<Result<(), String>, Error>;

/// Resources of an exchange.
pub(crate) trait Crossing: Shape {
    /// `true` if the contents outlive a replacement.
    const CARRIED: bool;

    /// Returns a spec of this number of words, or the only one of images.
    fn of_len(words: usize) -> Self;

    /// Grows the resources. Returns `None` if they cannot grow.
    fn grow<D: Direction>(exchange: &mut Exchange<Self, D>, words: usize) -> Option<Result<(), Error>>;

    /// Like [`write_on_cuda`](Self::write_on_cuda), with a split over the GPUs, which gives the
    /// only one the first `words` words. Returns `None` if the resources cannot be split.
    fn split_on_cuda<D: Direction>(turn: &mut ComputeTurn<Self, D>, words: usize, word: u32) -> Option<Split>;

    /// Enqueues a copy from device memory of the same size at `address`. Returns `None` for images.
    fn copy_on_cuda(cuda: CudaWork<'_, Self>, address: u64) -> Option<Result<(), String>>;

    /// Enqueues a write of `word` to all words. If `expected` is given, first reads the previous
    /// contents on the stream and returns the first difference.
    fn write_on_cuda(cuda: CudaWork<'_, Self>, expected: Option<Known>, word: u32) -> Result<Option<String>, String>;

    /// Returns the source that a graph copies from, if it cannot fill these resources directly.
    fn source_of_graph(stream: &std::sync::Arc<CudaStream>, word: u32) -> Result<Option<CudaSlice<u32>>, DriverError>;

    /// Records a fill of all bytes with `byte` into a graph, from `source` if given.
    fn record_on_cuda(cuda: CudaWork<'_, Self>, byte: u8, source: Option<&CudaSlice<u32>>) -> Result<(), RecordError>;
}

impl Crossing for BufferSpec<u32> {
    const CARRIED: bool = true;

    fn of_len(words: usize) -> Self {
        Self::new(words, BufferAccess::TRANSFER_READ | BufferAccess::TRANSFER_WRITE)
    }

    fn grow<D: Direction>(exchange: &mut Exchange<Self, D>, words: usize) -> Option<Result<(), Error>> {
        Some(exchange.grow(words))
    }

    fn split_on_cuda<D: Direction>(turn: &mut ComputeTurn<Self, D>, words: usize, word: u32) -> Option<Split> {
        let write = |parts: Vec<bridge::CudaPart<'_, u32>>| {
            for mut part in parts {
                part.stream.memcpy_htod(&vec![word; part.range.len()], &mut part.elements)?;
            }
            Ok(())
        };
        let whole = 0..words;
        let parts = turn.work_split(std::slice::from_ref(&whole));
        Some(parts.map(|parts| write(parts).map_err(|error: DriverError| error.to_string())))
    }

    fn copy_on_cuda(mut cuda: CudaWork<'_, Self>, address: u64) -> Option<Result<(), String>> {
        let stream = cuda.stream;
        let mut enqueue = || {
            stream.context().bind_to_thread()?;
            let size = 4 * cuda.resources.len();
            let (target, _order) = cuda.resources.device_ptr_mut(stream);
            // SAFETY: the turn's own buffer and memory of its size, on the stream that is lent,
            // after whose work the memory is freed.
            unsafe { memcpy_dtod_async(target, address, size, stream.cu_stream()) }
        };
        Some(enqueue().map_err(|error| error.to_string()))
    }

    fn write_on_cuda(cuda: CudaWork<'_, Self>, expected: Option<Known>, word: u32) -> Result<Option<String>, String> {
        let (stream, mut words) = (cuda.stream, cuda.resources);
        let mut enqueue = || {
            let seen = expected.map(|_| stream.clone_dtoh(&words.as_view())).transpose()?;
            stream.memcpy_htod(&vec![word; words.len()], &mut words)?;
            Ok(expected.zip(seen).and_then(|(expected, seen)| expected.difference(&seen)))
        };
        enqueue().map_err(|error: DriverError| error.to_string())
    }

    fn source_of_graph(_: &std::sync::Arc<CudaStream>, _: u32) -> Result<Option<CudaSlice<u32>>, DriverError> {
        Ok(None)
    }

    fn record_on_cuda(mut cuda: CudaWork<'_, Self>, byte: u8, _: Option<&CudaSlice<u32>>) -> Result<(), RecordError> {
        let stream = cuda.stream;
        stream.context().bind_to_thread()?;
        let size = 4 * cuda.resources.len();
        let (address, _order) = cuda.resources.device_ptr_mut(stream);
        // SAFETY: the turn's own buffer, on the stream that is lent.
        unsafe { memset_d8_async(address, byte, size, stream.cu_stream()) }?;
        Ok(())
    }
}

impl Crossing for ImageSpec<u32> {
    const CARRIED: bool = false;

    fn of_len(_: usize) -> Self {
        Self::spec()
    }

    fn grow<D: Direction>(_: &mut Exchange<Self, D>, _: usize) -> Option<Result<(), Error>> {
        None
    }

    fn split_on_cuda<D: Direction>(_: &mut ComputeTurn<Self, D>, _: usize, _: u32) -> Option<Split> {
        None
    }

    fn copy_on_cuda(_: CudaWork<'_, Self>, _: u64) -> Option<Result<(), String>> {
        None
    }

    fn write_on_cuda(cuda: CudaWork<'_, Self>, expected: Option<Known>, word: u32) -> Result<Option<String>, String> {
        let (stream, mut image) = (cuda.stream, cuda.resources);
        let len = texels(&image);
        let mut seen = vec![0; len];
        if expected.is_some() {
            image.read_to_host(stream, 0, .., &mut seen).map_err(|error| error.to_string())?;
        }
        // Not a copy from the host, which would wait for the stream.
        let source = stream.clone_htod(&vec![word; len]).map_err(|error| error.to_string())?;
        image.copy_from_buffer(stream, 0, .., &source).map_err(|error| error.to_string())?;
        Ok(expected.and_then(|expected| expected.difference(&seen)))
    }

    fn source_of_graph(stream: &std::sync::Arc<CudaStream>, word: u32) -> Result<Option<CudaSlice<u32>>, DriverError> {
        let [width, height] = crate::shape::EXTENT;
        let context = stream.context();
        let was_tracking = context.is_event_tracking();
        // SAFETY: the copies of the graph run after the fill of the source, because the launch is
        // on this stream.
        unsafe { context.disable_event_tracking() };
        let source = stream.clone_htod(&vec![word; (width * height) as usize]);
        if was_tracking {
            // SAFETY: restores the previous state.
            unsafe { context.enable_event_tracking() };
        }
        source.map(Some)
    }

    fn record_on_cuda(mut cuda: CudaWork<'_, Self>, _: u8, source: Option<&CudaSlice<u32>>) -> Result<(), RecordError> {
        if let Some(source) = source {
            cuda.resources.copy_from_buffer(cuda.stream, 0, .., source)?;
        }
        Ok(())
    }
}

fn texels(image: &bridge::cuda_import::ImageViewMut<'_, u32>) -> usize {
    image.image().extent().into_iter().map(|side| side as usize).product()
}
