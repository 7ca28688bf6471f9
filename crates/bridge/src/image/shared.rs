//! [`SharedImage`]: an image shared by Vulkan and the compute side.
#![allow(unsafe_code)] // Views of shared memory.

use std::sync::{Arc, Weak};

#[cfg(all(target_os = "linux", feature = "remote"))]
use bridge_ipc::ResourceKind;
use cuda_import::cudarc::driver::CudaStream;
use cuda_import::{ImageViewMut, MappedImage, Texel};
use vk_export::ash::vk;
use vk_export::{Image, ImageAccess, ImageHandover, ImageInfo};

use crate::barriers::Barriers;
use crate::compute::Compute;
use crate::compute::host::memory::HostImage;
use crate::compute::inline::copy::BufferCopy;
use crate::compute::inline::image::InlineImage;
use crate::compute::mapped::{Container, Mapped};
use crate::compute::mappings::{AccessibleImage, Tied};
use crate::error::Result;
use crate::host_image::HostImageMut;
#[cfg(all(target_os = "linux", feature = "remote"))]
use crate::image::descriptor::resource_kind;
use crate::image::format::{check_texel, format_info};
use crate::image::hand_over::HandOver;
use crate::image::render::RenderImage;
use crate::image::spec::ImageSpec;
use crate::kernel::image::KernelImage;
use crate::observe::live::Kind;
use crate::observe::object::Object;
#[cfg(all(target_os = "linux", feature = "remote"))]
use crate::resources::exported::Exported;
#[cfg(all(target_os = "linux", feature = "remote"))]
use crate::resources::runs::{self, Run};
use crate::resources::{NewSlot, Resources, Share, SlotInfo, SlotTypes, check_home};

/// An image shared by Vulkan and the compute side, without synchronization between the two.
///
/// An [`Exchange`](crate::Exchange) creates and synchronizes such images; outside of one, access to
/// the contents is `unsafe`. The contents are undefined before the first write.
///
/// [`record_initial`](Self::record_initial) hands the new image over to the compute side. From then
/// on, each use by Vulkan must be between [`record_acquire`](Self::record_acquire) and
/// [`record_release`](Self::record_release). If the image is [staged](Self::is_staged), these
/// record copies too.
#[derive(Debug)]
pub struct SharedImage<T> {
    mapping: Tied<MappedImage<T>, HostImage<T>, InlineImage<T>, VulkanImage>,
    barriers: Barriers,
    vulkan: Arc<VulkanImage>,
}

/// Vulkan's half of a shared image.
#[derive(Debug)]
pub(crate) struct VulkanImage {
    vulkan: Image,
    object: Object,
    hand_over: HandOver,
    format: vk::Format,
}

impl AsRef<Object> for VulkanImage {
    fn as_ref(&self) -> &Object {
        &self.object
    }
}

impl Container for VulkanImage {
    fn note_leaked(&self) {
        self.object.note_leaked();
    }
}

impl<T: Texel> SharedImage<T> {
    /// Creates an image on the Vulkan side, for the device's main queue, and maps it on the compute
    /// side.
    ///
    /// # Errors
    /// [`Error::UnsupportedFormat`](crate::Error::UnsupportedFormat) with a substitute,
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the texel type is not that of
    /// the format; otherwise the error of the failed Vulkan or CUDA call, or, for invalid accesses,
    /// the error of [`check_stages`](vk_export::ExportDevice::check_stages) or
    /// [`check_layout`](vk_export::ExportDevice::check_layout).
    pub fn new(compute: &Compute, name: &str, spec: &ImageSpec<T>) -> Result<Self> {
        Self::for_family(compute, name, spec, compute.device().queue().family())
    }

    pub(crate) fn for_family(compute: &Compute, name: &str, spec: &ImageSpec<T>, family: u32) -> Result<Self> {
        check_texel::<T>(spec.format)?;
        let format = format_info(spec.format)?;
        let (device, side) = (compute.device(), compute.side());
        let views = [format.vulkan];
        let info = ImageInfo {
            name,
            kind: spec.kind,
            format: format.memory,
            extent: spec.extent,
            mip_levels: spec.mip_levels,
            array_layers: spec.array_layers,
            usage: spec.accesses.usage,
            view_formats: if format.vulkan == format.memory { &[] } else { &views },
            ..ImageInfo::default()
        };
        let ImageAccess { usage, stages, access, layout } = spec.accesses;
        let object = format!("shared image \"{name}\"");
        device.check_stages(family, stages, access, &object)?;
        device.check_layout(layout, usage, &object)?;
        // SAFETY: the texel type is that of the format, as `check_texel` has checked.
        let reached = unsafe { side.share_image::<T>(device, &info, spec.layered, spec.accesses, family) }?;
        let AccessibleImage { image: vulkan, staging, mapping } = reached;
        let hand_over = match staging {
            Some(staging) => HandOver::Staged(Box::new(staging)),
            None => HandOver::Direct(ImageHandover::new(&vulkan, side.sharing().counterpart, family, spec.accesses)),
        };
        let object = Object::new(Kind::Image, name, side.trace_side(), None);
        let mut barriers = Barriers::default();
        hand_over.add_to(&mut barriers);
        let vulkan = Arc::new(VulkanImage { vulkan, object, hand_over, format: format.vulkan });
        Ok(Self { mapping: mapping.tie(&vulkan, None), barriers, vulkan })
    }

    /// Returns the Vulkan side.
    pub fn vulkan(&self) -> &Image {
        &self.vulkan.vulkan
    }

    /// Returns the barriers between the two sides, or `None` for a [staged](Self::is_staged) image,
    /// whose hand-over needs copies too.
    pub fn handover(&self) -> Option<&ImageHandover> {
        self.vulkan.hand_over.barriers()
    }

    /// Returns `true` if the compute side works on rows in a staging buffer, which the hand-over
    /// copies to the image and back: on the CPU backend if the device does not support the image in
    /// memory that the CPU can map, and always with CUDA on another GPU ([`Compute::on_peer`],
    /// [`Compute::group`]).
    pub fn is_staged(&self) -> bool {
        self.vulkan.hand_over.is_staged()
    }

    /// Records the first hand-over of the new image to the compute side.
    ///
    /// # Safety
    /// `commands` is recording on the image's device for the device's main queue, outside a render
    /// pass, and externally synchronized. The image has not been used, and lives until the commands
    /// have run.
    pub unsafe fn record_initial(&self, commands: vk::CommandBuffer) {
        // SAFETY: the caller upholds the contract.
        unsafe { self.barriers.record_initial(self.vulkan().device(), commands) };
    }

    /// Records the acquire of the image from the compute side, with the transition to the layout of
    /// its accesses.
    ///
    /// # Safety
    /// As for [`record_initial`](Self::record_initial), except that the compute side owns the
    /// image. The submission waits on a semaphore for the compute side's work, at
    /// `VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT`, or is made after the host has seen that this work
    /// has completed.
    pub unsafe fn record_acquire(&self, commands: vk::CommandBuffer) {
        // SAFETY: the caller upholds the contract.
        unsafe { self.barriers.record_acquire(self.vulkan().device(), commands) };
    }

    /// Records the release of the image to the compute side, which may use it once the commands
    /// have run.
    ///
    /// # Safety
    /// As for [`record_initial`](Self::record_initial), except that the image was acquired with
    /// [`record_acquire`](Self::record_acquire), on the same queue.
    pub unsafe fn record_release(&self, commands: vk::CommandBuffer) {
        // SAFETY: the caller upholds the contract.
        unsafe { self.barriers.record_release(self.vulkan().device(), commands) };
    }

    /// Returns the contents for CUDA, with the CUDA backend.
    ///
    /// # Safety
    /// Until the view is dropped and the work enqueued with it has completed, Vulkan does not use
    /// the image and no other view of it is used. The compute side owns the image: it was last
    /// handed over by [`record_initial`](Self::record_initial) or
    /// [`record_release`](Self::record_release), in commands that have run.
    pub unsafe fn cuda_mut(&self) -> Option<ImageViewMut<'_, T>> {
        // SAFETY: access is exclusive by this function's contract.
        self.mapping.cuda().map(|mapped| unsafe { mapped.view_mut_unchecked() })
    }

    /// Returns the contents for the CPU, with the CPU backend.
    ///
    /// # Safety
    /// While the view exists, Vulkan does not use the image and no other view of it exists. The
    /// compute side owns the image: it was last handed over by
    /// [`record_initial`](Self::record_initial) or [`record_release`](Self::record_release), in
    /// commands that have run.
    pub unsafe fn host_mut(&self) -> Option<HostImageMut<'_, T>> {
        // SAFETY: access is exclusive by this function's contract; the image lives as long as
        // `self`.
        self.mapping.host().map(|mapped| unsafe { mapped.view_mut() })
    }
}

type CudaSlot<T> = Mapped<MappedImage<T>, VulkanImage>;
type HostSlot<T> = Mapped<HostImage<T>, VulkanImage>;
type InlineSlot<T> = Mapped<InlineImage<T>, VulkanImage>;

impl<T: Texel> SlotTypes for ImageSpec<T> {
    type Slot = Arc<VulkanImage>;
    type CudaSlot = CudaSlot<T>;
    type HostSlot = HostSlot<T>;
    type InlineSlot = InlineSlot<T>;
}

impl<T: Texel> Resources for ImageSpec<T> {
    type Cuda<'t> = ImageViewMut<'t, T>;
    type Host<'t> = HostImageMut<'t, T>;
    type Kernel<'t> = KernelImage<'t, T>;
    type Render<'t> = RenderImage<'t>;
}

impl<T: Texel> Share<Self> for ImageSpec<T> {
    fn create(&self, slot: &SlotInfo<'_>) -> Result<NewSlot<Self>> {
        let name = slot.name(self.name.as_deref());
        let SharedImage { mapping, vulkan, .. } = SharedImage::for_family(slot.compute, &name, self, slot.family)?;
        if let Some(mapping) = mapping.cuda() {
            // SAFETY: nothing has used the image. The exchange calls this again for all slots at
            // their end, after it has waited for their work.
            unsafe { mapping.assume_idle() };
        }
        Ok((vulkan, mapping))
    }

    unsafe fn cuda(slot: &CudaSlot<T>) -> ImageViewMut<'_, T> {
        // SAFETY: the caller upholds the same contract.
        unsafe { slot.view_mut_unchecked() }
    }

    unsafe fn host(slot: &HostSlot<T>) -> HostImageMut<'_, T> {
        // SAFETY: the caller upholds the same contract; the slot keeps the image alive.
        unsafe { slot.view_mut() }
    }

    unsafe fn inline(slot: &InlineSlot<T>) -> KernelImage<'_, T> {
        let vulkan = slot.vulkan();
        KernelImage::on_queue(slot, &vulkan.vulkan, vulkan.format)
    }

    unsafe fn twin(slot: &HostSlot<T>) -> KernelImage<'_, T> {
        KernelImage::on_host(slot)
    }

    fn kernel<'t>(
        lent: <Self as Resources>::Cuda<'t>,
        home: &Arc<CudaStream>,
    ) -> Result<<Self as Resources>::Kernel<'t>> {
        let image = lent.image();
        check_home(image.stream(), home, "image")?;
        if image.has_foreign_work() {
            image.join_foreign_work()?;
        }
        Ok(KernelImage::on_stream(lent))
    }

    fn render(slot: &Arc<VulkanImage>) -> RenderImage<'_> {
        RenderImage { image: &slot.vulkan, hand_over: &slot.hand_over, format: slot.format }
    }

    fn add_barriers(slot: &Arc<VulkanImage>, barriers: &mut Barriers) {
        slot.hand_over.add_to(barriers);
        let own: Weak<VulkanImage> = Arc::downgrade(slot);
        barriers.add_object(own);
    }

    fn has_foreign_work(slot: &CudaSlot<T>) -> bool {
        MappedImage::has_foreign_work(slot)
    }

    fn join(slot: &CudaSlot<T>) -> Result<()> {
        // Calls the driver only for resources that have work to join.
        if slot.has_foreign_work() { Ok(slot.join_foreign_work()?) } else { Ok(()) }
    }

    unsafe fn assume_idle(slot: &CudaSlot<T>) {
        // SAFETY: the caller upholds the same contract.
        unsafe { MappedImage::assume_idle(slot) }
    }

    unsafe fn copy_contents_on_cuda(_: &CudaSlot<T>, _: &CudaSlot<T>) -> Result<()> {
        Ok(())
    }

    fn copy_contents_on_queue(_: &InlineSlot<T>, _: &InlineSlot<T>, _: &mut Vec<BufferCopy>) {}

    unsafe fn copy_contents_on_host(_: &HostSlot<T>, _: &HostSlot<T>) {}

    #[cfg(all(target_os = "linux", feature = "remote"))]
    unsafe fn bytes(slot: &HostSlot<T>, each: &mut dyn FnMut(Run, &mut [u8])) {
        // SAFETY: the caller upholds the same contract; the slot keeps the image alive.
        runs::for_each_image_run(&mut unsafe { slot.view_mut() }, each);
    }

    #[cfg(all(target_os = "linux", feature = "remote"))]
    fn kinds(&self, into: &mut Vec<ResourceKind>) {
        // Formats that cannot be sent to another process were rejected before.
        into.extend(format_info(self.format).ok().and_then(|format| resource_kind(self, format)));
    }

    #[cfg(all(target_os = "linux", feature = "remote"))]
    fn export(slot: &Arc<VulkanImage>, into: &mut Vec<Exported>) -> Result<()> {
        into.push(Exported::image(&slot.vulkan)?);
        Ok(())
    }

    fn has_contents_to_copy(&self) -> bool {
        false
    }

    fn stages(&self) -> vk::PipelineStageFlags2 {
        self.accesses.stages
    }

    fn validate(&self) -> Result<()> {
        check_texel::<T>(self.format)
    }
}
