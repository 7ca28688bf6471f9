//! Kernels that were loaded from PTX.

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
/// launches. It keeps its module loaded, and work in command buffers and on the CPU keeps the
/// kernel; on a CUDA stream the program keeps it until it has run. Clones refer to the same one.
#[derive(Clone)]
pub struct Kernel(Arc<Inner>);

struct Inner {
    entry: PtxEntry,
    function: Function,
}

/// Target of a launch.
pub(crate) enum Function {
    /// One for each GPU.
    Stream(Box<[cuda_import::Kernel]>),
    Queue(vk_export::Kernel),
    Host(Arc<dyn Twin>),
}

/// The kernel for a stream of this context.
pub(crate) fn of_context<'f>(
    kernels: &'f [cuda_import::Kernel],
    context: &CudaContext,
) -> Option<&'f cuda_import::Kernel> {
    kernels.iter().find(|kernel| kernel.module().device().context().cu_ctx() == context.cu_ctx())
}

impl Compute {
    /// Loads kernels from PTX, the text that `nvcc -ptx` writes, for streams or command buffers as
    /// this compute side is. `name` is for errors.
    ///
    /// The text is parsed first, for the kernels' parameters and limits; the driver then compiles
    /// it for its GPU. On the CPU there is no driver: kernels have twins in Rust there, see
    /// [`KernelModule::with_twin`]. Compiling takes tens of milliseconds the first time and less in
    /// later processes, since drivers keep the result on disk: load before the first frame.
    ///
    /// # Errors
    /// [`vk_export::Error::Missing`] for command buffers of a device that cannot run kernels in
    /// them (streams, [`Backend::Cuda`](crate::Backend::Cuda), may still work); [`Error::Module`]
    /// for text that [`Ptx::new`] cannot read, and for what CUDA refuses, with the log of the
    /// driver's compiler; otherwise the error of the failed driver call. For command buffers there
    /// is no log: the driver returns only a code.
    #[doc(alias = "cuModuleLoadDataEx")]
    #[doc(alias = "vkCreateCuModuleNVX")]
    pub fn load(&self, name: &str, ptx: &str) -> Result<KernelModule> {
        let failed = |reason: String| Error::Module { module: name.to_owned(), reason };
        let parsed = Ptx::new(ptx).map_err(|error| failed(error.to_string()))?;
        let loaded = match self.side() {
            PerBackend::Cuda(cuda) => {
                let load = |(device, _)| cuda_import::KernelModule::new(device, name, parsed.as_c_str());
                let loaded = cuda.gpus().map(load).collect::<Result<_, _>>();
                Loaded::Stream(loaded.map_err(|error| of_driver(name, error))?)
            }
            PerBackend::Inline(_) => {
                self.device().require_cuda_kernels("launching CUDA kernels in command buffers")?;
                Loaded::Queue(vk_export::KernelModule::new(self.device(), name, &parsed)?)
            }
            PerBackend::Host(_) => Loaded::Host(Vec::new()),
            PerBackend::Remote(_) => return Err(remote::nothing_here(format!("module \"{name}\""))),
        };
        Ok(KernelModule { name: name.into(), ptx: Arc::new(parsed), loaded })
    }
}

/// What CUDA refuses to compile is the module's fault, all else the call's.
fn of_driver(name: &str, error: cuda_import::Error) -> Error {
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

    /// Returns the names of its kernels, as the PTX has them.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.ptx.entries().iter().map(PtxEntry::name)
    }

    /// Adds a twin to a kernel: a Rust function that computes the same, for the CPU backend. It
    /// runs on the backend's thread, where the kernel would run in its stream, and is called once
    /// per launch to do the work of all threads. On other backends it is checked against the
    /// kernel's parameters and not called, so that a mismatch is reported on every backend.
    ///
    /// `P` are the kernel's parameters, a tuple of [`TwinArg`]s. The launch must pass the same
    /// types: the elements of a [`TwinSlice`](crate::TwinSlice) are those of the buffer or memory.
    /// A twin borrows all its arguments exclusively, so one launch cannot pass it the same memory
    /// twice.
    ///
    /// # Errors
    /// [`Error::Module`] for a kernel that is not there, or one with another number or size of
    /// parameters.
    #[doc = concat!("\n# Examples\n```\n", include_str!("../../docs/twin.rs"), "```")]
    #[allow(private_bounds)] // `TwinArgs` is closed.
    pub fn with_twin<P: TwinArgs + LendAll>(
        mut self,
        kernel: &str,
        twin: impl for<'a> Fn(&LaunchConfig, P::Lent<'a>) + Send + Sync + 'static,
    ) -> Result<Self> {
        let index = self.ptx.entries().iter().position(|entry| entry.name() == kernel);
        let (index, entry) =
            index.and_then(|index| Some((index, self.ptx.entries().get(index)?))).ok_or_else(|| self.absent(kernel))?;
        let twin = twin::typed::<P, _>(entry, twin).map_err(|reason| Error::Module {
            module: self.name.to_string(),
            reason: format!("kernel \"{kernel}\": {reason}"),
        })?;
        if let Loaded::Host(twins) = &mut self.loaded {
            twins.retain(|(known, _)| *known != index);
            twins.push((index, twin));
        }
        Ok(self)
    }

    fn absent(&self, kernel: &str) -> Error {
        let there: Vec<_> = self.kernels().collect();
        let reason = format!("it has no kernel \"{kernel}\"; it has {}", there.join(", "));
        Error::Module { module: self.name.to_string(), reason }
    }

    /// Returns a kernel by its name in the PTX: that of an `extern "C"` function, or the mangled
    /// one.
    ///
    /// # Errors
    /// [`Error::Module`] with the names that there are, and on the CPU for one without a twin;
    /// otherwise the error of the failed driver call. For command buffers also
    /// [`vk_export::Error::RefusedKernel`], for a kernel with what hangs a Vulkan queue, see
    /// [`PtxEntry::refused`].
    #[doc(alias = "cuModuleGetFunction")]
    #[doc(alias = "vkCreateCuFunctionNVX")]
    pub fn kernel(&self, name: &str) -> Result<Kernel> {
        let failed = |reason| Error::Module { module: self.name.to_string(), reason };
        let entry = self.ptx.entry(name).ok_or_else(|| self.absent(name))?;
        let function = match &self.loaded {
            Loaded::Stream(modules) => {
                Function::Stream(modules.iter().map(|module| module.kernel(name)).collect::<Result<_, _>>()?)
            }
            Loaded::Queue(module) => Function::Queue(module.kernel(name)?),
            Loaded::Host(twins) => {
                let known = twins.iter().find(|(index, _)| self.ptx.entries().get(*index) == Some(entry));
                let twin = known.map(|(_, twin)| Arc::clone(twin)).ok_or_else(|| {
                    failed(format!(
                        "kernel \"{name}\" has no twin in Rust, which is what the CPU backend runs; give it one with \
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
    /// Returns the kernel's name, parameters and limits, as the PTX states them.
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
