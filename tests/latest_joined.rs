//! Work of other CUDA streams on a frame of a latest exchange, from a turn that could not signal:
//! Vulkan gets the slot back only after that work.
#![allow(unsafe_code, clippy::unwrap_used)] // Submissions.

use bridge::cuda_import::cudarc::driver::{result, sys};
use bridge::{
    Backend, BufferAccess, BufferSpec, Compute, Error, Exchange, LatestInfo, LatestReader, LatestWriter, RenderFirst,
    Work,
};
use bridge_tests::{Commands, Gate, Rig};

const LEN: usize = 1024;
type Words = BufferSpec<u32>;
type Writer = LatestWriter<Words, RenderFirst>;
type Reader = LatestReader<Words, RenderFirst>;

#[test]
fn work_without_a_signal_is_waited_for() {
    Rig::case(Backend::Cuda, "of_a_turn_with_the_same_frame", |rig, compute| work_is_waited_for(rig, compute, false));
    Rig::case(Backend::Cuda, "of_a_turn_with_a_new_frame", |rig, compute| work_is_waited_for(rig, compute, true));
}

/// Fills a frame with its number.
fn draw(rig: &Rig, writer: &mut Writer, commands: &Commands) {
    let turn = writer.begin().unwrap();
    let raw = commands.begin();
    let word = u32::try_from(turn.frame()).unwrap();
    // SAFETY: recording, of the right family, submitted with this turn.
    unsafe { turn.record_acquire(raw) };
    let buffer = turn.resources().as_raw();
    // SAFETY: recording; the buffer may be filled.
    unsafe { rig.device().as_raw().cmd_fill_buffer(raw, buffer, 0, 4 * LEN as u64, word) };
    // SAFETY: as above.
    unsafe { turn.record_release(raw) };
    commands.end();
    // SAFETY: recorded with the turn's barriers, and waited for here.
    unsafe { turn.submit(&[raw]) }.unwrap().wait(Rig::LONG).unwrap();
}

fn work_is_waited_for(rig: &Rig, compute: &Compute, new: bool) {
    let info = LatestInfo { name: "joined", timeout: Rig::LONG, ..Default::default() };
    let spec = Words::new(LEN, BufferAccess::TRANSFER_WRITE);
    let (mut writer, mut reader): (Writer, Reader) = Exchange::latest_render_first(compute, &info, spec).unwrap();
    let commands = Commands::new(rig.device());
    let home = reader.compute().cuda().unwrap().stream().clone();
    let other = home.context().new_stream().unwrap();
    let mut copy = other.alloc_zeros::<u32>(LEN).unwrap();
    other.synchronize().unwrap();
    draw(rig, &mut writer, &commands);
    reader.newest().unwrap().unwrap().finish().unwrap().wait(Rig::LONG).unwrap();
    if new {
        draw(rig, &mut writer, &commands);
    }
    let gate = Gate::on_stream(reader.compute(), 0, &other);
    let mut turn = reader.newest().unwrap().unwrap();
    assert_eq!(turn.is_new(), new);
    let frame = u32::try_from(turn.frame()).unwrap();
    gate.hold_stream();
    match turn.work() {
        Work::Cuda(cuda) => other.memcpy_dtod(&cuda.resources, &mut copy).unwrap(),
        _ => unreachable!("the compute side is CUDA"),
    }
    // A captured stream cannot wait.
    home.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
    let error = turn.finish().unwrap_err();
    // SAFETY: a live stream, which is captured.
    let graph = unsafe { result::stream::end_capture(home.cu_stream()) }.unwrap();
    // SAFETY: the graph that was just captured, which was never instantiated.
    unsafe { result::graph::destroy(graph) }.unwrap();
    assert!(error.to_string().contains("captur"), "{error}");
    // The next turn returns the slot.
    draw(rig, &mut writer, &commands);
    let turn = reader.newest().unwrap().unwrap();
    assert!(turn.is_new());
    let read = turn.finish().unwrap();
    let waited = read.wait(Rig::MOMENT);
    assert!(matches!(waited, Err(Error::Timeout { .. })), "the slot is Vulkan's while it is copied: {waited:?}");
    gate.open();
    read.wait(Rig::LONG).unwrap();
    for _ in 0..2 * writer.slots() {
        draw(rig, &mut writer, &commands);
    }
    assert_eq!(other.clone_dtoh(&copy).unwrap(), vec![frame; LEN], "drawn over while it was copied");
    drop((gate, commands));
    writer.close(reader).unwrap();
}
