//! Frames as CUDA graphs: whole and in order like any other, captured once a slot. On the CPU the same program runs its
//! closure in every frame.
#![allow(unsafe_code, clippy::unwrap_used)] // Graphs and submitting.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bridge::cuda_import::cudarc::driver::{CudaFunction, CudaSlice, CudaStream, LaunchConfig, PushKernelArg};
use bridge::cuda_import::cudarc::nvrtc::Ptx;
use bridge::{
    Backend, BufferSpec, Compute, Consumer, Error, Exchange, ExchangeInfo, FrameGraph, RecordError, RenderFirst,
    RenderTurn, Stage, Work,
};
use bridge_tests::{Commands, Filler, PROBE, Readback, Rig, on_both_backends, on_cuda_alone};

on_both_backends!(
    every_frame_crosses_whole,
    values_rise_over_a_thousand_frames,
    vulkan_waits_for_a_slow_graph,
    a_graph_waits_for_a_slow_reader,
    frames_with_and_without_a_graph_follow_each_other,
    frames_that_vulkan_begins,
    skipped_frames_cost_nothing,
    a_closure_that_fails_loses_one_frame,
    the_graph_of_another_exchange_is_refused,
    a_graph_and_its_exchange_go_in_any_order,
    invalidating_records_anew,
);

on_cuda_alone!(another_stream_is_refused, two_exchanges_on_one_stream_capture_at_once);

const LEN: usize = 16 << 10;
const SIZE: u64 = 4 * LEN as u64;
/// Far longer than a frame takes when nobody waits.
const SLOW: Duration = Duration::from_millis(60);

type Words = BufferSpec<u32>;

fn words() -> Words {
    Words::new(LEN, Consumer::TRANSFER_WRITE | Consumer::TRANSFER_READ)
}

fn info(slots: usize) -> ExchangeInfo<'static> {
    ExchangeInfo { name: "graphs", slots, timeout: Rig::LONG, ..Default::default() }
}

fn exchange(compute: &Compute, slots: usize) -> Exchange<Words> {
    Exchange::new(compute, &info(slots), words()).unwrap()
}

/// The same work in every frame, with a number of its own in each: it counts in memory that the frames share.
struct Counter {
    memory: Memory,
    recorded: usize,
    delay: Duration,
}

enum Memory {
    Cuda { stream: Arc<CudaStream>, fill: CudaFunction, add: CudaFunction, count: CudaSlice<u32>, one: CudaSlice<u32> },
    Host(Arc<AtomicU32>),
}

impl Counter {
    /// Each frame takes at least `delay`.
    fn new(compute: &Compute, delay: Duration) -> Self {
        let memory = match compute.cuda() {
            None => Memory::Host(Arc::default()),
            Some(cuda) => {
                let (context, stream) = (cuda.device().context(), Arc::clone(cuda.stream()));
                // SAFETY: the slices are used on this stream alone, and in graphs that are launched on it.
                unsafe { context.disable_event_tracking() };
                let module = context.load_module(Ptx::from_src(PROBE)).unwrap();
                let load = |name| module.load_function(name).unwrap();
                let (fill, add) = (load("fill_after"), load("add"));
                let (count, one) = (stream.alloc_zeros(LEN).unwrap(), stream.clone_htod(&[1; LEN]).unwrap());
                Memory::Cuda { stream, fill, add, count, one }
            }
        };
        Self { memory, recorded: 0, delay }
    }

    /// Counts up, and enqueues: wait, then write i + the count.
    fn step(&mut self, work: Work<'_, Words>) -> Result<(), RecordError> {
        self.recorded += 1;
        let (delay, len) = (self.delay, u32::try_from(LEN)?);
        match (&mut self.memory, work) {
            (Memory::Host(count), Work::Host(host)) => {
                let count = Arc::clone(count);
                host.run(move |words| {
                    std::thread::sleep(delay);
                    let count = count.fetch_add(1, Ordering::Relaxed) + 1;
                    words.iter_mut().zip(count..).for_each(|(word, value)| *word = value);
                })?;
            }
            (Memory::Cuda { fill, add, count, one, .. }, Work::Cuda(mut cuda)) => {
                let (config, base, nanoseconds) =
                    (LaunchConfig::for_num_elems(len), 0u32, u64::try_from(delay.as_nanos())?);
                let mut launch = cuda.stream.launch_builder(fill);
                launch.arg(&mut cuda.resources).arg(&len).arg(&base).arg(&nanoseconds);
                // SAFETY: the kernel's four parameters, of these types, and it writes `len` elements.
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

    /// How often the closure must have been called for so many frames over so many slots.
    fn calls(&self, frames: usize, slots: usize) -> usize {
        match self.memory {
            Memory::Cuda { .. } => slots.min(frames),
            Memory::Host(_) => frames,
        }
    }
}

/// A frame that counts.
fn compute(exchange: &mut Exchange<Words>, graph: &mut FrameGraph<Words>, counter: &mut Counter) -> RenderTurn<Words> {
    // SAFETY: the counter outlives the graph in every test, and frees its memory in stream order.
    unsafe { exchange.compute_with(graph, |_, work| counter.step(work)) }.unwrap()
}

fn read(readback: &Readback, turn: RenderTurn<Words>) -> Vec<u32> {
    let source = (turn.resources().as_raw(), turn.resources().size());
    readback.run(turn, &[source])
}

fn every_frame_crosses_whole(rig: &Rig, side: &Compute) {
    let readback = Readback::new(rig.device(), SIZE);
    for slots in 1..=4 {
        let mut counter = Counter::new(side, Duration::ZERO);
        let mut exchange = exchange(side, slots);
        let mut graph = FrameGraph::new(&exchange);
        for frame in 0..20u32 {
            let turn = compute(&mut exchange, &mut graph, &mut counter);
            assert_eq!((turn.frame(), turn.slot()), (u64::from(frame), frame as usize % slots));
            assert!(read(&readback, turn) == Filler::pattern(LEN, frame + 1), "frame {frame} of {slots} slots");
        }
        assert_eq!(counter.recorded, counter.calls(20, slots));
        drop(graph);
        exchange.close().unwrap();
    }
}

fn values_rise_over_a_thousand_frames(rig: &Rig, side: &Compute) {
    const FRAMES: u32 = 1000;
    let readback = [(); 3].map(|()| Readback::new(rig.device(), SIZE));
    let mut pending = [const { None::<(u32, bridge::TimelinePoint)> }; 3];
    let mut counter = Counter::new(side, Duration::ZERO);
    let mut exchange = exchange(side, 3);
    let mut graph = FrameGraph::new(&exchange);
    for frame in 0..FRAMES {
        let slot = frame as usize % 3;
        // The readback of a slot is read and recorded again three frames later: so many are on their way.
        if let Some((before, point)) = pending[slot].take() {
            point.wait(Rig::LONG).unwrap();
            assert!(readback[slot].words() == Filler::pattern(LEN, before + 1), "frame {before}");
        }
        let turn = compute(&mut exchange, &mut graph, &mut counter);
        assert_eq!(turn.computed().value(), u64::from(frame) + 1);
        let commands = readback[slot].record(&turn, &[(turn.resources().as_raw(), SIZE)]);
        // SAFETY: recorded with the turn's barriers; waited for above or below.
        let point = unsafe { turn.submit(&[commands]) }.unwrap();
        assert_eq!(point.value(), u64::from(frame) + 1);
        pending[slot] = Some((frame, point));
    }
    for (slot, last) in pending.into_iter().enumerate() {
        let (frame, point) = last.unwrap();
        point.wait(Rig::LONG).unwrap();
        assert!(readback[slot].words() == Filler::pattern(LEN, frame + 1), "frame {frame}");
    }
    assert_eq!(counter.recorded, counter.calls(FRAMES as usize, 3));
}

fn vulkan_waits_for_a_slow_graph(rig: &Rig, side: &Compute) {
    let readback = Readback::new(rig.device(), SIZE);
    let mut counter = Counter::new(side, SLOW);
    let mut exchange = exchange(side, 2);
    let mut graph = FrameGraph::new(&exchange);
    for frame in 0..6u32 {
        let turn = compute(&mut exchange, &mut graph, &mut counter);
        assert!(!turn.computed().is_reached().unwrap(), "the computation is too fast to prove anything");
        assert!(read(&readback, turn) == Filler::pattern(LEN, frame + 1), "frame {frame}");
    }
}

/// With one slot, a graph must not touch what the frame before still reads, neither when captured nor when launched again.
fn a_graph_waits_for_a_slow_reader(rig: &Rig, side: &Compute) {
    let (slow, fast) = (Readback::new(rig.device(), SIZE), Readback::new(rig.device(), SIZE));
    // The reader is slow because its submission is behind one that waits for a slow computation of others.
    let other = Compute::new(rig.device(), side.backend()).unwrap();
    let (mut blocker, filler) = (exchange(&other, 1), Filler::new(&other));
    let mut counter = Counter::new(side, Duration::ZERO);
    let mut exchange = exchange(side, 1);
    let mut graph = FrameGraph::new(&exchange);
    for frame in [0, 2, 4u32] {
        let mut turn = blocker.begin().unwrap();
        filler.fill(&mut turn, 0, SLOW * 5);
        let turn = turn.finish().unwrap();
        let commands = slow.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
        // SAFETY: recorded with the turn's barriers; waited for below.
        let blocked = unsafe { turn.submit(&[commands]) }.unwrap();

        let turn = compute(&mut exchange, &mut graph, &mut counter);
        let commands = fast.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
        // SAFETY: as above.
        let first = unsafe { turn.submit(&[commands]) }.unwrap();

        let next = compute(&mut exchange, &mut graph, &mut counter);
        assert!(!first.is_reached().unwrap(), "the reader is too fast to prove anything");
        first.wait(Rig::LONG).unwrap();
        assert!(fast.words() == Filler::pattern(LEN, frame + 1), "the next frame overwrote what frame {frame} read");
        blocked.wait(Rig::LONG).unwrap();
        assert!(read(&fast, next) == Filler::pattern(LEN, frame + 2));
    }
}

fn frames_with_and_without_a_graph_follow_each_other(rig: &Rig, side: &Compute) {
    let (readback, filler) = (Readback::new(rig.device(), SIZE), Filler::new(side));
    let mut counter = Counter::new(side, Duration::from_millis(5));
    let mut exchange = exchange(side, 2);
    let mut graph = FrameGraph::new(&exchange);
    let mut counted = 0;
    for frame in 0..20u32 {
        let turn = if frame % 3 == 1 {
            let mut turn = exchange.begin().unwrap();
            filler.fill(&mut turn, 1_000_000 + frame, Duration::from_millis(5));
            turn.finish().unwrap()
        } else {
            counted += 1;
            compute(&mut exchange, &mut graph, &mut counter)
        };
        let expected = if frame % 3 == 1 { 1_000_000 + frame } else { counted };
        assert!(read(&readback, turn) == Filler::pattern(LEN, expected), "frame {frame}");
    }
}

/// Vulkan fills, the graph adds the frame's number to a sum, and the sum is what every frame must have seen.
fn frames_that_vulkan_begins(rig: &Rig, side: &Compute) {
    let mut counter = Counter::new(side, Duration::ZERO);
    let commands = Commands::new(rig.device());
    let mut exchange: Exchange<Words, RenderFirst> = Exchange::render_first(side, &info(2), words()).unwrap();
    let mut graph = FrameGraph::new(&exchange);
    let seen = Arc::new(AtomicU32::new(0));
    let mut sum = 0;
    for frame in 0..20u32 {
        let turn = exchange.begin().unwrap();
        let recorded = commands.fill(&turn, turn.resources().as_raw(), frame);
        // SAFETY: recorded with the turn's barriers; recording again waits.
        let turn = unsafe { turn.submit(&[recorded]) }.unwrap();
        commands.note(turn.rendered());
        let step = |_, work: Work<'_, Words>| match (&mut counter.memory, work) {
            (Memory::Cuda { add, count, .. }, Work::Cuda(cuda)) => {
                let len = u32::try_from(LEN)?;
                let mut launch = cuda.stream.launch_builder(add);
                let drawn = cuda.resources.as_view();
                launch.arg(&mut *count).arg(&drawn).arg(&len);
                // SAFETY: the kernel's three parameters; both have `len` elements.
                unsafe { launch.launch(LaunchConfig::for_num_elems(len)) }?;
                Ok(())
            }
            (_, Work::Host(host)) => {
                let seen = Arc::clone(&seen);
                Ok(host.run(move |words| _ = seen.fetch_add(words[LEN - 1], Ordering::Relaxed))?)
            }
            _ => Err("a counter of another backend".into()),
        };
        // SAFETY: the counter outlives the graph.
        let point = unsafe { turn.compute_with(&mut graph, step) }.unwrap();
        point.wait(Rig::LONG).unwrap();
        sum += frame;
        let total = match &counter.memory {
            Memory::Cuda { stream, count, .. } => {
                let total = stream.clone_dtoh(count).unwrap();
                assert!(total == vec![total[0]; LEN], "frame {frame}");
                total[0]
            }
            Memory::Host(_) => seen.load(Ordering::Relaxed),
        };
        assert_eq!(total, sum, "frame {frame}");
    }
}

fn skipped_frames_cost_nothing(rig: &Rig, side: &Compute) {
    let readback = Readback::new(rig.device(), SIZE);
    let mut counter = Counter::new(side, Duration::ZERO);
    let mut exchange = exchange(side, 2);
    let mut graph = FrameGraph::new(&exchange);
    for frame in 0..12u32 {
        let turn = compute(&mut exchange, &mut graph, &mut counter);
        match frame % 4 {
            3 => assert!(read(&readback, turn) == Filler::pattern(LEN, frame + 1), "frame {frame}"),
            _ => turn.skip(),
        }
    }
}

fn a_closure_that_fails_loses_one_frame(rig: &Rig, side: &Compute) {
    let readback = Readback::new(rig.device(), SIZE);
    let mut counter = Counter::new(side, Duration::ZERO);
    let mut exchange = exchange(side, 2);
    let mut graph = FrameGraph::new(&exchange);
    let turn = compute(&mut exchange, &mut graph, &mut counter);
    assert!(read(&readback, turn) == Filler::pattern(LEN, 1));
    for panics in [false, true] {
        let fail = |_: usize, _: Work<'_, Words>| match panics {
            true => panic!("on purpose"),
            false => Err("on purpose".into()),
        };
        // SAFETY: nothing is enqueued.
        let failed = catch_unwind(AssertUnwindSafe(|| unsafe { exchange.compute_with(&mut graph, fail) }));
        match failed {
            Ok(Err(error @ Error::Record { frame: 1, slot: 1, .. })) if !panics => {
                assert!(error.to_string().contains("frame 1, slot 1, failed: on purpose"), "{error}");
            }
            Err(_) if panics => {}
            other => panic!("{other:?}"),
        }
        assert!(matches!(exchange.begin(), Err(Error::TurnLost { frame: 1, stage: Stage::Compute, .. })));
    }
    for frame in 1..6u32 {
        let turn = compute(&mut exchange, &mut graph, &mut counter);
        assert_eq!(turn.frame(), u64::from(frame));
        assert!(read(&readback, turn) == Filler::pattern(LEN, frame + 1), "frame {frame}");
    }
    assert_eq!(counter.recorded, counter.calls(6, 2));
}

fn the_graph_of_another_exchange_is_refused(rig: &Rig, side: &Compute) {
    let readback = Readback::new(rig.device(), SIZE);
    let mut counter = Counter::new(side, Duration::ZERO);
    let (mut exchange, other) = (exchange(side, 2), exchange(side, 2));
    let mut foreign = FrameGraph::new(&other);
    // SAFETY: nothing is enqueued.
    let refused = unsafe { exchange.compute_with(&mut foreign, |_, _| panic!("called")) };
    let Err(error @ Error::InvalidArgument { .. }) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("FrameGraph::new"), "{error}");
    let mut graph = FrameGraph::new(&exchange);
    let turn = compute(&mut exchange, &mut graph, &mut counter);
    assert_eq!(turn.frame(), 0, "a frame had begun");
    assert!(read(&readback, turn) == Filler::pattern(LEN, 1));
}

fn a_graph_and_its_exchange_go_in_any_order(rig: &Rig, side: &Compute) {
    for graph_first in [true, false] {
        let readback = Readback::new(rig.device(), SIZE);
        let mut counter = Counter::new(side, SLOW);
        let mut exchange = exchange(side, 2);
        let mut graph = FrameGraph::new(&exchange);
        compute(&mut exchange, &mut graph, &mut counter).skip();
        let turn = compute(&mut exchange, &mut graph, &mut counter);
        let computed = turn.computed().clone();
        let commands = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
        // SAFETY: recorded with the turn's barriers; dropping both waits.
        let point = unsafe { turn.submit(&[commands]) }.unwrap();
        assert!(!computed.is_reached().unwrap(), "the graph is too fast to prove anything");
        if graph_first {
            drop(graph);
            drop(exchange);
        } else {
            drop(exchange);
            drop(graph);
        }
        assert!(point.is_reached().unwrap(), "dropping did not wait");
        assert!(readback.words() == Filler::pattern(LEN, 2));
    }
}

fn invalidating_records_anew(rig: &Rig, side: &Compute) {
    let readback = Readback::new(rig.device(), SIZE);
    let mut counter = Counter::new(side, Duration::from_millis(5));
    let mut exchange = exchange(side, 2);
    let mut graph = FrameGraph::new(&exchange);
    for frame in 0..12u32 {
        if frame % 6 == 0 {
            // Frames before may still run.
            graph.invalidate();
        }
        let turn = compute(&mut exchange, &mut graph, &mut counter);
        match frame % 6 {
            4 | 5 => turn.skip(),
            _ => assert!(read(&readback, turn) == Filler::pattern(LEN, frame + 1), "frame {frame}"),
        }
    }
    let per_round = counter.calls(6, 2);
    assert_eq!(counter.recorded, 2 * per_round);
    assert!(format!("{graph:?}").contains("2 of 2 slots") || side.backend() == Backend::Host, "{graph:?}");
}

/// What cannot be in the graph is an error when it is captured, not a frame that is wrong later.
fn another_stream_is_refused(rig: &Rig, side: &Compute) {
    let readback = Readback::new(rig.device(), SIZE);
    let mut counter = Counter::new(side, Duration::ZERO);
    let mut exchange = exchange(side, 2);
    let mut graph = FrameGraph::new(&exchange);
    let home = Arc::clone(side.cuda().unwrap().stream());
    let guest = side.cuda().unwrap().device().new_stream().unwrap();
    for elsewhere in [home, guest] {
        let stray = |_: usize, work: Work<'_, Words>| match work {
            Work::Cuda(mut cuda) => Ok(elsewhere.memset_zeros(&mut cuda.resources)?),
            Work::Host(_) => Err("not CUDA".into()),
        };
        // SAFETY: what is enqueued is refused.
        let refused = unsafe { exchange.compute_with(&mut graph, stray) };
        let Err(error @ Error::Cuda(_)) = refused else { panic!("{refused:?}") };
        assert!(error.to_string().contains("the stream that is lent"), "{error}");
        assert!(matches!(exchange.begin(), Err(Error::TurnLost { frame: 0, .. })));
    }
    // Copies on the lent stream are a part of the graph.
    let (memory, mut frame) = (&mut counter.memory, 0);
    let Memory::Cuda { count, one, add, .. } = memory else { panic!("not CUDA") };
    while frame < 6 {
        let copy = |_: usize, work: Work<'_, Words>| match work {
            Work::Cuda(mut cuda) => {
                let len = u32::try_from(LEN)?;
                let mut launch = cuda.stream.launch_builder(add);
                launch.arg(&mut *count).arg(&*one).arg(&len);
                // SAFETY: the kernel's three parameters; both have `len` elements.
                unsafe { launch.launch(LaunchConfig::for_num_elems(len)) }?;
                Ok(cuda.stream.memcpy_dtod(&*count, &mut cuda.resources)?)
            }
            Work::Host(_) => Err("not CUDA".into()),
        };
        // SAFETY: the counter outlives the graph.
        let turn = unsafe { exchange.compute_with(&mut graph, copy) }.unwrap();
        frame += 1;
        assert!(read(&readback, turn) == vec![frame; LEN], "frame {frame}");
    }
}

/// What one thread captures is not disturbed by what another enqueues on the same compute side.
fn two_exchanges_on_one_stream_capture_at_once(_: &Rig, side: &Compute) {
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut counter = Counter::new(side, Duration::ZERO);
                for _ in 0..50 {
                    let mut exchange = exchange(side, 2);
                    let mut graph = FrameGraph::new(&exchange);
                    for _ in 0..2 {
                        // Both at once, so that both slots are captured: a skipped slot is taken again first.
                        let turns = [(); 2].map(|()| compute(&mut exchange, &mut graph, &mut counter));
                        for turn in turns {
                            let point = turn.computed().clone();
                            turn.skip();
                            point.wait(Rig::LONG).unwrap();
                        }
                    }
                    drop(graph);
                    exchange.close().unwrap();
                }
                assert_eq!(counter.recorded, 100);
            });
        }
    });
}
