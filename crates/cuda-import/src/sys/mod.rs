//! The driver's entry points, one thin function each, which converts result codes to `Result<_,
//! CallError>`.
//!
//! This crate has its own function table, for the library that cudarc loads. cudarc's bindings
//! panic if a symbol is missing, and return a Rust enum, for which a code that is newer than the
//! bindings would be undefined behavior. Here each symbol is looked up before the first call, and a
//! code is a number. Calls that cudarc makes for this crate (contexts, streams, events) still use
//! its enum; their symbols are looked up here too, so that none of them can panic later.
//!
//! Contains unsafe code because it calls C.

#![allow(unsafe_code)]

mod allocation;
mod array;
mod capture_mode;
mod code;
mod current;
mod device;
mod event;
mod external;
mod graph;
mod kernel;
mod object;
mod raw_handle;
mod restoring;
mod version;
mod vmm;

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::sync::OnceLock;

use cudarc::driver::{CudaStream, sys as cu};

pub(crate) use allocation::StreamHandle;
pub(crate) use array::{ArrayHandle, ImageEnd, Linear, MipmappedArrayDesc, MipmappedArrayHandle, image_copy};
pub use code::DriverCode;
pub(crate) use current::Current;
pub(crate) use event::EventHandle;
pub use external::SemaphoreKind;
pub(crate) use external::{MemoryHandle, SemaphoreHandle, SignalParams, WaitParams, signal_params, wait_params};
pub(crate) use graph::{ExecHandle, GraphHandle, NodeHandle, NodeKind};
pub(crate) use kernel::{FunctionHandle, ModuleHandle};
pub(crate) use object::Resource;
pub(crate) use raw_handle::RawHandle;
pub use restoring::{Owner, Restoring};
pub(crate) use restoring::{Release, bind_for_drop};
pub use version::DriverVersion;
pub(crate) use vmm::{AllocationHandle, Vmm};

/// A failed driver call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallError {
    pub(crate) call: &'static str,
    pub(crate) code: u32,
}

pub(crate) type CallResult<T> = Result<T, CallError>;

/// `CUDA_ERROR_INVALID_VALUE`
pub(crate) const INVALID_VALUE: u32 = 1;

/// `CUDA_ERROR_NOT_FOUND`
pub(crate) const NOT_FOUND: u32 = 500;

/// `CUDA_ERROR_TIMEOUT`
pub(crate) const TIMEOUT: u32 = 909;

/// `CUDA_ERROR_UNKNOWN`
pub(crate) const UNKNOWN: u32 = 999;

/// `CUDA_ERROR_NOT_READY`
const NOT_READY: u32 = 600;

/// The reason why the driver could not be loaded.
#[derive(Clone, Debug)]
pub(crate) enum LoadError {
    NoLibrary,
    /// `version` as reported by `cuDriverGetVersion`, if the library has that function.
    MissingSymbols {
        missing: Vec<&'static str>,
        version: Option<i32>,
    },
}

/// Proof that the library is loaded and has every symbol that this crate needs.
#[derive(Clone, Copy)]
pub(crate) struct Driver {
    table: &'static Table,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Driver")
    }
}

macro_rules! table {
    ($table:ident and $others:expr; $($(#[$meta:meta])* $name:ident($($arg:ty),*);)*) => {
        #[allow(non_snake_case, reason = "fields are named as the calls they hold")]
        struct $table {
            $($(#[$meta])* $name: unsafe extern "C" fn($($arg),*) -> c_uint,)*
        }

        impl $table {
            /// Looks up every symbol, so that the error lists all missing ones.
            #[allow(non_snake_case, reason = "locals are named as the fields")]
            fn load() -> Result<Self, Vec<&'static str>> {
                let mut missing = Vec::new();
                $($(#[$meta])*
                let $name = lookup::<unsafe extern "C" fn($($arg),*) -> c_uint>(stringify!($name), &mut missing);)*
                let others: &[&'static str] = $others;
                for &name in others {
                    let _ = lookup::<unsafe extern "C" fn()>(name, &mut missing);
                }
                if !missing.is_empty() {
                    return Err(missing);
                }
                let whole = || Some(Self { $($(#[$meta])* $name: $name?,)* });
                whole().ok_or(missing)
            }
        }
    };
}

use table;

table! {
    Table and CALLED_BY_CUDARC;
    cuInit(c_uint);
    cuDriverGetVersion(*mut c_int);
    cuGetErrorName(c_uint, *mut *const c_char);
    cuDeviceGetCount(*mut c_int);
    cuDeviceGet(*mut cu::CUdevice, c_int);
    cuDeviceGetName(*mut c_char, c_int, cu::CUdevice);
    cuDeviceGetUuid_v2(*mut cu::CUuuid, cu::CUdevice);
    #[cfg(windows)]
    cuDeviceGetLuid(*mut c_char, *mut c_uint, cu::CUdevice);
    cuDeviceGetAttribute(*mut c_int, cu::CUdevice_attribute, cu::CUdevice);
    cuDeviceTotalMem_v2(*mut usize, cu::CUdevice);
    cuDevicePrimaryCtxRetain(*mut cu::CUcontext, cu::CUdevice);
    cuDevicePrimaryCtxRelease_v2(cu::CUdevice);
    cuCtxGetCurrent(*mut cu::CUcontext);
    cuCtxPushCurrent_v2(cu::CUcontext);
    cuCtxSetCurrent(cu::CUcontext);
    cuCtxSynchronize();
    cuEventCreate(*mut cu::CUevent, c_uint);
    cuEventDestroy_v2(cu::CUevent);
    cuEventQuery(cu::CUevent);
    cuEventRecord(cu::CUevent, cu::CUstream);
    cuStreamIsCapturing(cu::CUstream, *mut c_uint);
    cuThreadExchangeStreamCaptureMode(*mut c_uint);
    cuStreamWaitEvent(cu::CUstream, cu::CUevent, c_uint);
    cuStreamQuery(cu::CUstream);
    cuStreamSynchronize(cu::CUstream);
    cuStreamCreate(*mut cu::CUstream, c_uint);
    cuStreamDestroy_v2(cu::CUstream);
    cuMemAlloc_v2(*mut cu::CUdeviceptr, usize);
    cuMemAllocAsync(*mut cu::CUdeviceptr, usize, cu::CUstream);
    cuMemFreeAsync(cu::CUdeviceptr, cu::CUstream);
    cuMemcpyHtoDAsync_v2(cu::CUdeviceptr, *const c_void, usize, cu::CUstream);
    cuMemFree_v2(cu::CUdeviceptr);
    cuMemcpyDtoDAsync_v2(cu::CUdeviceptr, cu::CUdeviceptr, usize, cu::CUstream);
    cuImportExternalMemory(*mut cu::CUexternalMemory, *const cu::CUDA_EXTERNAL_MEMORY_HANDLE_DESC);
    cuExternalMemoryGetMappedBuffer(*mut cu::CUdeviceptr, cu::CUexternalMemory, *const cu::CUDA_EXTERNAL_MEMORY_BUFFER_DESC);
    cuExternalMemoryGetMappedMipmappedArray(
        *mut cu::CUmipmappedArray,
        cu::CUexternalMemory,
        *const cu::CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC
    );
    cuMipmappedArrayGetLevel(*mut cu::CUarray, cu::CUmipmappedArray, c_uint);
    cuMipmappedArrayDestroy(cu::CUmipmappedArray);
    cuMemcpy3DAsync_v2(*const cu::CUDA_MEMCPY3D, cu::CUstream);
    cuTexObjectCreate(
        *mut cu::CUtexObject,
        *const cu::CUDA_RESOURCE_DESC,
        *const cu::CUDA_TEXTURE_DESC,
        *const cu::CUDA_RESOURCE_VIEW_DESC
    );
    cuTexObjectDestroy(cu::CUtexObject);
    cuSurfObjectCreate(*mut cu::CUsurfObject, *const cu::CUDA_RESOURCE_DESC);
    cuSurfObjectDestroy(cu::CUsurfObject);
    cuDestroyExternalMemory(cu::CUexternalMemory);
    cuImportExternalSemaphore(*mut cu::CUexternalSemaphore, *const cu::CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC);
    cuWaitExternalSemaphoresAsync(*const SemaphoreHandle, *const WaitParams, c_uint, cu::CUstream);
    cuSignalExternalSemaphoresAsync(*const SemaphoreHandle, *const SignalParams, c_uint, cu::CUstream);
    cuDestroyExternalSemaphore(cu::CUexternalSemaphore);
    cuStreamBeginCapture_v2(cu::CUstream, c_uint);
    cuStreamEndCapture(cu::CUstream, *mut cu::CUgraph);
    cuGraphGetNodes(cu::CUgraph, *mut NodeHandle, *mut usize);
    cuGraphNodeGetType(NodeHandle, *mut c_uint);
    cuGraphInstantiateWithFlags(*mut cu::CUgraphExec, cu::CUgraph, c_ulonglong);
    cuGraphUpload(cu::CUgraphExec, cu::CUstream);
    cuGraphExecExternalSemaphoresWaitNodeSetParams(
        cu::CUgraphExec,
        NodeHandle,
        *const cu::CUDA_EXT_SEM_WAIT_NODE_PARAMS
    );
    cuGraphExecExternalSemaphoresSignalNodeSetParams(
        cu::CUgraphExec,
        NodeHandle,
        *const cu::CUDA_EXT_SEM_SIGNAL_NODE_PARAMS
    );
    cuGraphLaunch(cu::CUgraphExec, cu::CUstream);
    cuGraphExecDestroy(cu::CUgraphExec);
    cuGraphDestroy(cu::CUgraph);
    cuModuleLoadDataEx(*mut cu::CUmodule, *const c_void, c_uint, *mut cu::CUjit_option, *mut *mut c_void);
    cuModuleUnload(cu::CUmodule);
    cuModuleGetFunction(*mut cu::CUfunction, cu::CUmodule, *const c_char);
    cuFuncGetAttribute(*mut c_int, cu::CUfunction_attribute, cu::CUfunction);
    cuLaunchKernel(
        cu::CUfunction,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        cu::CUstream,
        *mut *mut c_void,
        *mut *mut c_void
    );
}

/// Functions that `CudaContext`, `CudaStream` and `CudaEvent` call on behalf of this crate.
const CALLED_BY_CUDARC: &[&str] = &["cuGetErrorString"];

/// Looks up `name` in the library, which must be present.
fn lookup<F: Copy>(name: &'static str, missing: &mut Vec<&'static str>) -> Option<F> {
    // SAFETY: loading libcuda runs its initializers, which every program may do.
    let library = unsafe { cu::culib() };
    // SAFETY: `F` is the function type of `name` in cuda.h, with CUresult as a C int.
    let symbol = unsafe { library.get::<F>(name.as_bytes()) };
    match symbol {
        Ok(symbol) => Some(*symbol),
        Err(_) => {
            missing.push(name);
            None
        }
    }
}

fn load() -> Result<Table, LoadError> {
    // SAFETY: opening libcuda runs its initializers, which every program may do.
    if !unsafe { cu::is_culib_present() } {
        return Err(LoadError::NoLibrary);
    }
    Table::load().map_err(missing)
}

/// Returns the error of a library without these symbols, with its version if available.
fn missing(missing: Vec<&'static str>) -> LoadError {
    let get = lookup::<unsafe extern "C" fn(*mut c_int) -> c_uint>("cuDriverGetVersion", &mut Vec::new());
    let version = get.and_then(|get| {
        let mut version = 0;
        // SAFETY: cuDriverGetVersion may be called before cuInit; `version` receives the result.
        (unsafe { get(&mut version) } == 0).then_some(version)
    });
    LoadError::MissingSymbols { missing, version }
}

static TABLE: OnceLock<Result<Table, LoadError>> = OnceLock::new();

fn check_call(call: &'static str, code: c_uint) -> CallResult<()> {
    if code == 0 { Ok(()) } else { Err(CallError { call, code }) }
}

/// Returns the driver's name of a code, if a driver is loaded that knows it. Loads nothing.
pub(crate) fn error_name(code: u32) -> Option<&'static str> {
    let table = TABLE.get()?.as_ref().ok()?;
    let mut name = std::ptr::null();
    // SAFETY: cuGetErrorName accepts any number ("if the error code is not recognized,
    // CUDA_ERROR_INVALID_VALUE").
    let found = unsafe { (table.cuGetErrorName)(code, &mut name) } == 0 && !name.is_null();
    // SAFETY: on success the pointer is a null-terminated string inside the library, which is never
    // unloaded.
    found.then(|| unsafe { CStr::from_ptr(name) })?.to_str().ok()
}

impl Driver {
    /// Loads the library once per process. Never panics; later calls return the first result.
    pub(crate) fn load() -> Result<Self, LoadError> {
        TABLE.get_or_init(load).as_ref().map(|table| Self { table }).map_err(Clone::clone)
    }

    pub(crate) fn init(self) -> CallResult<()> {
        // SAFETY: cuInit may be called from any thread any number of times; "the flags parameter
        // must be 0".
        check_call("cuInit", unsafe { (self.table.cuInit)(0) })
    }

    /// Returns 1000 x major + 10 x minor of the newest CUDA version that the driver supports.
    pub(crate) fn version(self) -> CallResult<i32> {
        let mut version = 0;
        // SAFETY: `version` receives the result.
        check_call("cuDriverGetVersion", unsafe { (self.table.cuDriverGetVersion)(&mut version) })?;
        Ok(version)
    }

    /// Returns `true` if all work of the stream has ended. The stream's context must be current.
    pub(crate) fn stream_is_idle(self, stream: &CudaStream) -> CallResult<bool> {
        let _relaxed = self.relax_captures();
        // SAFETY: the handle is live, because `stream` is borrowed for the call.
        match unsafe { (self.table.cuStreamQuery)(stream.cu_stream()) } {
            NOT_READY => Ok(false),
            code => check_call("cuStreamQuery", code).map(|()| true),
        }
    }
}
