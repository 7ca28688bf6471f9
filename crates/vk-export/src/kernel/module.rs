//! Modules of CUDA kernels that Vulkan loads, and their kernels.
#![allow(unsafe_code)] // Vulkan calls.

use std::ffi::CString;
use std::ptr;
use std::sync::Arc;

use ash::vk;

use crate::device::ExportDevice;
use crate::device::kernel_calls::KernelCalls;
use crate::device::registry::Registered;
use crate::error::{Error, Result};
use crate::kernel::launch::{LaunchConfig, fault};
use crate::kernel::ptx::{Ptx, PtxEntry};
use crate::logging::log_debug;

/// CUDA kernels on a Vulkan device, loaded from PTX. Clones are cheap and refer to the same module.
///
/// The driver compiles the PTX. This takes tens of milliseconds the first time, and less than one
/// in later processes, because the driver caches the result on disk. The device needs
/// `VK_NVX_binary_import`, an experimental extension that only NVIDIA's drivers for Linux and
/// Windows have, since 2020; see [`OpenInfo::cuda_kernels`](crate::OpenInfo::cuda_kernels) and
/// [`CUDA_KERNEL_EXTENSIONS`](crate::CUDA_KERNEL_EXTENSIONS).
///
/// The module is destroyed when its last clone and its last [`Kernel`] are dropped. Keep one of
/// them until the GPU has executed the recorded launches.
#[derive(Clone)]
pub struct KernelModule(Arc<Module>);

struct Module {
    raw: vk::CuModuleNVX,
    calls: KernelCalls,
    ptx: Ptx,
    name: String,
    device: Registered,
}

/// A CUDA kernel of a [`KernelModule`], which it keeps loaded. Clones are cheap and refer to the
/// same kernel.
#[derive(Clone)]
pub struct Kernel(Arc<Function>);

struct Function {
    raw: vk::CuFunctionNVX,
    entry: PtxEntry,
    // Dropped after `Drop` below has destroyed the function.
    module: KernelModule,
}

impl KernelModule {
    /// Loads PTX on a device. `name` is the module's name in errors.
    ///
    /// # Errors
    /// [`Error::Missing`] if the device does not support CUDA kernels, see
    /// [`ExportDevice::missing_for_cuda_kernels`]; otherwise the error of the failed driver call.
    /// For PTX that is invalid, or newer than the driver or the GPU, the driver only returns
    /// `VK_ERROR_INITIALIZATION_FAILED`.
    #[doc(alias = "vkCreateCuModuleNVX")]
    pub fn new(device: &ExportDevice, name: &str, ptx: &Ptx) -> Result<Self> {
        let calls = *device.kernel_calls()?;
        // The final NUL is part of the data: without it the driver does not recognize PTX.
        let info = vk::CuModuleCreateInfoNVX::default().data(ptx.as_c_str().to_bytes_with_nul());
        let mut raw = vk::CuModuleNVX::null();
        // SAFETY: VUID-vkCreateCuModuleNVX-pCreateInfo-parameter,
        // VUID-VkCuModuleCreateInfoNVX-pData-parameter: the text outlives the call; the extension
        // is enabled (`kernel_calls`). The text was parsed as PTX, so it is not part of an ELF
        // file, on which the driver hangs.
        let result = unsafe { (calls.create_module)(device.as_raw().handle(), &info, ptr::null(), &mut raw) };
        let object = || format!("module \"{name}\", PTX {} for {}", ptx.version(), ptx.target());
        result.result().map_err(|result| device.failed("vkCreateCuModuleNVX", &object())(result))?;
        log_debug!("loaded {} with {} kernels on {}", object(), ptx.entries().len(), device.name());
        let registered = device.register(&format!("module \"{name}\""));
        Ok(Self(Arc::new(Module { raw, calls, ptx: ptx.clone(), name: name.to_owned(), device: registered })))
    }

    /// Returns a kernel by its name in PTX: that of an `extern "C"` function, or a mangled name.
    ///
    /// # Errors
    /// [`Error::NoKernel`] with the available names, [`Error::RefusedKernel`] for a kernel that
    /// would hang the queue, otherwise the error of the failed driver call.
    #[doc(alias = "vkCreateCuFunctionNVX")]
    pub fn kernel(&self, entry: &str) -> Result<Kernel> {
        let module = &*self.0;
        let found = module.ptx.entry(entry).ok_or_else(|| Error::NoKernel {
            module: format!("module \"{}\"", module.name),
            kernel: entry.to_owned(),
            entries: module.ptx.entries().iter().map(|entry| entry.name().to_owned()).collect(),
        })?;
        let object = self.object(found);
        if let Some(refusal) = found.refused() {
            return Err(Error::RefusedKernel { kernel: object, refusal: refusal.clone() });
        }
        let name = CString::new(entry).map_err(|_| Error::invalid(&object, "its name has a NUL"))?;
        let info = vk::CuFunctionCreateInfoNVX::default().module(module.raw).name(&name);
        let mut raw = vk::CuFunctionNVX::null();
        let device = module.device.as_raw().handle();
        // SAFETY: VUID-VkCuFunctionCreateInfoNVX-module-parameter: the module is alive;
        // -pName-parameter: the name ends with a NUL and outlives the call.
        let result = unsafe { (module.calls.create_function)(device, &info, ptr::null(), &mut raw) };
        result.result().map_err(module.device.failed("vkCreateCuFunctionNVX", &object))?;
        Ok(Kernel(Arc::new(Function { raw, entry: found.clone(), module: self.clone() })))
    }

    /// Returns the PTX that the module was loaded from.
    pub fn ptx(&self) -> &Ptx {
        &self.0.ptx
    }

    /// Returns the module's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the device that the module belongs to.
    pub fn device(&self) -> &ExportDevice {
        &self.0.device
    }

    /// Returns the Vulkan handle, which stays owned by this object.
    pub fn as_raw(&self) -> vk::CuModuleNVX {
        self.0.raw
    }

    fn object(&self, entry: &PtxEntry) -> String {
        format!("kernel \"{}\" of module \"{}\"", entry.name(), self.0.name)
    }
}

impl Kernel {
    /// Returns the kernel's properties, as read from the PTX.
    pub fn entry(&self) -> &PtxEntry {
        &self.0.entry
    }

    /// Returns the module that the kernel belongs to.
    pub fn module(&self) -> &KernelModule {
        &self.0.module
    }

    /// Returns the Vulkan handle, which stays owned by this object.
    pub fn as_raw(&self) -> vk::CuFunctionNVX {
        self.0.raw
    }

    /// Checks a launch with arguments of `args_len` bytes in total. [`record`](Self::record)
    /// performs the same check.
    ///
    /// # Errors
    /// [`Error::Launch`] for a launch that the driver would accept, but that would hang, lose the
    /// device or be silently skipped: a block with no threads, with more than 1024 threads, or with
    /// other dimensions than the kernel was compiled for; a grid without blocks or beyond the
    /// limits; more shared memory than is supported; arguments whose size differs from the
    /// kernel's.
    pub fn check_launch(&self, config: &LaunchConfig, args_len: usize) -> Result<()> {
        match fault(&self.0.entry, config, args_len) {
            None => Ok(()),
            Some(reason) => Err(Error::Launch { kernel: self.0.module.object(&self.0.entry), reason }),
        }
    }

    /// Records a launch into a command buffer. `args` contains the arguments as laid out in memory,
    /// each at its [offset](PtxEntry::params). They are copied by this call, so submitting the
    /// commands again uses the same arguments.
    ///
    /// Pass buffers by their [`device_address`](crate::Buffer::device_address), and images by the
    /// handle of a [`KernelSurface`](crate::KernelSurface) or
    /// [`KernelTexture`](crate::KernelTexture). For barriers, a kernel counts as a compute shader:
    /// `VK_PIPELINE_STAGE_2_COMPUTE_SHADER_BIT` with storage reads and writes.
    ///
    /// # Errors
    /// Those of [`check_launch`](Self::check_launch); nothing is recorded then.
    ///
    /// # Safety
    /// - `commands` belongs to the module's device and to a queue family with graphics or compute,
    ///   is recording outside of a render pass, and is externally synchronized.
    /// - From the submission of the commands until they have completed, a clone of this kernel is
    ///   alive, and every address and handle in `args` is valid for the kernel's accesses. An
    ///   invalid address loses the device.
    /// - Barriers order the launch with other accesses to the same memory.
    /// - A multiprocessor has enough registers for one block. This always holds for up to 256
    ///   threads. For more, compile the kernel with `__launch_bounds__`, so that the compiler
    ///   ensures it: no driver is known to check this in a Vulkan queue.
    /// - The kernel terminates. It accesses nothing outside of a surface unless it was written with
    ///   `cudaBoundaryModeZero` or `cudaBoundaryModeClamp`.
    #[doc(alias = "vkCmdCuLaunchKernelNVX")]
    pub unsafe fn record(&self, commands: vk::CommandBuffer, config: &LaunchConfig, args: &[u8]) -> Result<()> {
        self.check_launch(config, args.len())?;
        let size = args.len();
        // Same format as for `cuLaunchKernel`: CU_LAUNCH_PARAM_BUFFER_POINTER,
        // CU_LAUNCH_PARAM_BUFFER_SIZE, CU_LAUNCH_PARAM_END.
        let packed = [
            ptr::without_provenance(1),
            args.as_ptr().cast(),
            ptr::without_provenance(2),
            (&raw const size).cast(),
            ptr::null(),
        ];
        let extras = if args.is_empty() { &[] } else { &packed[..] };
        let ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]) = (config.grid, config.block);
        let info = vk::CuLaunchInfoNVX::default()
            .function(self.0.raw)
            .grid_dim_x(grid_x)
            .grid_dim_y(grid_y)
            .grid_dim_z(grid_z)
            .block_dim_x(block_x)
            .block_dim_y(block_y)
            .block_dim_z(block_z)
            .shared_mem_bytes(config.shared_bytes)
            .extras(extras);
        // SAFETY: VUID-vkCmdCuLaunchKernelNVX-commandBuffer-recording, -commandBuffer-cmdpool,
        // -renderpass, -videocoding: guaranteed by the caller;
        // VUID-VkCuLaunchInfoNVX-function-parameter: the function is alive; -pExtras-parameter: the
        // list has the format of `cuLaunchKernel`, and both it and the arguments outlive the call,
        // which copies them.
        unsafe { (self.0.module.0.calls.launch)(commands, &info) };
        Ok(())
    }
}

impl std::fmt::Debug for KernelModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KernelModule").field("name", &self.0.name).field("ptx", &self.0.ptx).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (entry, module) = (&self.0.entry, self.0.module.name());
        f.debug_struct("Kernel").field("entry", entry).field("module", &module).finish_non_exhaustive()
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyCuModuleNVX-module-parameter: created by this device, a clone of
        // which is stored here; every function of the module is destroyed, because each holds the
        // module; launches recorded with them have completed, as the type's documentation requires.
        unsafe { (self.calls.destroy_module)(self.device.as_raw().handle(), self.raw, ptr::null()) };
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let module = &*self.module.0;
        // SAFETY: VUID-vkDestroyCuFunctionNVX-function-parameter: created by this device; launches
        // recorded with it have completed, as the type's documentation requires.
        unsafe { (module.calls.destroy_function)(module.device.as_raw().handle(), self.raw, ptr::null()) };
    }
}
