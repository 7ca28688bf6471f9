//! Assets that a program has replaced by objects that frames cannot be copied into.

use bevy_render::storage::ShaderBuffer;
use wgpu::{BufferUsages, TextureDimension};

use super::*;
use crate::buffer::CudaBuffer;

const LEN: usize = 16;

/// A buffer in addition to the scene's image.
pub(super) struct Numbers {
    buffer: CudaBuffer<u32>,
    handle: Handle<ShaderBuffer>,
}

impl Numbers {
    pub(super) fn new(scene: &Scene) -> Self {
        let cuda = scene.world.resource::<Cuda>();
        let buffer = CudaBuffer::new(cuda, &mut Assets::default(), "numbers", LEN).unwrap();
        let handle = buffer.handle().clone();
        Self { buffer, handle }
    }

    /// Inserts an asset with these usages.
    pub(super) fn insert(&self, scene: &mut Scene, usage: BufferUsages) -> wgpu::Buffer {
        self.insert_mapped(scene, usage, false)
    }

    fn insert_mapped(&self, scene: &mut Scene, usage: BufferUsages, mapped_at_creation: bool) -> wgpu::Buffer {
        let buffer_descriptor = wgpu::BufferDescriptor { label: None, size: 4 * LEN as u64, usage, mapped_at_creation };
        let made = scene.device.create_buffer(&buffer_descriptor);
        let buffer = GpuShaderBuffer { buffer: made.clone().into(), buffer_descriptor, had_data: true };
        scene.world.resource_mut::<RenderAssets<GpuShaderBuffer>>().insert(&self.handle, buffer);
        made
    }

    pub(super) fn write(&mut self) -> Result<bool> {
        self.buffer.writer().unwrap().write(|frame| match frame {
            Frame::Cpu(cpu) => cpu.run(|items| items.fill(1)),
            Frame::Cuda(_) => panic!("the CPU was asked for"),
        })
    }

    pub(super) fn presented(&mut self) -> u64 {
        self.buffer.writer().unwrap().presented()
    }
}

/// The object that cannot be copied into reports what it lacks, and the other one receives its
/// frame. The first one receives its frame when it is replaced by a suitable object.
#[test]
fn a_texture_that_cannot_be_copied_into_delays_no_other() {
    let _alone = alone();
    let right = descriptor(TextureFormat::Rgba8Unorm, SIDE);
    let wrong = [
        ("COPY_DST", Descriptor { usage: TextureUsages::TEXTURE_BINDING, ..right.clone() }),
        (
            "4 samples",
            Descriptor { sample_count: 4, usage: right.usage | TextureUsages::RENDER_ATTACHMENT, ..right.clone() },
        ),
        ("D3", Descriptor { dimension: TextureDimension::D3, ..right }),
    ];
    for way in [Way::Upload, Way::Host] {
        for (lacks, like) in &wrong {
            let mut scene = Scene::new(way);
            let mut numbers = Numbers::new(&scene);
            numbers.insert(&mut scene, BufferUsages::STORAGE | BufferUsages::COPY_DST);
            scene.insert_like(like.clone());
            assert!(scene.write(4).unwrap() && numbers.write().unwrap());
            scene.until("the frame of the other", |_| numbers.presented() == 1);
            let fault = scene.fault(5).expect(lacks);
            assert!(fault.contains(lacks), "{fault}");
            assert_eq!(scene.presented(), 0, "{lacks}");
            let texture = scene.insert(SIDE, 0);
            scene.until("the frame", |scene| scene.value(&texture) == 4);
            assert_eq!((scene.presented(), scene.fault(5)), (1, None), "{lacks}");
        }
    }
}

#[test]
fn a_buffer_that_cannot_be_copied_into_delays_no_other() {
    let _alone = alone();
    for way in [Way::Upload, Way::Host] {
        let mut scene = Scene::new(way);
        let mut numbers = Numbers::new(&scene);
        numbers.insert(&mut scene, BufferUsages::STORAGE);
        let texture = scene.insert(SIDE, 0);
        assert!(scene.write(4).unwrap() && numbers.write().unwrap());
        scene.until("the frame of the other", |scene| scene.value(&texture) == 4);
        let Err(Error::NotPresented { retried: true, source, .. }) = numbers.write() else { panic!("no error") };
        assert!(source.to_string().contains("COPY_DST"), "{source}");
        numbers.insert(&mut scene, BufferUsages::STORAGE | BufferUsages::COPY_DST);
        scene.until("the frame", |_| numbers.presented() == 1);
        assert!(numbers.write().is_ok());
    }
}

/// A program may destroy Bevy's object, after which wgpu rejects it in all commands. The other
/// object receives its frame, and so does the first one when Bevy has created it again.
#[test]
fn a_destroyed_texture_delays_no_other() {
    let _alone = alone();
    for way in [Way::Upload, Way::Host] {
        let mut scene = Scene::new(way);
        let mut numbers = Numbers::new(&scene);
        numbers.insert(&mut scene, BufferUsages::STORAGE | BufferUsages::COPY_DST);
        scene.insert(SIDE, 0).destroy();
        assert!(scene.write(4).unwrap() && numbers.write().unwrap());
        scene.until("the frame of the other", |_| numbers.presented() == 1);
        let fault = scene.fault(5).expect("it was destroyed");
        assert!(fault.contains("destroyed"), "{fault}");
        assert_eq!(scene.presented(), 0);
        let texture = scene.insert(SIDE, 0);
        scene.until("the frame", |scene| scene.value(&texture) == 4);
        assert_eq!((scene.presented(), scene.fault(5)), (1, None), "{way:?}");
    }
}

#[test]
fn a_destroyed_buffer_delays_no_other() {
    let _alone = alone();
    for way in [Way::Upload, Way::Host] {
        let mut scene = Scene::new(way);
        let mut numbers = Numbers::new(&scene);
        numbers.insert(&mut scene, BufferUsages::STORAGE | BufferUsages::COPY_DST).destroy();
        let texture = scene.insert(SIDE, 0);
        assert!(scene.write(4).unwrap() && numbers.write().unwrap());
        scene.until("the frame of the other", |scene| scene.value(&texture) == 4);
        let Err(Error::NotPresented { retried: true, source, .. }) = numbers.write() else { panic!("no error") };
        assert!(source.to_string().contains("destroyed"), "{source}");
        numbers.insert(&mut scene, BufferUsages::STORAGE | BufferUsages::COPY_DST);
        scene.until("the frame", |_| numbers.presented() == 1);
        assert!(numbers.write().is_ok());
    }
}

/// wgpu refuses the whole submission that uses a mapped buffer. The other object receives its frame
/// nevertheless, and the frame of the buffer is neither counted nor lost.
#[test]
fn a_mapped_buffer_delays_no_other() {
    let _alone = alone();
    let mut scene = Scene::new(Way::Host);
    let mut numbers = Numbers::new(&scene);
    let texture = scene.insert(SIDE, 0);
    let mapped = numbers.insert_mapped(&mut scene, BufferUsages::STORAGE | BufferUsages::COPY_DST, true);
    assert!(scene.write(4).unwrap() && numbers.write().unwrap());
    scene.until("the frame of the other", |scene| scene.value(&texture) == 4);
    scene.until("the error", |_| numbers.write().is_err());
    for value in 5..8 {
        assert!(scene.write(value).unwrap());
        scene.until("later frames", |scene| scene.value(&texture) == value);
    }
    // The end of each submission can be waited for, also that of refused commands.
    scene.present();
    let submitted = &scene.world.resource::<Presented>().submitted;
    assert!(!submitted.is_empty());
    for (_, index) in submitted {
        let timeout = Some(std::time::Duration::from_secs(60));
        scene.device.poll(wgpu::PollType::Wait { submission_index: Some(index.clone()), timeout }).unwrap();
    }
    let Err(Error::NotPresented { retried: true, source, .. }) = numbers.write() else { panic!("no error") };
    assert!(source.to_string().contains("mapped"), "{source}");
    assert_eq!((scene.presented(), numbers.presented()), (4, 0));
    mapped.unmap();
    scene.until("its frame", |_| numbers.presented() == 1);
    assert!(numbers.write().is_ok());
}

/// Bevy would report the error of a texture or buffer that cannot be created, and end the program.
#[test]
fn sizes_above_the_limits_are_refused_in_every_way() {
    let _alone = alone();
    let (device, _queue) = device();
    let limits = device.limits();
    for way in [Way::Upload, Way::Host] {
        let cuda = Scene::cuda(&device, way);
        for size in [[limits.max_texture_dimension_2d + 1, 1], [1, u32::MAX]] {
            let refused =
                CudaImage::<[u8; 4]>::new(&cuda, &mut Assets::default(), "big", TextureFormat::Rgba8Unorm, size);
            assert!(matches!(refused, Err(Error::InvalidArgument { object, .. }) if object == "big"), "{size:?}");
        }
        for len in [limits.max_buffer_size as usize / 4 + 1, 1 << 61] {
            let refused = CudaBuffer::<u32>::new(&cuda, &mut Assets::default(), "big", len);
            assert!(matches!(refused, Err(Error::InvalidArgument { object, .. }) if object == "big"), "{len}");
        }
    }
}
