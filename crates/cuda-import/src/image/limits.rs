//! A device's limits for the size of images. Checked before mapping, because the driver's error
//! does not say which limit is exceeded.

use cudarc::driver::sys::CUdevice_attribute as Attribute;

use crate::device::CudaDevice;
use crate::error::image::ImageProblem;
use crate::format::kind::ImageKind;
use crate::image::info::ImageMappingInfo;
use crate::sys::{CallError, CallResult, INVALID_VALUE};

/// A side of an image, and the attributes whose maximum limits it.
type Limit = (Side, &'static [Attribute]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Width,
    Height,
    Depth,
    Layers,
}

impl Side {
    fn of(self, info: &ImageMappingInfo) -> (&'static str, u32) {
        let [width, height, depth] = info.extent;
        match self {
            Self::Width => ("width", width),
            Self::Height => ("height", height),
            Self::Depth => ("depth", depth),
            Self::Layers => ("layers", info.layers),
        }
    }
}

/// Defines limits according to the tables of valid extents in cuda.h, at `cuArray3DCreate` and
/// `cuMipmappedArrayCreate`.
macro_rules! limits {
    ($($name:ident: $($side:ident <= $($attribute:ident)|+),+;)*) => {$(
        const $name: &[Limit] = &[$((Side::$side, &[$(Attribute::$attribute),+])),+];
    )*};
}

limits! {
    TEXTURE_1D: Width <= CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_WIDTH;
    TEXTURE_1D_MIPMAPPED: Width <= CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_MIPMAPPED_WIDTH;
    TEXTURE_1D_LAYERED: Width <= CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_LAYERED_WIDTH,
        Layers <= CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_LAYERED_LAYERS;
    TEXTURE_2D: Width <= CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_WIDTH,
        Height <= CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_HEIGHT;
    TEXTURE_2D_MIPMAPPED: Width <= CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_MIPMAPPED_WIDTH,
        Height <= CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_MIPMAPPED_HEIGHT;
    TEXTURE_2D_LAYERED: Width <= CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LAYERED_WIDTH,
        Height <= CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LAYERED_HEIGHT,
        Layers <= CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LAYERED_LAYERS;
    // The alternate limits apply if another side is shorter; the driver checks the combination.
    TEXTURE_3D: Width <= CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_WIDTH
            | CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_WIDTH_ALTERNATE,
        Height <= CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_HEIGHT
            | CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_HEIGHT_ALTERNATE,
        Depth <= CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_DEPTH
            | CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_DEPTH_ALTERNATE;
    TEXTURE_CUBE: Width <= CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURECUBEMAP_WIDTH;
    TEXTURE_CUBE_LAYERED: Width <= CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURECUBEMAP_LAYERED_WIDTH,
        Layers <= CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURECUBEMAP_LAYERED_LAYERS;
    SURFACE_1D: Width <= CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE1D_WIDTH;
    SURFACE_1D_LAYERED: Width <= CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE1D_LAYERED_WIDTH,
        Layers <= CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE1D_LAYERED_LAYERS;
    SURFACE_2D: Width <= CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE2D_WIDTH,
        Height <= CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE2D_HEIGHT;
    SURFACE_2D_LAYERED: Width <= CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE2D_LAYERED_WIDTH,
        Height <= CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE2D_LAYERED_HEIGHT,
        Layers <= CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE2D_LAYERED_LAYERS;
    SURFACE_3D: Width <= CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE3D_WIDTH,
        Height <= CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE3D_HEIGHT,
        Depth <= CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE3D_DEPTH;
    SURFACE_CUBE: Width <= CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACECUBEMAP_WIDTH;
    SURFACE_CUBE_LAYERED: Width <= CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACECUBEMAP_LAYERED_WIDTH,
        Layers <= CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACECUBEMAP_LAYERED_LAYERS;
}

fn texture_limits(info: &ImageMappingInfo) -> &'static [Limit] {
    match (info.kind, info.is_layered()) {
        (ImageKind::D1, true) => TEXTURE_1D_LAYERED,
        (ImageKind::D1, false) if info.levels > 1 => TEXTURE_1D_MIPMAPPED,
        (ImageKind::D1, false) => TEXTURE_1D,
        (ImageKind::D2, true) => TEXTURE_2D_LAYERED,
        (ImageKind::D2, false) if info.levels > 1 => TEXTURE_2D_MIPMAPPED,
        (ImageKind::D2, false) => TEXTURE_2D,
        (ImageKind::D3, _) => TEXTURE_3D,
        (ImageKind::Cube, true) => TEXTURE_CUBE_LAYERED,
        (ImageKind::Cube, false) => TEXTURE_CUBE,
    }
}

fn surface_limits(info: &ImageMappingInfo) -> &'static [Limit] {
    match (info.kind, info.is_layered()) {
        _ if !info.surface => &[],
        (ImageKind::D1, true) => SURFACE_1D_LAYERED,
        (ImageKind::D1, false) => SURFACE_1D,
        (ImageKind::D2, true) => SURFACE_2D_LAYERED,
        (ImageKind::D2, false) => SURFACE_2D,
        (ImageKind::D3, _) => SURFACE_3D,
        (ImageKind::Cube, true) => SURFACE_CUBE_LAYERED,
        (ImageKind::Cube, false) => SURFACE_CUBE,
    }
}

/// Checks the image against the device's limits; the problem is the first exceeded limit.
pub(crate) fn check_limits(info: &ImageMappingInfo, device: &CudaDevice) -> CallResult<Result<(), ImageProblem>> {
    let (driver, raw) = (device.driver(), device.object().cu_device());
    over_limit(info, |attribute| match driver.attribute(attribute, raw) {
        // If the driver does not know the limit's attribute, it checks the limit itself.
        Err(CallError { code: INVALID_VALUE, .. }) => Ok(0),
        answer => answer,
    })
}

fn over_limit(
    info: &ImageMappingInfo,
    ask: impl Fn(Attribute) -> CallResult<i32>,
) -> CallResult<Result<(), ImageProblem>> {
    for (side, attributes) in texture_limits(info).iter().chain(surface_limits(info)) {
        let (side, size) = side.of(info);
        let mut largest = None;
        for &attribute in *attributes {
            let limit = u32::try_from(ask(attribute)?).unwrap_or(0);
            largest = largest.max(Some((limit, format!("{attribute:?}"))));
        }
        if let Some((limit, attribute)) = largest
            && limit > 0
            && size > limit
        {
            return Ok(Err(ImageProblem::TooLarge { side, size, limit, attribute }));
        }
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQUARE: ImageMappingInfo = ImageMappingInfo {
        offset: 0,
        kind: ImageKind::D2,
        extent: [100, 100, 1],
        layers: 1,
        layered: false,
        levels: 1,
        surface: false,
        color_attachment: false,
    };

    fn refused(info: ImageMappingInfo, attribute: Attribute, limit: i32) -> bool {
        let asked = over_limit(&info, |asked| Ok(if asked == attribute { limit } else { 1 << 20 }));
        match asked.unwrap() {
            Ok(()) => false,
            Err(ImageProblem::TooLarge { limit: told, attribute: named, .. }) => {
                assert_eq!((i64::from(told), named), (i64::from(limit), format!("{attribute:?}")));
                true
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn each_use_has_its_limits() {
        use Attribute::*;
        let chain = ImageMappingInfo { levels: 3, ..SQUARE };
        let array = ImageMappingInfo { layers: 200, ..SQUARE };
        let surface = ImageMappingInfo { surface: true, ..SQUARE };
        assert!(refused(SQUARE, CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_WIDTH, 99));
        assert!(!refused(SQUARE, CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_WIDTH, 100));
        assert!(!refused(chain, CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_WIDTH, 99));
        assert!(refused(chain, CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_MIPMAPPED_HEIGHT, 99));
        assert!(refused(array, CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LAYERED_LAYERS, 199));
        assert!(!refused(SQUARE, CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE2D_WIDTH, 99));
        assert!(refused(surface, CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE2D_WIDTH, 99));
        assert!(refused(surface, CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_HEIGHT, 99));
    }

    #[test]
    fn depth_may_reach_the_alternate_limit() {
        use Attribute::*;
        let block = ImageMappingInfo { kind: ImageKind::D3, extent: [1, 1, 100], ..SQUARE };
        assert!(!refused(block, CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_DEPTH, 99));
        let both = over_limit(&block, |_| Ok(99)).unwrap();
        assert!(matches!(both, Err(ImageProblem::TooLarge { side: "depth", size: 100, limit: 99, .. })), "{both:?}");
        assert_eq!(over_limit(&block, |_| Ok(0)).unwrap(), Ok(()));
    }
}
