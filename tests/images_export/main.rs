//! Shared images: those that the driver supports can be created, written, read, mapped and
//! exported; others are refused.
#![allow(unsafe_code, clippy::unwrap_used)] // Recording commands.

mod exports;
mod formats;
mod handover;
mod refused;
mod shapes;

use bridge::ash::vk;
use bridge::vk_export::{Counterpart, Image, ImageInfo, Placement, image_support};
use bridge_tests::{Need, Rig, skip_case};

const TRANSFERS: vk::ImageUsageFlags = vk::ImageUsageFlags::from_raw(
    vk::ImageUsageFlags::TRANSFER_SRC.as_raw() | vk::ImageUsageFlags::TRANSFER_DST.as_raw(),
);

fn info() -> ImageInfo<'static> {
    ImageInfo {
        name: "image",
        format: vk::Format::R8G8B8A8_UNORM,
        extent: [64, 32, 1],
        usage: TRANSFERS,
        ..ImageInfo::default()
    }
}

fn describe(info: &ImageInfo<'_>) -> String {
    format!(
        "{:?} {:?}, {} levels, {} layers, {:?}, {:?}",
        info.kind, info.extent, info.mip_levels, info.array_layers, info.tiling, info.placement
    )
}

/// Creates the image, or reports why this is not possible.
fn make(rig: &Rig, case: &str, info: &ImageInfo<'_>) -> Option<Image> {
    match Image::new(rig.device(), info) {
        Ok(image) => Some(image),
        Err(error) => {
            let asked = image_support(rig.device(), info);
            let refused = asked.as_ref().is_err()
                || asked.as_ref().is_ok_and(|support| {
                    let fits = support.max_extent.iter().zip(info.extent).all(|(most, asked)| asked <= *most);
                    let counts =
                        info.mip_levels <= support.max_mip_levels && info.array_layers <= support.max_array_layers;
                    !(fits && counts && (support.exportable || info.placement == Placement::HostVisible))
                });
            assert!(refused, "the driver has {}, but: {error}", describe(info));
            skip_case(Need::Other, &format!("{case}, {}", describe(info)), &error.to_string());
            None
        }
    }
}

fn counterpart(info: &ImageInfo<'_>) -> Counterpart {
    if info.placement == Placement::HostVisible { Counterpart::Host } else { Counterpart::External }
}

/// Exportable if this machine exports images, otherwise host-visible.
fn placement(rig: &Rig) -> Placement {
    let exportable = image_support(rig.device(), &info()).is_ok_and(|support| support.exportable);
    if exportable { Placement::Exportable } else { Placement::HostVisible }
}

fn tiling(rig: &Rig) -> vk::ImageTiling {
    match placement(rig) {
        Placement::Exportable => vk::ImageTiling::OPTIMAL,
        _ => vk::ImageTiling::LINEAR,
    }
}
