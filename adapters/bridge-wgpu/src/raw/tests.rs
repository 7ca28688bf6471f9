//! Objects that another thread destroys while commands that use them are recorded.
#![allow(clippy::unwrap_used)] // A test.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::*;
use crate::submit::tests::support;

/// wgpu frees resources that no submission uses immediately, so `destroy` must wait for the
/// recording.
#[test]
fn what_is_recorded_is_not_destroyed_meanwhile() {
    let Some(gpu) = support::bridge_on(crate::Backend::Host) else { panic!("the CPU computes everywhere") };
    let size = wgpu::Extent3d { width: 4, height: 4, depth_or_array_layers: 1 };
    let texture = gpu.device().create_texture(&wgpu::TextureDescriptor {
        label: None,
        size,
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: wgpu::TextureFormat::R32Uint,
        usage: wgpu::TextureUsages::COPY_DST,
        view_formats: &[],
    });
    let buffer = support::staging(&gpu, 16);
    std::thread::scope(|scope| {
        let (destroyed, is_destroyed) = channel();
        let is_waiting = |destroy: Box<dyn FnOnce() + Send>| {
            let destroyed = destroyed.clone();
            scope.spawn(move || {
                destroy();
                destroyed.send(()).unwrap();
            });
            is_destroyed.recv_timeout(Duration::from_millis(200)) == Err(RecvTimeoutError::Timeout)
        };
        let (clone, image) = (buffer.clone(), texture.clone());
        // Inside the encoder's lock, as in the crate's code.
        let (_, waits) = record(&gpu, "commands", |_| {
            // SAFETY: the closure does not destroy the buffer; the other thread waits.
            unsafe { with_buffer(&buffer, |_| is_waiting(Box::new(move || clone.destroy()))) }
        })
        .unwrap();
        assert_eq!(waits, Some(true), "the buffer was destroyed while it was used");
        is_destroyed.recv().unwrap();
        // SAFETY: the closure does not destroy the image; the other thread waits.
        let waits = unsafe { with_image(&texture, |_| is_waiting(Box::new(move || image.destroy()))) };
        assert_eq!(waits, Some(true), "the image was destroyed while it was used");
        is_destroyed.recv().unwrap();
        // SAFETY: the closure destroys nothing.
        assert!(unsafe { with_buffer(&buffer, drop) }.is_none());
        // SAFETY: the closure destroys nothing.
        assert!(unsafe { with_image(&texture, drop) }.is_none());
    });
    assert_eq!(support::validation_messages(), [""; 0]);
}
