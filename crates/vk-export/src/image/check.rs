//! Checks that reject images that no driver could create.

use ash::vk;

use crate::error::{Error, Result};
use crate::image::format::{is_ycbcr, texel_size};
use crate::image::info::mip_count;
use crate::image::info::{ImageInfo, ImageKind};
use crate::memory::Placement;

/// The usages of Vulkan 1.0 except transient attachments, whose memory cannot be shared. Later
/// usages need features that a device here may lack.
const USAGES: vk::ImageUsageFlags = vk::ImageUsageFlags::from_raw(
    vk::ImageUsageFlags::TRANSFER_SRC.as_raw()
        | vk::ImageUsageFlags::TRANSFER_DST.as_raw()
        | vk::ImageUsageFlags::SAMPLED.as_raw()
        | vk::ImageUsageFlags::STORAGE.as_raw()
        | vk::ImageUsageFlags::COLOR_ATTACHMENT.as_raw()
        | vk::ImageUsageFlags::DEPTH_STENCIL_ATTACHMENT.as_raw()
        | vk::ImageUsageFlags::INPUT_ATTACHMENT.as_raw(),
);

impl ImageInfo<'_> {
    /// Rejects images that no driver could create.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] with what to change.
    pub(crate) fn validate(&self, limits: &vk::PhysicalDeviceLimits) -> Result<()> {
        match self.fault(limits) {
            None => Ok(()),
            Some(reason) => Err(Error::invalid(self.object(), reason)),
        }
    }

    /// Returns the first problem.
    fn fault(&self, limits: &vk::PhysicalDeviceLimits) -> Option<String> {
        self.shape_fault().or_else(|| self.limit_fault(limits)).or_else(|| self.use_fault())
    }

    fn shape_fault(&self) -> Option<String> {
        let [width, height, depth] = self.extent;
        let kind = self.kind.as_str();
        if width == 0 || height == 0 || depth == 0 {
            return Some(format!("its extent is {width} x {height} x {depth}; unused dimensions must be 1"));
        }
        match self.kind {
            ImageKind::D1 if height != 1 || depth != 1 => {
                return Some(format!("a 1D image has height and depth 1, not {height} and {depth}; make it 2D or 3D"));
            }
            ImageKind::D2 | ImageKind::Cube if depth != 1 => {
                return Some(format!("a {kind} image has depth 1, not {depth}; make it 3D, or use layers"));
            }
            ImageKind::Cube if width != height => {
                return Some(format!("the faces of a cube must be square, not {width} x {height}"));
            }
            _ => {}
        }
        match (self.kind, self.array_layers) {
            (_, 0) => return Some("it has 0 layers; an image has at least 1, a cube 6".into()),
            (ImageKind::D3, layers @ 2..) => {
                return Some(format!("a 3D image has one layer, not {layers}; use its depth, or 2D with layers"));
            }
            (ImageKind::Cube, layers) if layers % 6 != 0 => {
                return Some(format!("a cube has 6 layers, an array of cubes 6 each; {layers} is not a multiple of 6"));
            }
            _ => {}
        }
        let most = mip_count(self.extent);
        match self.mip_levels {
            0 => Some("it has 0 mip levels; an image has at least 1".into()),
            levels if levels > most => {
                Some(format!("it has {levels} mip levels, but {width} x {height} x {depth} texels have at most {most}"))
            }
            _ => None,
        }
    }

    fn limit_fault(&self, limits: &vk::PhysicalDeviceLimits) -> Option<String> {
        let [width, height, depth] = self.extent;
        let (limit, limit_name) = dimension_limit(self.kind, limits);
        if width.max(height).max(depth) > limit {
            let kind = self.kind.as_str();
            return Some(format!(
                "{width} x {height} x {depth} texels are too many: a {kind} image of this device has at most {limit} \
                 along a side ({limit_name}); split it"
            ));
        }
        let (layers, limit) = (self.array_layers, limits.max_image_array_layers);
        (layers > limit).then(|| {
            format!("{layers} layers are too many: this device has at most {limit} (maxImageArrayLayers); split it")
        })
    }

    fn use_fault(&self) -> Option<String> {
        if self.format == vk::Format::UNDEFINED {
            return Some("its format is UNDEFINED; name one".into());
        }
        if self.usage.is_empty() {
            return Some("its usage is empty; say how Vulkan uses it".into());
        }
        if !USAGES.contains(self.usage) {
            return Some(format!("its usage has {:?}, which shared images do not support", self.usage & !USAGES));
        }
        let [width, height, _] = self.extent;
        if is_ycbcr(self.format) && (width % 2 != 0 || height % 2 != 0) {
            return Some(format!("width and height of {:?} must be even, not {width} x {height}", self.format));
        }
        if self.tiling != vk::ImageTiling::OPTIMAL && self.tiling != vk::ImageTiling::LINEAR {
            return Some(format!("its tiling is {:?}; it can be OPTIMAL or LINEAR", self.tiling));
        }
        if self.placement == Placement::HostVisible && self.tiling != vk::ImageTiling::LINEAR {
            return Some(
                "the host cannot read OPTIMAL tiling; make the tiling LINEAR, or the placement Exportable or DeviceLocal".into(),
            );
        }
        if self.placement == Placement::Peers {
            return Some(
                "images cannot be mapped on another GPU; share a buffer with it (`Placement::Peers`), and copy that \
                 into an image"
                    .into(),
            );
        }
        let other = self.view_formats.iter().copied().find(|view| {
            *view != self.format && (texel_size(*view).is_none() || texel_size(*view) != texel_size(self.format))
        })?;
        Some(format!(
            "it cannot be viewed as {other:?}: that and {:?} must be uncompressed, with texels of the same size",
            self.format
        ))
    }
}

/// Returns the largest width, height or depth of images of a kind, and the limit's name.
fn dimension_limit(kind: ImageKind, limits: &vk::PhysicalDeviceLimits) -> (u32, &'static str) {
    match kind {
        ImageKind::D1 => (limits.max_image_dimension1_d, "maxImageDimension1D"),
        ImageKind::D2 => (limits.max_image_dimension2_d, "maxImageDimension2D"),
        ImageKind::D3 => (limits.max_image_dimension3_d, "maxImageDimension3D"),
        ImageKind::Cube => (limits.max_image_dimension_cube, "maxImageDimensionCube"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits() -> vk::PhysicalDeviceLimits {
        vk::PhysicalDeviceLimits {
            max_image_dimension1_d: 16384,
            max_image_dimension2_d: 16384,
            max_image_dimension3_d: 2048,
            max_image_dimension_cube: 8192,
            max_image_array_layers: 2048,
            ..Default::default()
        }
    }

    fn info() -> ImageInfo<'static> {
        ImageInfo {
            name: "smoke",
            format: vk::Format::R8G8B8A8_UNORM,
            extent: [64, 32, 1],
            usage: vk::ImageUsageFlags::SAMPLED,
            ..ImageInfo::default()
        }
    }

    #[track_caller]
    fn refused(info: ImageInfo<'_>, because: &str) {
        let text = info.validate(&limits()).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(text.starts_with("image \"smoke\": ") && text.contains(because), "{text:?}");
    }

    #[test]
    fn valid_images_pass() {
        use ImageKind::{Cube, D1, D2, D3};
        for (kind, extent, array_layers, mip_levels) in [
            (D2, [64, 32, 1], 1, 7),
            (D2, [1, 1, 1], 2048, 1),
            (D1, [16384, 1, 1], 3, 15),
            (D3, [2048, 5, 7], 1, 12),
            (Cube, [8192, 8192, 1], 12, 1),
        ] {
            let info = ImageInfo { kind, extent, array_layers, mip_levels, ..info() };
            assert!(info.validate(&limits()).is_ok(), "{info:?}");
        }
        let views = [vk::Format::R8G8B8A8_SRGB, vk::Format::R32_UINT, vk::Format::R8G8B8A8_UNORM];
        assert!(ImageInfo { view_formats: &views, ..info() }.validate(&limits()).is_ok());
    }

    #[test]
    fn invalid_shapes_are_refused_with_advice() {
        use ImageKind::{Cube, D1, D3};
        refused(ImageInfo { extent: [64, 0, 1], ..info() }, "its extent is 64 x 0 x 1");
        refused(ImageInfo { kind: D1, extent: [64, 2, 1], ..info() }, "height and depth 1, not 2 and 1");
        refused(ImageInfo { extent: [64, 64, 2], ..info() }, "a 2D image has depth 1, not 2; make it 3D");
        refused(ImageInfo { kind: Cube, array_layers: 6, ..info() }, "square, not 64 x 32");
        refused(ImageInfo { kind: Cube, extent: [8, 8, 1], array_layers: 8, ..info() }, "8 is not a multiple of 6");
        refused(ImageInfo { kind: Cube, extent: [8, 8, 1], ..info() }, "a cube has 6 layers");
        refused(ImageInfo { kind: D3, extent: [8, 8, 8], array_layers: 2, ..info() }, "one layer, not 2");
        refused(ImageInfo { array_layers: 0, ..info() }, "0 layers");
        refused(ImageInfo { mip_levels: 0, ..info() }, "0 mip levels");
        refused(ImageInfo { mip_levels: 8, ..info() }, "8 mip levels, but 64 x 32 x 1 texels have at most 7");
    }

    #[test]
    fn errors_name_the_exceeded_limit() {
        refused(ImageInfo { extent: [16385, 1, 1], ..info() }, "at most 16384 along a side (maxImageDimension2D)");
        refused(ImageInfo { kind: ImageKind::D3, extent: [1, 1, 4096], ..info() }, "(maxImageDimension3D)");
        refused(ImageInfo { array_layers: 2049, ..info() }, "at most 2048 (maxImageArrayLayers)");
        refused(ImageInfo { extent: [u32::MAX; 3], kind: ImageKind::D3, ..info() }, "too many");
    }

    #[test]
    fn invalid_usages_are_refused() {
        refused(ImageInfo { format: vk::Format::UNDEFINED, ..info() }, "UNDEFINED");
        refused(ImageInfo { usage: vk::ImageUsageFlags::empty(), ..info() }, "its usage is empty");
        let transient = vk::ImageUsageFlags::TRANSIENT_ATTACHMENT | vk::ImageUsageFlags::COLOR_ATTACHMENT;
        refused(
            ImageInfo { usage: transient, ..info() },
            "its usage has TRANSIENT_ATTACHMENT, which shared images do not",
        );
        let planar = vk::Format::G8_B8R8_2PLANE_420_UNORM;
        refused(ImageInfo { format: planar, extent: [64, 31, 1], ..info() }, "must be even, not 64 x 31");
        refused(ImageInfo { tiling: vk::ImageTiling::from_raw(77), ..info() }, "it can be OPTIMAL or LINEAR");
        refused(ImageInfo { placement: Placement::HostVisible, ..info() }, "make the tiling LINEAR");
        refused(ImageInfo { placement: Placement::Peers, ..info() }, "share a buffer");
        for other in [vk::Format::R8_UNORM, vk::Format::BC1_RGB_UNORM_BLOCK, vk::Format::UNDEFINED] {
            refused(ImageInfo { view_formats: &[other], ..info() }, "cannot be viewed as");
        }
    }

    proptest! {
        #[test]
        fn validation_never_panics(
            kind in prop::sample::select(vec![ImageKind::D1, ImageKind::D2, ImageKind::D3, ImageKind::Cube]),
            extent in prop::array::uniform3(any::<u32>()),
            mip_levels: u32, array_layers: u32, format: i32, view: i32, tiling: i32, usage: u32,
        ) {
            let view = [vk::Format::from_raw(view)];
            let info = ImageInfo {
                kind,
                extent,
                mip_levels,
                array_layers,
                format: vk::Format::from_raw(format),
                tiling: vk::ImageTiling::from_raw(tiling),
                usage: vk::ImageUsageFlags::from_raw(usage),
                view_formats: &view,
                ..info()
            };
            if info.validate(&limits()).is_ok() {
                prop_assert!(mip_levels <= mip_count(extent));
                prop_assert!(info.min_size().is_none_or(|size| size > 0));
            }
        }
    }
}
