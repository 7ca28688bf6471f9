//! Runs the examples of the documentation, which includes the same files.
#![allow(unsafe_code, clippy::unwrap_used)] // Recording and submissions.

use bridge::{Backend, BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, RenderTurn};
use bridge_tests::{Commands, Gate, Rig, on_both_backends};

mod cuda_work {
    include!("../crates/bridge/docs/cuda_work.rs");

    pub(super) fn run(compute: &Compute) -> Result<Vec<[f32; 4]>, Box<dyn Error>> {
        vertices(compute, include_str!("../shaders/first.ptx"))
    }
}

mod exchange {
    include!("../crates/bridge/docs/exchange.rs");

    pub(super) fn run(compute: &Compute) {
        frames(compute).unwrap();
    }
}

mod grow {
    include!("../crates/bridge/docs/grow.rs");

    pub(super) fn run(compute: &Compute) {
        more_and_more(compute).unwrap();
    }
}

mod image_spec {
    include!("../crates/bridge/docs/image_spec.rs");

    pub(super) fn run(compute: &Compute) {
        let texels = gradient(compute).unwrap();
        assert!(texels.len() == 64 * 48 && texels.chunks(64).all(|row| row[63] == 63.0 && row[1] == 1.0));
    }
}

mod kernel_work {
    include!("../crates/bridge/docs/kernel_work.rs");

    pub(super) fn run(compute: &Compute) -> Result<Vec<[f32; 4]>, Box<dyn Error>> {
        // Drivers expect PTX to end with a NUL.
        vertices(compute, concat!(include_str!("../shaders/first.ptx"), "\0"))
    }
}

mod latest {
    include!("../crates/bridge/docs/latest.rs");

    pub(super) fn run(compute: &Compute) {
        two_rates(compute).unwrap();
    }
}

mod lent_turn {
    include!("../crates/bridge/docs/lent_turn.rs");

    pub(super) fn run(
        rig: &super::Rig,
        turn: RenderTurn<BufferSpec<u32>>,
        commands: &super::Commands,
    ) -> TimelinePoint {
        let raw = commands.fill(&turn, turn.resources().as_raw(), 9);
        let (vulkan, family) = (rig.device().as_raw(), turn.queue().family());
        // SAFETY: the first queue of a family that the device was created with.
        let queue = unsafe { vulkan.get_device_queue(family, 0) };
        // SAFETY: recorded between the turn's barriers; tests run one at a time, so nothing else
        // uses the queue.
        unsafe { splice(vulkan, queue, turn, raw) }.unwrap()
    }
}

#[allow(clippy::multiple_unsafe_ops_per_block, clippy::undocumented_unsafe_blocks)] // As shown in the documentation.
mod render_turn {
    include!("../crates/bridge/docs/render_turn.rs");

    pub(super) fn run(device: &ExportDevice, turn: RenderTurn<BufferSpec<u32>>) -> TimelinePoint {
        let info = vk::CommandPoolCreateInfo::default().queue_family_index(turn.queue().family());
        // SAFETY: a pool of one of the device's families; left to the device, as commands may still
        // run.
        let pool = unsafe { device.as_raw().create_command_pool(&info, None) }.unwrap();
        let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
        // SAFETY: one command buffer of that pool.
        let commands = unsafe { device.as_raw().allocate_command_buffers(&info) }.unwrap()[0];
        let begin = vk::CommandBufferBeginInfo::default();
        // SAFETY: just allocated.
        unsafe { device.as_raw().begin_command_buffer(commands, &begin) }.unwrap();
        // SAFETY: recording, for the family of the turn's queue, and never freed.
        unsafe { clear(device, turn, commands) }.unwrap()
    }
}

mod resize {
    include!("../crates/bridge/docs/resize.rs");

    pub(super) fn run(compute: &Compute) {
        follow_a_window(compute).unwrap();
    }
}

mod shared_pool {
    include!("../crates/bridge/docs/shared_pool.rs");

    pub(super) fn run(compute: &Compute) {
        many(compute).unwrap();
    }
}

mod timeline_point {
    include!("../crates/bridge/docs/timeline_point.rs");

    pub(super) fn run(point: &TimelinePoint) -> bool {
        is_done(point).unwrap()
    }
}

on_both_backends!(
    frames_are_computed_and_seen,
    an_image_is_written_and_seen,
    many_buffers_are_made_in_one_pool,
    buffers_grow_and_keep_their_contents,
    both_sides_run_at_their_own_rate,
    images_follow_a_window,
    a_kernel_is_launched,
    commands_of_the_program_are_submitted,
    a_frame_is_part_of_an_engines_submission,
    a_point_is_waited_for_with_a_limit,
);

fn frames_are_computed_and_seen(_: &Rig, compute: &Compute) {
    exchange::run(compute);
}

fn an_image_is_written_and_seen(_: &Rig, compute: &Compute) {
    image_spec::run(compute);
}

fn many_buffers_are_made_in_one_pool(_: &Rig, compute: &Compute) {
    shared_pool::run(compute);
}

fn buffers_grow_and_keep_their_contents(_: &Rig, compute: &Compute) {
    grow::run(compute);
}

fn both_sides_run_at_their_own_rate(_: &Rig, compute: &Compute) {
    latest::run(compute);
}

fn images_follow_a_window(_: &Rig, compute: &Compute) {
    resize::run(compute);
}

fn a_kernel_is_launched(_: &Rig, compute: &Compute) {
    let (vertices, by_cudarc) = (kernel_work::run(compute), cuda_work::run(compute));
    if compute.backend() == Backend::Host {
        let error = vertices.unwrap_err().to_string();
        assert!(error.contains("no twin in Rust") && error.contains("with_twin"), "{error}");
        assert_eq!(by_cudarc.unwrap_err().to_string(), compute.reason());
        return;
    }
    let vertices = vertices.unwrap();
    assert_eq!(by_cudarc.unwrap(), vertices);
    assert_eq!((vertices.len(), vertices[500]), (1000, [0.5, 0.5, 0.0, 1.0]));
}

/// Creates an exchange with slots of 64 words that Vulkan fills and copies from.
fn words(compute: &Compute, slots: usize) -> Exchange<BufferSpec<u32>> {
    let spec = BufferSpec::new(64, BufferAccess::TRANSFER_READ | BufferAccess::TRANSFER_WRITE);
    Exchange::new(compute, &ExchangeInfo { name: "words", slots, ..Default::default() }, spec).unwrap()
}

/// Returns the contents that the next frame, which computes nothing, finds in the slot.
fn next_contents(exchange: &mut Exchange<BufferSpec<u32>>) -> Vec<u32> {
    exchange.begin().unwrap().finish().unwrap().read_back(Rig::LONG).unwrap()
}

fn next(exchange: &mut Exchange<BufferSpec<u32>>) -> RenderTurn<BufferSpec<u32>> {
    exchange.begin().unwrap().finish().unwrap()
}

fn commands_of_the_program_are_submitted(rig: &Rig, compute: &Compute) {
    let mut exchange = words(compute, 1);
    render_turn::run(rig.device(), next(&mut exchange)).wait(Rig::LONG).unwrap();
    assert_eq!(next_contents(&mut exchange), [7; 64]);
}

fn a_frame_is_part_of_an_engines_submission(rig: &Rig, compute: &Compute) {
    let (mut exchange, commands) = (words(compute, 1), Commands::new(rig.device()));
    commands.note(lent_turn::run(rig, next(&mut exchange), &commands));
    commands.finish();
    assert_eq!(next_contents(&mut exchange), [9; 64]);
}

fn a_point_is_waited_for_with_a_limit(rig: &Rig, compute: &Compute) {
    // Seen once on a busy machine: the layer's own bookkeeping of two timelines, one signaled by
    // the host while the other is waited for, waits for itself for 10 seconds, and calls that "most
    // likely a validation bug".
    rig.allow(&["UNASSIGNED-VkSemaphore-state-timeout"]);
    let (mut exchange, commands, gate) = (words(compute, 1), Commands::new(rig.device()), Gate::on(compute));
    let mut turn = exchange.begin().unwrap();
    gate.hold(&mut turn);
    let turn = turn.finish().unwrap();
    let recorded = commands.fill(&turn, turn.resources().as_raw(), 5);
    // SAFETY: recorded between the turn's barriers, and waited for below.
    let point = unsafe { turn.submit(&[recorded]) }.unwrap();
    assert!(!timeline_point::run(&point), "the frame takes longer than the limit");
    gate.open();
    point.wait(Rig::LONG).unwrap();
    assert!(timeline_point::run(&point));
    commands.note(point);
}
