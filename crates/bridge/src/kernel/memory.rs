//! Device memory that only kernels access.

use std::marker::PhantomData;
use std::sync::Arc;

use bytemuck::Pod;
use cuda_import::cudarc::driver::{CudaSlice, DevicePtr, DriverError};
use vk_export::ash::vk;

use crate::compute::Compute;
use crate::compute::inline::segment::Keep;
use crate::compute::inline::upload::Uploaded;
use crate::compute::sided::Sided;
use crate::error::{Error, Result};
use crate::observe::live::{Alive, Kind};

/// Device memory for the state of kernels.
///
/// It is made by [`Compute::kernel_memory`], and an argument as `&memory`. A launch keeps its arguments: dropping the memory while
/// kernels use it is fine. It is for exchanges of the [`Compute`] that it was made with. The host does not read it: a kernel writes
/// what is wanted into a shared buffer.
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
    _alive: Alive,
}

#[derive(Debug)]
enum Place {
    Cuda(#[allow(dead_code)] CudaSlice<u8>), // Kept, and freed behind the stream's work.
    Vulkan(Uploaded),
}

impl Compute {
    /// Makes device memory for kernels, with these elements in it. `name` is for errors and debuggers.
    ///
    /// The contents are copied, and nothing is waited for. In the Vulkan queue the copy is recorded before what is launched next, and
    /// submitted with it; until it has run, as much memory again is used.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for no elements, on the CPU, and where CUDA has no room; else the failed call.
    pub fn kernel_memory<T: Pod>(&self, name: &str, contents: &[T]) -> Result<KernelMemory<T>> {
        let bytes: &[u8] = bytemuck::cast_slice(contents);
        let object = || format!("kernel memory \"{name}\"");
        if bytes.is_empty() {
            return Err(Error::InvalidArgument { object: object(), reason: "it has no bytes".into() });
        }
        let (place, address) = match self.side() {
            Sided::Cuda(cuda) => {
                let failed = |error: DriverError| Error::InvalidArgument {
                    object: object(),
                    reason: format!("CUDA does not give {} bytes for it: {error}", bytes.len()),
                };
                let memory = cuda.stream().clone_htod(bytes).map_err(failed)?;
                let address = memory.device_ptr(cuda.stream()).0;
                (Place::Cuda(memory), address)
            }
            Sided::Inline(inline) => {
                let uploaded = inline.upload(self.device(), name, bytes)?;
                let address = uploaded.address;
                (Place::Vulkan(uploaded), address)
            }
            Sided::Host(_) => {
                return Err(Error::InvalidArgument {
                    object: object(),
                    reason: "the CPU backend runs closures, which keep their state themselves".into(),
                });
            }
        };
        let memory = Arc::new(Memory { place, name: name.into(), _alive: Alive::new(Kind::KernelMemory) });
        Ok(KernelMemory { memory, address, len: contents.len(), element: PhantomData })
    }
}

impl<T> KernelMemory<T> {
    /// The address of the first element, as the kernels of its compute side see it.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// The length in elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns `false`: there is at least one element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The Vulkan buffer, for [`KernelWork::record`](crate::KernelWork::record): it may be copied from and to. `None` on a CUDA
    /// stream.
    pub fn as_raw(&self) -> Option<vk::Buffer> {
        match &self.memory.place {
            Place::Cuda(_) => None,
            Place::Vulkan(uploaded) => Some(uploaded.buffer.as_raw()),
        }
    }

    /// What a launch that uses it keeps alive.
    ///
    /// # Errors
    /// Why it has no contents and never will, as the reason of a launch that is refused.
    pub(crate) fn keep(&self) -> Result<Keep, String> {
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
