//! Host memory passed to the driver is not returned before the driver has finished with it.
#![allow(unsafe_code, clippy::unwrap_used, reason = "waits and imports are unsafe")]

use crate::common::world::{TEXELS, device, import_image, import_semaphore, map_image};
use cuda_import::cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use cuda_import::{SemaphoreKind, wait_one};
use driver_double::Double;

/// A read-back passes its slice to the driver. If waiting fails because other code starts to
/// capture the stream, the context is not lost and the copy still happens, so the slice must not be
/// returned before that.
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
    // SAFETY: the signal follows below, and the timeline lives until then.
    unsafe { wait_one(&home, &ready, 1) }.unwrap();
    let mut texels = vec![[0u8; 4]; TEXELS];
    double.forget_calls();
    let read = std::thread::scope(|scope| {
        let reading = scope.spawn(|| image.view().read_to_host(&home, 0, .., &mut texels));
        // The copy is enqueued, and the read-back waits for its end.
        double.wait_until("the copy is enqueued", |double| {
            double.calls().iter().any(|call| call.name.starts_with("cuMemcpy3DAsync"))
        });
        home.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
        // A wait that continues, as it should, polls repeatedly whether the stream is captured.
        let asked = |double: &Double| double.calls().iter().filter(|call| call.name == "cuStreamIsCapturing").count();
        let before = asked(&double);
        double.wait_until("the read-back returns or waits", |double| {
            reading.is_finished() || asked(double) >= before + 3
        });
        if !reading.is_finished() {
            drop(home.end_capture(CUgraphInstantiate_flags(0)));
            double.signal(number, 1);
        }
        reading.join().unwrap()
    });
    if read.is_ok() {
        return;
    }
    // The caller owns the slice again, and a program may have freed it by now.
    let before = texels.clone();
    double.signal(number, 1);
    assert!(texels == before, "the driver writes into a slice that was given back");
}
