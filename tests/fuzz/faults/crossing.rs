//! Resource kinds of exchanges in a case: how a CUDA stream works on them, and whether their
//! contents survive a replacement.

use bridge::cudarc::driver::result::memset_d8_async;
use bridge::cudarc::driver::{CudaSlice, CudaStream, DevicePtrMut, DriverError};
use bridge::{BufferSpec, CudaWork, ImageSpec, RecordError};

use crate::shape::{Content, Shape};

/// Resources of an exchange.
pub(crate) trait Crossing: Shape {
    /// `true` if the contents outlive a replacement.
    const CARRIED: bool;

    /// Enqueues a write of `word` to all words. If `expected` is given, first reads the previous
    /// contents on the stream and returns the first difference.
    fn write_on_cuda(cuda: CudaWork<'_, Self>, expected: Option<Content>, word: u32) -> Result<Option<String>, String>;

    /// Returns the source that a graph copies from, if it cannot fill these resources directly.
    fn source_of_graph(stream: &std::sync::Arc<CudaStream>, word: u32) -> Result<Option<CudaSlice<u32>>, DriverError>;

    /// Records a fill of all bytes with `byte` into a graph, from `source` if given.
    fn record_on_cuda(cuda: CudaWork<'_, Self>, byte: u8, source: Option<&CudaSlice<u32>>) -> Result<(), RecordError>;
}

impl Crossing for BufferSpec<u32> {
    const CARRIED: bool = true;

    fn write_on_cuda(cuda: CudaWork<'_, Self>, expected: Option<Content>, word: u32) -> Result<Option<String>, String> {
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

    fn write_on_cuda(cuda: CudaWork<'_, Self>, expected: Option<Content>, word: u32) -> Result<Option<String>, String> {
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
