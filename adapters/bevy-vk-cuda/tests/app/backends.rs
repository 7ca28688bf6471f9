//! Backends of wgpu other than Vulkan.
#![allow(clippy::unwrap_used)] // Tests.

use std::time::Duration;

use bevy::render::RenderApp;
use bevy::render::renderer::RenderAdapterInfo;
use bevy_vk_cuda::{CudaPlugin, Way};

use super::frames::shows_every_frame_and_keeps_the_last;
use crate::support::simulation::{Filler, numbers, seen};
use crate::support::*;

/// A device that the program has created is not shared, even if the program passes it off as one
/// that the plugin has added to: nothing enables what sharing needs.
#[test]
fn a_device_made_by_hand_is_not_shared() {
    let _alone = alone();
    // SAFETY: all systems of this test run on one thread, and nothing is pipelined.
    let plugin = || unsafe { CudaPlugin::host().share_queue() };
    let first = app(plugin());
    assert_eq!(cuda(&first).way(), Way::Host);
    let second = app_on(plugin(), by_hand(&first));
    assert_eq!(cuda(&second).way(), Way::Upload);
    let reason = cuda(&second).reason().to_owned();
    assert!(reason.contains("create no renderer by hand"), "{reason}");
    drop((first, second));
    assert_eq!(errors(), [""; 0]);
}

/// Whatever the program requests, frames are computed on the CPU and uploaded, and the reason and
/// the log name the backend.
#[test]
fn on_gl_frames_are_uploaded() {
    const LEN: u32 = 1000;
    const NOT_VULKAN: &str = "another backend of wgpu than Vulkan";
    let _alone = alone();
    forget_errors();
    for plugin in [CudaPlugin::default(), CudaPlugin::host()] {
        // wgpu logs why it cannot create a device.
        let Some(renderer) = gl() else { return forget_errors() };
        let mut app = app_on(plugin, renderer);
        let adapter = &app.sub_app(RenderApp).world().resource::<RenderAdapterInfo>();
        assert_eq!(adapter.backend, wgpu::Backend::Gl);
        let cuda = cuda(&app);
        assert_eq!(cuda.way(), Way::Upload);
        assert!(cuda.reason().contains(NOT_VULKAN) && logged(NOT_VULKAN), "{}", cuda.reason());
        let filler = Filler::new(&cuda);
        let mut buffer = numbers(&mut app, LEN as usize);
        let reads = read_buffer(&mut app, buffer.handle().clone());
        for base in 1..=5 {
            let mut fill = || filler.fill(buffer.writer().unwrap(), LEN, base, Duration::ZERO).unwrap();
            until(&mut app, "a free frame", |_| fill());
            until(&mut app, "the frame", |app| seen(app) == Some(base));
        }
        app.world_mut().despawn(reads);
        shows_every_frame_and_keeps_the_last(app);
    }
    // wgpu logs each attempt to initialize EGL that failed, and the driver's warnings, as errors.
    let errors: Vec<_> = errors().into_iter().filter(|line| !line.contains("wgpu_hal::gles")).collect();
    forget_errors();
    assert_eq!(errors, [""; 0]);
}
