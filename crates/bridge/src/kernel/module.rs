//! Kernels loaded from PTX.

use std::sync::Arc;

use cuda_import::cudarc::driver::CudaContext;
use vk_export::{LaunchConfig, Ptx, PtxEntry};

use crate::compute::Compute;
use crate::compute::inline::segment::Keep;
use crate::compute::per_backend::PerBackend;
use crate::compute::remote;
use crate::error::{Error, Result};
#[cfg(doc)]
use crate::kernel::twin::TwinArg;
use crate::kernel::twin::{self, LendAll, Twin, TwinArgs};

/// CUDA kernels loaded from PTX by [`Compute::load`], for the backend of that [`Compute`]. Clones
/// refer to the same module.
///
/// [`vk_export::KernelModule`] is for kernels in a program's own command buffers, without an
/// exchange.
#[derive(Clone)]
pub struct KernelModule {
    name: Arc<str>,
    ptx: Arc<Ptx>,
    loaded: Loaded,
}

#[derive(Clone)]
enum Loaded {
    /// One for each GPU.
    Stream(Box<[cuda_import::KernelModule]>),
    Queue(vk_export::KernelModule),
    /// Twins, by the index of their kernel in the PTX.
    Host(Vec<(usize, Arc<dyn Twin>)>),
}

/// A kernel of a [`KernelModule`], which [`KernelWork::launch`](crate::KernelWork::launch)
/// launches. It keeps its module loaded. Work in command buffers and on the CPU keeps the kernel
/// alive; on a CUDA stream the program must keep it until the launches have run. Clones refer to
/// the same kernel.
#[derive(Clone)]
pub struct Kernel(Arc<Inner>);

struct Inner {
    entry: PtxEntry,
    function: Function,
}

/// The function to launch, by kind of compute side.
pub(crate) enum Function {
    /// One for each GPU.
    Stream(Box<[cuda_import::Kernel]>),
    Queue(vk_export::Kernel),
    Host(Arc<dyn Twin>),
}

/// Returns the kernel for streams of this context.
pub(crate) fn kernel_for_context<'f>(
    kernels: &'f [cuda_import::Kernel],
    context: &CudaContext,
) -> Option<&'f cuda_import::Kernel> {
    kernels.iter().find(|kernel| kernel.module().device().context().cu_ctx() == context.cu_ctx())
}

impl Compute {
    /// Loads kernels from PTX, the text that `nvcc --ptx` writes and that cudarc's
    /// `nvrtc::compile_ptx` returns, for the streams or command buffers of this compute side.
    /// `name` is for errors.
    ///
    /// The text is parsed for the kernels' parameters and limits; then the driver compiles it for
    /// its GPU. On the CPU, kernels are not compiled but need twins in Rust; see
    /// [`KernelModule::with_twin`]. Compiling takes tens of milliseconds the first time and less in
    /// later processes, since drivers cache the result on disk.
    ///
    /// CUDA's driver blocks the loading of a module while a stream of the context is waiting, as
    /// the stream of an exchange does for its slot, and it blocks the first launch of each kernel
    /// in the same way. Load every kernel and launch it once before the first frame. A kernel that
    /// is loaded later stalls the calling thread until no stream waits.
    ///
    /// # Errors
    /// [`vk_export::Error::Missing`] for command buffers of a device that cannot run kernels in
    /// them (streams, [`Backend::Cuda`](crate::Backend::Cuda), may still work); [`Error::Module`]
    /// for text that [`Ptx::new`] cannot parse or CUDA cannot compile, with the log of the driver's
    /// compiler; otherwise the error of the failed driver call. For command buffers there is no
    /// log: the driver returns only a code.
    #[doc(alias = "cuModuleLoadDataEx")]
    #[doc(alias = "vkCreateCuModuleNVX")]
    pub fn load(&self, name: &str, ptx: &str) -> Result<KernelModule> {
        let failed = |reason: String| Error::Module { module: name.to_owned(), reason };
        let parsed = Ptx::new(ptx).map_err(|error| failed(error.to_string()))?;
        let loaded = match self.side() {
            PerBackend::Cuda(cuda) => {
                let load = |(device, _)| cuda_import::KernelModule::new(device, name, parsed.as_c_str());
                let loaded = cuda.gpus().map(load).collect::<Result<_, _>>();
                Loaded::Stream(loaded.map_err(|error| from_driver_error(name, error))?)
            }
            PerBackend::Inline(_) => {
                self.device().require_cuda_kernels("launching CUDA kernels in command buffers")?;
                Loaded::Queue(vk_export::KernelModule::new(self.device(), name, &parsed)?)
            }
            PerBackend::Host(_) => Loaded::Host(Vec::new()),
            PerBackend::Remote(_) => return Err(remote::not_local_error(format!("module \"{name}\""))),
        };
        Ok(KernelModule { name: name.into(), ptx: Arc::new(parsed), loaded })
    }
}

/// Converts a compile error into [`Error::Module`], and any other error into the error of the call.
fn from_driver_error(name: &str, error: cuda_import::Error) -> Error {
    match error {
        cuda_import::Error::Compile { code, device, log, .. } => Error::Module {
            module: name.to_owned(),
            reason: format!("it cannot be compiled for {device}: {code}; the driver's compiler says: {log}"),
        },
        error => error.into(),
    }
}

impl KernelModule {
    /// Returns the module's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the names of its kernels, as in the PTX.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.ptx.entries().iter().map(PtxEntry::name)
    }

    /// Adds a twin to a kernel: a Rust function that does the same work on the CPU backend. It runs
    /// on the backend's thread, in stream order, and is called once per launch to do the work of
    /// all threads. On other backends it is checked against the kernel's parameters but not called,
    /// so that a mismatch is reported on every backend.
    ///
    /// `P` are the kernel's parameters, a tuple of [`TwinArg`]s. The launch must pass the same
    /// types: the elements of a [`TwinSlice`](crate::TwinSlice) are those of the buffer or memory.
    /// A twin borrows all its arguments exclusively, so one launch cannot pass it the same memory
    /// twice.
    ///
    /// # Errors
    /// [`Error::Module`] if there is no such kernel, or if the number or size of its parameters
    /// differs from that of `P`.
    #[doc = concat!("\n# Examples\n```\n", include_str!("../../docs/twin.rs"), "```")]
    #[allow(private_bounds)] // `TwinArgs` is sealed.
    pub fn with_twin<P: TwinArgs + LendAll>(
        mut self,
        kernel: &str,
        twin: impl for<'a> Fn(&LaunchConfig, P::Lent<'a>) + Send + Sync + 'static,
    ) -> Result<Self> {
        let index = self.ptx.entries().iter().position(|entry| entry.name() == kernel);
        let (index, entry) = index
            .and_then(|index| Some((index, self.ptx.entries().get(index)?)))
            .ok_or_else(|| self.missing_kernel(kernel))?;
        let twin = twin::new_twin::<P, _>(entry, twin).map_err(|reason| Error::Module {
            module: self.name.to_string(),
            reason: format!("kernel \"{kernel}\": {reason}"),
        })?;
        if let Loaded::Host(twins) = &mut self.loaded {
            twins.retain(|(known, _)| *known != index);
            twins.push((index, twin));
        }
        Ok(self)
    }

    fn missing_kernel(&self, kernel: &str) -> Error {
        let there: Vec<_> = self.kernels().collect();
        let reason = format!("it has no kernel \"{kernel}\"; it has {}", there.join(", "));
        Error::Module { module: self.name.to_string(), reason }
    }

    /// Returns a kernel by its name in the PTX: the name of an `extern "C"` function, or the
    /// mangled name of another function.
    ///
    /// # Errors
    /// [`Error::Module`] with the existing names if there is no such kernel, and on the CPU if it
    /// has no twin; otherwise the error of the failed driver call. For command buffers also
    /// [`vk_export::Error::RefusedKernel`], for a kernel with code that can hang a Vulkan queue;
    /// see [`PtxEntry::refused`].
    #[doc(alias = "cuModuleGetFunction")]
    #[doc(alias = "vkCreateCuFunctionNVX")]
    pub fn kernel(&self, name: &str) -> Result<Kernel> {
        let failed = |reason| Error::Module { module: self.name.to_string(), reason };
        let entry = self.ptx.entry(name).ok_or_else(|| self.missing_kernel(name))?;
        let function = match &self.loaded {
            Loaded::Stream(modules) => {
                Function::Stream(modules.iter().map(|module| module.kernel(name)).collect::<Result<_, _>>()?)
            }
            Loaded::Queue(module) => Function::Queue(module.kernel(name)?),
            Loaded::Host(twins) => {
                let known = twins.iter().find(|(index, _)| self.ptx.entries().get(*index) == Some(entry));
                let twin = known.map(|(_, twin)| Arc::clone(twin)).ok_or_else(|| {
                    failed(format!(
                        "kernel \"{name}\" has no twin in Rust, which the CPU backend requires; add one with \
                         `KernelModule::with_twin`"
                    ))
                })?;
                Function::Host(twin)
            }
        };
        Ok(Kernel(Arc::new(Inner { entry: entry.clone(), function })))
    }
}

impl Kernel {
    /// Returns the kernel's name, parameters and limits, as declared in the PTX.
    pub fn entry(&self) -> &PtxEntry {
        &self.0.entry
    }

    pub(crate) fn keep(&self) -> Keep {
        Arc::clone(&self.0) as Keep
    }

    pub(crate) fn function(&self) -> &Function {
        &self.0.function
    }
}

impl std::fmt::Debug for KernelModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let side = match &self.loaded {
            Loaded::Stream(_) => "for CUDA streams",
            Loaded::Queue(_) => "for command buffers",
            Loaded::Host(_) => "twins on the CPU",
        };
        write!(f, "KernelModule({:?}, {side})", self.name)
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kernel({:?})", self.entry().name())
    }
}
