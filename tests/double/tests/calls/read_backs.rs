//! What the driver was lent is not given back before the driver is done with it.
#![allow(unsafe_code, clippy::unwrap_used, reason = "waits and imports are unsafe")]

use crate::common::world::{TEXELS, device, import_image, import_semaphore, map_image};
use cuda_import::cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use cuda_import::{SemaphoreKind, wait_one};
use driver_double::Double;

/// A read-back lends its slice to the driver. When waiting fails because somebody begins to capture
/// the stream, the context is not lost, and the copy still comes: the slice must not be given back
/// before.
#[test]
fn a_read_back_does_not_return_before_its_copy_has_ended() {
    let Some(double) = Double::in_child("read_backs::a_read_back_does_not_return_before_its_copy_has_ended") else {
        return;
    };
    let device = device();
    let home = device.new_stream().unwrap();
    let ready = double.export_semaphore(true);
    let number = ready.number;
    let ready = import_semaphore(&device, ready, SemaphoreKind::Timeline);
    let mut image = map_image(&import_image(&double, &device), &home);
    image.view_mut().write_from_host(&home, 0, .., &[[7; 4]; TEXELS]).unwrap();
    // SAFETY: the signal comes below, and the timeline lives until then.
    unsafe { wait_one(&home, &ready, 1) }.unwrap();
    let mut texels = vec![[0u8; 4]; TEXELS];
    double.forget_calls();
    let read = std::thread::scope(|scope| {
        let reading = scope.spawn(|| image.view().read_to_host(&home, 0, .., &mut texels));
        // Once the copy is enqueued and its end is waited for.
        double.until("the copy is enqueued", |double| {
            double.calls().iter().any(|call| call.name.starts_with("cuMemcpy3DAsync"))
        });
        home.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
        // A wait that goes on, as it should, asks again and again whether the stream is captured.
        let asked = |double: &Double| double.calls().iter().filter(|call| call.name == "cuStreamIsCapturing").count();
        let before = asked(&double);
        double.until("the read-back returns or waits", |double| reading.is_finished() || asked(double) >= before + 3);
        if !reading.is_finished() {
            drop(home.end_capture(CUgraphInstantiate_flags(0)));
            double.signal(number, 1);
        }
        reading.join().unwrap()
    });
    if read.is_ok() {
        return;
    }
    // The slice is the caller's again: a program may have freed it by now.
    let before = texels.clone();
    double.signal(number, 1);
    assert!(texels == before, "the driver writes into a slice that was given back");
}
