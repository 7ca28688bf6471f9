//! Refused submissions, and their errors.

use super::*;

/// A frame some of whose waits were taken by another submission does not count as refused, because
/// its timelines are in use.
#[test]
fn a_wait_that_another_submission_took_is_waited_for() {
    for gpu in bridges() {
        let spec = || SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC);
        let [mut one, mut other] = ["one", "other"].map(|name| Exchange::new(&gpu, &info(name), spec()).unwrap());
        let frames = (one.begin().unwrap().finish().unwrap(), other.begin().unwrap().finish().unwrap());
        frames.prepare(&gpu).unwrap();
        let mut parts = Parts::default();
        let lent = frames.lend(&mut parts).unwrap();
        parts.mark();
        let (first, rest) = parts.waits.split_at(1);
        gpu.stage_waits("frames", first).unwrap();
        let heavy = staging_source(&gpu, 64 << 20);
        let mut commands = gpu.device().create_command_encoder(&Default::default());
        (0..20).for_each(|_| commands.clear_buffer(&heavy, 0, None));
        gpu.queue().submit([commands.finish()]);
        gpu.stage_waits("frames", rest).unwrap();
        let calls = gpu.splice().unwrap().calls();
        let pushed = gpu.push("frames", parts.before.drain(..).chain([refused(&gpu)]));
        let error = gpu.conclude::<(Frame<_>, Frame<_>)>(lent, &parts, pushed).unwrap_err();
        assert!(error.to_string().contains("destroyed"), "{error}");
        assert_eq!(gpu.splice().unwrap().calls() - calls, 2, "the objects of both are repaired");
        // The frame is pending until a later signal, which has not been submitted yet.
        assert!(one.exchange.flush_parts().unwrap().is_some());
        drop((one, other));
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Returns a command buffer that wgpu refuses.
pub(super) fn refused(gpu: &Bridge) -> wgpu::CommandBuffer {
    let buffer = staging_source(gpu, 16);
    let mut commands = gpu.device().create_command_encoder(&Default::default());
    commands.clear_buffer(&buffer, 0, None);
    buffer.destroy();
    commands.finish()
}

/// A mark costs a wait, so frames that have waits are not marked.
#[test]
fn frames_that_wait_are_not_marked() {
    for gpu in bridges() {
        let spec = SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC);
        let mut exchange = Exchange::new(&gpu, &info("marked"), spec).unwrap();
        let frame = exchange.begin().unwrap().finish().unwrap();
        let mut parts = Parts::default();
        let lent = Batch::lend(frame, &mut parts).unwrap();
        parts.mark();
        assert_eq!(parts.waits.len(), 1);
        // SAFETY: nothing was submitted.
        unsafe { <Frame<SharedBuffer<u32>> as Batch>::refused(lent) };
    }
}

/// The error of a callback is not attributed to commands that this crate has recorded, such as the
/// initial clear of a buffer for kernels.
#[test]
fn own_commands_are_submitted_where_a_callback_fails() {
    for gpu in bridges() {
        let device = gpu.device().clone();
        gpu.queue().submit([]);
        gpu.queue().on_submitted_work_done(move || {
            let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE;
            drop(device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: 4,
                usage,
                mapped_at_creation: false,
            }));
        });
        support::await_queue(&gpu);
        let buffer = staging_source(&gpu, 16);
        let mut commands = gpu.device().create_command_encoder(&Default::default());
        commands.clear_buffer(&buffer, 0, None);
        gpu.push_own("zeros", [commands.finish()]).unwrap();
        gpu.push_own("zeros", [refused(&gpu)]).unwrap_err();
        gpu.device().destroy();
        let error = gpu.push_own("zeros", []).unwrap_err();
        assert!(matches!(error, crate::Error::DeviceLost { .. }), "{error}");
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// On a lost device, a wait may succeed although the value was not reached: the counter decides.
#[test]
fn a_wait_that_succeeded_has_seen_its_value() {
    let check = crate::submit::check_reached;
    assert_eq!([3, 4].map(|counter| check(3, counter)), [Ok(()); 2]);
    assert_eq!([0, 2, u64::MAX].map(|counter| check(3, counter)), [Err(ash::vk::Result::ERROR_DEVICE_LOST); 3]);
}
