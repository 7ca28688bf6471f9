//! [`KernelMemory`]: device memory that only kernels access.

use std::any::Any;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use cuda_import::cudarc::driver::CudaStream;
use cuda_import::{CudaDevice, DeviceMemory};
use vk_export::ash::vk;

use crate::compute::Compute;
use crate::compute::host::stream::HostStreamId;
use crate::compute::inline::segment::Keep;
use crate::compute::inline::upload::Uploaded;
use crate::compute::per_backend::PerBackend;
use crate::compute::remote;
use crate::error::{Error, Result};
use crate::kernel::host_arg::{HostArg, HostCells, HostPtr};
use crate::kernel::site::Site;
use crate::observe::live::{Alive, Kind};
use crate::observe::{live, log_error};

/// Device memory for the state of kernels, or host memory for the state of their twins on the CPU.
///
/// Created by [`Compute::kernel_memory`], and passed to kernels as `&memory`. A launch keeps its
/// arguments alive: the memory may be dropped while kernels use it. It can be used with exchanges
/// of the [`Compute`] that created it. The host cannot read it; use a kernel to copy results into a
/// shared buffer.
#[derive(Debug)]
pub struct KernelMemory<T> {
    memory: Arc<Memory>,
    address: u64,
    len: usize,
    element: PhantomData<fn() -> T>,
}

#[derive(Debug)]
struct Memory {
    place: Place,
    name: Box<str>,
    alive: Option<Alive>,
}

#[derive(Debug)]
enum Place {
    /// Freed after the work of its stream. `None` only while it is dropped.
    Cuda(Option<DeviceMemory>),
    Vulkan(Uploaded),
    /// For twins, of any element type.
    Host {
        home: HostStreamId,
        start: HostPtr,
        _cells: Box<dyn Any + Send + Sync>,
    },
}

impl Compute {
    /// Creates device memory for kernels with the elements of `contents`. `name` is for errors and
    /// debuggers.
    ///
    /// The contents are copied without waiting, even if the compute side is blocked: with CUDA the
    /// copy runs on a separate stream. In the Vulkan queue the copy is recorded before the next
    /// launch and submitted with it; until it has run, a staging buffer of the same size is in use.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `contents` is empty;
    /// [`StreamCaptured`](cuda_import::Error::StreamCaptured) while the program captures the
    /// stream; otherwise the error of the failed driver call, such as one that
    /// [`is_out_of_memory`](Error::is_out_of_memory).
    pub fn kernel_memory<T: Pod>(&self, name: &str, contents: &[T]) -> Result<KernelMemory<T>> {
        let bytes: &[u8] = bytemuck::cast_slice(contents);
        let object = || format!("kernel memory \"{name}\"");
        if bytes.is_empty() {
            return Err(Error::invalid(object(), "its size is 0 bytes"));
        }
        let (place, address) = match self.side() {
            PerBackend::Cuda(cuda) => on_stream(name, bytes, cuda.device(), cuda.stream())?,
            PerBackend::Inline(inline) => {
                let uploaded = inline.upload(self.device(), name, bytes)?;
                let address = uploaded.address;
                (Place::Vulkan(uploaded), address)
            }
            PerBackend::Host(host) => {
                // Boxed before the pointer is taken: moving a box invalidates pointers into it.
                let cells = Box::new(HostCells::new(contents));
                let (home, start) = (host.id(), cells.start());
                (Place::Host { home, start: HostPtr(start.cast()), _cells: cells }, start.addr() as u64)
            }
            PerBackend::Remote(_) => return Err(remote::not_local_error(object())),
        };
        Ok(KernelMemory { memory: Memory::new(name, place), address, len: contents.len(), element: PhantomData })
    }

    /// Creates device memory on each GPU of a [`group`](Compute::group), with one range of
    /// `contents` each, in the way that [`ComputeTurn::work_split`](crate::ComputeTurn::work_split)
    /// divides a frame's elements; `None` for an empty range. Each memory can only be used by
    /// launches on the stream of its GPU.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the number of ranges differs from the number of GPUs, if a
    /// range is outside the contents, or with a backend other than CUDA;
    /// [`StreamCaptured`](cuda_import::Error::StreamCaptured) while the program captures one of the
    /// streams; otherwise the error of the failed driver call.
    pub fn kernel_memory_split<T: Pod>(
        &self,
        name: &str,
        contents: &[T],
        ranges: &[Range<usize>],
    ) -> Result<Vec<Option<KernelMemory<T>>>> {
        let invalid = |reason: String| Error::invalid(format!("kernel memory \"{name}\""), reason);
        let Some(cuda) = self.cuda() else {
            return Err(invalid("it is for the GPUs of CUDA; use `Compute::kernel_memory`".into()));
        };
        if cuda.gpus().len() != ranges.len() {
            return Err(invalid(format!("{} ranges were given for {} GPUs", ranges.len(), cuda.gpus().len())));
        }
        let parts = cuda.gpus().zip(ranges).map(|((device, stream), range)| {
            let outside =
                || invalid(format!("elements {range:?} are out of range; the contents have {}", contents.len()));
            let part = contents.get(range.clone()).ok_or_else(outside)?;
            let bytes: &[u8] = bytemuck::cast_slice(part);
            if bytes.is_empty() {
                return Ok(None);
            }
            let (place, address) = on_stream(name, bytes, device, stream)?;
            Ok(Some(KernelMemory { memory: Memory::new(name, place), address, len: part.len(), element: PhantomData }))
        });
        parts.collect()
    }
}

/// Creates memory on the stream's GPU with the given contents. Returns its address too.
fn on_stream(name: &str, bytes: &[u8], device: &CudaDevice, stream: &Arc<CudaStream>) -> Result<(Place, u64)> {
    let memory = DeviceMemory::with_contents(device, bytes, stream, name)?;
    let address = memory.as_raw();
    Ok((Place::Cuda(Some(memory)), address))
}

impl Memory {
    fn new(name: &str, place: Place) -> Arc<Self> {
        Arc::new(Self { place, name: name.into(), alive: Some(Alive::new(Kind::KernelMemory)) })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let Place::Cuda(memory) = &mut self.place else { return };
        if let Some(Err(error)) = memory.take().map(DeviceMemory::close) {
            // What is leaked stays counted as alive.
            std::mem::forget(self.alive.take());
            live::leaked(Kind::KernelMemory, 1);
            log_error!("kernel memory \"{}\" is leaked: {error}", self.name);
        }
    }
}

impl<T> KernelMemory<T> {
    /// Returns the address of the first element, as seen by kernels of its compute side.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Returns the length in elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns `false`: kernel memory has at least one element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the Vulkan buffer, for [`KernelWork::record`](crate::KernelWork::record): the buffer
    /// can be a source and a destination of copies. `None` on CUDA streams and on the CPU.
    pub fn as_raw(&self) -> Option<vk::Buffer> {
        match &self.memory.place {
            Place::Cuda(_) | Place::Host { .. } => None,
            Place::Vulkan(uploaded) => Some(uploaded.buffer.as_raw()),
        }
    }

    /// Returns the object that a launch must keep alive while it uses the memory.
    ///
    /// # Errors
    /// The reason why a launch at `site` is rejected: the memory belongs to another stream, so
    /// nothing orders its use there, or the copy of its contents was lost.
    pub(crate) fn keep(&self, site: Site<'_>) -> Result<Keep, String> {
        let is_home = match (&self.memory.place, site) {
            (Place::Cuda(Some(memory)), Site::Cuda(stream)) => memory.is_of(stream),
            (Place::Vulkan(uploaded), Site::Queue(stream)) => stream.has_id(&uploaded.home),
            (Place::Host { home, .. }, Site::Host(stream)) => stream.has_id(home),
            _ => false,
        };
        if !is_home {
            return Err(format!(
                "kernel memory \"{}\" belongs to another stream, with which this work is not ordered; create it with \
                 the `Compute` of this work's exchange (`LatestWriter::compute` or `LatestReader::compute` of a \
                 latest exchange)",
                self.memory.name
            ));
        }
        if let Place::Vulkan(Uploaded { lost, .. }) = &self.memory.place
            && let Some(error) = lost.get()
        {
            return Err(format!(
                "kernel memory \"{}\" has no contents, since the command buffer that copied them could not be ended \
                 ({error}); create it again",
                self.memory.name
            ));
        }
        Ok(Arc::clone(&self.memory) as Keep)
    }
}

impl<T: Pod> KernelMemory<T> {
    /// Returns the argument of a twin, on the CPU backend.
    pub(crate) fn on_host_arg(&self) -> Option<HostArg> {
        match &self.memory.place {
            Place::Host { start, .. } => Some(HostArg::slice(start.0.cast::<T>(), self.len)),
            Place::Cuda(_) | Place::Vulkan(_) => None,
        }
    }
}
