//! Kernels from PTX, loaded with the log of the driver's compiler, and launched without
//! an allocation.
//!
//! Contains unsafe code because launches are unsafe.
#![allow(unsafe_code)]

mod text;

use std::ffi::{CStr, CString, c_void};
use std::fmt;
use std::sync::Arc;

use cudarc::driver::{CudaStream, LaunchConfig};

use crate::device::{CudaDevice, check_recorded};
use crate::error::{Error, Object, Result};
use crate::leak::count_leak;
use crate::logging::{log_debug, log_error, log_trace};
use crate::reaper;
use crate::sys::DriverCode;
use crate::sys::{CallError, FunctionHandle, ModuleHandle, NOT_FOUND};

/// Kernels in the context of a device. Clones are cheap and refer to the same module.
///
/// The module is unloaded when its last clone and its last [`Kernel`] are dropped.
#[derive(Clone)]
pub struct KernelModule(Arc<Module>);

struct Module {
    handle: ModuleHandle,
    name: Box<str>,
    device: CudaDevice,
}

/// A kernel of a [`KernelModule`], which it keeps loaded. Clones are cheap and refer to the same
/// kernel.
#[derive(Clone)]
pub struct Kernel {
    handle: FunctionHandle,
    name: Arc<str>,
    module: KernelModule,
}

impl KernelModule {
    /// Loads PTX text, which the driver compiles for its GPU. `name` is the module's name in
    /// errors.
    ///
    /// The call returns only when no stream of the context has unfinished work: load modules before
    /// the first frame.
    ///
    /// Driver API: [`cuModuleLoadDataEx`][driver].
    ///
    /// # Errors
    /// [`Error::InvalidPtx`] for other data, such as a cubin or a fatbin, which is not passed to
    /// the driver; [`Error::Compile`] with the compiler's log, if it wrote one; otherwise
    /// [`Error::Driver`].
    ///
    /// [driver]: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__MODULE.html
    #[doc(alias = "cuModuleLoadDataEx")]
    pub fn new(device: &CudaDevice, name: &str, ptx: &CStr) -> Result<Self> {
        let object = Object("module", name);
        if let Some(problem) = text::problem(ptx) {
            return Err(Error::InvalidPtx { module: name.to_owned(), problem });
        }
        device.check_recorded()?;
        let _current = device.bind().map_err(|error| error.at(&object, device.name()))?;
        // SAFETY: PTX text, which was checked above.
        let (loaded, logs) = unsafe { device.driver().load_module(ptx) };
        let handle = loaded.map_err(|error| match logs.error.as_str() {
            "" => error.at(&object, device.name()),
            log => Error::Compile {
                module: name.to_owned(),
                code: DriverCode(error.code),
                device: device.name().to_owned(),
                log: log.to_owned(),
            },
        })?;
        for said in [logs.info, logs.error].iter().filter(|said| !said.is_empty()) {
            log_debug!("{object}: the driver's compiler says: {said}");
        }
        log_trace!("load {object}");
        Ok(Self(Arc::new(Module { handle, name: name.into(), device: device.clone() })))
    }

    /// Returns a kernel by its name in the PTX: that of an `extern "C"` function, or a mangled
    /// name. The kernel is loaded immediately, because the first launch of a lazily loaded kernel
    /// would wait for every stream of the context (CUDA programming guide, "Lazy Loading").
    ///
    /// # Errors
    /// [`Error::Driver`], with `CUDA_ERROR_NOT_FOUND` if the module has no kernel of this name.
    #[doc(alias = "cuModuleGetFunction")]
    pub fn kernel(&self, name: &str) -> Result<Kernel> {
        let Module { handle, device, .. } = &*self.0;
        let failed = |error: CallError| error.at(self.object(name), device.name());
        // No kernel name contains a NUL, so such a name is not found. The part before the NUL could
        // be the name of a different kernel.
        let absent = CallError { call: "cuModuleGetFunction", code: NOT_FOUND };
        let text = CString::new(name).map_err(|_| failed(absent))?;
        device.check_recorded()?;
        let _current = device.bind().map_err(failed)?;
        let driver = device.driver();
        // SAFETY: the module lives as long as `self`.
        let function = unsafe { driver.module_function(*handle, &text) }.map_err(failed)?;
        // SAFETY: as above.
        unsafe { driver.function_registers(function) }.map_err(failed)?;
        Ok(Kernel { handle: function, name: name.into(), module: self.clone() })
    }

    /// Returns the module's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the device that the module is loaded on.
    pub fn device(&self) -> &CudaDevice {
        &self.0.device
    }

    fn object(&self, kernel: &str) -> String {
        format!("kernel {kernel:?} of {}", Object("module", &self.0.name))
    }
}

impl Kernel {
    /// Returns the kernel's name in the PTX.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the module that the kernel belongs to.
    pub fn module(&self) -> &KernelModule {
        &self.module
    }

    /// Launches the kernel on a stream, or records it into the graph that the stream is being
    /// captured into. Allocates nothing. `config` is cudarc's `LaunchConfig`, not the type of that
    /// name in `vk-export` and `bridge`.
    ///
    /// Driver API: [`cuLaunchKernel`][driver].
    ///
    /// # Errors
    /// [`Error::ContextMismatch`] for a stream of another context; [`Error::Driver`] for this call,
    /// or for an earlier one in the context. In both cases nothing was launched.
    ///
    /// # Safety
    /// - Each of `args` points to the value of a parameter, in the kernel's order and with the
    ///   parameter's size, and there is one for each parameter. The driver copies them before the
    ///   call returns.
    /// - The kernel only accesses memory that lives until it has run, and other uses of that memory
    ///   are ordered with the stream.
    /// - The kernel or its module lives until it has run.
    /// - If the stream is being captured, which is not checked, all of this holds for each launch
    ///   of the graph, whose order then replaces that of this call.
    ///
    /// [driver]: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__EXEC.html
    #[doc(alias = "cuLaunchKernel")]
    pub unsafe fn launch(&self, stream: &CudaStream, config: &LaunchConfig, args: &[*const c_void]) -> Result<()> {
        let device = self.module.device();
        let object = || self.module.object(&self.name);
        if !device.owns(stream) {
            return Err(Error::ContextMismatch { object: object(), device: device.name().to_owned() });
        }
        check_recorded(stream.context()).map_err(|error| error.at("", device.name()))?;
        let _current = device.bind().map_err(|error| error.at(object(), device.name()))?;
        // SAFETY: the module lives as long as `self`, and until the kernel has run, by this
        // function's contract, which also covers the rest.
        let launched = unsafe { device.driver().launch_kernel(self.handle, stream, config, args) };
        launched.map_err(|error| error.at(object(), device.name()))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        let (handle, object) = (self.handle, Object("module", &self.name));
        // Unloading frees memory of the context, which the driver does only while no stream of it
        // waits.
        let unloaded = reaper::call(&self.device, "cuModuleUnload", move |driver| {
            // SAFETY: the last reference to the module and its kernels was dropped.
            unsafe { driver.unload_module(handle) }
        });
        match unloaded {
            Ok(()) => log_trace!("unload {object}"),
            Err(error) => {
                count_leak();
                let error = error.at(&object, self.device.name());
                log_error!("{error}");
            }
        }
    }
}

impl fmt::Debug for KernelModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KernelModule({:?} on {})", self.0.name, self.0.device.name())
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kernel({:?} of {:?})", self.name, self.module.0.name)
    }
}
