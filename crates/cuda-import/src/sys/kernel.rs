//! Modules, functions and launches. cudarc's functions do not return the compiler's log, and
//! allocate for each launch.
//!
//! Contains unsafe code because it calls C. All functions need a current context.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_uint, c_void};

use cudarc::driver::{CudaStream, LaunchConfig, sys as cu};

use super::{CallResult, Driver, check_call};

/// A module. Does not own it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModuleHandle(cu::CUmodule);

// SAFETY: the driver API is thread-safe, and the handle is never dereferenced here.
unsafe impl Send for ModuleHandle {}
// SAFETY: as for Send; the calls that take a shared handle may run concurrently on any thread.
unsafe impl Sync for ModuleHandle {}

/// A function of a module, which owns it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FunctionHandle(cu::CUfunction);

// SAFETY: the driver API is thread-safe, and the handle is never dereferenced here.
unsafe impl Send for FunctionHandle {}
// SAFETY: as for Send; the calls that take a shared handle may run concurrently on any thread.
unsafe impl Sync for FunctionHandle {}

/// Size in bytes of each of the compiler's two logs.
const LOG: usize = 16 << 10;

/// Output of the compiler, without the final NUL.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    pub(crate) info: String,
    pub(crate) error: String,
}

impl Driver {
    /// Loads a module, which the caller must unload.
    ///
    /// # Safety
    /// `text` is PTX text, and not a binary module: the driver would take the size of that from its
    /// header.
    pub(crate) unsafe fn load_module(self, text: &CStr) -> (CallResult<ModuleHandle>, Logs) {
        use cu::CUjit_option as Option;
        let (mut info, mut error) = (vec![0_u8; LOG], vec![0_u8; LOG]);
        let mut names = [
            Option::CU_JIT_INFO_LOG_BUFFER,
            Option::CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES,
            Option::CU_JIT_ERROR_LOG_BUFFER,
            Option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
        ];
        // Sizes are passed in place of pointers (cuda.h, CUjit_option).
        let size: *mut c_void = std::ptr::without_provenance_mut(LOG);
        let mut values = [info.as_mut_ptr().cast::<c_void>(), size, error.as_mut_ptr().cast::<c_void>(), size];
        let mut module = std::ptr::null_mut();
        // SAFETY: `module` receives the result; the caller guarantees text, which the driver reads
        // up to its NUL; there are as many names as values, each buffer has the size that follows
        // it, and all outlive the call, which reads and writes them before it returns.
        let code = unsafe {
            (self.table.cuModuleLoadDataEx)(
                &mut module,
                text.as_ptr().cast(),
                names.len() as c_uint,
                names.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        let loaded = check_call("cuModuleLoadDataEx", code).map(|()| ModuleHandle(module));
        (loaded, Logs { info: until_nul(&info), error: until_nul(&error) })
    }

    /// # Safety
    /// `module` is loaded, and neither it nor its functions are used again.
    pub(crate) unsafe fn unload_module(self, module: ModuleHandle) -> CallResult<()> {
        // SAFETY: the caller guarantees the module.
        check_call("cuModuleUnload", unsafe { (self.table.cuModuleUnload)(module.0) })
    }

    /// # Safety
    /// `module` is loaded.
    pub(crate) unsafe fn module_function(self, module: ModuleHandle, name: &CStr) -> CallResult<FunctionHandle> {
        let mut function = std::ptr::null_mut();
        // SAFETY: `function` receives the result; the name ends with a NUL; the caller guarantees
        // the module.
        let code = unsafe { (self.table.cuModuleGetFunction)(&mut function, module.0, name.as_ptr()) };
        check_call("cuModuleGetFunction", code).map(|()| FunctionHandle(function))
    }

    /// Returns the registers per thread of the function. Loads the function if it is loaded lazily.
    ///
    /// # Safety
    /// The module of `function` is loaded.
    pub(crate) unsafe fn function_registers(self, function: FunctionHandle) -> CallResult<i32> {
        let mut value = 0;
        let registers = cu::CUfunction_attribute::CU_FUNC_ATTRIBUTE_NUM_REGS;
        // SAFETY: `value` receives the result; the caller guarantees the function.
        let code = unsafe { (self.table.cuFuncGetAttribute)(&mut value, registers, function.0) };
        check_call("cuFuncGetAttribute", code).map(|()| value)
    }

    /// # Safety
    /// The module of `function` stays loaded until the kernel has run. Each of `args` points to the
    /// value of a parameter of the function, and there is one for each parameter. The caller is
    /// responsible for the kernel's accesses.
    pub(crate) unsafe fn launch_kernel(
        self,
        function: FunctionHandle,
        stream: &CudaStream,
        config: &LaunchConfig,
        args: &[*const c_void],
    ) -> CallResult<()> {
        let LaunchConfig { grid_dim: grid, block_dim: block, shared_mem_bytes } = *config;
        // The driver copies the parameters and does not write to them (cuda.h, cuLaunchKernel).
        let params = args.as_ptr().cast_mut().cast::<*mut c_void>();
        let none = std::ptr::null_mut();
        // SAFETY: the stream is borrowed; the caller guarantees the rest.
        let code = unsafe {
            (self.table.cuLaunchKernel)(
                function.0,
                grid.0,
                grid.1,
                grid.2,
                block.0,
                block.1,
                block.2,
                shared_mem_bytes,
                stream.cu_stream(),
                params,
                none,
            )
        };
        check_call("cuLaunchKernel", code)
    }
}

fn until_nul(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
}
