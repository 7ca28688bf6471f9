//! The opposite direction: frames written by Vulkan are read by the compute side, completely and in
//! order.
#![allow(unsafe_code, clippy::unwrap_used)] // Submissions.

use std::sync::{Arc, Mutex};

use bridge::ash::vk;
use bridge::cuda_import::cudarc::driver::{CudaSlice, CudaStream};
use bridge::{
    BufferAccess, BufferSpec, Compute, ComputeTurn, Error, Exchange, ExchangeInfo, QueueKind, RenderFirst, RenderTurn,
    Stage, Work,
};
use bridge_tests::{Commands, Gate, Readback, Rig, on_both_backends, on_peers};

on_both_backends!(
    every_frame_crosses_intact,
    computing_waits_for_slow_commands,
    computing_reads_stale_data_if_signaled_too_early,
    vulkan_waits_for_a_slow_reader,
    without_the_wait_vulkan_overwrites_what_is_read,
    turns_out_of_step_are_refused,
    dropped_turns_are_reported_and_survived,
    an_engine_submits_for_itself,
    two_exchanges_make_a_round_trip,
);

on_peers!(
    every_frame_crosses_intact,
    computing_waits_for_slow_commands,
    computing_reads_stale_data_if_signaled_too_early,
    vulkan_waits_for_a_slow_reader,
    without_the_wait_vulkan_overwrites_what_is_read,
);

const LEN: usize = 64 << 10;
const SIZE: u64 = 4 * LEN as u64;

type Words = BufferSpec<u32>;
type Scene = Exchange<Words, RenderFirst>;

fn words() -> Words {
    Words::new(LEN, BufferAccess::TRANSFER_WRITE | BufferAccess::TRANSFER_READ)
}

fn exchange(compute: &Compute, slots: usize) -> Scene {
    Exchange::render_first(
        compute,
        &ExchangeInfo { name: "scene", slots, timeout: Rig::LONG, ..Default::default() },
        words(),
    )
    .unwrap()
}

/// Copies the contents of a compute turn in the order of the compute side.
enum Reader {
    Cuda { stream: Arc<CudaStream>, copy: CudaSlice<u32> },
    Host(Arc<Mutex<Vec<u32>>>),
}

impl Reader {
    fn new(compute: &Compute) -> Self {
        let Some(cuda) = compute.cuda() else { return Self::Host(Arc::default()) };
        let stream = Arc::clone(cuda.stream());
        let copy = stream.alloc_zeros(LEN).unwrap();
        Self::Cuda { stream, copy }
    }

    /// Enqueues a copy.
    fn read(&mut self, turn: &mut ComputeTurn<Words, RenderFirst>) {
        match (self, turn.work()) {
            (Self::Host(copy), Work::Host(host)) => {
                let copy = Arc::clone(copy);
                host.run(move |words| *copy.lock().unwrap() = words.to_vec()).unwrap();
            }
            (Self::Cuda { copy, .. }, Work::Cuda(cuda)) => {
                cuda.stream.memcpy_dtod(&cuda.resources.as_view(), copy).unwrap();
            }
            _ => panic!("a reader of another backend"),
        }
    }

    /// Returns the copy. Its turn must have been waited for.
    fn words(&self) -> Vec<u32> {
        match self {
            Self::Cuda { stream, copy } => stream.clone_dtoh(copy).unwrap(),
            Self::Host(copy) => copy.lock().unwrap().clone(),
        }
    }
}

/// Submits a fill of the turn's buffer.
fn draw(commands: &Commands, turn: RenderTurn<Words, RenderFirst>, word: u32) -> ComputeTurn<Words, RenderFirst> {
    let recorded = commands.fill(&turn, turn.resources().as_raw(), word);
    // SAFETY: recorded with the turn's barriers; every test waits before it reuses the commands.
    let turn = unsafe { turn.submit(&[recorded]) }.unwrap();
    commands.note(turn.rendered());
    turn
}

fn every_frame_crosses_intact(rig: &Rig, compute: &Compute) {
    let commands = Commands::new(rig.device());
    let mut reader = Reader::new(compute);
    for slots in 1..=4 {
        let mut exchange = exchange(compute, slots);
        for frame in 0..20u32 {
            let turn = exchange.begin().unwrap();
            assert_eq!(turn.frame(), u64::from(frame));
            let mut turn = draw(&commands, turn, frame + 7);
            reader.read(&mut turn);
            turn.finish().unwrap().wait(Rig::LONG).unwrap();
            assert!(reader.words() == [frame + 7; LEN], "frame {frame} of {slots} slots");
        }
        exchange.close().unwrap();
    }
}

fn computing_waits_for_slow_commands(rig: &Rig, compute: &Compute) {
    let commands = Commands::new(rig.device());
    let mut reader = Reader::new(compute);
    let mut exchange = exchange(compute, 2);
    for frame in 0..4u32 {
        let gate = Gate::new(rig.device());
        gate.hold_queue(rig.device(), QueueKind::Graphics);
        let mut turn = draw(&commands, exchange.begin().unwrap(), frame + 1);
        reader.read(&mut turn);
        let rendered = turn.rendered();
        let read = turn.finish().unwrap();
        assert!(!rendered.is_reached().unwrap() && !read.is_reached().unwrap(), "the gate holds nothing");
        gate.open();
        read.wait(Rig::LONG).unwrap();
        assert!(reader.words() == [frame + 1; LEN]);
    }
}

/// Negative control of the test above: the signal happens before the commands have run.
fn computing_reads_stale_data_if_signaled_too_early(rig: &Rig, compute: &Compute) {
    let commands = Commands::new(rig.device());
    let mut reader = Reader::new(compute);
    let gate = Gate::new(rig.device());
    let mut exchange = exchange(compute, 1);
    let turn = draw(&commands, exchange.begin().unwrap(), 1);
    turn.finish().unwrap().wait(Rig::LONG).unwrap();

    let turn = exchange.begin().unwrap();
    let recorded = commands.fill(&turn, turn.resources().as_raw(), 2);
    let turn = turn.lend().unwrap();
    let parts = turn.parts();
    let signals = [parts.signal()];
    let early = vk::SubmitInfo2::default().wait_semaphore_infos(parts.waits()).signal_semaphore_infos(&signals);
    // SAFETY: incorrect on purpose: the signal precedes the commands. The memory is plain words.
    unsafe { rig.device().queue().submit(&[early], vk::Fence::null()) }.unwrap();
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(recorded)];
    let late = vk::SubmitInfo2::default().command_buffer_infos(&infos);
    // SAFETY: recorded; the gate's drop waits for the queue.
    unsafe { rig.device().queue().submit(&[late], vk::Fence::null()) }.unwrap();
    // SAFETY: both parts were submitted, although in the wrong order.
    let mut turn = unsafe { turn.submitted() }.unwrap();
    reader.read(&mut turn);
    turn.finish().unwrap().wait(Rig::LONG).unwrap();
    assert!(reader.words() == [1; LEN], "signaled too early, computing has to read the frame before");
    // The commands run before their pool is destroyed.
    drop(gate);
}

/// With one slot, the commands of the second frame must not modify what the computation of the
/// first frame still reads.
fn vulkan_waits_for_a_slow_reader(rig: &Rig, compute: &Compute) {
    let (first, second) = (Commands::new(rig.device()), Commands::new(rig.device()));
    let mut reader = Reader::new(compute);
    let gate = Gate::on(compute);
    let mut exchange = exchange(compute, 1);
    let mut turn = draw(&first, exchange.begin().unwrap(), 1);
    gate.hold(&mut turn);
    reader.read(&mut turn);
    let read = turn.finish().unwrap();
    let turn = draw(&second, exchange.begin().unwrap(), 2);
    assert!(!read.is_reached().unwrap() && !turn.rendered().is_reached().unwrap(), "the gate holds nothing");
    gate.open();
    read.wait(Rig::LONG).unwrap();
    assert!(reader.words() == [1; LEN], "frame 1 overwrote what frame 0 was reading");
    turn.finish().unwrap().wait(Rig::LONG).unwrap();
}

/// Negative control of the test above: the same without Vulkan's wait.
fn without_the_wait_vulkan_overwrites_what_is_read(rig: &Rig, compute: &Compute) {
    // This is a hazard that the layer may detect.
    rig.allow(&["SYNC-HAZARD-WRITE-AFTER-WRITE"]);
    let (first, second) = (Commands::new(rig.device()), Commands::new(rig.device()));
    let mut reader = Reader::new(compute);
    let gate = Gate::on(compute);
    let mut exchange = exchange(compute, 1);
    let mut turn = draw(&first, exchange.begin().unwrap(), 1);
    gate.hold(&mut turn);
    reader.read(&mut turn);
    let rendered = turn.rendered();
    let read = turn.finish().unwrap();
    rendered.wait(Rig::LONG).unwrap();
    let turn = exchange.begin().unwrap();
    let recorded = second.fill(&turn, turn.resources().as_raw(), 2);
    let turn = turn.lend().unwrap();
    let parts = turn.parts();
    let (infos, signals) = ([vk::CommandBufferSubmitInfo::default().command_buffer(recorded)], [parts.signal()]);
    let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos).signal_semaphore_infos(&signals);
    // SAFETY: incorrect on purpose: `parts.waits()[0]` is missing. The memory is plain words.
    unsafe { rig.device().queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    // SAFETY: it was submitted, although without its wait.
    let turn = unsafe { turn.submitted() }.unwrap();
    second.note(turn.rendered());
    turn.rendered().wait(Rig::LONG).unwrap();
    assert!(!read.is_reached().unwrap(), "the gate holds nothing");
    gate.open();
    read.wait(Rig::LONG).unwrap();
    assert!(reader.words() == [2; LEN], "without its wait Vulkan has to overwrite what is read");
    turn.finish().unwrap().wait(Rig::LONG).unwrap();
}

fn turns_out_of_step_are_refused(rig: &Rig, compute: &Compute) {
    let commands = Commands::new(rig.device());
    let mut exchange = exchange(compute, 3);
    let turn = exchange.begin().unwrap();
    let error = exchange.begin().unwrap_err();
    assert!(matches!(error, Error::TurnOpen { frame: 0, stage: Stage::Render, .. }), "{error}");
    assert!(error.to_string().contains("submit or skip it"), "{error}");
    let turn = draw(&commands, turn, 1);
    assert!(matches!(exchange.begin(), Err(Error::TurnOpen { frame: 0, stage: Stage::Compute, .. })));
    turn.finish().unwrap().wait(Rig::LONG).unwrap();
    exchange.begin().unwrap().skip();
    let turn = exchange.begin().unwrap();
    assert_eq!(turn.frame(), 2);
    turn.skip();
    exchange.close().unwrap();
}

fn dropped_turns_are_reported_and_survived(rig: &Rig, compute: &Compute) {
    let commands = Commands::new(rig.device());
    let mut reader = Reader::new(compute);
    let gate = Gate::on(compute);
    let mut exchange = exchange(compute, 1);
    drop(exchange.begin().unwrap());
    assert!(matches!(exchange.begin(), Err(Error::TurnLost { frame: 0, stage: Stage::Render, .. })));
    let mut turn = draw(&commands, exchange.begin().unwrap(), 1);
    gate.hold(&mut turn);
    reader.read(&mut turn);
    let rendered = turn.rendered();
    drop(turn);
    assert!(matches!(exchange.begin(), Err(Error::TurnLost { frame: 1, stage: Stage::Compute, .. })));
    rendered.wait(Rig::LONG).unwrap();
    // Later commands wait for the work that the dropped turn had enqueued.
    let mut turn = draw(&commands, exchange.begin().unwrap(), 2);
    assert!(!turn.rendered().is_reached().unwrap(), "Vulkan did not wait for what a dropped turn had enqueued");
    gate.open();
    turn.rendered().wait(Rig::LONG).unwrap();
    assert!(reader.words() == [1; LEN], "Vulkan overwrote what a dropped turn was reading");
    reader.read(&mut turn);
    turn.finish().unwrap().wait(Rig::LONG).unwrap();
    assert!(reader.words() == [2; LEN]);
    exchange.close().unwrap();
}

fn an_engine_submits_for_itself(rig: &Rig, compute: &Compute) {
    let commands = Commands::new(rig.device());
    let mut reader = Reader::new(compute);
    let mut exchange = exchange(compute, 2);
    for frame in 0..6u32 {
        let turn = exchange.begin().unwrap();
        let recorded = commands.fill(&turn, turn.resources().as_raw(), frame);
        let turn = turn.lend().unwrap();
        let parts = turn.parts();
        let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(recorded)];
        let signals = [parts.signal()];
        let batch = vk::SubmitInfo2::default()
            .command_buffer_infos(&infos)
            .wait_semaphore_infos(parts.waits())
            .signal_semaphore_infos(&signals);
        // SAFETY: the turn's parts and its commands, which are waited for below.
        unsafe { rig.device().queue().submit(&[batch], vk::Fence::null()) }.unwrap();
        // SAFETY: it was just submitted.
        let mut turn = unsafe { turn.submitted() }.unwrap();
        commands.note(turn.rendered());
        reader.read(&mut turn);
        turn.finish().unwrap().wait(Rig::LONG).unwrap();
        assert!(reader.words() == [frame; LEN]);
    }
    exchange.close().unwrap();

    // A turn that may have been submitted.
    let info = ExchangeInfo { name: "lent", slots: 2, timeout: Rig::LONG, ..Default::default() };
    let mut exchange = Exchange::render_first(compute, &info, words()).unwrap();
    let turn = exchange.begin().unwrap().lend().unwrap();
    // SAFETY: nothing was submitted with the parts.
    unsafe { turn.not_submitted() };
    drop(exchange.begin().unwrap().lend().unwrap());
    // The other slot remains usable.
    for frame in 2..5 {
        let turn = exchange.begin().unwrap();
        assert_eq!(turn.frame(), frame);
        turn.skip();
    }
    assert!(exchange.flush_parts().unwrap().is_some());
    exchange.close().unwrap();
}

/// Vulkan draws, the compute side processes the result, Vulkan shows it: one exchange in each
/// direction on one compute side.
fn two_exchanges_make_a_round_trip(rig: &Rig, compute: &Compute) {
    let commands = Commands::new(rig.device());
    let readback = Readback::new(rig.device(), SIZE);
    let mut scene = exchange(compute, 2);
    let info = ExchangeInfo { name: "picture", slots: 2, timeout: Rig::LONG, ..Default::default() };
    let mut picture = Exchange::new(compute, &info, words()).unwrap();
    for frame in 0..6u32 {
        let mut drawn = draw(&commands, scene.begin().unwrap(), frame * 3);
        let mut shown = picture.begin().unwrap();
        match (drawn.work(), shown.work()) {
            (Work::Host(mut source), Work::Host(mut target)) => {
                source.run_with(&mut target, |source, target| target.copy_from_slice(source)).unwrap();
            }
            (Work::Cuda(source), Work::Cuda(mut target)) => {
                source.stream.memcpy_dtod(&source.resources.as_view(), &mut target.resources).unwrap();
            }
            _ => panic!("two turns of one compute side have different backends"),
        }
        drawn.finish().unwrap();
        let turn = shown.finish().unwrap();
        let source = (turn.resources().as_raw(), SIZE);
        assert!(readback.run(turn, &[source]) == [frame * 3; LEN], "frame {frame}");
    }
    let elsewhere = Compute::new(rig.device(), compute.backend()).unwrap();
    let mut other = exchange(&elsewhere, 1);
    let mut stranger = draw(&commands, other.begin().unwrap(), 0);
    let mut shown = picture.begin().unwrap();
    match (stranger.work(), shown.work()) {
        (Work::Host(mut source), Work::Host(mut target)) => {
            let error = source.run_with(&mut target, |_, _| ()).unwrap_err();
            assert!(error.to_string().contains("the same `Compute`"), "{error}");
        }
        // CUDA streams differ, and views are ordered on any stream.
        (Work::Cuda(source), Work::Cuda(target)) => assert!(!Arc::ptr_eq(source.stream, target.stream)),
        _ => panic!("two turns of one backend have different backends"),
    }
    stranger.finish().unwrap().wait(Rig::LONG).unwrap();
    shown.finish().unwrap().skip();
}
