//! CUDA channel formats of Vulkan formats.

use ash::vk;

use crate::abi::{FORMAT_FLOAT, FORMAT_HALF, FORMATS};

/// `CU_AD_FORMAT_UNSIGNED_INT8`, `…_16`, `…_32`, and the signed ones.
const UNSIGNED: [u32; 3] = [0x01, 0x02, 0x03];
const SIGNED: [u32; 3] = [0x08, 0x09, 0x0a];

/// CUDA formats of a family of Vulkan formats in the order of the specification: UNORM, SNORM,
/// USCALED, SSCALED, UINT, SINT, and one more.
const BYTES: [u32; 7] = [UNSIGNED[0], SIGNED[0], 0, 0, UNSIGNED[0], SIGNED[0], UNSIGNED[0]];
const SHORTS: [u32; 7] = [UNSIGNED[1], SIGNED[1], 0, 0, UNSIGNED[1], SIGNED[1], FORMAT_HALF];
const WORDS: [u32; 3] = [UNSIGNED[2], SIGNED[2], FORMAT_FLOAT];

/// The first format of a family, its number of channels, and the CUDA formats of the family.
const FAMILIES: [(vk::Format, u32, &[u32]); 10] = [
    (vk::Format::R8_UNORM, 1, &BYTES),
    (vk::Format::R8G8_UNORM, 2, &BYTES),
    (vk::Format::R8G8B8A8_UNORM, 4, &BYTES),
    (vk::Format::B8G8R8A8_UNORM, 4, &BYTES),
    (vk::Format::R16_UNORM, 1, &SHORTS),
    (vk::Format::R16G16_UNORM, 2, &SHORTS),
    (vk::Format::R16G16B16A16_UNORM, 4, &SHORTS),
    (vk::Format::R32_UINT, 1, &WORDS),
    (vk::Format::R32G32_UINT, 2, &WORDS),
    (vk::Format::R32G32B32A32_UINT, 4, &WORDS),
];

/// Returns the `CUarray_format`, the number of channels, and the bytes per channel, or `None` if
/// CUDA has no matching format.
pub(super) fn texel(format: vk::Format) -> Option<(u32, u32, u64)> {
    FAMILIES.iter().find_map(|(first, channels, meanings)| {
        let nth = usize::try_from(format.as_raw().checked_sub(first.as_raw())?).ok()?;
        let meaning = *meanings.get(nth)?;
        let (_, size) = FORMATS.iter().find(|(known, _)| *known == meaning)?;
        Some((meaning, *channels, *size))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_the_channels_of_their_names() {
        for (format, expected) in [
            (vk::Format::R8_SRGB, Some((0x01, 1, 1))),
            (vk::Format::R8G8_SNORM, Some((0x08, 2, 1))),
            (vk::Format::B8G8R8A8_UNORM, Some((0x01, 4, 1))),
            (vk::Format::R16_SFLOAT, Some((0x10, 1, 2))),
            (vk::Format::R16G16B16A16_SINT, Some((0x09, 4, 2))),
            (vk::Format::R32_UINT, Some((0x03, 1, 4))),
            (vk::Format::R32G32_SINT, Some((0x0a, 2, 4))),
            (vk::Format::R32G32B32A32_SFLOAT, Some((0x20, 4, 4))),
            (vk::Format::R8G8B8_UNORM, None),
            (vk::Format::R8_USCALED, None),
            (vk::Format::R32G32B32_UINT, None),
            (vk::Format::D32_SFLOAT, None),
            (vk::Format::R64_UINT, None),
            (vk::Format::UNDEFINED, None),
        ] {
            assert_eq!(texel(format), expected, "{format:?}");
        }
    }
}
