//! Handles of surfaces and textures: which views and samplers they use, and what is refused.

use bridge::ash::vk;
use bridge::vk_export::{Error, ExportDevice, Image, ImageInfo, KernelSurface, KernelTexture, Placement, TextureInfo};
use bridge_tests::{Need, skip_case};

use crate::stand_in::{HANDLE, seen};

const USAGE: vk::ImageUsageFlags =
    vk::ImageUsageFlags::from_raw(vk::ImageUsageFlags::STORAGE.as_raw() | vk::ImageUsageFlags::SAMPLED.as_raw());

/// An image that every machine can create.
fn image(device: &ExportDevice, info: &ImageInfo<'_>) -> Result<Image, Error> {
    let info = ImageInfo {
        name: "smoke",
        extent: [16, 16, 1],
        tiling: vk::ImageTiling::LINEAR,
        placement: Placement::HostVisible,
        ..*info
    };
    Image::new(device, &info)
}

pub(crate) fn surfaces_and_textures(device: &ExportDevice) {
    seen();
    let info = ImageInfo { format: vk::Format::R8G8B8A8_UNORM, usage: USAGE, ..ImageInfo::default() };
    let both = match image(device, &info) {
        Ok(both) => both,
        Err(error @ Error::UnsupportedImage { .. }) => {
            return skip_case(Need::Other, "surfaces_and_textures", &error.to_string());
        }
        Err(error) => panic!("{error}"),
    };
    let surface = KernelSurface::new(&both, 0).unwrap();
    let texture = KernelTexture::new(&both, &TextureInfo::default()).unwrap();
    assert_eq!([surface.handle(), texture.handle()], [HANDLE; 2]);
    let handles = seen().handles;
    let [(surface_view, surface_type, false), (texture_view, texture_type, true)] = handles[..] else {
        panic!("{handles:?}")
    };
    assert_eq!(surface_type, vk::DescriptorType::STORAGE_IMAGE);
    assert_eq!(texture_type, vk::DescriptorType::COMBINED_IMAGE_SAMPLER);
    assert_ne!(surface_view, texture_view, "each has a view of its own");

    let error = KernelSurface::new(&both, 1).unwrap_err().to_string();
    assert!(error.contains("surface of image \"smoke\": there is no level 1, the image has 1"), "{error}");
    for (info, because) in [
        (TextureInfo { format: Some(vk::Format::R8G8B8A8_SRGB), ..TextureInfo::default() }, "ImageInfo::view_formats"),
        (TextureInfo { filter: vk::Filter::CUBIC_EXT, ..TextureInfo::default() }, "NEAREST or LINEAR"),
        (
            TextureInfo { address_modes: [vk::SamplerAddressMode::MIRROR_CLAMP_TO_EDGE; 3], ..TextureInfo::default() },
            "needs a feature",
        ),
        (TextureInfo { mipmap_mode: vk::SamplerMipmapMode::from_raw(7), ..TextureInfo::default() }, "mipmap mode"),
    ] {
        let error = KernelTexture::new(&both, &info).unwrap_err().to_string();
        assert!(error.contains("texture of image \"smoke\"") && error.contains(because), "{error}");
    }

    let sampled = image(device, &ImageInfo { usage: vk::ImageUsageFlags::SAMPLED, ..info }).unwrap();
    let error = KernelSurface::new(&sampled, 0).unwrap_err().to_string();
    assert!(error.contains("lacks STORAGE"), "{error}");
    let storage = image(device, &ImageInfo { usage: vk::ImageUsageFlags::STORAGE, ..info }).unwrap();
    let error = KernelTexture::new(&storage, &TextureInfo::default()).unwrap_err().to_string();
    assert!(error.contains("lacks SAMPLED"), "{error}");
    let integers = ImageInfo { format: vk::Format::R32_UINT, ..info };
    if let Ok(integers) = image(device, &integers) {
        let error = KernelTexture::new(&integers, &TextureInfo::default()).unwrap_err().to_string();
        assert!(error.contains("sample it with NEAREST"), "{error}");
        let nearest = TextureInfo {
            filter: vk::Filter::NEAREST,
            address_modes: [vk::SamplerAddressMode::CLAMP_TO_BORDER; 3],
            ..TextureInfo::default()
        };
        KernelTexture::new(&integers, &nearest).unwrap();
        assert_eq!(seen().handles.len(), 1, "what was refused was not asked for");
    }
}
