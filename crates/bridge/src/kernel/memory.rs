//! Device memory that only kernels access.

use std::any::Any;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use cuda_import::cudarc::driver::CudaStream;
use cuda_import::{CudaDevice, DeviceMemory, DriverCode};
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

/// Device memory for the state of kernels, and host memory for that of their twins on the CPU.
///
/// Created by [`Compute::kernel_memory`], and passed to kernels as `&memory`. A launch keeps its
/// arguments alive: the memory may be dropped while kernels use it. It can be used with exchanges
/// of the [`Compute`] that created it. The host cannot read it; have a kernel copy results into a
/// shared buffer.
#[derive(Debug)]
pub struct KernelMemory<T> {
    memory: Arc<Memory>,
    address: u64,
    len: usize,
    element: PhantomData<fn() -> T>,
}

/// `CUDA_ERROR_OUT_OF_MEMORY`
const OUT_OF_MEMORY: DriverCode = DriverCode(2);

#[derive(Debug)]
struct Memory {
    place: Place,
    name: Box<str>,
    alive: Option<Alive>,
}

#[derive(Debug)]
enum Place {
    /// Freed behind its stream's work. `None` only while it is dropped.
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
    /// Creates device memory for kernels, with these elements in it. `name` is for errors and
    /// debuggers.
    ///
    /// The contents are copied, and nothing is waited for, whatever the compute side is waiting
    /// for: with CUDA the copy runs on a stream of its own. In the Vulkan queue the copy is
    /// recorded before what is launched next, and submitted with it; until it has run, as much
    /// memory again is used.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for no elements, and if CUDA has no room;
    /// [`StreamCaptured`](cuda_import::Error::StreamCaptured) while the program captures the
    /// stream; otherwise the error of the failed driver call.
    pub fn kernel_memory<T: Pod>(&self, name: &str, contents: &[T]) -> Result<KernelMemory<T>> {
        let bytes: &[u8] = bytemuck::cast_slice(contents);
        let object = || format!("kernel memory \"{name}\"");
        if bytes.is_empty() {
            return Err(Error::invalid(object(), "it has no bytes"));
        }
        let (place, address) = match self.side() {
            PerBackend::Cuda(cuda) => on_stream(name, bytes, cuda.device(), cuda.stream())?,
            PerBackend::Inline(inline) => {
                let uploaded = inline.upload(self.device(), name, bytes)?;
                let address = uploaded.address;
                (Place::Vulkan(uploaded), address)
            }
            PerBackend::Host(host) => {
                // In its place before the pointer is taken: moving a box ends what pointers into it
                // may do.
                let cells = Box::new(HostCells::new(contents));
                let (home, start) = (host.id(), cells.start());
                (Place::Host { home, start: HostPtr(start.cast()), _cells: cells }, start.addr() as u64)
            }
            PerBackend::Remote(_) => return Err(remote::nothing_here(object())),
        };
        Ok(KernelMemory { memory: Memory::new(name, place), address, len: contents.len(), element: PhantomData })
    }

    /// Creates device memory on each GPU of a [`group`](Compute::group), with a range of `contents`
    /// in it, as [`ComputeTurn::work_split`](crate::ComputeTurn::work_split) divides a frame's
    /// elements; `None` for an empty range. Each is for launches on the stream of its GPU alone.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if there are not as many ranges as GPUs, if a range is outside
    /// the contents, if CUDA has no room, and on another backend than CUDA;
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
            return Err(invalid(format!("{} ranges are given for {} GPUs", ranges.len(), cuda.gpus().len())));
        }
        let parts = cuda.gpus().zip(ranges).map(|((device, stream), range)| {
            let outside = || invalid(format!("elements {range:?} are not among {}", contents.len()));
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

/// Memory of the stream's GPU with these bytes in it.
fn on_stream(name: &str, bytes: &[u8], device: &CudaDevice, stream: &Arc<CudaStream>) -> Result<(Place, u64)> {
    let failed = |error: cuda_import::Error| match error {
        cuda_import::Error::Driver { code: OUT_OF_MEMORY, .. } => Error::invalid(
            format!("kernel memory \"{name}\""),
            format!("CUDA does not give {} bytes for it: {error}", bytes.len()),
        ),
        error => error.into(),
    };
    let memory = DeviceMemory::with_contents(device, bytes, stream, name).map_err(failed)?;
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
    /// Returns the address of the first element, as the kernels of its compute side see it.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Returns the length in elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns `false`: there is at least one element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the Vulkan buffer, for [`KernelWork::record`](crate::KernelWork::record): it may be
    /// copied from and to. `None` on a CUDA stream and on the CPU.
    pub fn as_raw(&self) -> Option<vk::Buffer> {
        match &self.memory.place {
            Place::Cuda(_) | Place::Host { .. } => None,
            Place::Vulkan(uploaded) => Some(uploaded.buffer.as_raw()),
        }
    }

    /// Returns the object that a launch that uses it keeps alive.
    ///
    /// # Errors
    /// Why it has no contents and never will, or that nothing orders it with this stream, as the
    /// reason of a launch that is refused.
    pub(crate) fn keep(&self, site: Site<'_>) -> Result<Keep, String> {
        let is_home = match (&self.memory.place, site) {
            (Place::Cuda(Some(memory)), Site::Cuda(stream)) => memory.is_of(stream),
            (Place::Vulkan(uploaded), Site::Queue(stream)) => stream.has_id(&uploaded.home),
            (Place::Host { home, .. }, Site::Host(stream)) => stream.has_id(home),
            _ => false,
        };
        if !is_home {
            return Err(format!(
                "kernel memory \"{}\" is of another stream, with which nothing orders its contents and its end; make it with the \
                 `Compute` of this work's exchange, which is `LatestWriter::compute` or `LatestReader::compute` of a latest one",
                self.memory.name
            ));
        }
        if let Place::Vulkan(Uploaded { lost, .. }) = &self.memory.place
            && let Some(error) = lost.get()
        {
            return Err(format!(
                "kernel memory \"{}\" has no contents, since the command buffer that copied them could not be ended ({error}); make \
                 it again",
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
