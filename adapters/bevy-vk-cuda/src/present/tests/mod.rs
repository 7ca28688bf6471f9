//! Frames on a device that runs out of memory when a test requests it, and assets that are removed
//! and replaced.
#![allow(clippy::unwrap_used)] // Tests.

mod device;
mod dropped;
mod lost;
mod pace;
mod recovered;
mod replaced;
mod stopped;

use std::sync::atomic::Ordering;
use std::time::Instant;

use bevy_asset::{Assets, Handle};
use bevy_ecs::system::RunSystemOnce;
use bevy_ecs::world::World;
use bevy_image::Image;
use bevy_render::renderer::WgpuWrapper;
use bridge::Backend;
use wgpu::{TextureFormat, TextureUsages};

use self::device::{FULL, REFUSED, alone, device};
use super::*;
use crate::cuda::Way;
use crate::error::{Error, Result};
use crate::image::CudaImage;
use crate::vulkan;
use crate::writer::Frame;

type Descriptor = wgpu::TextureDescriptor<'static>;

const LIMIT: Duration = Duration::from_secs(60);
/// Rows of 256 bytes can be read back without padding.
const SIDE: u32 = 64;

fn descriptor(format: TextureFormat, side: u32) -> Descriptor {
    Descriptor {
        label: None,
        size: wgpu::Extent3d { width: side, height: side, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        usage: TextureUsages::TEXTURE_BINDING | TextureUsages::COPY_DST | TextureUsages::COPY_SRC,
        view_formats: &[],
    }
}

/// A render world with an image that shows frames.
struct Scene {
    world: World,
    device: wgpu::Device,
    queue: wgpu::Queue,
    handle: Handle<Image>,
    image: CudaImage<[u8; 4]>,
}

impl Scene {
    fn new(way: Way) -> Self {
        let (device, queue) = device();
        let cuda = Self::cuda(&device, way);
        let image = Self::image(&cuda);
        let handle = image.handle().clone();
        let mut world = World::new();
        world.insert_resource(cuda);
        world.insert_resource(RenderDevice::from(device.clone()));
        world.insert_resource(RenderQueue(Arc::new(WgpuWrapper::new(queue.clone()))));
        world.init_resource::<Presented>();
        world.init_resource::<RenderAssets<GpuImage>>();
        world.init_resource::<RenderAssets<GpuShaderBuffer>>();
        world.init_resource::<ExtractedAssets<GpuImage>>();
        world.init_resource::<ExtractedAssets<GpuShaderBuffer>>();
        Self { world, device, queue, handle, image }
    }

    fn cuda(device: &wgpu::Device, way: Way) -> Cuda {
        let adopted = match way {
            Way::Upload => Err("requested".to_owned()),
            _ => vulkan::adopt(device, Backend::Host, true, &Default::default()),
        };
        let cuda = Cuda::new(adopted, Some(device.limits()));
        assert_eq!(cuda.way(), way, "{}", cuda.reason());
        cuda
    }

    fn image(cuda: &Cuda) -> CudaImage<[u8; 4]> {
        CudaImage::new(cuda, &mut Assets::default(), "picture", TextureFormat::Rgba8Unorm, [SIDE; 2]).unwrap()
    }

    /// Inserts an asset with this side length, filled with texels of this value.
    fn insert(&mut self, side: u32, value: u8) -> wgpu::Texture {
        let texture = self.insert_like(descriptor(TextureFormat::Rgba8Unorm, side));
        let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(4 * side), rows_per_image: None };
        let texels = vec![value; 4 * (side * side) as usize];
        self.queue.write_texture(texture.as_image_copy(), &texels, layout, texture.size());
        texture
    }

    /// Inserts an asset with this descriptor.
    fn insert_like(&mut self, descriptor: Descriptor) -> wgpu::Texture {
        let texture = self.device.create_texture(&descriptor);
        let image = GpuImage {
            texture: texture.clone().into(),
            texture_view: texture.create_view(&Default::default()).into(),
            sampler: self.device.create_sampler(&Default::default()).into(),
            texture_descriptor: descriptor,
            texture_view_descriptor: None,
            had_data: true,
        };
        self.world.resource_mut::<RenderAssets<GpuImage>>().insert(&self.handle, image);
        texture
    }

    fn remove(&mut self) {
        self.world.resource_mut::<RenderAssets<GpuImage>>().remove(&self.handle);
    }

    fn present(&mut self) {
        self.world.run_system_once(present).unwrap();
    }

    /// Begins a frame of this value.
    fn write(&mut self, value: u8) -> Result<bool> {
        self.image.writer().unwrap().write(|frame| match frame {
            Frame::Cpu(cpu) => cpu.run(move |mut rows| rows.fill_with(|_, _| [value; 4])),
            Frame::Cuda(_) => panic!("the CPU was asked for"),
        })
    }

    fn presented(&mut self) -> u64 {
        self.image.writer().unwrap().presented()
    }

    /// Presents until the condition holds.
    fn until(&mut self, what: &str, mut so: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !so(self) {
            assert!(start.elapsed() < LIMIT, "it never came: {what}");
            self.present();
        }
    }

    /// Returns the error that keeps frames from Bevy, after writing a frame of `value` if one can
    /// be written.
    fn fault(&mut self, value: u8) -> Option<String> {
        match self.write(value) {
            Ok(_) => None,
            Err(Error::NotPresented { retried: true, source, .. }) => Some(source.to_string()),
            Err(other) => panic!("{other}"),
        }
    }

    /// Returns the value of all texels.
    fn value(&self, texture: &wgpu::Texture) -> u8 {
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: (4 * SIDE * SIDE).into(),
            usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
            mapped_at_creation: false,
        });
        let mut commands = self.device.create_command_encoder(&Default::default());
        let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(4 * SIDE), rows_per_image: None };
        let to = wgpu::TexelCopyBufferInfo { buffer: &buffer, layout };
        commands.copy_texture_to_buffer(texture.as_image_copy(), to, texture.size());
        self.queue.submit([commands.finish()]);
        buffer.map_async(wgpu::MapMode::Read, .., |mapped| mapped.unwrap());
        self.device.poll(wgpu::PollType::Wait { submission_index: None, timeout: Some(LIMIT) }).unwrap();
        let bytes = buffer.get_mapped_range(..).to_vec();
        assert!(bytes.iter().all(|byte| *byte == bytes[0]), "torn");
        bytes[0]
    }
}

/// Memory runs out for each of the copies in turn: the asset keeps its contents until there is a
/// frame, and the error lasts until memory is available.
#[test]
fn memory_that_runs_out_leaves_the_picture_and_is_tried_again() {
    let _alone = alone();
    for refused in 1..=crate::ring::PLACES as u32 {
        let mut scene = Scene::new(Way::Host);
        let texture = scene.insert(SIDE, 77);
        REFUSED.store(refused, Ordering::SeqCst);
        scene.present();
        let fault = scene.fault(1).expect("the copy was made");
        assert!(fault.contains("OUT_OF_DEVICE_MEMORY"), "{fault}");
        assert_eq!(scene.value(&texture), 77, "by a frame without memory");
        // Nothing is created while the asset is missing.
        scene.remove();
        scene.present();
        assert_eq!(scene.fault(1), Some(fault), "what could not be tried says nothing");
        let texture = scene.insert(SIDE, 78);
        scene.present();
        assert_eq!(scene.value(&texture), 78, "by the copies' first use");
        assert_eq!(scene.fault(3), None);
        scene.until("the frame", |scene| match scene.value(&texture) {
            78 => false,
            3 => true,
            other => panic!("{other} is shown"),
        });
        assert_eq!(scene.presented(), 1);
    }
}

/// A texture that Bevy has recreated receives the last complete frame while the copy of the next
/// one fails.
#[test]
fn a_new_texture_has_the_last_frame_though_copies_fail() {
    let _alone = alone();
    let mut scene = Scene::new(Way::Host);
    let texture = scene.insert(SIDE, 77);
    assert!(scene.write(1).unwrap());
    scene.until("the first frame", |scene| scene.value(&texture) == 1);
    FULL.store(true, Ordering::SeqCst);
    assert!(scene.write(2).unwrap());
    scene.until("the failed copy", |scene| scene.fault(2).is_some());
    let texture = scene.insert(SIDE, 0);
    scene.present();
    assert_eq!((scene.value(&texture), scene.presented()), (1, 1), "the same frame again");
    assert!(scene.fault(3).is_some_and(|fault| fault.contains("vkQueueSubmit2")));
    FULL.store(false, Ordering::SeqCst);
    scene.until("the second frame", |scene| match scene.value(&texture) {
        1 => false,
        2 => true,
        other => panic!("{other} is shown"),
    });
    assert_eq!(scene.fault(3), None);
}

/// The smallest and the largest texel: wgpu accepts the first use of the copies; its errors would
/// panic here.
#[test]
fn copies_of_every_texel_are_settled() {
    fn settle<T: bridge::Texel>(format: TextureFormat) {
        let (device, queue) = device();
        let texture = device.create_texture(&descriptor(format, 3));
        let (images, buffers, of_images, of_buffers) = Default::default();
        let changed = (&of_images, &of_buffers);
        let (device, raw, queue, images, buffers) = (&device, raw_device(&device), &queue, &images, &buffers);
        let mut frame = PresentFrame {
            device,
            raw,
            queue,
            images,
            buffers,
            changed,
            serial: 1,
            done: 0,
            commands: None,
            kept: Vec::new(),
        };
        let places = shared::Places::<bridge::ImageSpec<T>>::new(&mut frame, "picture", &texture);
        queue.submit(frame.commands.map(wgpu::CommandEncoder::finish));
        assert!(places.is_ok());
    }
    let _alone = alone();
    settle::<u8>(TextureFormat::R8Unorm);
    settle::<[f32; 4]>(TextureFormat::Rgba32Float);
}

/// An asset of another size is an error until there is one of the right size; removing the asset
/// does not end the error.
#[test]
fn a_missing_asset_ends_no_error() {
    let _alone = alone();
    for way in [Way::Upload, Way::Host] {
        let mut scene = Scene::new(way);
        scene.insert(SIDE / 2, 0);
        scene.present();
        let fault = scene.fault(1).expect("another size");
        let shapes =
            "replaced by one of 32x32 texels of Rgba8Unorm, where its frames are of 64x64 texels of Rgba8Unorm";
        assert!(fault.contains(shapes), "{fault}");
        scene.remove();
        scene.present();
        assert_eq!(scene.fault(1), Some(fault), "{way:?}");
        let texture = scene.insert(SIDE, 0);
        scene.present();
        assert_eq!(scene.fault(5), None, "{way:?}");
        scene.until("the frame", |scene| scene.value(&texture) == 5);
        assert_eq!(scene.presented(), 1, "{way:?}");
    }
}

/// The bridge does not check uploaded texels.
#[test]
fn a_texel_of_another_type_is_refused_in_every_way() {
    fn refused<T: bridge::Texel>(cuda: &Cuda, format: TextureFormat) -> String {
        match CudaImage::<T>::new(cuda, &mut Assets::default(), "picture", format, [SIDE; 2]) {
            Err(Error::InvalidArgument { object, reason }) if object == "picture" => reason,
            other => panic!("{format:?}: {other:?}"),
        }
    }
    let _alone = alone();
    let (device, _queue) = device();
    for way in [Way::Upload, Way::Host] {
        let cuda = Scene::cuda(&device, way);
        let reason = refused::<u32>(&cuda, TextureFormat::Rgba8UnormSrgb);
        assert!(reason.contains("Rgba8UnormSrgb is") && reason.contains("give the image that type"), "{reason}");
        refused::<f32>(&cuda, TextureFormat::Rgba8Unorm);
        refused::<[u8; 4]>(&cuda, TextureFormat::R32Float);
        refused::<[f32; 2]>(&cuda, TextureFormat::Rgba16Float);
        refused::<u8>(&cuda, TextureFormat::Rgba8Unorm);
    }
}
