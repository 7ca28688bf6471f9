//! Ends in every order, and a thousand of them.
#![allow(clippy::unwrap_used)] // Tests.

mod support;

use bevy::prelude::*;
use bevy::render::render_resource::TextureFormat;
use bevy_vk_cuda::bridge::{ImageSpec, LiveObjects};
use bevy_vk_cuda::{Cuda, CudaImage, CudaPlugin, Error, Frame, Way};
use support::*;

type Picture = CudaImage<[u8; 4]>;

fn picture(app: &mut App, size: u32) -> Picture {
    let cuda: Cuda = cuda(app);
    let mut images = app.world_mut().resource_mut::<Assets<Image>>();
    Picture::new(&cuda, &mut images, "picture", TextureFormat::Rgba8UnormSrgb, [size; 2]).unwrap()
}

fn paint(image: &mut Picture) -> bool {
    let paint = |work: Frame<'_, ImageSpec<[u8; 4]>>| match work {
        Frame::Cpu(cpu) => cpu.run(|mut rows| rows.fill_with(|_, _| [255; 4])),
        _ => panic!("no CUDA was asked for"),
    };
    image.writer().unwrap().write(paint).map_err(|error: Error| error).unwrap()
}

#[test]
fn everything_may_be_dropped_in_any_order() {
    let _alone = alone();
    for order in 0..4 {
        for plugin in ways() {
            let mut app = app(plugin);
            camera(&mut app);
            let mut image = picture(&mut app, 64);
            let square = square(&mut app, image.handle().clone());
            for _ in 0..5 {
                paint(&mut image);
                app.update();
            }
            paint(&mut image);
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
        let mut kept = picture(&mut app, 8);
        paint(&mut kept);
        until(&mut app, "the first frames", |app| {
            app.update();
            paint(&mut kept)
        });
        let before = LiveObjects::now();
        assert_eq!(way == Way::Host, before.exchanges == 1);
        for round in 0..1000 {
            let mut image = picture(&mut app, 8);
            paint(&mut image);
            if round % 3 != 0 {
                app.update();
            }
            if round % 3 == 2 {
                app.update();
            }
        }
        // The last is removed by the next frame.
        app.update();
        let same = |before: &LiveObjects, now: &LiveObjects| {
            (before.exchanges, before.images, before.turns) == (now.exchanges, now.images, now.turns)
        };
        until(&mut app, "their end", |_| same(&before, &LiveObjects::now()));
        assert!(paint(&mut kept) || way == Way::Host);
        drop(kept);
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
