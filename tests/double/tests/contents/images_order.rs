//! Images: host copies complete before they return, streams take turns, and images in use are kept.
#![allow(unsafe_code, reason = "waits are unsafe")]
#![cfg(target_os = "linux")]

use crate::common::world::{TEXELS, Texel as Rgba, device, import_image, import_memory, import_semaphore, map_image};
use crate::common::{assert_clean, log_capture};
use cuda_import::{BufferMappingInfo, Error, MappedBuffer, SemaphoreKind, TextureInfo, query, wait_one};
use driver_double::Double;

#[test]
fn host_copies_end_before_they_return() {
    let Some(double) = Double::in_child("images_order::host_copies_end_before_they_return") else { return };
    let device = device();
    let (home, foreign_stream) = (device.new_stream().unwrap(), device.new_stream().unwrap());
    for stream in [&home, &foreign_stream] {
        let mut image = map_image(&import_image(&double, &device), &home);
        image.view_mut().write_from_host(&home, 0, .., &[[1; 4]; TEXELS]).unwrap();
        let exported = double.export_semaphore(true);
        let number = exported.number;
        let timeline = import_semaphore(&device, exported, SemaphoreKind::Timeline);
        // SAFETY: the signals follow below, and the timeline lives until then.
        unsafe { wait_one(&home, &timeline, 1) }.unwrap();
        let (read, image) = std::thread::scope(|scope| {
            let copying = scope.spawn(|| {
                let mut read = [[0; 4]; TEXELS];
                image.view().read_to_host(stream, 0, .., &mut read).unwrap();
                // SAFETY: as above.
                unsafe { wait_one(&home, &timeline, 2) }.unwrap();
                image.view_mut().write_from_host(stream, 0, .., &[[2; 4]; TEXELS]).unwrap();
                (read, image)
            });
            for value in [1, 2] {
                let reason = format!("to reach {value}");
                double.wait_until("the host waits", |double| {
                    double.blocked_calls().iter().any(|call| call.waits_for.ends_with(&reason))
                });
                assert!(!copying.is_finished(), "it did not wait for {value}");
                double.signal(number, value);
            }
            copying.join().unwrap()
        });
        assert_eq!(read, [[1; 4]; TEXELS]);
        let mut read = [[0; 4]; TEXELS];
        image.view().read_to_host(&home, 0, .., &mut read).unwrap();
        assert_eq!(read, [[2; 4]; TEXELS]);
    }
    drop((home, foreign_stream, device));
    assert_clean(&double);
}

/// Whatever fails, a host copy does not return its slice while the copy is pending.
#[test]
fn no_failure_leaves_a_host_copy_pending() {
    let Some(double) = Double::in_child("images_order::no_failure_leaves_a_host_copy_pending") else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    let image = map_image(&import_image(&double, &device), &home);
    let mut waits_failed = 0;
    for nth in 1.. {
        let exported = double.export_semaphore(true);
        let number = exported.number;
        let timeline = import_semaphore(&device, exported, SemaphoreKind::Timeline);
        // SAFETY: the signal follows below, and the timeline lives until then.
        unsafe { wait_one(&home, &timeline, 1) }.unwrap();
        let (copied, signaled) = std::thread::scope(|scope| {
            double.fail_nth(nth, 2, false);
            let copying = scope.spawn(|| {
                let copied = image.view().read_to_host(&home, 0, .., &mut [[0; 4]; TEXELS]);
                (copied, double.value(number) == 1)
            });
            double.wait_until_ended_or_blocked(&copying);
            double.signal(number, 1);
            copying.join().unwrap()
        });
        let Some(hit) = double.disarm() else { break };
        // If a call fails, the order is established another way. A failure to restore the caller's
        // context is only a warning.
        if let Err(error) = copied {
            assert_eq!(error.driver_code().unwrap().0, 2, "{hit:?}");
        } else {
            assert!(hit.name.starts_with("cuCtx") || hit.name == "cuStreamIsCapturing", "{hit:?}");
        }
        if hit.name == "cuStreamSynchronize" {
            waits_failed += 1;
            assert!(signaled, "it was given back while the copy waited");
        }
    }
    assert_eq!(waits_failed, 1);
    drop((image, home, device));
    assert_clean(&double);
}

#[test]
fn streams_that_share_an_image_take_turns() {
    let Some(double) = Double::in_child("images_order::streams_that_share_an_image_take_turns") else { return };
    let device = device();
    let (home, foreign_stream) = (device.new_stream().unwrap(), device.new_stream().unwrap());
    let place = BufferMappingInfo { offset: 0, len: 8 };
    let buffer = || MappedBuffer::<Rgba>::map(&import_memory(&double, &device), &place, &home).unwrap();
    for (writer, reader) in [(&home, &foreign_stream), (&foreign_stream, &home)] {
        let (mut ones, mut read) = (buffer(), buffer());
        home.memcpy_htod(&[1u8; 32], &mut ones.view_mut().bytes_mut()).unwrap();
        let mut image = map_image(&import_image(&double, &device), &home);
        let exported = double.export_semaphore(true);
        let number = exported.number;
        let timeline = import_semaphore(&device, exported, SemaphoreKind::Timeline);
        // SAFETY: the signal follows below, and the timeline lives until then.
        unsafe { wait_one(writer, &timeline, 1) }.unwrap();
        image.view_mut().copy_from_buffer(writer, 1, 2.., &ones.view()).unwrap();
        image.view().copy_to_buffer(reader, 1, 2.., &mut read.view_mut()).unwrap();
        assert!(!query(writer).unwrap() && !query(reader).unwrap(), "one waits, the other waits for that");
        image.join_foreign_work().unwrap();
        assert!(!query(&home).unwrap());
        double.signal(number, 1);
        let mut bytes = [0u8; 32];
        home.memcpy_dtoh(&read.view().bytes(), &mut bytes).unwrap();
        assert_eq!(bytes, [1; 32]);
    }
    drop((home, foreign_stream, device));
    assert_clean(&double);
}

#[test]
fn an_image_in_use_is_kept_and_reported() {
    let Some(double) = Double::in_child("images_order::an_image_in_use_is_kept_and_reported") else { return };
    log_capture::collect();
    let device = device();
    let home = device.new_stream().unwrap();
    let exported = double.export_semaphore(true);
    let number = exported.number;
    let timeline = import_semaphore(&device, exported, SemaphoreKind::Timeline);
    let [closed, leaked] = [(); 2].map(|()| map_image(&import_image(&double, &device), &home));
    closed.view().texture(&TextureInfo::default()).unwrap();
    // SAFETY: the signal follows below, and the timeline lives until then.
    unsafe { wait_one(&home, &timeline, 1) }.unwrap();
    let error = closed.close().unwrap_err();
    assert!(matches!(error, Error::StillInUse { .. }), "{error}");
    assert!(error.to_string().contains(r#"image "walked""#) && error.to_string().contains(device.name()), "{error}");
    drop(leaked);
    let said = log_capture::take();
    assert!(said.iter().any(|line| line.contains(r#"image "walked""#) && line.contains("leaked")), "{said:#?}");
    double.signal(number, 1);
    drop((timeline, home, device));
    let left: Vec<_> = double.live().iter().map(|live| live.kind().to_owned()).collect();
    assert_eq!(left, ["texture", "array", "array", "memory", "memory", "context"]);
    assert_eq!(double.findings(), Vec::new());
}
