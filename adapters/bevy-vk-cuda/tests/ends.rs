//! Ends in every order, and a thousand of them.
#![allow(clippy::unwrap_used)] // Tests.

mod support;

use bevy_vk_cuda::bridge::LiveObjects;
use bevy_vk_cuda::{CudaPlugin, Way};
use support::simulation::{Painter, Picture, picture};
use support::*;

/// Begins a frame, if there is room.
fn paint(painter: &Painter, image: &mut Picture, side: u32) -> bool {
    painter.paint(image.writer().unwrap(), side, 7).unwrap()
}

#[test]
fn everything_may_be_dropped_in_any_order() {
    let _alone = alone();
    for order in 0..4 {
        for plugin in ways() {
            let mut app = app(plugin);
            // Pipelines take seconds to compile: two of the orders do without pictures.
            if order < 2 {
                camera(&mut app);
            }
            let painter = Painter::new(&cuda(&app));
            let mut image = picture(&mut app, "picture", [64; 2]);
            let square = square(&mut app, image.handle().clone());
            for _ in 0..5 {
                paint(&painter, &mut image, 64);
                app.update();
            }
            paint(&painter, &mut image, 64);
            drop(painter);
            match order {
                0 => {
                    drop(app);
                    drop(image);
                }
                1 => {
                    drop(image);
                    drop(app);
                }
                2 => {
                    let writer = image.take_writer();
                    drop(image);
                    app.update();
                    drop(app);
                    drop(writer);
                }
                _ => {
                    app.world_mut().despawn(square);
                    let (handle, cuda) = (image.handle().clone(), cuda(&app));
                    drop(app);
                    drop((image, cuda, handle));
                }
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
