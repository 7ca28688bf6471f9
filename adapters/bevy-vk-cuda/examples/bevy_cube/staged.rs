//! A CUDA simulation whose frames reach Bevy through host memory, as without sharing.
#![allow(unsafe_code)] // Kernel launches, and memory of the host that starts undefined.

use std::ffi::{CString, c_void};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use bevy_vk_cuda::bridge::cuda_import::cudarc::driver::{
    CudaSlice, CudaStream, DevicePtr as _, DeviceRepr, PinnedHostSlice, ValidAsZeroBits,
};
use bevy_vk_cuda::bridge::cuda_import::{CudaDevice, Kernel, KernelModule};
use bevy_vk_cuda::bridge::cudarc::driver::LaunchConfig;

/// CUDA memory for a frame, and page-locked host memory that the frame is copied to.
pub(crate) struct Staged<T> {
    kernel: Kernel,
    stream: Arc<CudaStream>,
    memory: CudaSlice<T>,
    pinned: PinnedHostSlice<T>,
}

/// A shared simulation, for the thread that computes frames.
pub(crate) type Shared<T> = Arc<Mutex<Staged<T>>>;

impl<T: DeviceRepr + ValidAsZeroBits> Staged<T> {
    /// Creates a simulation with frames of `len` elements, which `kernel` of the PTX computes.
    pub(crate) fn new(device: &CudaDevice, ptx: &str, kernel: &str, len: usize) -> Result<Shared<T>> {
        let kernel = KernelModule::new(device, kernel, &CString::new(ptx)?)?.kernel(kernel)?;
        let stream = device.new_stream()?;
        let memory = stream.alloc_zeros(len)?;
        // Cached, because the CPU reads it.
        // SAFETY: the memory is read only after a copy into all of it.
        let pinned = unsafe { device.context().alloc_pinned_with_flags(len, 0) }?;
        Ok(Arc::new(Mutex::new(Self { kernel, stream, memory, pinned })))
    }

    /// Computes a frame, waits for it on the host, and lends it. `args` are the kernel's parameters
    /// after the memory that it writes.
    ///
    /// # Safety
    /// The kernel takes a pointer to a frame's elements and `args`, and writes only those elements.
    unsafe fn compute(&mut self, config: &LaunchConfig, args: &[*const c_void]) -> Result<&[T]> {
        let (address, recorded) = self.memory.device_ptr(&self.stream);
        let args: Vec<_> = std::iter::once(std::ptr::from_ref(&address).cast()).chain(args.iter().copied()).collect();
        // SAFETY: the caller upholds the contract; the memory and the kernel live as long as
        // `self`, and the copy after the launch on the stream is waited for below.
        unsafe { self.kernel.launch(&self.stream, config, &args) }?;
        drop(recorded);
        self.stream.memcpy_dtoh(&self.memory, &mut self.pinned)?;
        Ok(self.pinned.as_slice()?)
    }
}

/// Computes a frame on the caller's thread, and passes it to `take`.
///
/// # Panics
/// Panics if CUDA fails, which happens on the simulation's thread and is reported to Bevy.
///
/// # Safety
/// The contract of [`Staged::compute`].
pub(crate) unsafe fn compute<T: DeviceRepr + ValidAsZeroBits>(
    staged: &Shared<T>,
    config: &LaunchConfig,
    args: &[*const c_void],
    take: impl FnOnce(&[T]),
) {
    let mut staged = staged.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the caller upholds the contract.
    let frame = unsafe { staged.compute(config, args) };
    take(frame.unwrap_or_else(|error| panic!("CUDA has failed: {error}")));
}
