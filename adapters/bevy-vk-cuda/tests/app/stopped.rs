//! Bevy's renderer stops after an error, and continues later.
#![allow(clippy::unwrap_used)] // A test.

use std::sync::atomic::{AtomicBool, Ordering};

use bevy::prelude::*;
use bevy::render::RenderApp;
use bevy::render::error_handler::{RenderError, RenderErrorHandler, RenderErrorPolicy};
use bevy::render::renderer::RenderDevice;
use bevy_vk_cuda::Error;
use bevy_vk_cuda::bridge::LiveObjects;

use crate::support::simulation::{Painter, Picture, TEXELS, picture};
use crate::support::*;

static STOPPED: AtomicBool = AtomicBool::new(false);

fn stop(_: &RenderError, _: &mut World, _: &mut World) -> RenderErrorPolicy {
    match STOPPED.load(Ordering::SeqCst) {
        true => RenderErrorPolicy::StopRendering,
        false => RenderErrorPolicy::Ignore,
    }
}

/// Paints until Bevy has received another frame.
fn until_presented(app: &mut App, painter: &Painter, image: &mut Picture) {
    let before = image.writer().unwrap().presented();
    until(app, "a frame", |_| {
        let writer = image.writer().unwrap();
        match painter.paint(writer, TEXELS, 7) {
            Ok(_) | Err(Error::NotPresented { retried: true, .. }) => writer.presented() > before,
            Err(other) => panic!("{other}"),
        }
    });
}

/// Although no frame is rendered, writers report the error, and dropped objects are freed.
#[test]
fn writers_are_refused_once_bevy_has_stopped_rendering() {
    let _alone = alone();
    for plugin in ways() {
        let mut app = app(plugin);
        app.insert_resource(RenderErrorHandler(stop));
        let painter = Painter::new(&cuda(&app));
        let [mut image, mut dropped] = ["kept", "dropped"].map(|name| picture(&mut app, name, [TEXELS; 2]));
        until_presented(&mut app, &painter, &mut image);
        until_presented(&mut app, &painter, &mut dropped);

        STOPPED.store(true, Ordering::SeqCst);
        let device = app.sub_app(RenderApp).world().resource::<RenderDevice>().wgpu_device().clone();
        // No usage, which is an error on every device.
        drop(device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("on purpose"),
            size: 4,
            usage: wgpu::BufferUsages::empty(),
            mapped_at_creation: false,
        }));
        until(&mut app, "the error", |_| match painter.paint(image.writer().unwrap(), TEXELS, 8) {
            Ok(_) => false,
            Err(Error::NotPresented { retried: true, source, .. }) => {
                assert!(matches!(*source, Error::RenderingStopped { .. }), "{source}");
                true
            }
            Err(other) => panic!("{other}"),
        });
        drop(dropped);
        let kept = usize::from(cuda(&app).compute().is_some());
        until(&mut app, "the end of the one that was dropped", |_| LiveObjects::now().exchanges == kept);

        STOPPED.store(false, Ordering::SeqCst);
        until_presented(&mut app, &painter, &mut image);
        drop((image, painter, app));
        assert_nothing_alive();
        forget_errors();
    }
}
