//! Ends in every order, and a thousand of them.
#![allow(clippy::unwrap_used)] // Tests.

use std::any::Any;

use crate::support::simulation::{Painter, Picture, picture};
use crate::support::*;
use bevy::prelude::*;
use bevy::render::RenderApp;
use bevy::render::render_asset::RenderAssets;
use bevy::render::renderer::RenderDevice;
use bevy::render::texture::GpuImage;
use bevy_vk_cuda::bridge::LiveObjects;
use bevy_vk_cuda::{CudaPlugin, Way};

/// Begins a frame, if there is room.
fn paint(painter: &Painter, image: &mut Picture, side: u32) -> bool {
    painter.paint(image.writer().unwrap(), side, 7).unwrap()
}

/// Frames have been shown, and one more was begun.
fn painted(app: &mut App, image: &mut Picture) {
    let painter = Painter::new(&cuda(app));
    for _ in 0..5 {
        paint(&painter, image, 64);
        app.update();
    }
    paint(&painter, image, 64);
}

/// The app, the asset, the writer, and what a program has cloned of the plugin's and of wgpu's.
#[test]
fn everything_is_dropped_in_every_order() {
    let _alone = alone();
    let all = test_support::orders(4);
    assert_eq!(all.len(), 24);
    let ways = ways();
    let (slow, cuda_too) = ways.split_at(2);
    for (index, order) in all.iter().enumerate() {
        // An app takes a second to start: the two ways without CUDA take turns.
        for plugin in cuda_too.iter().chain([&slow[index / 2 % 2]]) {
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

/// As above, with pipelines, which take seconds to compile, and with frames between two drops.
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
            // Most are gone before Bevy has seen them, the others while a copy runs.
            if round % 4 == 3 {
                app.update();
                app.update();
            }
        }
        // The last is removed by the next frame.
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

/// Where the device has one queue, or no CUDA, frames are uploaded, and the log says so.
#[test]
fn the_fallback_is_visible() {
    let _alone = alone();
    let plain = app(CudaPlugin::default());
    let cuda = cuda(&plain);
    if cuda.way() == Way::Cuda {
        test_support::skip_case(test_support::Need::Other, "fallback", "this machine has CUDA and a second queue");
        return;
    }
    assert_eq!(cuda.way(), Way::Upload);
    assert!(logged("computed on the CPU and uploaded") && logged(cuda.reason()), "{}", cuda.reason());
}
