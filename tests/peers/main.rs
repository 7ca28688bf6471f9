//! Compute on other GPUs than the one that draws, alone and several together: ordering with
//! negative controls, contents, and what is refused. What applies to every compute side is also
//! tested on peers in `exchange`, `grow` and `pool`.
#![allow(unsafe_code, clippy::unwrap_used)] // Submitting, and launches outside of a turn.

mod foreign_streams;
mod hidden;
mod images;
mod lives;
mod lost;
mod order;
mod refused;
mod split;

use bridge::ash::vk;
use bridge::cuda_import::cudarc::driver::{CudaFunction, CudaStream, LaunchConfig, PushKernelArg};
use bridge::cuda_import::cudarc::nvrtc::Ptx;
use bridge::{BufferAccess, BufferSpec, Compute, ComputeTurn, Exchange, ExchangeInfo, RenderTurn};
use bridge_tests::{Filler, PROBE, Readback, Rig, on_both_backends, on_peers, warm};
use std::sync::Arc;

use foreign_streams::{
    a_copy_of_a_dropped_turn_is_waited_for, kernels_wait_for_a_copy_of_their_part,
    the_leader_waits_for_a_copy_on_another_stream,
};
use images::{
    graphs_write_an_image_by_its_rows, images_leave_nothing, kernels_write_an_image_by_its_rows,
    the_view_reports_that_it_has_rows, vulkan_waits_for_other_streams_of_the_leader,
};
use lives::nothing_is_left;
use order::{
    a_follower_of_a_dropped_turn_is_waited_for, a_follower_unknown_to_the_turn_is_too_late,
    a_follower_unknown_to_the_turn_overwrites, a_follower_waits_for_a_slow_reader, the_leader_waits_for_a_split,
    vulkan_waits_for_a_slow_follower,
};
use refused::{a_single_compute_device_is_not_split, invalid_ranges_are_refused};
use split::{each_gpu_writes_its_part, parts_are_grown_and_kept, two_splits_run_in_order};

on_peers!(
    each_gpu_writes_its_part,
    two_splits_run_in_order,
    parts_are_grown_and_kept,
    the_leader_waits_for_a_split,
    the_leader_waits_for_a_copy_on_another_stream,
    a_copy_of_a_dropped_turn_is_waited_for,
    kernels_wait_for_a_copy_of_their_part,
    kernels_write_an_image_by_its_rows,
    graphs_write_an_image_by_its_rows,
    vulkan_waits_for_other_streams_of_the_leader,
    the_view_reports_that_it_has_rows,
    images_leave_nothing,
    invalid_ranges_are_refused,
    nothing_is_left,
);

/// Tests that can only fail with a second GPU.
mod on_two_gpus_alone {
    use bridge_tests::Peers;

    macro_rules! on_both {
        ($($name:ident),+ $(,)?) => { $(#[test] fn $name() { Peers::Both.run(super::$name) })+ };
    }

    on_both!(
        a_follower_waits_for_a_slow_reader,
        a_follower_unknown_to_the_turn_overwrites,
        vulkan_waits_for_a_slow_follower,
        a_follower_unknown_to_the_turn_is_too_late,
        a_follower_of_a_dropped_turn_is_waited_for,
    );
}

on_both_backends!(a_single_compute_device_is_not_split);

/// A multiple of the alignment of the parts, also when divided among two or four GPUs.
const LEN: usize = 64 << 10;
const SIZE: u64 = 4 * LEN as u64;

type Words = BufferSpec<u32>;

fn words(compute: &Compute, slots: usize) -> Exchange<Words> {
    let info = ExchangeInfo { name: "parts", slots, timeout: Rig::LONG, ..Default::default() };
    Exchange::new(compute, &info, Words::new(LEN, BufferAccess::TRANSFER_READ)).unwrap()
}

/// Enqueues for each GPU: write the pattern that begins with `base` plus a value for its place in
/// the group.
fn fill_parts(compute: &Compute, filler: &Filler, turn: &mut ComputeTurn<Words>, base: u32) {
    let ranges = compute.cuda().unwrap().even_split::<u32>(LEN);
    for (place, part) in (0..).zip(turn.work_split(&ranges).unwrap()) {
        filler.fill_part(part, base + 100_000_000 * place);
    }
}

/// The address of the second GPU's part.
fn second_part(compute: &Compute, turn: &mut ComputeTurn<Words>) -> u64 {
    let ranges = compute.cuda().unwrap().even_split::<u32>(LEN);
    turn.work_split(&ranges).unwrap()[1].elements.as_raw()
}

/// The words that [`fill_parts`] writes.
fn parts(gpus: usize, base: u32) -> Vec<u32> {
    let part = |place| Filler::pattern(LEN / gpus, base + 100_000_000 * place);
    (0..gpus as u32).flat_map(part).collect()
}

fn read(readback: &Readback, turn: RenderTurn<Words>) -> Vec<u32> {
    let source = (turn.resources().as_raw(), SIZE);
    readback.run(turn, &[source])
}

/// Records commands that read the whole buffer.
fn record(readback: &Readback, turn: &RenderTurn<Words>) -> vk::CommandBuffer {
    readback.record(turn, &[(turn.resources().as_raw(), SIZE)])
}

/// Launches on a GPU's stream without any turn knowing: wrong on purpose.
struct Intruder {
    stream: Arc<CudaStream>,
    fill: CudaFunction,
}

impl Intruder {
    /// For the GPU at this place.
    fn new(compute: &Compute, place: usize) -> Self {
        let (_, stream) = compute.cuda().unwrap().gpus().nth(place).unwrap();
        let module = stream.context().load_module(Ptx::from_src(PROBE)).unwrap();
        let fill = module.load_function("fill_after").unwrap();
        warm(stream, &fill);
        Self { stream: Arc::clone(stream), fill }
    }

    /// Enqueues: write `base` and the numbers after it to `len` words at an address.
    fn fill(&self, address: u64, len: usize, base: u32) {
        let len = u32::try_from(len).unwrap();
        let mut launch = self.stream.launch_builder(&self.fill);
        launch.arg(&address).arg(&len).arg(&base).arg(&0u64);
        // SAFETY: the kernel's four parameters, of these types; the address is of that many words
        // of a live slot. The order is wrong on purpose: the memory consists of plain words, so a
        // torn read only yields wrong data.
        unsafe { launch.launch(LaunchConfig::for_num_elems(len)) }.unwrap();
    }
}
