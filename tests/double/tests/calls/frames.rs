//! The complete list of driver calls in a frame, which detects added calls and lost ordering.
#![allow(unsafe_code, clippy::unwrap_used, reason = "waits, signals and views of owners are unsafe")]

use std::sync::Arc;

use crate::common::world::{LEN, device, import_memory, import_semaphore, map};
use crate::common::{assert_clean, raw};
use cuda_import::cudarc::driver::{CudaStream, DevicePtr};
use cuda_import::{CudaDevice, ImportedSemaphore, MappedBuffer, SemaphoreKind, query, signal_one, wait_one};
use driver_double::Double;

const WAIT: &str = "cuCtxGetCurrent cuStreamIsCapturing cuWaitExternalSemaphoresAsync";
const SIGNAL: &str = "cuCtxGetCurrent cuStreamIsCapturing cuSignalExternalSemaphoresAsync";
/// Calls added for each other stream that used the buffers.
const JOIN: &str = "cuCtxGetCurrent cuStreamIsCapturing cuStreamWaitEvent";

/// The resources of an exchange: a stream, two timelines, and the buffers of a slot.
struct Frames<'d> {
    double: &'d Double,
    device: CudaDevice,
    home: Arc<CudaStream>,
    rendered: ImportedSemaphore,
    computed: ImportedSemaphore,
    number: u64,
    buffers: Vec<MappedBuffer<u32>>,
    frame: u64,
}

impl<'d> Frames<'d> {
    fn new(double: &'d Double, buffers: usize) -> Self {
        let device = device();
        let home = device.new_stream().unwrap();
        let exported = [(); 2].map(|()| double.export_semaphore(true));
        let number = exported[1].number;
        double.signal(exported[0].number, 1);
        let [rendered, computed] = exported.map(|it| import_semaphore(&device, it, SemaphoreKind::Timeline));
        let buffers = (0..buffers).map(|_| map(&import_memory(double, &device), &home)).collect();
        device.context().bind_to_thread().unwrap();
        Self { double, device, home, rendered, computed, number, buffers, frame: 0 }
    }

    /// Runs a frame as the bridge does: begin, work, finish. Returns the driver calls of begin and
    /// finish.
    fn frame(&mut self, work: impl FnOnce(&[MappedBuffer<u32>])) -> (String, String) {
        self.frame += 1;
        self.double.forget_calls();
        // SAFETY: the value was signaled, and the timeline lives.
        unsafe { wait_one(&self.home, &self.rendered, 1) }.unwrap();
        for buffer in &self.buffers {
            // SAFETY: no other view is alive.
            let _ = unsafe { buffer.view_mut_unchecked() };
        }
        let begun = self.calls();
        work(&self.buffers);
        self.double.forget_calls();
        let joined = self.buffers.iter().filter(|buffer| buffer.has_foreign_work());
        joined.for_each(|buffer| buffer.join_foreign_work().unwrap());
        // SAFETY: the values increase, and the timeline lives.
        unsafe { signal_one(&self.home, &self.computed, self.frame) }.unwrap();
        (begun, self.calls())
    }

    fn calls(&self) -> String {
        let calls: Vec<_> = self.double.calls().into_iter().map(|call| call.name).collect();
        calls.join(" ")
    }

    fn end(self) {
        let double = self.double;
        double.set_current(0);
        drop(self);
        assert_clean(double);
    }
}

fn ordinary_frame() -> (String, String) {
    (WAIT.to_owned(), SIGNAL.to_owned())
}

#[test]
fn a_frame_of_any_number_of_buffers_is_six_calls() {
    let Some(double) = Double::in_child("frames::a_frame_of_any_number_of_buffers_is_six_calls") else { return };
    for count in [1, 64] {
        let mut frames = Frames::new(&double, count);
        for _ in 0..3 {
            assert_eq!(frames.frame(|_| {}), ordinary_frame());
        }
        frames.end();
    }
}

/// A frame restores the context that was current on the thread.
#[test]
fn a_frame_restores_the_current_context() {
    let Some(double) = Double::in_child("frames::a_frame_restores_the_current_context") else { return };
    let mut frames = Frames::new(&double, 64);
    let other = raw::retain(1);
    let around = |calls: &str| {
        let (get, rest) = calls.split_once(' ').unwrap();
        format!("{get} cuCtxPushCurrent_v2 {rest} cuCtxSetCurrent")
    };
    assert_eq!(frames.frame(|_| {}), (around(WAIT), around(SIGNAL)));
    double.set_current(0);
    assert_ne!(other, 0);
    assert_eq!(raw::release(1), 0);
    frames.end();
}

/// Work of a foreign stream is joined in its frame, once more in the next frame, and then no
/// longer, because its guard cannot exist anymore.
#[test]
fn foreign_stream_work_is_joined_while_its_guard_can_exist() {
    let Some(double) = Double::in_child("frames::foreign_stream_work_is_joined_while_its_guard_can_exist") else {
        return;
    };
    let mut frames = Frames::new(&double, 2);
    let foreign_stream = frames.device.new_stream().unwrap();
    let joined = (WAIT.to_owned(), format!("{JOIN} {SIGNAL}"));
    for _ in 0..2 {
        let copied = frames.frame(|buffers| drop(foreign_stream.clone_dtoh(&buffers[0].view()).unwrap()));
        assert_eq!(copied, joined);
        assert_eq!(frames.frame(|_| {}), joined);
        assert_eq!(frames.frame(|_| {}), ordinary_frame());
    }
    drop(foreign_stream);
    frames.end();
}

/// Foreign work in a frame that was abandoned without a join is joined by the next frame.
#[test]
fn foreign_stream_work_of_an_abandoned_frame_is_joined_by_the_next() {
    let Some(double) = Double::in_child("frames::foreign_stream_work_of_an_abandoned_frame_is_joined_by_the_next")
    else {
        return;
    };
    let mut frames = Frames::new(&double, 1);
    let foreign_stream = frames.device.new_stream().unwrap();
    let gate = double.export_semaphore(true);
    let number = gate.number;
    let gate = import_semaphore(&frames.device, gate, SemaphoreKind::Timeline);
    // SAFETY: the signal follows below, and the timeline lives until then.
    unsafe { wait_one(&foreign_stream, &gate, 1) }.unwrap();
    foreign_stream.memcpy_htod(&[1u32; LEN], &mut frames.buffers[0].view_mut()).unwrap();
    assert_eq!(frames.frame(|_| {}).1, format!("{JOIN} {SIGNAL}"));
    assert_eq!(double.value(frames.number), 0, "the signal is behind the foreign stream's copy");
    double.signal(number, 1);
    assert_eq!(double.value(frames.number), 1);
    drop((foreign_stream, gate));
    frames.end();
}

/// A guard that outlives a join records its end later, and the next join waits for that as well.
#[test]
fn a_use_that_ends_after_a_join_is_joined_again() {
    let Some(double) = Double::in_child("frames::a_use_that_ends_after_a_join_is_joined_again") else { return };
    let mut frames = Frames::new(&double, 1);
    let foreign_stream = frames.device.new_stream().unwrap();
    let gate = double.export_semaphore(true);
    let number = gate.number;
    let gate = import_semaphore(&frames.device, gate, SemaphoreKind::Timeline);
    let joined = frames.frame(|buffers| {
        let view = buffers[0].view();
        let (_, guard) = view.device_ptr(&foreign_stream);
        // Joins the foreign stream's work so far.
        drop(frames_home_read(&buffers[0]));
        // SAFETY: the signal follows below, and the timeline lives until then.
        unsafe { wait_one(&foreign_stream, &gate, 1) }.unwrap();
        drop(guard);
    });
    assert_eq!(joined.1, format!("{JOIN} {SIGNAL}"));
    assert!(!query(&frames.home).unwrap());
    assert_eq!(double.value(frames.number), 0, "the signal is behind what the foreign stream was given last");
    double.signal(number, 1);
    assert_eq!(double.value(frames.number), 1);
    drop((foreign_stream, gate));
    frames.end();
}

fn frames_home_read(buffer: &MappedBuffer<u32>) -> Vec<u32> {
    buffer.stream().clone_dtoh(&buffer.view()).unwrap()
}
