//! Work for a compute turn that takes a known time and writes a known pattern.
#![allow(unsafe_code)] // Kernel launches.

use std::sync::Arc;
use std::time::Duration;

use bridge::cudarc;
use bridge::cudarc::driver::{CudaFunction, CudaStream, PushKernelArg};
use bridge::{Backend, BufferSpec, Compute, ComputeTurn, CudaPart, Direction, Kernel, KernelWork, LaunchConfig, Work};

/// The kernels of the tests.
pub const PROBE: &str = include_str!("../../shaders/probe.ptx");

/// Fills a turn's buffer with `base + i`, optionally after a delay, on every backend.
pub struct Filler {
    kernels: Option<Kernels>,
}

struct Kernels {
    fill: Kernel,
    fault: Kernel,
}

impl Filler {
    /// Creates a filler for a compute side.
    ///
    /// # Panics
    /// Panics if the kernels do not load.
    pub fn new(compute: &Compute) -> Self {
        let kernels = (compute.backend() != Backend::Host).then(|| {
            let module = compute.load("probe", PROBE).unwrap();
            let load = |name| module.kernel(name).unwrap();
            Kernels { fill: load("fill_after"), fault: load("fault") }
        });
        Self { kernels }
    }

    /// Returns the pattern that [`fill`](Self::fill) writes.
    pub fn pattern(len: usize, base: u32) -> Vec<u32> {
        (0..u32::try_from(len).unwrap()).map(|i| base.wrapping_add(i)).collect()
    }

    /// Enqueues the writing of the pattern.
    ///
    /// # Panics
    /// Panics if the work cannot be enqueued.
    pub fn fill<D: Direction>(&self, turn: &mut ComputeTurn<BufferSpec<u32>, D>, base: u32) {
        self.fill_after(turn, base, Duration::ZERO);
    }

    /// Enqueues a delay and the writing of the pattern. No test may depend on the delay.
    ///
    /// # Panics
    /// Panics if the work cannot be enqueued.
    pub fn fill_after<D: Direction>(&self, turn: &mut ComputeTurn<BufferSpec<u32>, D>, base: u32, delay: Duration) {
        self.fill_work(turn.work(), base, delay);
    }

    /// [`fill_after`](Self::fill_after) for the work of any turn.
    ///
    /// # Panics
    /// Panics if the work cannot be enqueued.
    pub fn fill_work(&self, work: Work<'_, BufferSpec<u32>>, base: u32, delay: Duration) {
        match work {
            Work::Host(host) => host
                .run(move |words| {
                    std::thread::sleep(delay);
                    words.iter_mut().zip(0u32..).for_each(|(word, i)| *word = base.wrapping_add(i));
                })
                .unwrap(),
            work => self.launch(&work.kernels().unwrap(), base, delay),
        }
    }

    /// Enqueues on one of several GPUs the writing of the pattern to its part.
    ///
    /// # Panics
    /// Panics if the work cannot be enqueued.
    pub fn fill_part(&self, part: CudaPart<'_, u32>, base: u32) {
        if !part.range.is_empty() {
            self.launch(&part.kernels().unwrap(), base, Duration::ZERO);
        }
    }

    fn launch(&self, work: &KernelWork<'_, BufferSpec<u32>>, base: u32, delay: Duration) {
        let (words, kernel) = (work.resources, &self.kernels.as_ref().unwrap().fill);
        let (len, nanoseconds) = (u32::try_from(words.len()).unwrap(), u64::try_from(delay.as_nanos()).unwrap());
        let config = LaunchConfig::for_elements(u64::from(len), 256);
        // SAFETY: the kernel's four parameters, of these types, and it writes `len` elements.
        unsafe { work.launch(kernel, &config, (words, len, base, nanoseconds)) }.unwrap();
    }

    /// Enqueues work that makes the compute side fail permanently: a kernel that faults, or a
    /// closure that panics.
    ///
    /// # Panics
    /// Panics if the work cannot be enqueued.
    pub fn fail(&self, turn: &mut ComputeTurn<BufferSpec<u32>>) {
        match turn.work() {
            Work::Host(host) => host.run(|_| panic!("on purpose")).unwrap(),
            work => {
                let (work, kernel) = (work.kernels().unwrap(), &self.kernels.as_ref().unwrap().fault);
                let words = work.resources;
                // SAFETY: wrong on purpose: the write is far outside of all memory, which ends the
                // context.
                unsafe { work.launch(kernel, &LaunchConfig::for_elements(1, 32), (words,)) }.unwrap();
            }
        }
    }
}

/// Launches `fill_after` once with no elements: the first launch loads the kernel, which would
/// block while a stream waits for a gate.
///
/// # Panics
/// Panics if the launch fails.
pub fn warm(stream: &Arc<CudaStream>, fill_after: &CudaFunction) {
    let mut nothing = stream.alloc_zeros::<u32>(1).unwrap();
    let mut launch = stream.launch_builder(fill_after);
    launch.arg(&mut nothing).arg(&0u32).arg(&0u32).arg(&0u64);
    // SAFETY: the kernel's four parameters, of these types; with no elements it writes nothing.
    unsafe { launch.launch(cudarc::driver::LaunchConfig::for_num_elems(1)) }.unwrap();
    stream.synchronize().unwrap();
}
