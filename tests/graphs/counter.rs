//! Work that is the same in every frame, as a graph requires, and whose result differs each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bridge::cuda_import::cudarc::driver::{CudaFunction, CudaSlice, CudaStream, LaunchConfig, PushKernelArg};
use bridge::cuda_import::cudarc::nvrtc::Ptx;
use bridge::{BufferAccess, Compute, Exchange, ExchangeInfo, FrameGraph, RecordError, RenderTurn, Work};
use bridge_tests::{Gate, PROBE, Readback, Rig, warm};

use crate::{LEN, Words};

pub(crate) fn words() -> Words {
    Words::new(LEN, BufferAccess::TRANSFER_WRITE | BufferAccess::TRANSFER_READ)
}

pub(crate) fn info(slots: usize) -> ExchangeInfo<'static> {
    ExchangeInfo { name: "graphs", slots, timeout: Rig::LONG, ..Default::default() }
}

pub(crate) fn exchange(compute: &Compute, slots: usize) -> Exchange<Words> {
    Exchange::new(compute, &info(slots), words()).unwrap()
}

/// The same work in every frame, but with a different number each time: it counts in memory that
/// the frames share.
pub(crate) struct Counter {
    pub(crate) memory: Memory,
    pub(crate) recorded: usize,
    /// The point that the next frame waits for on the CPU.
    keeper: Option<Box<dyn Fn() + Send>>,
}

pub(crate) enum Memory {
    Cuda { stream: Arc<CudaStream>, fill: CudaFunction, add: CudaFunction, count: CudaSlice<u32>, one: CudaSlice<u32> },
    Host(Arc<AtomicU32>),
}

impl Counter {
    pub(crate) fn new(compute: &Compute) -> Self {
        let memory = match compute.cuda() {
            None => Memory::Host(Arc::default()),
            Some(cuda) => {
                let (context, stream) = (cuda.device().context(), Arc::clone(cuda.stream()));
                // SAFETY: the slices are used only on this stream and in graphs that are launched
                // on it.
                unsafe { context.disable_event_tracking() };
                let module = context.load_module(Ptx::from_src(PROBE)).unwrap();
                let load = |name| module.load_function(name).unwrap();
                let (fill, add) = (load("fill_after"), load("add"));
                let (mut count, one) = (stream.alloc_zeros(LEN).unwrap(), stream.clone_htod(&[1; LEN]).unwrap());
                // A first launch would block while the stream waits for a gate.
                warm(&stream, &fill);
                let mut launch = stream.launch_builder(&add);
                launch.arg(&mut count).arg(&one).arg(&0u32);
                // SAFETY: the kernel's three parameters; with no elements, it adds nothing.
                unsafe { launch.launch(LaunchConfig::for_num_elems(1)) }.unwrap();
                stream.synchronize().unwrap();
                Memory::Cuda { stream, fill, add, count, one }
            }
        };
        Self { memory, recorded: 0, keeper: None }
    }

    /// Makes the next frame, and all later ones, wait for a gate.
    pub(crate) fn hold(&mut self, gate: &Gate) {
        match self.memory {
            Memory::Cuda { .. } => gate.hold_stream(),
            Memory::Host(_) => self.keeper = Some(Box::new(gate.waiter())),
        }
    }

    /// Increments the counter, and enqueues: write `i + count` to element `i`.
    fn step(&mut self, work: Work<'_, Words>) -> Result<(), RecordError> {
        self.recorded += 1;
        let len = u32::try_from(LEN)?;
        match (&mut self.memory, work) {
            (Memory::Host(count), Work::Host(host)) => {
                let (count, keeper) = (Arc::clone(count), self.keeper.take());
                host.run(move |words| {
                    if let Some(keeper) = keeper {
                        keeper();
                    }
                    let count = count.fetch_add(1, Ordering::Relaxed) + 1;
                    words.iter_mut().zip(count..).for_each(|(word, value)| *word = value);
                })?;
            }
            (Memory::Cuda { fill, add, count, one, .. }, Work::Cuda(mut cuda)) => {
                let (config, base, nanoseconds) = (LaunchConfig::for_num_elems(len), 0u32, 0u64);
                let mut launch = cuda.stream.launch_builder(fill);
                launch.arg(&mut cuda.resources).arg(&len).arg(&base).arg(&nanoseconds);
                // SAFETY: the kernel's four parameters, of these types, and it writes `len`
                // elements.
                unsafe { launch.launch(config) }?;
                let mut launch = cuda.stream.launch_builder(add);
                launch.arg(&mut *count).arg(&*one).arg(&len);
                // SAFETY: the kernel's three parameters; both slices have `len` elements.
                unsafe { launch.launch(config) }?;
                let mut launch = cuda.stream.launch_builder(add);
                launch.arg(&mut cuda.resources).arg(&*count).arg(&len);
                // SAFETY: as above.
                unsafe { launch.launch(config) }?;
            }
            _ => return Err("a counter of another backend".into()),
        }
        Ok(())
    }

    /// How often the closure must have been called for `frames` frames with `slots` slots.
    pub(crate) fn calls(&self, frames: usize, slots: usize) -> usize {
        match self.memory {
            Memory::Cuda { .. } => slots.min(frames),
            Memory::Host(_) => frames,
        }
    }
}

/// Computes a frame with the counter.
pub(crate) fn compute(
    exchange: &mut Exchange<Words>,
    graph: &mut FrameGraph<Words>,
    counter: &mut Counter,
) -> RenderTurn<Words> {
    // SAFETY: the counter outlives the graph in every test, and frees its memory in stream order.
    unsafe { exchange.compute_with(graph, |_, work| counter.step(work)) }.unwrap()
}

pub(crate) fn read(readback: &Readback, turn: RenderTurn<Words>) -> Vec<u32> {
    let source = (turn.resources().as_raw(), turn.resources().size());
    readback.run(turn, &[source])
}
