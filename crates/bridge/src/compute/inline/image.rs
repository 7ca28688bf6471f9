//! Access of kernels in command buffers to Vulkan images, through handles of image views.

use std::marker::PhantomData;
use std::sync::{Mutex, PoisonError};

use cuda_import::{AddressMode, Filter, ReadMode, TextureInfo};
use vk_export::ash::vk;
use vk_export::{Image, ImageKind, KernelSurface, KernelTexture};

use crate::compute::mapped::Mapping;
use crate::error::{Error, Result};

/// Limit on the number of objects of each kind per image. Recorded work may use any of them, so
/// they live as long as the image; a program that passes a different description each frame has a
/// bug.
const MAX_HANDLES: usize = 256;

/// The image view handles of an image, each created on first use.
#[derive(Debug)]
pub(crate) struct InlineImage<T> {
    /// `true` if kernels see an array even if there is one layer.
    layered: bool,
    handles: Mutex<Handles>,
    texel: PhantomData<fn() -> T>,
}

#[derive(Debug, Default)]
struct Handles {
    /// By mip level.
    surfaces: Vec<(u32, KernelSurface)>,
    textures: Vec<(TextureInfo, KernelTexture)>,
}

impl<T> InlineImage<T> {
    pub(in crate::compute) fn new(layered: bool) -> Self {
        Self { layered, handles: Mutex::default(), texel: PhantomData }
    }

    /// Returns the handle of a mip level for loads and stores. `image` is the image of this
    /// mapping.
    pub(crate) fn surface(&self, image: &Image, level: u32) -> Result<u64> {
        let mut made = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        let make = if self.layered { KernelSurface::layered } else { KernelSurface::new };
        find_or_create(&mut made.surfaces, &level, image, || Ok(make(image, level)?))
            .map(|surface| u64::from(surface.handle()))
    }

    /// Returns the handle for sampling. `image` is the image of this mapping, viewed in `format`.
    pub(crate) fn texture(&self, image: &Image, format: vk::Format, info: &TextureInfo) -> Result<u64> {
        let mut made = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        find_or_create(&mut made.textures, info, image, || {
            let sampled = sampling(info, image, format).map_err(|reason| Error::invalid(object(image), reason))?;
            Ok(KernelTexture::new(image, &vk_export::TextureInfo { layered: self.layered, ..sampled })?)
        })
        .map(|texture| u64::from(texture.handle()))
    }
}

// The views are dropped with the mapping, before the image.
impl<T> Mapping for InlineImage<T> {
    fn close(self) -> Result<()> {
        Ok(())
    }
}

fn object(image: &Image) -> String {
    format!("shared image \"{}\" as kernels in command buffers see it", image.name())
}

fn find_or_create<'a, K: PartialEq + Clone, V>(
    list: &'a mut Vec<(K, V)>,
    key: &K,
    image: &Image,
    make: impl FnOnce() -> Result<V>,
) -> Result<&'a V> {
    let index = match list.iter().position(|(known, _)| known == key) {
        Some(index) => index,
        None if list.len() >= MAX_HANDLES => {
            let reason = format!("the maximum is {MAX_HANDLES} descriptions; create each once, not one per frame");
            return Err(Error::invalid(object(image), reason));
        }
        None => {
            list.push((key.clone(), make()?));
            list.len() - 1
        }
    };
    Ok(&list[index].1)
}

/// Converts to Vulkan's sampling parameters. Returns the reason if Vulkan cannot sample in the same
/// way.
fn sampling(info: &TextureInfo, image: &Image, format: vk::Format) -> Result<vk_export::TextureInfo, &'static str> {
    if !info.normalized_coordinates {
        return Err("there, textures take normalized coordinates; divide by the extent");
    }
    let name = format!("{format:?}");
    let srgb = name.contains("SRGB");
    let fractions = srgb || name.contains("NORM");
    match info.read_mode {
        ReadMode::Element if fractions => {
            return Err("its format is read as normalized floats; set `ReadMode::NormalizedFloat`");
        }
        ReadMode::NormalizedFloat if !fractions => {
            return Err("its format is not read as normalized floats; set `ReadMode::Element`");
        }
        ReadMode::Element | ReadMode::NormalizedFloat => {}
        _ => {
            return Err(
                "this read mode works on CUDA streams only; set `ReadMode::Element` or `ReadMode::NormalizedFloat`",
            );
        }
    }
    if info.srgb && !srgb {
        return Err("sRGB is decoded only for images created with an sRGB format");
    }
    if (image.kind() == ImageKind::Cube) != info.seamless_cube {
        return Err("there, cubes are seamless and other images are not; set `seamless_cube` for cubes only");
    }
    let plain = TextureInfo {
        address_modes: info.address_modes,
        filter: info.filter,
        mip_filter: info.mip_filter,
        read_mode: info.read_mode,
        srgb: info.srgb,
        seamless_cube: info.seamless_cube,
        ..TextureInfo::default()
    };
    if plain != *info {
        return Err("a fixed level, level limits, bias, anisotropy and nonzero borders work on CUDA streams only");
    }
    let [x, y, z] = info.address_modes;
    let address_modes = [address(x)?, address(y)?, address(z)?];
    let (filter, mipmap_mode) = match (info.filter, info.mip_filter) {
        (Filter::Nearest, Filter::Nearest) => (vk::Filter::NEAREST, vk::SamplerMipmapMode::NEAREST),
        (Filter::Nearest, Filter::Linear) => (vk::Filter::NEAREST, vk::SamplerMipmapMode::LINEAR),
        (Filter::Linear, Filter::Nearest) => (vk::Filter::LINEAR, vk::SamplerMipmapMode::NEAREST),
        (Filter::Linear, Filter::Linear) => (vk::Filter::LINEAR, vk::SamplerMipmapMode::LINEAR),
        _ => return Err("this filter works on CUDA streams only; set `Filter::Nearest` or `Filter::Linear`"),
    };
    Ok(vk_export::TextureInfo {
        filter,
        mipmap_mode,
        address_modes,
        format: Some(if info.srgb || !srgb { format } else { image.format() }),
        layered: false,
    })
}

fn address(mode: AddressMode) -> Result<vk::SamplerAddressMode, &'static str> {
    Ok(match mode {
        AddressMode::Wrap => vk::SamplerAddressMode::REPEAT,
        AddressMode::Clamp => vk::SamplerAddressMode::CLAMP_TO_EDGE,
        AddressMode::Mirror => vk::SamplerAddressMode::MIRRORED_REPEAT,
        AddressMode::Border => vk::SamplerAddressMode::CLAMP_TO_BORDER,
        _ => return Err("this address mode works on CUDA streams only; set `Wrap`, `Clamp`, `Mirror` or `Border`"),
    })
}
