//! Work for a compute turn that takes a known time and leaves a known pattern.
#![allow(unsafe_code)] // Kernel launches.

use std::sync::Arc;
use std::time::Duration;

use bridge::cuda_import::cudarc::driver::{CudaFunction, CudaModule, CudaStream, LaunchConfig, PushKernelArg};
use bridge::cuda_import::cudarc::nvrtc::Ptx;
use bridge::{BufferSpec, Compute, ComputeTurn, Work};

/// The kernels of the tests.
pub const PROBE: &str = include_str!("../../shaders/probe.ptx");

/// Fills a turn's buffer with `base + i`, after a delay, on either backend.
pub struct Filler {
    kernels: Option<Kernels>,
}

struct Kernels {
    _module: Arc<CudaModule>,
    fill: CudaFunction,
    fault: CudaFunction,
}

impl Filler {
    /// For a compute side.
    ///
    /// # Panics
    /// When the kernels do not load.
    pub fn new(compute: &Compute) -> Self {
        let kernels = compute.cuda().map(|cuda| {
            let module = cuda.device().context().load_module(Ptx::from_src(PROBE)).unwrap();
            let load = |name| module.load_function(name).unwrap();
            let kernels = Kernels { fill: load("fill_after"), fault: load("fault"), _module: module };
            warm(cuda.stream(), &kernels.fill);
            kernels
        });
        Self { kernels }
    }

    /// The pattern that [`fill`](Self::fill) leaves.
    pub fn pattern(len: usize, base: u32) -> Vec<u32> {
        (0..u32::try_from(len).unwrap()).map(|i| base.wrapping_add(i)).collect()
    }

    /// Enqueues: write the pattern.
    ///
    /// # Panics
    /// When enqueueing fails.
    pub fn fill(&self, turn: &mut ComputeTurn<BufferSpec<u32>>, base: u32) {
        self.fill_after(turn, base, Duration::ZERO);
    }

    /// Enqueues: spend some time, then write the pattern. No test may depend on the time.
    ///
    /// # Panics
    /// When enqueueing fails.
    pub fn fill_after(&self, turn: &mut ComputeTurn<BufferSpec<u32>>, base: u32, delay: Duration) {
        match turn.work() {
            Work::Host(host) => host
                .run(move |words| {
                    std::thread::sleep(delay);
                    words.iter_mut().zip(0u32..).for_each(|(word, i)| *word = base.wrapping_add(i));
                })
                .unwrap(),
            Work::Cuda(mut cuda) => {
                let Kernels { fill, .. } = self.kernels.as_ref().unwrap();
                let len = u32::try_from(cuda.resources.len()).unwrap();
                let nanoseconds = u64::try_from(delay.as_nanos()).unwrap();
                let mut launch = cuda.stream.launch_builder(fill);
                launch.arg(&mut cuda.resources).arg(&len).arg(&base).arg(&nanoseconds);
                // SAFETY: the kernel's four parameters, of these types, and it writes `len` elements.
                unsafe { launch.launch(LaunchConfig::for_num_elems(len)) }.unwrap();
            }
            _ => unreachable!("no other backend is opened here"),
        }
    }

    /// Enqueues what makes the compute side fail for good: a kernel that faults, or a closure that panics.
    ///
    /// # Panics
    /// When enqueueing fails.
    pub fn fail(&self, turn: &mut ComputeTurn<BufferSpec<u32>>) {
        match turn.work() {
            Work::Host(host) => host.run(|_| panic!("on purpose")).unwrap(),
            Work::Cuda(mut cuda) => {
                let Kernels { fault, .. } = self.kernels.as_ref().unwrap();
                let mut launch = cuda.stream.launch_builder(fault);
                launch.arg(&mut cuda.resources);
                // SAFETY: wrong on purpose: the write is far outside of everything, which ends the context.
                unsafe { launch.launch(LaunchConfig::for_num_elems(1)) }.unwrap();
            }
            _ => unreachable!("no other backend is opened here"),
        }
    }
}

/// Launches `fill_after` once, over nothing: the first launch loads the kernel, which waits while a stream waits for a gate.
///
/// # Panics
/// When launching fails.
pub fn warm(stream: &Arc<CudaStream>, fill_after: &CudaFunction) {
    let mut nothing = stream.alloc_zeros::<u32>(1).unwrap();
    let mut launch = stream.launch_builder(fill_after);
    launch.arg(&mut nothing).arg(&0u32).arg(&0u32).arg(&0u64);
    // SAFETY: the kernel's four parameters, of these types; of no elements it writes none.
    unsafe { launch.launch(LaunchConfig::for_num_elems(1)) }.unwrap();
    stream.synchronize().unwrap();
}
