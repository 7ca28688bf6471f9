//! The fixture of fault walks: a device of the double, streams, and one object of each kind that
//! can be imported.
//!
//! Unsafe because of the imports.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::any::Any;
use std::sync::Arc;

use cuda_import::cudarc::driver::{CudaContext, CudaStream};
use cuda_import::{
    BufferMappingInfo, CudaDevice, ImageMappingInfo, ImportedMemory, ImportedSemaphore, MappedBuffer, MappedImage,
    MemoryImportInfo, SemaphoreKind, SemaphorePoint, report,
};
use driver_double::{Double, Exported, ImageShape};

/// The name of every object, so that errors can be searched for it.
pub(crate) const NAME: &str = "walked";
/// Length in elements.
pub(crate) const LEN: usize = 64;
/// Size in bytes.
pub(crate) const SIZE: u64 = 4096;
/// A texel of four bytes.
pub(crate) type Texel = [u8; 4];
/// Three layers with all mip levels: with fewer levels, the drivers would place the layers
/// differently.
pub(crate) const IMAGE: ImageMappingInfo = ImageMappingInfo {
    offset: 64,
    kind: cuda_import::ImageKind::D2,
    extent: [8, 4, 1],
    layers: 3,
    layered: false,
    levels: 4,
    surface: true,
    color_attachment: true,
};
/// The shape of [`IMAGE`] for the exporting side.
pub(crate) const SHAPE: ImageShape = ImageShape {
    offset: 64,
    dimensions: 2,
    extent: [8, 4, 1],
    layers: 3,
    cube: false,
    layered: false,
    levels: 4,
    format: 0x01,
    channels: 4,
    color_attachment: true,
};
/// Number of texels in the first mip level, in all layers.
pub(crate) const TEXELS: usize = 8 * 4 * 3;
/// More semaphores than one call handles without an allocation.
pub(crate) const MANY: usize = 17;

pub(crate) struct World<'d> {
    pub(crate) double: &'d Double,
    /// Objects that an operation created.
    pub(crate) kept: Vec<Box<dyn Any>>,
    /// Objects that operations consume; [`refill`](Self::refill) creates them again.
    pub(crate) inputs: Inputs,
    pub(crate) home: Arc<CudaStream>,
    pub(crate) foreign_stream: Arc<CudaStream>,
    pub(crate) device: CudaDevice,
    /// Another device.
    pub(crate) other: CudaDevice,
    /// Context of the other device, for tests in which the wrong context is current.
    pub(crate) unrelated: Arc<CudaContext>,
    timelines: usize,
}

/// Objects to consume, all named [`NAME`].
#[derive(Default)]
pub(crate) struct Inputs {
    pub(crate) buffer: Option<MappedBuffer<u32>>,
    pub(crate) image: Option<MappedImage<Texel>>,
    /// Memory that contains an image, not mapped.
    pub(crate) image_memory: Option<Arc<ImportedMemory>>,
    /// Memory that is not mapped.
    pub(crate) memory: Option<Arc<ImportedMemory>>,
    /// Timelines that the exporting side has signaled to 1.
    pub(crate) timelines: Vec<ImportedSemaphore>,
    /// A binary semaphore that the exporting side has signaled.
    pub(crate) signaled: Option<ImportedSemaphore>,
    /// A binary semaphore that is not signaled.
    pub(crate) unsignaled: Option<ImportedSemaphore>,
    pub(crate) exported_memory: Option<Exported>,
    pub(crate) exported_timeline: Option<Exported>,
    pub(crate) exported_binary: Option<Exported>,
}

impl<'d> World<'d> {
    /// Creates the fixture with this number of timelines.
    pub(crate) fn new(double: &'d Double, timelines: usize) -> Self {
        let devices = report().unwrap().devices;
        let device = CudaDevice::by_uuid(devices[1].uuid).unwrap();
        let other = CudaDevice::adopt(CudaContext::new(0).unwrap()).unwrap();
        let mut world = Self {
            double,
            kept: Vec::new(),
            inputs: Inputs::default(),
            home: device.new_stream().unwrap(),
            foreign_stream: device.new_stream().unwrap(),
            device,
            unrelated: Arc::clone(other.context()),
            other,
            timelines,
        };
        world.refill();
        world
    }

    pub(crate) fn refill(&mut self) {
        self.inputs = Inputs::default();
        self.kept.clear();
        let (double, device) = (self.double, &self.device);
        let binary = |signaled: bool| {
            let exported = double.export_semaphore(false);
            if signaled {
                double.signal(exported.number, 0);
            }
            import_semaphore(device, exported, SemaphoreKind::Binary)
        };
        let timeline = |_| {
            let exported = double.export_semaphore(true);
            double.signal(exported.number, 1);
            import_semaphore(device, exported, SemaphoreKind::Timeline)
        };
        self.inputs = Inputs {
            buffer: Some(map(&import_memory(double, device), &self.home)),
            image: Some(map_image(&import_image(double, device), &self.home)),
            image_memory: Some(import_image(double, device)),
            memory: Some(import_memory(double, device)),
            timelines: (0..self.timelines).map(timeline).collect(),
            signaled: Some(binary(true)),
            unsignaled: Some(binary(false)),
            exported_memory: Some(double.exporter(device.ordinal()).export_memory(SIZE, false)),
            exported_timeline: Some(double.export_semaphore(true)),
            exported_binary: Some(double.export_semaphore(false)),
        };
    }

    pub(crate) fn buffer(&mut self) -> &mut MappedBuffer<u32> {
        self.inputs.buffer.as_mut().unwrap()
    }

    /// Takes the buffer out of the inputs.
    pub(crate) fn take_buffer(&mut self) -> MappedBuffer<u32> {
        self.inputs.buffer.take().unwrap()
    }

    pub(crate) fn image(&mut self) -> &mut MappedImage<Texel> {
        self.inputs.image.as_mut().unwrap()
    }

    /// Takes the image out of the inputs.
    pub(crate) fn take_image(&mut self) -> MappedImage<Texel> {
        self.inputs.image.take().unwrap()
    }

    /// Returns points of the first `count` timelines.
    pub(crate) fn points(&self, count: usize, value: u64) -> Vec<SemaphorePoint<'_>> {
        self.inputs.timelines[..count].iter().map(|semaphore| SemaphorePoint { semaphore, value }).collect()
    }

    pub(crate) fn keep(&mut self, object: impl Any) {
        self.kept.push(Box::new(object));
    }
}

/// Returns the first device.
pub(crate) fn device() -> CudaDevice {
    CudaDevice::by_uuid(report().unwrap().devices[0].uuid).unwrap()
}

pub(crate) fn import_memory(double: &Double, device: &CudaDevice) -> Arc<ImportedMemory> {
    let exported = double.exporter(device.ordinal()).export_memory(SIZE, true);
    let info = MemoryImportInfo { name: NAME, allocation_size: SIZE, dedicated: true };
    // SAFETY: the double exported it with this size and flag.
    unsafe { ImportedMemory::import(device, exported.handle, &info) }.unwrap()
}

/// Imports memory that contains [`IMAGE`].
pub(crate) fn import_image(double: &Double, device: &CudaDevice) -> Arc<ImportedMemory> {
    import_shape(double, device, &SHAPE)
}

pub(crate) fn import_shape(double: &Double, device: &CudaDevice, shape: &ImageShape) -> Arc<ImportedMemory> {
    let exported = double.exporter(device.ordinal()).export_image(SIZE, true, shape);
    let info = MemoryImportInfo { name: NAME, allocation_size: SIZE, dedicated: true };
    // SAFETY: the double exported it with this size and flag.
    unsafe { ImportedMemory::import(device, exported.handle, &info) }.unwrap()
}

pub(crate) fn import_semaphore(device: &CudaDevice, exported: Exported, kind: SemaphoreKind) -> ImportedSemaphore {
    // SAFETY: the double exported it; a wrong kind would be a finding.
    unsafe { ImportedSemaphore::import(device, exported.handle, kind, NAME) }.unwrap()
}

pub(crate) fn map(memory: &Arc<ImportedMemory>, home: &Arc<CudaStream>) -> MappedBuffer<u32> {
    MappedBuffer::map(memory, &BufferMappingInfo { offset: 0, len: LEN }, home).unwrap()
}

pub(crate) fn map_image(memory: &Arc<ImportedMemory>, home: &Arc<CudaStream>) -> MappedImage<Texel> {
    // SAFETY: the double exported this image; a different one would be a finding.
    unsafe { MappedImage::map(memory, &IMAGE, home) }.unwrap()
}
