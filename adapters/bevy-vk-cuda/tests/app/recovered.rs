//! Bevy's renderer recovery, which replaces the device.
#![allow(clippy::unwrap_used)] // Tests.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ash::vk;
use bevy::prelude::*;
use bevy::render::RenderApp;
use bevy::render::error_handler::{RenderError, RenderErrorHandler, RenderErrorPolicy};
use bevy::render::render_asset::RenderAssets;
use bevy::render::render_resource::TextureFormat;
use bevy::render::renderer::{RenderDevice, RenderQueue};
use bevy::render::texture::GpuImage;
use bevy_vk_cuda::{Cuda, Error, Way};

use crate::support::simulation::{Painter, Picture, TEXELS, picture, shows};
use crate::support::*;

const LIMIT: Duration = Duration::from_secs(60);

static RECOVERIES: AtomicU32 = AtomicU32::new(0);

fn recover(_: &RenderError, _: &mut World, _: &mut World) -> RenderErrorPolicy {
    RECOVERIES.fetch_add(1, Ordering::SeqCst);
    RenderErrorPolicy::Recover(settings().into())
}

/// Makes wgpu report an error to Bevy's handler, and waits until Bevy has another device.
fn break_renderer(app: &mut App) {
    let before = RECOVERIES.load(Ordering::SeqCst);
    let device = app.sub_app(RenderApp).world().resource::<RenderDevice>().wgpu_device().clone();
    // No usage, which is an error on every device.
    drop(device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("on purpose"),
        size: 4,
        usage: wgpu::BufferUsages::empty(),
        mapped_at_creation: false,
    }));
    until(app, "the recovery", |_| RECOVERIES.load(Ordering::SeqCst) > before);
    // Another update takes the new device, and the next one draws with it.
    app.update();
    app.update();
}

fn adopted(cuda: &Cuda) -> Option<vk::Device> {
    cuda.compute().map(|compute| compute.device().as_raw().handle())
}

/// An app, and the image that its camera draws to.
struct Scene {
    app: App,
    target: Handle<Image>,
}

impl Scene {
    /// Reads the camera's picture. Bevy's read-back is not used, because it keeps buffers of the
    /// former device after a recovery.
    fn look(&mut self) {
        let render = self.app.sub_app(RenderApp).world();
        let device = render.resource::<RenderDevice>().wgpu_device();
        let Some(target) = render.resource::<RenderAssets<GpuImage>>().get(&self.target) else { return };
        let size = (4 * TEXELS * TEXELS).into();
        let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ;
        let buffer =
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
        let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(4 * TEXELS), rows_per_image: None };
        let to = wgpu::TexelCopyBufferInfo { buffer: &buffer, layout };
        let mut commands = device.create_command_encoder(&Default::default());
        commands.copy_texture_to_buffer(target.texture.as_image_copy(), to, target.texture.size());
        render.resource::<RenderQueue>().submit([commands.finish()]);
        buffer.map_async(wgpu::MapMode::Read, .., |mapped| mapped.unwrap());
        device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        let picture = buffer.get_mapped_range(..).to_vec();
        self.app.world_mut().resource_mut::<Seen>().picture = picture;
    }

    /// Paints frames of a picture until the camera shows one.
    fn until_shown(&mut self, painter: &Painter, image: &mut Picture, frame: u32) {
        let start = Instant::now();
        while !shows(&self.app, frame) {
            assert!(start.elapsed() < LIMIT, "frame {frame} was never seen");
            painter.paint(image.writer().unwrap(), TEXELS, frame).unwrap();
            self.app.update();
            self.look();
        }
    }
}

/// Images of the former device report that they must be created again, and new ones are shown. If
/// frames are uploaded, nothing has to be done.
#[test]
fn the_plugin_goes_on_with_the_device_of_a_recovery() {
    let _alone = alone();
    for plugin in ways() {
        let mut app = app(plugin);
        app.insert_resource(RenderErrorHandler(recover));
        let target = camera_alone(&mut app);
        let mut scene = Scene { app, target };
        let mut former = picture(&mut scene.app, "former", [TEXELS; 2]);
        let shown = square(&mut scene.app, former.handle().clone());
        let (stale, painter) = (cuda(&scene.app), Painter::new(&cuda(&scene.app)));
        scene.until_shown(&painter, &mut former, 7);

        break_renderer(&mut scene.app);
        if stale.way() == Way::Upload {
            scene.until_shown(&painter, &mut former, 9);
        } else {
            assert_eq!(cuda(&scene.app).way(), stale.way(), "{}", cuda(&scene.app).reason());
            assert_ne!(adopted(&cuda(&scene.app)), adopted(&stale));
            let refused = painter.paint(former.writer().unwrap(), TEXELS, 8);
            let Err(Error::NotPresented { retried: false, source, .. }) = refused else { panic!("{refused:?}") };
            assert!(matches!(*source, Error::DeviceReplaced { .. }), "{source}");
            assert!(logged("\"former\" gets no more frames"));
            let mut images = scene.app.world_mut().resource_mut::<Assets<Image>>();
            let refused = Picture::new(&stale, &mut images, "stale", TextureFormat::Rgba8UnormSrgb, [TEXELS; 2]);
            assert!(matches!(refused, Err(Error::DeviceReplaced { .. })), "{:?}", refused.err());

            scene.app.world_mut().despawn(shown);
            let mut image = picture(&mut scene.app, "new", [TEXELS; 2]);
            square(&mut scene.app, image.handle().clone());
            let painter = Painter::new(&cuda(&scene.app));
            scene.until_shown(&painter, &mut image, 9);
            // A second recovery, while the image of the first device still exists.
            break_renderer(&mut scene.app);
            assert!(painter.paint(image.writer().unwrap(), TEXELS, 8).is_err());
            drop(image);
        }
        drop((former, painter, stale));
        drop(scene);
        assert_nothing_alive();
        assert!(errors().iter().all(|line| !line.contains("VUID")), "{:?}", errors());
        forget_errors();
    }
}
