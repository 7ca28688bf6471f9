//! Each invalid image gives one clear error, and nothing is leaked.

use bridge::ash::vk;
use bridge::cuda_import::Texel;
use bridge::{Compute, Error, Exchange, ExchangeInfo, ImageAccess, ImageSpec, LiveObjects};
use bridge_tests::Rig;

fn info() -> ExchangeInfo<'static> {
    ExchangeInfo { name: "bad", slots: 2, ..Default::default() }
}

fn error<T: Texel>(compute: &Compute, spec: ImageSpec<T>) -> String {
    let before = LiveObjects::now();
    let error = Exchange::new(compute, &info(), spec).unwrap_err().to_string();
    assert_eq!(LiveObjects::now(), before, "{error}");
    error
}

pub(crate) fn bad_images_are_refused_before_anything_is_created(_: &Rig, compute: &Compute) {
    const RGBA8: vk::Format = vk::Format::R8G8B8A8_UNORM;
    let image = |extent| ImageSpec::<[u8; 4]>::new(RGBA8, extent, ImageAccess::TRANSFER_READ);
    for (spec, words) in [
        (image([0, 4]), "its extent is 0 x 4 x 1;"),
        (image([4, 0]), "its extent is 4 x 0 x 1;"),
        (image([16, 16]).with_mip_levels(6), "6 mip levels, but 16 x 16 x 1 texels have at most 5"),
        (image([16, 16]).with_mip_levels(0), "it has 0 mip levels"),
        (image([16, 16]).with_array_layers(0), "it has 0 layers"),
        (image([u32::MAX, 1]), "(maxImageDimension2D)"),
        (
            ImageSpec::new_3d(RGBA8, [8, 8, 8], ImageAccess::TRANSFER_READ).with_array_layers(2),
            "a 3D image has one layer, not 2",
        ),
        (
            ImageSpec::cube(RGBA8, 8, ImageAccess::TRANSFER_READ).with_mip_levels(9),
            "9 mip levels, but 8 x 8 x 1 texels have at most 4",
        ),
        (
            ImageSpec::new(
                RGBA8,
                [4, 4],
                ImageAccess { usage: vk::ImageUsageFlags::empty(), ..ImageAccess::TRANSFER_READ },
            ),
            "its usage is empty",
        ),
    ] {
        let text = error(compute, spec.clone());
        let name = format!("{spec:?} bad[0]");
        assert!(!name.contains(words), "{words} says nothing: it is in what was asked");
        assert!(text.contains("bad[0]") && text.contains(words), "{spec:?}: {text}");
    }
    let wrong = error(compute, ImageSpec::<f32>::new(RGBA8, [4, 4], ImageAccess::SAMPLED));
    assert!(wrong.contains("4 x U8") && wrong.contains("1 x F32"), "{wrong}");
}

pub(crate) fn errors_of_unsupported_formats_name_a_substitute(_: &Rig, compute: &Compute) {
    for (format, instead) in [
        (vk::Format::D32_SFLOAT, "use R32_SFLOAT"),
        (vk::Format::R8G8B8_UNORM, "use R8G8B8A8_UNORM"),
        (vk::Format::G8_B8_R8_3PLANE_420_UNORM, "use one R8_UNORM"),
        (vk::Format::BC1_RGB_UNORM_BLOCK, "use R8G8B8A8_UNORM"),
        (vk::Format::B10G11R11_UFLOAT_PACK32, "use R16G16B16A16_SFLOAT"),
    ] {
        let spec = ImageSpec::<[u8; 4]>::new(format, [8, 8], ImageAccess::SAMPLED);
        let result = Exchange::new(compute, &info(), spec);
        assert!(matches!(result, Err(Error::UnsupportedFormat { .. })), "{format:?}");
        let text = result.unwrap_err().to_string();
        assert!(!format!("{format:?}").contains(instead) && text.contains(instead), "{text}");
    }
}
