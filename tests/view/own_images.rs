//! The images of a window that the program presents itself.
#![allow(unsafe_code)] // Creates the images.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge::QueueKind;
use bridge_tests::{Gate, Need, Rig, assert_silent, skip, with_panicking_logger};
use bridge_view::{Error, WindowImages};

use crate::SIZE;
use crate::window::{adopt, compute};
use crate::x11::Own;

/// The wait for the images has a timeout; after a timeout the images are neither created again nor
/// freed, even if the logger panics while it reports this.
#[test]
fn images_of_a_window_outlive_a_stalled_queue() {
    let _turn = Rig::open();
    let Some(own) = Own::open(SIZE).map(Arc::new) else { return };
    let Some(compute) = compute(&adopt(&own)) else { return };
    let device = compute.device();
    // SAFETY: the window is never closed.
    let mut images = match unsafe { WindowImages::new(device, &*own, SIZE, 1) } {
        Ok(images) => images,
        Err(error @ Error::CannotPresent { .. }) => return skip(Need::Other, &error.to_string()),
        Err(error) => panic!("{error}"),
    };
    // The leaked images use the connection.
    std::mem::forget(own);
    let hold = || {
        let gate = Gate::new(device);
        gate.hold_queue(device, QueueKind::Graphics);
        gate
    };
    let (gate, begun, short) = (hold(), Instant::now(), Duration::from_millis(50));
    images.set_timeout(short);
    let error = images.resize(SIZE).unwrap_err();
    let Error::Bridge(bridge::Error::Vulkan(bridge::vk_export::Error::Unfinished { waited, .. })) = error else {
        panic!("{error:?}")
    };
    assert!(waited >= short && images.extent().is_some(), "they are still there");
    gate.open();
    images.set_timeout(Rig::LONG);
    images.resize(SIZE).unwrap();

    let gate = hold();
    images.set_timeout(short);
    with_panicking_logger(|| drop(images));
    assert!(begun.elapsed() < Rig::LONG, "{:?}", begun.elapsed());
    drop(gate);
    assert_silent(device);
}

/// A frame that could not be submitted leaves its image and a signaled semaphore, which no
/// submission waits for. After the images were created again, every frame can acquire an image.
#[test]
fn an_unwritten_image_is_released_by_creating_all_again() {
    let _turn = Rig::open();
    let Some(own) = Own::open(SIZE).map(Arc::new) else { return };
    let Some(compute) = compute(&adopt(&own)) else { return };
    let device = compute.device();
    // SAFETY: the window outlives the images.
    let mut images = match unsafe { WindowImages::new(device, &*own, SIZE, 2) } {
        Ok(images) => images,
        Err(error @ Error::CannotPresent { .. }) => return skip(Need::Other, &error.to_string()),
        Err(error) => panic!("{error}"),
    };
    for _ in 0..3 {
        for frame in 0..2 {
            // SAFETY: no submission with an image of this frame was made since the images were
            // created.
            let image = unsafe { images.acquire(frame, Rig::LONG) }.unwrap();
            assert!(image.is_some(), "frame {frame}");
        }
        images.resize(SIZE).unwrap();
    }
    drop(images);
    assert_silent(device);
}
