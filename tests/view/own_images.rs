//! The images of a window that the program presents by itself.
#![allow(unsafe_code)] // Makes them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge::QueueKind;
use bridge_tests::{Gate, Need, Rig, assert_silent, skip, with_panicking_logger};
use bridge_view::{Error, WindowImages};

use crate::SIZE;
use crate::window::{adopt, compute};
use crate::x11::Own;

/// They are waited for with a limit; past it they are neither made again nor freed, even if the
/// logger panics that is told of it.
#[test]
fn images_of_a_window_outlive_a_queue_that_stalls() {
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
    // What is leaked below uses the connection.
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
