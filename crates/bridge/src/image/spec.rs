//! [`ImageSpec`]: the specification of an image that an exchange shares.

use std::marker::PhantomData;

use cuda_import::Texel;
use vk_export::ash::vk;
use vk_export::{ImageAccess, ImageKind, mip_count};

/// The specification of an image with texels of type `T`, and of its uses by Vulkan.
///
/// `T` is the texel type on the compute side: `[u8; 4]` for `R8G8B8A8_UNORM`, `f32` for
/// `R32_SFLOAT`, `[half::f16; 4]` for `R16G16B16A16_SFLOAT`; see [`FORMATS`](crate::FORMATS) for
/// all formats. With an sRGB format, Vulkan accesses UNORM memory through an sRGB view.
///
/// With CUDA the image has OPTIMAL tiling and is mapped as a CUDA array; for row-major data, share
/// a [`BufferSpec`](crate::BufferSpec).
///
/// With CUDA on a GPU other than the drawing GPU ([`Compute::on_peer`](crate::Compute::on_peer),
/// [`Compute::group`](crate::Compute::group)), which cannot map images, the compute side works on
/// rows in a staging buffer on the drawing GPU, like the CPU backend below. The copy functions of
/// the view work as usual, and kernels get the address of the rows
/// ([`ImageViewMut::rows`](crate::ImageViewMut::rows),
/// [`KernelImage::rows`](crate::KernelImage::rows)). Textures and surfaces are not available.
///
/// With the CPU backend, the compute side works on rows. If the driver supports the image as LINEAR
/// with the same capabilities, the rows are the image's own memory. Otherwise the image is in
/// device memory, as with CUDA, the rows are in a staging buffer, and the hand-over copies all rows
/// into the image when Vulkan acquires it, and the image back into the rows when Vulkan releases
/// it, if its accesses include writes. The contents are the same in both cases;
/// [`RenderImage::is_staged`](crate::RenderImage::is_staged) returns which case applies.
#[doc = concat!("\n# Examples\n```\n", include_str!("../../docs/image_spec.rs"), "```")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSpec<T> {
    pub(crate) format: vk::Format,
    pub(crate) kind: ImageKind,
    pub(crate) extent: [u32; 3],
    pub(crate) mip_levels: u32,
    /// `true` if the image has all mip levels, for any extent.
    all_levels: bool,
    pub(crate) array_layers: u32,
    pub(crate) layered: bool,
    pub(crate) accesses: ImageAccess,
    pub(super) name: Option<String>,
    texel: PhantomData<fn() -> T>,
}

impl<T: Texel> ImageSpec<T> {
    /// Creates the spec of a 2D image of width and height in texels, with one level and one layer.
    pub fn new(format: vk::Format, [width, height]: [u32; 2], accesses: ImageAccess) -> Self {
        Self::of_kind(ImageKind::D2, format, [width, height, 1], 1, accesses)
    }

    /// Creates the spec of a 1D image of `width` texels.
    pub fn new_1d(format: vk::Format, width: u32, accesses: ImageAccess) -> Self {
        Self::of_kind(ImageKind::D1, format, [width, 1, 1], 1, accesses)
    }

    /// Creates the spec of a 3D image of width, height and depth in texels.
    pub fn new_3d(format: vk::Format, extent: [u32; 3], accesses: ImageAccess) -> Self {
        Self::of_kind(ImageKind::D3, format, extent, 1, accesses)
    }

    /// Creates the spec of a cube map whose faces have `side` texels per side.
    pub fn cube(format: vk::Format, side: u32, accesses: ImageAccess) -> Self {
        Self::of_kind(ImageKind::Cube, format, [side, side, 1], 6, accesses)
    }

    fn of_kind(
        kind: ImageKind,
        format: vk::Format,
        extent: [u32; 3],
        array_layers: u32,
        accesses: ImageAccess,
    ) -> Self {
        Self {
            format,
            kind,
            extent,
            mip_levels: 1,
            all_levels: false,
            array_layers,
            layered: false,
            accesses,
            name: None,
            texel: PhantomData,
        }
    }

    /// Sets the number of mip levels, at most [`mip_count`] of the extent. The program must write
    /// the contents of all levels.
    ///
    /// With CUDA, a layered image (an array or a cube) must have one level or a full mip chain: for
    /// partial chains CUDA and Vulkan disagree on the layout, and the driver reports no error (seen
    /// with 580.159.04). Partial chains are rejected, except with
    /// [`Compute::on_peer`](crate::Compute::on_peer) and [`Compute::group`](crate::Compute::group),
    /// where CUDA accesses rows.
    #[must_use]
    pub fn with_mip_levels(mut self, levels: u32) -> Self {
        self.mip_levels = levels;
        self.all_levels = false;
        self
    }

    /// Sets the full number of mip levels, down to one texel.
    #[must_use]
    pub fn with_full_mip_chain(self) -> Self {
        let levels = mip_count(self.extent);
        Self { all_levels: true, ..self.with_mip_levels(levels) }
    }

    /// Makes the image an array of `count` layers or, for a cube map, of `count` cubes, with which
    /// [`layers`](Self::layers) returns `6 * count`. Kernels see an array even with one layer. For
    /// the number of mip levels that an array may have, see
    /// [`with_mip_levels`](Self::with_mip_levels).
    #[must_use]
    pub fn with_array_layers(mut self, count: u32) -> Self {
        self.array_layers = if self.kind == ImageKind::Cube { count.saturating_mul(6) } else { count };
        self.layered = true;
        self
    }

    /// Returns the format of Vulkan's views.
    pub fn format(&self) -> vk::Format {
        self.format
    }

    /// Returns the shape: 1D, 2D, 3D or a cube.
    pub fn kind(&self) -> ImageKind {
        self.kind
    }

    /// Returns the Vulkan access to the image.
    pub fn accesses(&self) -> ImageAccess {
        self.accesses
    }

    /// Returns the width, height and depth in texels.
    pub fn extent(&self) -> [u32; 3] {
        self.extent
    }

    /// Returns the number of mip levels.
    pub fn mip_levels(&self) -> u32 {
        self.mip_levels
    }

    /// Returns the number of layers, six for each cube.
    pub fn layers(&self) -> u32 {
        self.array_layers
    }

    /// Returns a copy of the spec with a different width, height and depth, as
    /// [`extent`](Self::extent) returns them. [`Exchange::new`](crate::Exchange::new) refuses an
    /// extent that the kind cannot have: only 3D images have a depth, 1D images have the height 1,
    /// and cubes are square.
    ///
    /// After [`with_full_mip_chain`](Self::with_full_mip_chain) the copy has all levels of the new
    /// size, otherwise the same number of levels, limited to those of the new size.
    #[must_use]
    pub fn with_extent(&self, extent: [u32; 3]) -> Self {
        let all = mip_count(extent);
        let mip_levels = if self.all_levels { all } else { self.mip_levels.min(all) };
        Self { extent, mip_levels, ..self.clone() }
    }

    /// Returns the name that was set, if any.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Sets the name in errors, traces and GPU debuggers, to which the slot's index is appended.
    /// Default: the exchange's name.
    #[must_use]
    pub fn with_name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }
}
