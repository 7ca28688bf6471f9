//! An image that both sides see, and what of it is lent to Vulkan.
#![allow(unsafe_code)] // Views of shared memory.

use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use cuda_import::{ImageViewMut, MappedImage, Texel};
use vk_export::ash::vk;
use vk_export::{Image, ImageConsumer, ImageHandover, ImageInfo, ImageKind, Partner, Placement, mip_count};

use crate::compute::{Compute, SideRef};
use crate::error::{Error, Result};
use crate::handoff;
use crate::image::format::{check_texel, format_info};
use crate::image::host::{HostImageMut, PlaneLayout};
use crate::image::spec::ImageSpec;
use crate::observe::live;
use crate::observe::live::{Alive, Kind};
use crate::observe::trace;
use crate::observe::trace::Event;

/// An image that Vulkan and the compute side both see, without any order between them.
///
/// An [`Exchange`](crate::Exchange) makes these and orders them; on its own, reaching the contents is `unsafe`. What the
/// contents are before the first write is undefined. The image starts in `VK_IMAGE_LAYOUT_UNDEFINED`:
/// [`handover`](Self::handover) has the barriers, [`ImageHandover::initial`] the first.
#[derive(Debug)]
pub struct SharedImage<T> {
    /// Gone once the image is dropped: before the Vulkan image that owns the memory (CUDA programming guide 6.2.16: "Freeing a
    /// memory object does not free any mappings to that object").
    mapping: Option<Mapping<T>>,
    /// Kept for good where the mapping could not be freed: what CUDA may still use must not become somebody else's memory.
    vulkan: ManuallyDrop<Image>,
    handover: ImageHandover,
    format: vk::Format,
    layout: vk::ImageLayout,
    alive: ManuallyDrop<Alive>,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // One per slot, and never moved: boxing it would cost every access.
enum Mapping<T> {
    Cuda(Box<MappedImage<T>>),
    Host(HostMapping),
}

/// The host's view of a host-visible image.
#[derive(Debug)]
struct HostMapping {
    start: NonNull<u8>,
    planes: Box<[PlaneLayout]>,
    levels: u32,
}

// SAFETY: the pointer is into a mapping that lives as long as the image beside it, and texels are plain data; those who
// read and write through it are ordered by `SharedImage`'s unsafe methods.
unsafe impl Send for HostMapping {}
// SAFETY: as above.
unsafe impl Sync for HostMapping {}

impl<T: Texel> SharedImage<T> {
    /// Makes an image on the Vulkan side, for the device's main queue, and maps it on the compute side.
    ///
    /// # Errors
    /// [`Error::FormatCannotCross`] with a substitute, [`Error::InvalidArgument`] for texels of another type than the
    /// format's, and for images that the CPU backend cannot map; else what the two sides say.
    pub fn new(compute: &Compute, name: &str, spec: &ImageSpec<T>) -> Result<Self> {
        Self::for_family(compute, name, spec, compute.device().queue().family())
    }

    pub(crate) fn for_family(compute: &Compute, name: &str, spec: &ImageSpec<T>, family: u32) -> Result<Self> {
        check_texel::<T>(spec.format)?;
        let format = format_info(spec.format)?;
        let (placement, partner, tiling) = match compute.side() {
            SideRef::Cuda(_) => (Placement::Exportable, Partner::External, vk::ImageTiling::OPTIMAL),
            SideRef::Host(_) => (Placement::HostVisible, Partner::Host, vk::ImageTiling::LINEAR),
        };
        if let SideRef::Cuda(_) = compute.side() {
            check_levels(name, spec)?;
        }
        let ImageConsumer { stages, access, .. } = spec.consumer;
        compute.device().check_stages(family, stages, access, &format!("shared image \"{name}\""))?;
        let views = [format.vulkan];
        let info = ImageInfo {
            name,
            kind: spec.kind,
            format: format.memory,
            extent: spec.extent,
            mip_levels: spec.mip_levels,
            array_layers: spec.array_layers,
            tiling,
            usage: spec.consumer.usage,
            view_formats: if format.vulkan == format.memory { &[] } else { &views },
            placement,
        };
        let vulkan = Image::new(compute.device(), &info).map_err(|error| match compute.side() {
            SideRef::Cuda(_) => error.into(),
            SideRef::Host(_) => Error::NotMappable { object: format!("shared image \"{name}\""), reason: error },
        })?;
        let mapping = match compute.side() {
            SideRef::Cuda(cuda) => {
                let (memory, mapping) = handoff::image(&vulkan, cuda.device(), spec.layered)?;
                // SAFETY: rule "mappings must match those of the exporting API": every number comes from the exporter's
                // descriptor of this very image; the texel type is that of its format, by the table.
                Mapping::Cuda(Box::new(unsafe { MappedImage::map(&memory, &mapping, cuda.stream()) }?))
            }
            SideRef::Host(_) => Mapping::Host(map_host::<T>(&vulkan, name)?),
        };
        let handover = ImageHandover::new(&vulkan, partner, family, spec.consumer);
        trace::event(Event { event: "create", side: compute.side_name(), object: name, ..Event::default() });
        Ok(Self {
            mapping: Some(mapping),
            vulkan: ManuallyDrop::new(vulkan),
            handover,
            format: format.vulkan,
            layout: spec.consumer.layout,
            alive: ManuallyDrop::new(Alive::new(Kind::Image)),
        })
    }

    /// The Vulkan side, lent.
    pub fn vulkan(&self) -> &Image {
        &self.vulkan
    }

    /// The barriers between the two sides.
    pub fn handover(&self) -> &ImageHandover {
        &self.handover
    }

    /// The contents for CUDA, with the CUDA backend.
    ///
    /// # Safety
    /// Until the view is gone and the work enqueued with it has completed, Vulkan does not use the image and no other
    /// view of it is used; and the image has been given over with its [`handover`](Self::handover).
    pub unsafe fn cuda_mut(&self) -> Option<ImageViewMut<'_, T>> {
        match &self.mapping {
            // SAFETY: exclusive by this function's contract.
            Some(Mapping::Cuda(mapped)) => Some(unsafe { mapped.view_mut_unchecked() }),
            Some(Mapping::Host(_)) | None => None,
        }
    }

    /// The contents for the CPU, with the CPU backend.
    ///
    /// # Safety
    /// Until the result is gone, Vulkan does not use the image and no other view of it exists; and the image has been
    /// given over with its [`handover`](Self::handover).
    pub unsafe fn host_mut(&self) -> Option<HostImageMut<'_, T>> {
        match &self.mapping {
            Some(Mapping::Cuda(_)) | None => None,
            // SAFETY: the planes were seen to fit the mapping, which lives as long as `self`; exclusive by this function's
            // contract.
            Some(Mapping::Host(host)) => Some(unsafe { HostImageMut::new(host.start, &host.planes, host.levels) }),
        }
    }

    /// Makes the compute stream wait for what other CUDA streams did with the image, so that a signal enqueued next
    /// covers that too.
    pub(crate) fn join(&self) -> Result<()> {
        match &self.mapping {
            Some(Mapping::Cuda(mapped)) => Ok(mapped.join_foreign_work()?),
            Some(Mapping::Host(_)) | None => Ok(()),
        }
    }

    /// Dropping it need not wait for the compute stream, until it is lent again.
    ///
    /// # Safety
    /// All work that uses the image has ended, on both sides.
    pub(crate) unsafe fn assume_idle(&self) {
        if let Some(Mapping::Cuda(mapped)) = &self.mapping {
            // SAFETY: the caller says so.
            unsafe { mapped.assume_idle() };
        }
    }

    /// What a render turn lends.
    pub(crate) fn render(&self) -> RenderImage<'_> {
        RenderImage { image: &self.vulkan, handover: &self.handover, format: self.format, layout: self.layout }
    }
}

/// That CUDA places the layers of an array where Vulkan does. Measured over formats, sizes and lengths of mip chains on an
/// NVIDIA H200 with driver 580.159.04: it does with one level, and with all levels of several layers; in between the layers lie
/// elsewhere or the array does not fit, depending on the size.
fn check_levels<T: Texel>(name: &str, spec: &ImageSpec<T>) -> Result<()> {
    let all = mip_count(spec.extent);
    let array = spec.layered || spec.array_layers > 1;
    let fits = !array || spec.mip_levels == 1 || (spec.array_layers > 1 && spec.mip_levels == all);
    // What is wrong by itself is for the Vulkan side to say.
    if fits || spec.mip_levels == 0 || spec.mip_levels > all {
        return Ok(());
    }
    Err(Error::InvalidArgument {
        object: format!("shared image \"{name}\""),
        reason: format!(
            "CUDA does not place {} layers of {} mip levels where Vulkan does; an array has 1 level, or with several \
             layers all {all} (`all_mips`)",
            spec.array_layers, spec.mip_levels
        ),
    })
}

/// The planes of a host-visible image, in the order of [`HostImageMut`], checked against its memory.
fn map_host<T: Texel>(image: &Image, name: &str) -> Result<HostMapping> {
    let invalid =
        |reason: &str| Error::InvalidArgument { object: format!("shared image \"{name}\""), reason: reason.to_owned() };
    let start = image.host_ptr().ok_or_else(|| invalid("its memory could not be mapped"))?;
    let size = usize::try_from(image.host_size()).unwrap_or(usize::MAX);
    let mut planes = Vec::new();
    for layer in 0..image.array_layers() {
        for level in 0..image.mip_levels() {
            let plane =
                plane(image, level, layer).ok_or_else(|| invalid("the driver does not tell where its rows lie"))?;
            if !plane.fits::<T>(size) || !start.cast::<T>().is_aligned() {
                return Err(invalid("its rows lie in memory as no slice of texels can"));
            }
            planes.push(plane);
        }
    }
    Ok(HostMapping { start, planes: planes.into(), levels: image.mip_levels() })
}

fn plane(image: &Image, level: u32, layer: u32) -> Option<PlaneLayout> {
    let layout = image.host_layout(level, layer)?;
    let [width, height, depth] = image.level_extent(level).map(|texels| usize::try_from(texels).unwrap_or(usize::MAX));
    Some(PlaneLayout {
        offset: usize::try_from(layout.offset).ok()?,
        row_pitch: usize::try_from(layout.row_pitch).ok()?,
        depth_pitch: usize::try_from(layout.depth_pitch).ok()?,
        width,
        height,
        depth,
    })
}

impl<T> Drop for SharedImage<T> {
    fn drop(&mut self) {
        trace::event(Event { event: "destroy", side: "vulkan", object: self.vulkan.name(), ..Event::default() });
        let closed = match self.mapping.take() {
            Some(Mapping::Cuda(mapped)) => mapped.close(),
            Some(Mapping::Host(_)) | None => Ok(()),
        };
        if let Err(error) = closed {
            log::error!("shared image \"{}\" is leaked on both sides: {error}", self.vulkan.name());
            live::leaked(Kind::Image, 1);
            return;
        }
        // SAFETY: dropped here only, once; the mapping is gone.
        unsafe { ManuallyDrop::drop(&mut self.vulkan) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.alive) };
    }
}

/// A shared image while it is Vulkan's: lent by a [`RenderTurn`](crate::RenderTurn).
#[derive(Debug, Clone, Copy)]
pub struct RenderImage<'t> {
    image: &'t Image,
    handover: &'t ImageHandover,
    format: vk::Format,
    layout: vk::ImageLayout,
}

impl<'t> RenderImage<'t> {
    /// The Vulkan handle, for the commands of this frame.
    pub fn as_raw(&self) -> vk::Image {
        self.image.as_raw()
    }

    /// A view of all levels and layers in the format that was asked for; `None` where the usage allows no view.
    pub fn view(&self) -> Option<vk::ImageView> {
        if self.format == self.image.format() { self.image.view() } else { self.image.view_as(self.format) }
    }

    /// The format of [`view`](Self::view).
    pub fn format(&self) -> vk::Format {
        self.format
    }

    /// The layout that the image is in between the turn's barriers: what descriptors, attachments and copies name.
    pub fn layout(&self) -> vk::ImageLayout {
        self.layout
    }

    /// Dimensions, as they were asked for.
    pub fn kind(&self) -> ImageKind {
        self.image.kind()
    }

    /// Width, height and depth of a level in texels.
    pub fn level_extent(&self, level: u32) -> [u32; 3] {
        self.image.level_extent(level)
    }

    /// Width and height of the first level in texels.
    pub fn extent(&self) -> vk::Extent2D {
        let [width, height, _] = self.image.level_extent(0);
        vk::Extent2D { width, height }
    }

    /// All levels and layers.
    pub fn range(&self) -> vk::ImageSubresourceRange {
        vk::ImageSubresourceRange {
            aspect_mask: vk::ImageAspectFlags::COLOR,
            base_mip_level: 0,
            level_count: self.image.mip_levels(),
            base_array_layer: 0,
            layer_count: self.image.array_layers(),
        }
    }

    /// The whole image, as Vulkan made it.
    pub fn image(&self) -> &'t Image {
        self.image
    }

    /// The barriers, in both forms. [`RenderTurn::record_acquire`](crate::RenderTurn::record_acquire) records them for all
    /// resources at once.
    pub fn handover(&self) -> &'t ImageHandover {
        self.handover
    }
}
