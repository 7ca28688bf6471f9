//! The number of command buffers of frames: those that wgpu submits, and those that reach the
//! queue.

use bridge::{LatestInfo, Newest};

use super::*;
use crate::device::splice::tests::Given;
use crate::shared::Shared;
use crate::shared::slot_buffer::SlotBuffer;
use crate::shared::slot_texture::SlotTexture;
use crate::shared::texture::SharedTexture;

const RGBA: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

/// Returns the number of command buffers that a frame adds to a submission before and after the
/// program's, following `frames` other frames.
fn added<S: Shared>(gpu: &Bridge, spec: S, frames: usize) -> [usize; 2] {
    let mut exchange = Exchange::new(gpu, &info("added"), spec).unwrap();
    for _ in 0..frames {
        let frame = exchange.begin().unwrap().finish().unwrap();
        gpu.submit([], frame).unwrap();
    }
    let frame = exchange.begin().unwrap().finish().unwrap();
    let mut parts = Parts::default();
    Batch::prepare(&frame, gpu).unwrap();
    let lent = Batch::lend(frame, &mut parts).unwrap();
    // SAFETY: nothing was submitted.
    unsafe { <Frame<S> as Batch>::refused(lent) };
    [parts.before.len(), parts.behind.len()]
}

/// An empty command buffer costs the host as much as another one, so a slot without a copy has
/// none.
#[test]
fn no_frame_submits_command_buffers_that_are_empty() {
    for gpu in bridges() {
        let (buffer, usage) = (wgpu::BufferUsages::COPY_SRC, wgpu::TextureUsages::COPY_SRC);
        let shared = || SharedBuffer::<u32>::new(LEN, buffer);
        // SAFETY: the lent objects are not used.
        let slot = || unsafe { SlotBuffer::<u32>::new(LEN, buffer) };
        // SAFETY: the lent objects are not used.
        let texture = || unsafe { SlotTexture::<[u8; 4]>::new(wgpu::TextureFormat::Rgba8Unorm, [8, 8], usage) };
        assert_eq!(added(&gpu, shared(), 0), [3, 0], "acquire, copy, release");
        assert_eq!(added(&gpu, shared(), 1), [2, 0], "wgpu's barriers; acquire, copy and release");
        assert_eq!(added(&gpu, (shared(), shared()), 1), [2, 0], "the same for both");
        assert_eq!(added(&gpu, slot(), 0), [1, 1], "acquire; release");
        assert_eq!(added(&gpu, texture(), 0), [1, 2], "acquire; the state of the hand-over, release");
        assert_eq!(added(&gpu, (slot(), shared()), 0), [2, 1], "acquire, copy; release");
    }
}

/// Returns the number of Vulkan command buffers that wgpu submitted, and that reached the queue.
/// Checks that those left out have no barrier, or one that a barrier in the next one replaces.
fn given(gpu: &Bridge, submit: impl FnOnce()) -> [usize; 2] {
    let splice = gpu.splice().unwrap();
    splice.take_given();
    submit();
    let [Given { by_wgpu, to_driver, barriers }] = &splice.take_given()[..] else { panic!("one submission") };
    for (index, commands) in by_wgpu.iter().enumerate().filter(|(_, commands)| !to_driver.contains(commands)) {
        let next = by_wgpu[index..].iter().find(|commands| to_driver.contains(commands));
        let first = barriers.iter().find(|barrier| Some(&barrier.commands) == next);
        let is_replaced = first.is_some_and(|barrier| barrier.is_wide && barrier.is_before_copies);
        let mut own = barriers.iter().filter(|barrier| barrier.commands == *commands);
        assert!(own.all(|own| own.is_before_copies && is_replaced), "a barrier was left out: {barriers:?}");
    }
    assert_eq!(by_wgpu.iter().filter(|commands| to_driver.contains(commands)).collect::<Vec<_>>(), {
        to_driver.iter().collect::<Vec<_>>()
    });
    [by_wgpu.len(), to_driver.len()]
}

/// Returns the number of Vulkan command buffers of a frame that the compute side begins, following
/// `frames` others, with one command buffer of the program: those that wgpu submits, and those that
/// reach the queue.
fn of_frame<S: Shared>(gpu: &Bridge, spec: S, frames: usize) -> [usize; 2] {
    let mut exchange = Exchange::new(gpu, &info("given"), spec).unwrap();
    let mut submit = || {
        let frame = exchange.begin().unwrap().finish().unwrap();
        // wgpu submits two for it: one for barriers, which is empty, and this one.
        let program = gpu.device().create_command_encoder(&Default::default());
        given(gpu, || drop(gpu.submit([program.finish()], frame).unwrap()))
    };
    for _ in 0..frames {
        submit();
    }
    submit()
}

#[test]
fn the_queue_gets_no_command_buffers_that_it_does_not_need() {
    for gpu in bridges() {
        let (buffer, usage) = (wgpu::BufferUsages::COPY_SRC, wgpu::TextureUsages::COPY_SRC);
        let shared = || SharedBuffer::<u32>::new(LEN, buffer);
        let picture = || SharedTexture::<[u8; 4]>::new(RGBA, [8, 8], usage);
        // SAFETY: the lent objects are not used.
        let slot = || unsafe { SlotBuffer::<u32>::new(LEN, buffer) };
        // SAFETY: the lent objects are not used.
        let texture = || unsafe { SlotTexture::<[u8; 4]>::new(RGBA, [8, 8], usage) };
        // For the program's empty command buffer, only wgpu's own count.
        assert_eq!(of_frame(&gpu, shared(), 0), [7, 5], "acquire; barriers, copy; release");
        assert_eq!(of_frame(&gpu, shared(), 2), [5, 2], "barrier, acquire, copy and release");
        assert_eq!(of_frame(&gpu, (shared(), shared()), 2), [5, 2], "the same for both");
        assert_eq!(of_frame(&gpu, picture(), 2), [7, 5], "acquire; barriers, copy; release");
        assert_eq!(of_frame(&gpu, slot(), 2), [5, 3], "acquire; release");
        assert_eq!(of_frame(&gpu, texture(), 2), [7, 4], "acquire; barriers; release");
        assert_eq!(of_frame(&gpu, (texture(), texture()), 2), [7, 4], "the same for both");
        assert_eq!(of_frame(&gpu, (slot(), shared()), 2), [7, 5], "acquire; barriers, copy; release");
        // Frames that wgpu begins, and two in one submission.
        let mut back = Exchange::render_first(&gpu, &info("back"), shared()).unwrap();
        let mut pictures = Exchange::render_first(&gpu, &info("pictures"), texture()).unwrap();
        for expected in [[12, 7], [10, 4], [10, 4]] {
            let frames = (back.begin().unwrap(), pictures.begin().unwrap());
            let submit = || {
                let (one, other) = gpu.submit([], frames).unwrap();
                one.finish().unwrap();
                other.finish().unwrap();
            };
            assert_eq!(given(&gpu, submit), expected);
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

#[test]
fn the_same_frame_again_gives_the_queue_nothing() {
    for gpu in bridges() {
        let latest = LatestInfo { newest: Newest::Published, ..support::latest::latest("given") };
        let spec = SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC);
        let (mut writer, mut reader) = Exchange::latest(&gpu, &latest, spec).unwrap();
        // Acquire; barriers, copy; then barrier, acquire and copy.
        for expected in [[4, 3], [4, 1]] {
            writer.begin().unwrap().publish().unwrap();
            let submit = |turn| drop(gpu.submit([], turn).unwrap());
            let turn = reader.newest().unwrap();
            assert_eq!(given(&gpu, || submit(turn)), expected);
            let turn = reader.newest().unwrap();
            assert_eq!(given(&gpu, || submit(turn)), [2, 0]);
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Submissions of adopted devices do not pass through this crate.
#[test]
fn nothing_is_left_out_where_semaphores_are_staged() {
    for gpu in bridges() {
        let staging = gpu.staging();
        let spec = SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC);
        let mut exchange = Exchange::new(&staging, &info("staged"), spec).unwrap();
        gpu.splice().unwrap().take_given();
        let frame = exchange.begin().unwrap().finish().unwrap();
        staging.submit([], frame).unwrap();
        let given = gpu.splice().unwrap().take_given();
        assert!(given.iter().all(|given| given.by_wgpu == given.to_driver));
        assert_eq!(given.iter().map(|given| given.to_driver.len()).collect::<Vec<_>>(), [6, 0]);
    }
}
