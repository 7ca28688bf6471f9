//! The description of a shared image for another process.

use bridge_ipc::{Channel, ImageDescriptor, ImageShape, ResourceKind};
use cuda_import::{ChannelType, Texel};
use vk_export::ImageKind;
use vk_export::ash::vk;

use crate::image::format::FormatInfo;
use crate::image::spec::ImageSpec;

/// Describes an image; returns `None` for a kind or a channel type that the protocol does not
/// support.
pub(crate) fn resource_kind<T: Texel>(spec: &ImageSpec<T>, format: FormatInfo) -> Option<ResourceKind> {
    Some(ResourceKind::Image(ImageDescriptor {
        shape: match spec.kind {
            ImageKind::D1 => ImageShape::D1,
            ImageKind::D2 => ImageShape::D2,
            ImageKind::D3 => ImageShape::D3,
            ImageKind::Cube => ImageShape::Cube,
            _ => return None,
        },
        extent: spec.extent,
        levels: spec.mip_levels,
        layers: spec.array_layers,
        channel: match format.texel.channel {
            ChannelType::U8 => Channel::U8,
            ChannelType::I8 => Channel::I8,
            ChannelType::U16 => Channel::U16,
            ChannelType::I16 => Channel::I16,
            ChannelType::U32 => Channel::U32,
            ChannelType::I32 => Channel::I32,
            ChannelType::F16 => Channel::F16,
            ChannelType::F32 => Channel::F32,
            _ => return None,
        },
        channels: format.texel.channels,
        format: spec.format.as_raw().unsigned_abs(),
        color_attachment: spec.accesses.usage.contains(vk::ImageUsageFlags::COLOR_ATTACHMENT),
        layered: spec.layered,
    }))
}
