//! Dropping everything in every order, and creating and dropping a thousand images.
#![allow(clippy::unwrap_used)] // Tests.

use std::any::Any;
use std::time::Duration;

use crate::support::simulation::{Filler, Painter, Picture, numbers, picture};
use crate::support::*;
use bevy::prelude::*;
use bevy::render::RenderApp;
use bevy::render::render_asset::RenderAssets;
use bevy::render::renderer::RenderDevice;
use bevy::render::texture::GpuImage;
use bevy_vk_cuda::bridge::LiveObjects;
use bevy_vk_cuda::{CudaPlugin, Error, Way};

/// Begins a frame if fewer than two are unfinished.
fn paint(painter: &Painter, image: &mut Picture, side: u32) -> bool {
    painter.paint(image.writer().unwrap(), side, 7).unwrap()
}

/// Shows frames, and begins one more.
fn painted(app: &mut App, image: &mut Picture) {
    let painter = Painter::new(&cuda(app));
    for _ in 0..5 {
        paint(&painter, image, 64);
        app.update();
    }
    paint(&painter, image, 64);
}

/// The app, the asset, the writer and the program's clones of plugin and wgpu objects can be
/// dropped in every order.
#[test]
fn everything_is_dropped_in_every_order() {
    let _alone = alone();
    let all = test_support::orders(4);
    assert_eq!(all.len(), 24);
    let ways = ways();
    for order in &all {
        for plugin in &ways {
            let mut app = app(plugin.clone());
            let mut image = picture(&mut app, "picture", [64; 2]);
            let shown = square(&mut app, image.handle().clone());
            painted(&mut app, &mut image);
            let render = app.sub_app(RenderApp).world();
            let texture = render.resource::<RenderAssets<GpuImage>>().get(image.handle()).unwrap().texture.clone();
            let of_wgpu = (render.resource::<RenderDevice>().clone(), texture);
            let clones = (cuda(&app), image.handle().clone(), of_wgpu);
            let writer = image.take_writer();
            app.world_mut().despawn(shown);
            let parts: [Box<dyn Any>; 4] = [Box::new(app), Box::new(image), Box::new(writer), Box::new(clones)];
            let mut parts = parts.map(Some);
            for index in order {
                drop(parts[*index].take());
            }
            assert_nothing_alive();
        }
    }
    assert_eq!(errors(), [""; 0]);
}

/// The same with pipelines, which take seconds to compile, and with frames between two drops.
#[test]
fn what_is_on_screen_may_be_dropped_before_the_app_and_behind_it() {
    let _alone = alone();
    for plugin in ways() {
        for image_first in [false, true] {
            let mut app = app(plugin.clone());
            camera(&mut app);
            let mut image = picture(&mut app, "picture", [64; 2]);
            square(&mut app, image.handle().clone());
            painted(&mut app, &mut image);
            if image_first {
                let writer = image.take_writer();
                drop(image);
                app.update();
                app.update();
                drop(writer);
                app.update();
                drop(app);
            } else {
                drop(app);
                drop(image);
            }
            assert_nothing_alive();
        }
    }
    assert_eq!(errors(), [""; 0]);
}

#[test]
fn a_thousand_are_added_and_removed() {
    let _alone = alone();
    for plugin in ways() {
        let mut app = app(plugin);
        let way = cuda(&app).way();
        let painter = Painter::new(&cuda(&app));
        let mut kept = picture(&mut app, "kept", [8; 2]);
        paint(&painter, &mut kept, 8);
        until(&mut app, "the first frames", |app| {
            app.update();
            paint(&painter, &mut kept, 8)
        });
        let before = LiveObjects::now();
        assert_eq!(way != Way::Upload, before.exchanges == 1);
        for round in 0..1000 {
            let mut image = picture(&mut app, "picture", [8; 2]);
            paint(&painter, &mut image, 8);
            // Most are dropped before Bevy has seen them, the others while a copy is in progress.
            if round % 4 == 3 {
                app.update();
                app.update();
            }
        }
        // The next frame removes the last one.
        app.update();
        let same = |before: &LiveObjects, now: &LiveObjects| {
            (before.exchanges, before.images, before.turns) == (now.exchanges, now.images, now.turns)
        };
        until(&mut app, "their end", |_| same(&before, &LiveObjects::now()));
        until(&mut app, "a frame of the one that was kept", |_| paint(&painter, &mut kept, 8));
        drop((kept, painter));
        drop(app);
        assert_nothing_alive();
    }
    assert_eq!(errors(), [""; 0]);
}

/// A writer that the program has taken receives an error when its image is dropped, and one whose
/// buffer outlives the app when the app is dropped: otherwise it would compute forever.
#[test]
fn a_writer_ends_with_what_shows_its_frames() {
    let _alone = alone();
    for plugin in ways() {
        let mut app = app(plugin);
        let (painter, filler) = (Painter::new(&cuda(&app)), Filler::new(&cuda(&app)));
        let (mut image, mut buffer) = (picture(&mut app, "picture", [64; 2]), numbers(&mut app, 16));
        let mut writer = image.take_writer().unwrap();
        let mut fill = |base| filler.fill(buffer.writer().unwrap(), 16, base, Duration::ZERO);
        until(&mut app, "a frame of both", |_| painter.paint(&mut writer, 64, 7).unwrap() & fill(1).unwrap());
        drop(image);
        // At once, and after Bevy has dropped its side.
        for _ in 0..3 {
            let refused = painter.paint(&mut writer, 64, 8);
            assert!(matches!(&refused, Err(Error::Dropped { object, .. }) if object == "picture"), "{refused:?}");
            app.update();
            app.update();
        }
        until(&mut app, "a frame of the buffer that is kept", |_| fill(2).unwrap());
        drop(app);
        let refused = fill(3);
        assert!(matches!(&refused, Err(Error::Dropped { object, .. }) if object == "numbers"), "{refused:?}");
        drop((writer, buffer, painter, filler));
        assert_nothing_alive();
    }
    assert_eq!(errors(), [""; 0]);
}

/// If the device has only one queue or CUDA is not available, frames are uploaded, and the log
/// reports it.
#[test]
fn the_fallback_is_visible() {
    let _alone = alone();
    let plain = app(CudaPlugin::default());
    let cuda = cuda(&plain);
    if cuda.way() == Way::Cuda {
        test_support::skip_case(test_support::Need::Other, "fallback", "this machine has CUDA and a queue for copies");
        return;
    }
    assert_eq!(cuda.way(), Way::Upload);
    assert!(logged("computed on the CPU and uploaded") && logged(cuda.reason()), "{}", cuda.reason());
}
