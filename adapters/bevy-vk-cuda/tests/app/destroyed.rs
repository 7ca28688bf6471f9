//! A program destroys Bevy's device while frames are written and copied.
#![allow(clippy::unwrap_used)] // A test.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bevy::prelude::*;
use bevy::render::RenderApp;
use bevy::render::error_handler::{ErrorType, RenderError, RenderErrorHandler, RenderErrorPolicy};
use bevy::render::renderer::RenderDevice;
use bevy_vk_cuda::{CudaBuffer, Error};

use crate::support::simulation::{Filler, Painter, Picture, TEXELS, numbers, picture};
use crate::support::*;

/// The number of elements of a buffer.
const LEN: usize = 1 << 16;

static RECOVERIES: AtomicU32 = AtomicU32::new(0);

fn recover(error: &RenderError, _: &mut World, _: &mut World) -> RenderErrorPolicy {
    assert!(matches!(error.ty, ErrorType::DeviceLost), "{error:?}");
    RECOVERIES.fetch_add(1, Ordering::SeqCst);
    RenderErrorPolicy::Recover(settings().into())
}

/// A picture and a buffer, with their producers. Bevy draws nothing, because with a view, it panics
/// on a destroyed device itself (`prepare_clusters_for_gpu_clustering` of 0.19 maps a buffer).
struct Scene {
    image: Picture,
    values: CudaBuffer<u32>,
    painter: Painter,
    filler: Filler,
}

impl Scene {
    fn new(app: &mut App, name: &str) -> Self {
        let (painter, filler) = (Painter::new(&cuda(app)), Filler::new(&cuda(app)));
        Self { image: picture(app, name, [TEXELS; 2]), values: numbers(app, LEN), painter, filler }
    }

    /// Begins a frame of both, after waiting for earlier ones.
    fn write(&mut self) {
        while !self.painter.paint(self.image.writer().unwrap(), TEXELS, 7).unwrap() {}
        while !self.filler.fill(self.values.writer().unwrap(), LEN as u32, 1, Duration::ZERO).unwrap() {}
    }

    fn until_presented(&mut self, app: &mut App) {
        until(app, "the frames", |_| {
            self.write();
            self.image.writer().unwrap().presented() > 0 && self.values.writer().unwrap().presented() > 0
        });
    }

    /// Checks that both are permanently lost.
    fn assert_lost(&mut self) {
        let painted = self.painter.paint(self.image.writer().unwrap(), TEXELS, 8);
        let filled = self.filler.fill(self.values.writer().unwrap(), LEN as u32, 1, Duration::ZERO);
        for written in [painted, filled] {
            assert!(matches!(written, Err(Error::NotPresented { retried: false, .. })), "{written:?}");
        }
    }
}

/// wgpu then frees its own objects, none of which the other queue writes. Writers receive an error,
/// and Bevy recovers.
#[test]
fn a_device_may_be_destroyed_while_frames_are_copied() {
    let _alone = alone();
    for plugin in ways().into_iter().skip(1) {
        let mut app = app(plugin);
        app.insert_resource(RenderErrorHandler(recover));
        let before = RECOVERIES.load(Ordering::SeqCst);
        let mut former = Scene::new(&mut app, "former");
        former.until_presented(&mut app);
        // At most two frames are unfinished: of three, there is one that Bevy's next frame copies.
        (0..3).for_each(|_| former.write());
        let device = app.sub_app(RenderApp).world().resource::<RenderDevice>().wgpu_device().clone();
        device.destroy();
        app.update();
        former.assert_lost();
        until(&mut app, "the recovery", |_| RECOVERIES.load(Ordering::SeqCst) > before);
        // Another update adopts the new device.
        app.update();

        let mut new = Scene::new(&mut app, "new");
        new.until_presented(&mut app);
        assert!(errors().iter().all(|line| !line.contains("VUID")), "{:?}", errors());
        drop((former, new, device));
        drop(app);
        assert_nothing_alive();
        assert!(errors().iter().all(|line| !line.contains("VUID")), "{:?}", errors());
        forget_errors();
    }
}
