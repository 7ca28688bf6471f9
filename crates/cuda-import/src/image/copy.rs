//! Ordering, enqueueing and waiting for copies from and to an image.
//!
//! Contains unsafe code because copies take raw addresses.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ops::RangeBounds;
use std::time::Duration;

use cudarc::driver::sys::CUdeviceptr;
use cudarc::driver::{CudaContext, CudaStream, SyncOnDrop};

use crate::capture::{Role, role};
use crate::device::{CudaDevice, check_recorded};
use crate::error::image::ImageProblem;
use crate::error::{Error, Result};
use crate::format::texel::Texel;
use crate::image::MappedImage;
use crate::image::info::Region;
use crate::stream::refusal::check_stream;
use crate::sys::DriverCode;
use crate::sys::{CallError, Current, INVALID_VALUE, Linear, image_copy};

/// Returns the part of the image that `len` texels are copied from or to.
pub(crate) fn region<T>(
    image: &MappedImage<T>,
    level: u32,
    layers: impl RangeBounds<u32>,
    len: usize,
) -> Result<Region> {
    let region = image.info().region(level, layers).map_err(|problem| image.refuse(problem))?;
    // A count that does not fit into a usize is larger than any slice.
    let expected = region.texels().unwrap_or(usize::MAX);
    if len != expected {
        return Err(image.refuse(ImageProblem::Length { len, expected }));
    }
    Ok(region)
}

/// # Safety
/// `linear` has as many texels as `region`, which came from [`region`]; if it is the destination,
/// it is not used in any other way during the call.
pub(crate) unsafe fn copy_on_host<T: Texel>(
    image: &MappedImage<T>,
    stream: &CudaStream,
    region: &Region,
    linear: Linear,
) -> Result<()> {
    check_stream(stream, image.memory().device(), image.object())?;
    if role(stream, image.stream()) != Role::Ordinary {
        // The copy would be captured into the graph of this thread, and waiting for it would end
        // the capture.
        return Err(captured(image));
    }
    let _current = bind(image)?;
    let _in_order = begin_use(image, stream)?;
    // SAFETY: guaranteed by the caller; the enqueued copy has ended before this function returns.
    unsafe { enqueue(image, stream, region, linear) }?;
    let device = image.memory().device();
    let ended = device.bind().and_then(|_current| device.driver().synchronize(stream));
    ended.map_err(|error| {
        wait_for_idle(device, stream);
        error.at(image.object(), device.name())
    })
}

/// Waits without a limit until the driver reports that the stream is idle or that the context is
/// lost, in which case nothing runs any more: memory that was lent to the driver must not be
/// returned before. Other errors are retried, such as that of a stream that another thread has
/// begun to capture.
pub(crate) fn wait_for_idle(device: &CudaDevice, stream: &CudaStream) {
    let driver = device.driver();
    let is_idle = || {
        let _current = device.bind()?;
        // Querying a stream that is being captured would end the capture.
        Ok(!driver.is_capturing(stream)? && driver.stream_is_idle(stream)?)
    };
    loop {
        match is_idle() {
            Ok(true) => return,
            Err(CallError { code, .. }) if DriverCode(code).is_context_lost() => return,
            Ok(false) | Err(_) => std::thread::sleep(Duration::from_micros(100)),
        }
    }
}

/// # Safety
/// `linear` has as many texels as `region`, which came from [`region`]; its owner's guard for
/// `stream` is alive, and its errors were recorded in `context`.
pub(crate) unsafe fn copy_on_device<T: Texel>(
    image: &MappedImage<T>,
    stream: &CudaStream,
    context: &CudaContext,
    region: &Region,
    linear: Linear,
) -> Result<()> {
    check_image_recorded(image, context)?;
    let _in_order = begin_use(image, stream)?;
    // SAFETY: guaranteed by the caller.
    unsafe { enqueue(image, stream, region, linear) }
}

/// Makes the context of the image current until the result is dropped.
pub(crate) fn bind<T>(image: &MappedImage<T>) -> Result<Current> {
    let device = image.memory().device();
    device.bind().map_err(|error| error.at(image.object(), device.name()))
}

/// Same as [`ImageView::use_on`], but also returns recorded errors.
fn begin_use<'a, T>(image: &'a MappedImage<T>, stream: &'a CudaStream) -> Result<SyncOnDrop<'a>> {
    check_stream(stream, image.memory().device(), image.object())?;
    check_image_recorded(image, stream.context())?;
    check_image_recorded(image, image.stream().context())?;
    image.order().begin_use_for(stream, &image.object())
}

/// Checks that the use of the buffer could be ordered. The only sign of a failure is a null
/// address.
pub(crate) fn check_ordered<T>(image: &MappedImage<T>, pointer: CUdeviceptr) -> Result<()> {
    if pointer != 0 {
        return Ok(());
    }
    let refused = CallError { call: "cuMemcpy3DAsync", code: INVALID_VALUE };
    check_image_recorded(image, image.stream().context())?;
    Err(refused.at(image.object(), image.memory().device().name()))
}

/// Returns an error that was recorded where it could not be returned.
fn check_image_recorded<T>(image: &MappedImage<T>, context: &CudaContext) -> Result<()> {
    check_recorded(context).map_err(|error| error.at(image.object(), image.memory().device().name()))
}

/// # Safety
/// Both ends are valid for `region` until the copy has ended.
unsafe fn enqueue<T: Texel>(
    image: &MappedImage<T>,
    stream: &CudaStream,
    region: &Region,
    linear: Linear,
) -> Result<()> {
    let copy = image_copy(image.end(region.level)?, region.first_slice, region.extent, size_of::<T>(), linear);
    let is_captured = Cell::new(false);
    let enqueued = image.call(|driver| {
        // Checked again directly before the copy: a logger or another thread may have begun a
        // capture since the use of the image was ordered. Another thread can still begin one
        // between these two calls.
        if role(stream, image.stream()) == Role::Ordinary && driver.is_capturing(stream)? {
            is_captured.set(true);
            return Ok(());
        }
        // SAFETY: the region lies within the level, which lives as long as the image, and the image
        // waits for its streams before it is freed. The caller guarantees the other end.
        unsafe { driver.copy(&copy, stream) }
    });
    if is_captured.get() { Err(captured(image)) } else { enqueued }
}

fn captured<T>(image: &MappedImage<T>) -> Error {
    Error::StreamCaptured { object: image.object().to_string(), device: image.memory().device().name().to_owned() }
}
