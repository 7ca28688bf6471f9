//! Dimensions, mip levels and layers of textures.

use bridge::vk_export::mip_count;
use bridge::{ImageAccess, ImageSpec, Texel};

use crate::error::{Error, Result};

/// Dimensions, mip levels and layers of a texture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    kind: Kind,
    /// Width, height and depth in texels; 1 for dimensions that the kind lacks.
    size: [u32; 3],
    levels: Levels,
    /// `None` if the texture is not an array.
    layers: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    D1,
    D2,
    D3,
    Cube,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Levels {
    Count(u32),
    /// The given number, or fewer if the size has fewer.
    AtMost(u32),
    All,
}

impl Shape {
    fn of_kind(kind: Kind, size: [u32; 3]) -> Self {
        Self { kind, size, levels: Levels::Count(1), layers: None }
    }

    pub(crate) fn new_1d(width: u32) -> Self {
        Self::of_kind(Kind::D1, [width, 1, 1])
    }

    pub(crate) fn d2([width, height]: [u32; 2]) -> Self {
        Self::of_kind(Kind::D2, [width, height, 1])
    }

    pub(crate) fn new_3d(size: [u32; 3]) -> Self {
        Self::of_kind(Kind::D3, size)
    }

    pub(crate) fn cube(side: u32) -> Self {
        Self::of_kind(Kind::Cube, [side, side, 1])
    }

    pub(crate) fn with_mip_levels(self, levels: u32) -> Self {
        Self { levels: Levels::Count(levels), ..self }
    }

    pub(crate) fn with_full_mip_chain(self) -> Self {
        Self { levels: Levels::All, ..self }
    }

    pub(crate) fn with_layers(self, layers: u32) -> Self {
        Self { layers: Some(layers), ..self }
    }

    /// Returns the width and height in texels.
    pub(crate) fn width_and_height(&self) -> [u32; 2] {
        let [width, height, _] = self.size;
        [width, height]
    }

    /// Returns the shape with another width and height: again with all levels, or with the original
    /// number of levels, or as many as fit.
    pub(crate) fn resized(&self, [width, height]: [u32; 2]) -> Self {
        let [_, _, depth] = self.size;
        let size = [width, height, depth];
        let levels = match self.levels {
            Levels::Count(levels) | Levels::AtMost(levels) => Levels::AtMost(levels),
            Levels::All => Levels::All,
        };
        Self { size, levels, ..self.clone() }
    }

    fn level_count(&self) -> u32 {
        match self.levels {
            Levels::Count(levels) => levels,
            // An extent of 0 has its own error message.
            Levels::AtMost(levels) => levels.min(mip_count(self.size).max(1)),
            Levels::All => mip_count(self.size).max(1),
        }
    }

    /// Checks conditions that neither wgpu nor the bridge can check; they check the others.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] with the necessary change.
    pub(crate) fn check_usage(&self, usage: wgpu::TextureUsages, place: Place, object: &str) -> Result<()> {
        let drawn_to = usage.contains(wgpu::TextureUsages::RENDER_ATTACHMENT);
        let reason = match (self.kind, place) {
            (Kind::D1, _) if self.size[1] != 1 => "a 1D texture has a height of 1; pass 1 to `resize`",
            (Kind::D1, _) if self.layers.is_some() => {
                "wgpu does not support arrays of 1D textures; make it 2D of height 1"
            }
            (Kind::D1, _) if self.level_count() > 1 => "a 1D texture of wgpu has one mip level; make it 2D of height 1",
            (Kind::D1, _) if drawn_to => "wgpu does not draw to 1D textures; make it 2D of height 1",
            (Kind::D3, Place::Slot) if drawn_to => {
                "a slot cannot be a 3D texture that is drawn to: Vulkan draws to a slice only of images that are made for it; \
                 `SharedTexture` can be, whose texture is wgpu's own"
            }
            (Kind::D3, _) if self.layers.is_some() => {
                "a 3D texture has no layers; use its depth, or a 2D texture with layers"
            }
            _ => return Ok(()),
        };
        Err(Error::invalid(object, reason))
    }

    /// Returns the specification of a slot's image.
    pub(crate) fn spec<T: Texel>(&self, format: ash::vk::Format, accesses: ImageAccess) -> ImageSpec<T> {
        let [width, height, _] = self.size;
        let spec = match self.kind {
            // The bridge rejects a height that the kind cannot have, but wgpu would accept it.
            Kind::D1 => ImageSpec::new_1d(format, width, accesses).with_extent([width, height, 1]),
            Kind::D2 => ImageSpec::new(format, [width, height], accesses),
            Kind::D3 => ImageSpec::new_3d(format, self.size, accesses),
            Kind::Cube => ImageSpec::cube(format, width, accesses).with_extent([width, height, 1]),
        };
        let spec = spec.with_mip_levels(self.level_count());
        match self.layers {
            Some(layers) => spec.with_array_layers(layers),
            None => spec,
        }
    }

    pub(crate) fn descriptor<'a>(
        &self,
        name: &'a str,
        format: wgpu::TextureFormat,
        usage: wgpu::TextureUsages,
    ) -> wgpu::TextureDescriptor<'a> {
        let ([width, height, depth], layers) = (self.size, self.layers.unwrap_or(1));
        let (dimension, depth_or_array_layers) = match self.kind {
            Kind::D1 => (wgpu::TextureDimension::D1, 1),
            Kind::D2 => (wgpu::TextureDimension::D2, layers),
            Kind::D3 => (wgpu::TextureDimension::D3, depth),
            Kind::Cube => (wgpu::TextureDimension::D2, layers.saturating_mul(6)),
        };
        wgpu::TextureDescriptor {
            label: Some(name),
            size: wgpu::Extent3d { width, height, depth_or_array_layers },
            mip_level_count: self.level_count(),
            sample_count: 1,
            dimension,
            format,
            usage,
            view_formats: &[],
        }
    }
}

/// The location of the texture that wgpu's commands use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A separate texture, which is copied from or to a slot.
    OwnCommands,
    /// In the slot.
    Slot,
}

/// The methods that texture descriptions have in addition to their constructors.
macro_rules! shaped {
    ($texture:ident) => {
        impl<T: bridge::Texel> $texture<T> {
            /// Sets the number of mip levels, which is at most the number for the size. The program
            /// must fill them.
            ///
            /// With CUDA, an array (which includes a cube) must have one level or all levels:
            /// otherwise CUDA lays out the layers differently than Vulkan, and creating it is an
            /// error.
            #[must_use]
            pub fn with_mip_levels(self, levels: u32) -> Self {
                Self { shape: self.shape.with_mip_levels(levels), ..self }
            }

            /// Enables all mip levels, down to one texel.
            #[must_use]
            pub fn with_full_mip_chain(self) -> Self {
                Self { shape: self.shape.with_full_mip_chain(), ..self }
            }

            /// Makes the texture an array of this many layers, or of this many cubes. CUDA kernels
            /// see an array even with one layer.
            #[must_use]
            pub fn with_layers(self, layers: u32) -> Self {
                Self { shape: self.shape.with_layers(layers), ..self }
            }
        }
    };
}
pub(super) use shaped;

#[cfg(test)]
#[allow(clippy::unwrap_used)] // Tests.
mod tests {
    use super::*;

    #[test]
    fn a_full_chain_stays_one_and_others_are_cut() {
        let full = Shape::d2([64, 16]).with_full_mip_chain();
        assert_eq!((full.level_count(), full.resized([256, 3]).level_count()), (7, 9));
        let some = Shape::d2([64, 16]).with_mip_levels(5);
        assert_eq!((some.resized([256, 256]).level_count(), some.resized([4, 2]).level_count()), (5, 3));
        // The size is the error, not the number of levels.
        assert_eq!(full.resized([0, 0]).level_count(), 1);
    }

    #[test]
    fn cubes_have_six_layers_each() {
        let format = wgpu::TextureFormat::R32Float;
        let cubes = Shape::cube(32).with_layers(2);
        let descriptor = cubes.descriptor("cubes", format, wgpu::TextureUsages::COPY_SRC);
        assert_eq!((descriptor.dimension, descriptor.size.depth_or_array_layers), (wgpu::TextureDimension::D2, 12));
        let volume = Shape::new_3d([8, 4, 2]).with_full_mip_chain();
        let descriptor = volume.descriptor("volume", format, wgpu::TextureUsages::COPY_SRC);
        assert_eq!((descriptor.size.depth_or_array_layers, descriptor.mip_level_count), (2, 4));
    }

    #[test]
    fn what_wgpu_has_not_is_named() {
        let drawn = wgpu::TextureUsages::RENDER_ATTACHMENT;
        let copied = wgpu::TextureUsages::COPY_SRC;
        let fault = |shape: Shape, usage, place| shape.check_usage(usage, place, "texture").unwrap_err().to_string();
        assert!(fault(Shape::new_1d(8).with_layers(2), copied, Place::OwnCommands).contains(
            "does not support arrays of \
            1D"
        ));
        assert!(fault(Shape::new_1d(8).with_full_mip_chain(), copied, Place::Slot).contains("one mip level"));
        assert!(fault(Shape::new_1d(8), drawn, Place::OwnCommands).contains("does not draw to 1D"));
        assert!(fault(Shape::new_3d([8, 8, 8]), drawn, Place::Slot).contains("`SharedTexture`"));
        assert!(fault(Shape::new_3d([8, 8, 8]).with_layers(2), copied, Place::OwnCommands).contains("use its depth"));
        Shape::new_3d([8, 8, 8]).check_usage(drawn, Place::OwnCommands, "texture").unwrap();
        Shape::new_1d(8).with_full_mip_chain().check_usage(copied, Place::OwnCommands, "texture").unwrap_err();
        Shape::new_1d(1).with_full_mip_chain().check_usage(copied, Place::OwnCommands, "texture").unwrap();
    }
}
