//! Objects that a render turn lends of an image.

use vk_export::ash::vk;
use vk_export::{Image, ImageAccess, ImageHandover, ImageKind};

use crate::image::hand::Hand;

/// A shared image while it is Vulkan's: lent by a [`RenderTurn`](crate::RenderTurn).
#[derive(Debug, Clone, Copy)]
pub struct RenderImage<'t> {
    pub(super) image: &'t Image,
    pub(super) hand: &'t Hand,
    pub(super) format: vk::Format,
}

impl<'t> RenderImage<'t> {
    /// The Vulkan handle, for the commands of this frame.
    pub fn as_raw(&self) -> vk::Image {
        self.image.as_raw()
    }

    /// A view of all levels and layers in the format that was asked for; `None` where the usage
    /// allows no view.
    pub fn view(&self) -> Option<vk::ImageView> {
        if self.format == self.image.format() { self.image.view() } else { self.image.view_as(self.format) }
    }

    /// The format of [`view`](Self::view).
    pub fn format(&self) -> vk::Format {
        self.format
    }

    /// The layout that the image is in between the turn's barriers: what descriptors, attachments
    /// and copies name.
    pub fn layout(&self) -> vk::ImageLayout {
        self.accesses().layout
    }

    /// Dimensions, as they were asked for.
    pub fn kind(&self) -> ImageKind {
        self.image.kind()
    }

    /// Width, height and depth of a level in texels.
    pub fn level_extent(&self, level: u32) -> [u32; 3] {
        self.image.level_extent(level)
    }

    /// Width, height and depth of the first level in texels.
    pub fn extent(&self) -> [u32; 3] {
        self.image.level_extent(0)
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
    pub fn vulkan(&self) -> &'t Image {
        self.image
    }

    /// Vulkan access to the image.
    pub fn accesses(&self) -> ImageAccess {
        self.hand.accesses()
    }

    /// Returns the allowed Vulkan usage of the image: its usage flags. They hold at least those of
    /// [`accesses`](Self::accesses).
    pub fn usage(&self) -> vk::ImageUsageFlags {
        self.image.usage()
    }

    /// The barriers, where they are all that the hand-over takes; `None` for a
    /// [staged](Self::is_staged) image, which is copied too.
    /// [`RenderTurn::record_acquire`](crate::RenderTurn::record_acquire) and its opposite record
    /// everything, for all resources at once.
    pub fn handover(&self) -> Option<&'t ImageHandover> {
        self.hand.barriers()
    }

    /// Returns `true` where the compute side works on rows in a staging buffer, which the hand-over
    /// copies into the image and back: on the CPU backend where the device makes no such image that
    /// the CPU can map, and always with CUDA for other GPUs
    /// ([`Compute::on_peer`](crate::Compute::on_peer),
    /// [`Compute::group`](crate::Compute::group)).
    pub fn is_staged(&self) -> bool {
        self.hand.is_staged()
    }
}
