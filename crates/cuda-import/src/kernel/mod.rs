//! Kernels of PTX or cubins, loaded with the log of the driver's compiler, and launched without an
//! allocation.
//!
//! Unsafe because of launches.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_void};
use std::fmt;
use std::sync::Arc;

use cudarc::driver::{CudaStream, LaunchConfig};

use crate::device::{CudaDevice, check_recorded};
use crate::error::code::DriverCode;
use crate::error::{Error, Object, Result};
use crate::leak::count_leak;
use crate::logging::{log_debug, log_error, log_trace};
use crate::reaper;
use crate::sys::{CallError, FunctionHandle, ModuleHandle, NOT_FOUND};

/// Kernels in the context of a device. Cloning it is cheap and gives the same module.
///
/// It is unloaded with its last clone and its last [`Kernel`].
#[derive(Clone)]
pub struct KernelModule(Arc<Module>);

struct Module {
    handle: ModuleHandle,
    name: Box<str>,
    device: CudaDevice,
}

/// A kernel of a [`KernelModule`], which it keeps loaded. Cloning it is cheap and gives the same
/// kernel.
#[derive(Clone)]
pub struct Kernel {
    handle: FunctionHandle,
    name: Arc<str>,
    module: KernelModule,
}

impl KernelModule {
    /// Loads PTX text, which the driver compiles for its GPU. `name` is for errors.
    ///
    /// The call returns only when no stream of the context has unfinished work: load before the
    /// first frame.
    ///
    /// # Errors
    /// [`Error::Compile`] with the compiler's log where it wrote one; else [`Error::Driver`].
    #[doc(alias = "cuModuleLoadDataEx")]
    pub fn new(device: &CudaDevice, name: &str, ptx: &CStr) -> Result<Self> {
        let object = Object("module", name);
        device.check_recorded()?;
        let _current = device.bind().map_err(|error| error.at(&object, device.name()))?;
        let (loaded, logs) = device.driver().load_module(ptx);
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

    /// Returns a kernel by its name in the PTX: that of an `extern "C"` function, or a mangled one.
    /// It is loaded at once: a first launch of one that is loaded lazily would wait for every
    /// stream of the context (CUDA programming guide, "Lazy Loading").
    ///
    /// # Errors
    /// [`Error::Driver`], with `CUDA_ERROR_NOT_FOUND` for a name that is not there.
    #[doc(alias = "cuModuleGetFunction")]
    pub fn kernel(&self, name: &str) -> Result<Kernel> {
        let Module { handle, device, .. } = &*self.0;
        let failed = |error: CallError| error.at(self.object(name), device.name());
        // No name of a kernel has a NUL: what there is up to it is not there either, or is another
        // one.
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

    /// Returns the device that it is loaded on.
    pub fn device(&self) -> &CudaDevice {
        &self.0.device
    }

    fn object(&self, kernel: &str) -> String {
        format!("kernel {kernel:?} of {}", Object("module", &self.0.name))
    }
}

impl Kernel {
    /// Its name in the PTX.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the module that the kernel belongs to.
    pub fn module(&self) -> &KernelModule {
        &self.module
    }

    /// Launches it on a stream, or into the graph that the stream is captured for. Allocates
    /// nothing.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`] for a stream of another context; [`Error::Driver`] for this call,
    /// or for an earlier one in the context. Nothing was launched then.
    ///
    /// # Safety
    /// - Each of `args` points to a parameter, in the order of the kernel's, with as many bytes as
    ///   that has; there are as many. The driver copies them before the call returns.
    /// - The kernel stays within memory that lives until it has run, and what else uses that is
    ///   ordered with the stream.
    /// - The kernel or its module lives until it has run.
    /// - Where the stream is captured, which is not checked, all of this holds for each launch of
    ///   the graph; the order is that of the graph then, not that of this call.
    #[doc(alias = "cuLaunchKernel")]
    pub unsafe fn launch(&self, stream: &CudaStream, config: &LaunchConfig, args: &[*const c_void]) -> Result<()> {
        let device = self.module.device();
        let object = || self.module.object(&self.name);
        if !device.owns(stream) {
            return Err(Error::ContextMismatch { object: object(), device: device.name().to_owned() });
        }
        check_recorded(stream.context()).map_err(|error| error.at("", device.name()))?;
        let _current = device.bind().map_err(|error| error.at(object(), device.name()))?;
        // SAFETY: the module lives as long as `self`, and until the launch has run by this
        // function's contract, as the rest.
        let launched = unsafe { device.driver().launch_kernel(self.handle, stream, config, args) };
        launched.map_err(|error| error.at(object(), device.name()))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        let (handle, object) = (self.handle, Object("module", &self.name));
        // It frees memory of the context, which the driver does when no stream of it waits.
        let unloaded = reaper::call(&self.device, "cuModuleUnload", move |driver| {
            // SAFETY: nobody has the module or a kernel of it any more.
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
