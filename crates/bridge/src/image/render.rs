//! [`RenderImage`]: a shared image lent by a render turn.

use vk_export::ash::vk;
use vk_export::{Image, ImageAccess, ImageHandover, ImageKind};

use crate::image::hand_over::HandOver;

/// A shared image while Vulkan owns it, lent by a [`RenderTurn`](crate::RenderTurn).
#[derive(Debug, Clone, Copy)]
pub struct RenderImage<'t> {
    pub(super) image: &'t Image,
    pub(super) hand_over: &'t HandOver,
    pub(super) format: vk::Format,
}

impl<'t> RenderImage<'t> {
    /// Returns the Vulkan handle, for the commands of this frame.
    pub fn as_raw(&self) -> vk::Image {
        self.image.as_raw()
    }

    /// Returns a view of all levels and layers in the format of the spec, or `None` if the usage
    /// flags do not allow views.
    pub fn view(&self) -> Option<vk::ImageView> {
        if self.format == self.image.format() { self.image.view() } else { self.image.view_as(self.format) }
    }

    /// Returns the format of [`view`](Self::view).
    pub fn format(&self) -> vk::Format {
        self.format
    }

    /// Returns the layout of the image between the turn's barriers, for descriptors, attachments
    /// and copies.
    pub fn layout(&self) -> vk::ImageLayout {
        self.accesses().layout
    }

    /// Returns the shape: 1D, 2D, 3D or a cube.
    pub fn kind(&self) -> ImageKind {
        self.image.kind()
    }

    /// Returns the width, height and depth of a level in texels.
    pub fn level_extent(&self, level: u32) -> [u32; 3] {
        self.image.level_extent(level)
    }

    /// Returns the width, height and depth of the first level in texels.
    pub fn extent(&self) -> [u32; 3] {
        self.image.level_extent(0)
    }

    /// Returns the subresource range of all levels and layers.
    pub fn range(&self) -> vk::ImageSubresourceRange {
        vk::ImageSubresourceRange {
            aspect_mask: vk::ImageAspectFlags::COLOR,
            base_mip_level: 0,
            level_count: self.image.mip_levels(),
            base_array_layer: 0,
            layer_count: self.image.array_layers(),
        }
    }

    /// Returns the Vulkan image.
    pub fn vulkan(&self) -> &'t Image {
        self.image
    }

    /// Returns Vulkan's accesses to the image.
    pub fn accesses(&self) -> ImageAccess {
        self.hand_over.accesses()
    }

    /// Returns the Vulkan usage flags of the image. They include at least those of
    /// [`accesses`](Self::accesses).
    pub fn usage(&self) -> vk::ImageUsageFlags {
        self.image.usage()
    }

    /// Returns the barriers of the hand-over, or `None` for a [staged](Self::is_staged) image,
    /// which needs copies too. [`RenderTurn::record_acquire`](crate::RenderTurn::record_acquire)
    /// and [`record_release`](crate::RenderTurn::record_release) record everything, for all
    /// resources at once.
    pub fn handover(&self) -> Option<&'t ImageHandover> {
        self.hand_over.barriers()
    }

    /// Returns `true` if the compute side works on rows in a staging buffer, which the hand-over
    /// copies to the image and back: on the CPU backend if the device does not support the image in
    /// memory that the CPU can map, and always with CUDA on another GPU
    /// ([`Compute::on_peer`](crate::Compute::on_peer), [`Compute::group`](crate::Compute::group)).
    pub fn is_staged(&self) -> bool {
        self.hand_over.is_staged()
    }
}
