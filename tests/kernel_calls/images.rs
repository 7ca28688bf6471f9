//! Handles of surfaces and textures: which views and samplers they use, and what is refused.

use bridge::ash::vk;
use bridge::vk_export::{
    Error, ExportDevice, Image, ImageInfo, ImageKind, KernelSurface, KernelTexture, Placement, TextureInfo,
};
use bridge::{Compute, Exchange, ExchangeInfo, Filter, ImageAccess, ImageSpec, QueueKind};
use bridge_tests::{Need, Rig, skip_case};

use crate::stand_in::{HANDLE, seen, with};

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

/// A layer of texels, or more, in memory of the device's own.
fn of_layers(device: &ExportDevice, kind: ImageKind, array_layers: u32) -> Image {
    let info = ImageInfo {
        name: "smoke",
        kind,
        format: vk::Format::R8G8B8A8_UNORM,
        extent: if kind == ImageKind::D1 { [16, 1, 1] } else { [16, 16, 1] },
        array_layers,
        usage: USAGE,
        placement: Placement::DeviceLocal,
        ..ImageInfo::default()
    };
    Image::new(device, &info).unwrap()
}

pub(crate) fn one_layer_is_an_array_if_requested(device: &ExportDevice) {
    use vk::ImageViewType as Type;
    for (kind, plain, array) in [
        (ImageKind::D1, Type::TYPE_1D, Type::TYPE_1D_ARRAY),
        (ImageKind::D2, Type::TYPE_2D, Type::TYPE_2D_ARRAY),
        (ImageKind::D3, Type::TYPE_3D, Type::TYPE_3D),
    ] {
        seen();
        let image = of_layers(device, kind, 1);
        for layered in [false, true] {
            let make = if layered { KernelSurface::layered } else { KernelSurface::new };
            drop(make(&image, 0).unwrap());
            drop(KernelTexture::new(&image, &TextureInfo { layered, ..TextureInfo::default() }).unwrap());
        }
        assert_eq!(seen().view_types(), [plain, plain, array, array], "{kind:?}");
    }
}

/// A cube needs no feature; what kernels would see in place of several is refused.
pub(crate) fn arrays_of_cubes_need_their_feature(device: &ExportDevice) {
    let (one, two) = (of_layers(device, ImageKind::Cube, 6), of_layers(device, ImageKind::Cube, 12));
    seen();
    let layered = TextureInfo { layered: true, ..TextureInfo::default() };
    for (image, info) in [(&one, layered), (&two, TextureInfo::default()), (&two, layered)] {
        let error = KernelTexture::new(image, &info).unwrap_err().to_string();
        assert!(error.contains("texture of image \"smoke\"") && error.contains("imageCubeArray"), "{error}");
    }
    assert!(seen().handles.is_empty(), "what was refused was not asked for");
    drop(KernelTexture::new(&one, &TextureInfo::default()).unwrap());
    drop([&one, &two].map(|image| KernelSurface::new(image, 0).unwrap()));
}

/// `with_array_layers(1)` is an array to the kernels of a frame, too.
pub(crate) fn one_layer_is_an_array_to_frames(device: &ExportDevice) {
    use vk::ImageViewType as Type;
    let compute = Compute::inline(device, QueueKind::Graphics).unwrap();
    let plain = ImageSpec::<u32>::new(vk::Format::R32_UINT, [4, 4], ImageAccess::SAMPLED);
    for (spec, expected) in [(plain.clone(), Type::TYPE_2D), (plain.with_array_layers(1), Type::TYPE_2D_ARRAY)] {
        let info = ExchangeInfo { name: "layers", slots: 1, timeout: Rig::LONG, ..Default::default() };
        let mut exchange = Exchange::new(&compute, &info, spec).unwrap();
        let mut turn = exchange.begin().unwrap();
        seen();
        let work = turn.work().kernels().unwrap();
        work.resources.surface(0).unwrap();
        let nearest =
            bridge::TextureInfo { filter: Filter::Nearest, mip_filter: Filter::Nearest, ..Default::default() };
        work.resources.texture(&nearest).unwrap();
        assert_eq!(with(|seen| seen.view_types()), [expected; 2]);
        drop(turn.finish().unwrap());
        exchange.close().unwrap();
    }
}
