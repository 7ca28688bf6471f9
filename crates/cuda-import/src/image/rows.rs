//! Images in linear memory, as tightly packed rows of texels.
//!
//! Contains unsafe code because cudarc's trait for kernel arguments is unsafe.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::sync::Arc;

use cudarc::driver::sys::CUdeviceptr;
use cudarc::driver::{CudaStream, LaunchArgs, PushKernelArg};

use crate::error::image::ImageProblem;
use crate::error::{Object, Result};
use crate::format::texel::Texel;
use crate::image::MappedImage;
use crate::image::backing::{ImageBacking, RowsBacking, nth, refuse};
use crate::image::info::{ImageMappingInfo, level_extent};
use crate::memory::ImportedMemory;
use crate::memory::linear::LinearMapping;
use crate::memory::mapping::Mapping;
use crate::stream::order::StreamOrder;

/// One mip level of an image in linear memory, tightly packed: slices (layers, or the depth of a 3D
/// image) of rows. It is a kernel argument of type `T *`.
///
/// The texel at x, y of a slice is the element `(slice * height + y) * width + x`, of the image's
/// texel type. Kernels on the image's home stream are ordered automatically. On another stream, the
/// caller must order them with [`ImageView::use_on`](crate::ImageView::use_on).
#[derive(Debug)]
pub struct ImageRows<'a, T> {
    pointer: CUdeviceptr,
    extent: [u32; 3],
    slices: u32,
    order: &'a StreamOrder,
    texels: PhantomData<fn() -> &'a mut [T]>,
}

impl<T> ImageRows<'_, T> {
    /// Returns the address of the first texel, which is valid as long as the image.
    ///
    /// Using only the address does not order the work: call
    /// [`ImageView::use_on`](crate::ImageView::use_on), or pass `self` as the argument.
    pub fn as_raw(&self) -> CUdeviceptr {
        self.pointer
    }

    /// Returns the width, height and depth of the level, in texels.
    pub fn extent(&self) -> [u32; 3] {
        self.extent
    }

    /// Returns the number of slices: the depth of a three-dimensional image, otherwise the number
    /// of layers.
    pub fn slices(&self) -> u32 {
        self.slices
    }

    /// Returns the number of texels in all slices.
    pub fn len(&self) -> usize {
        self.slice_pitch() / size_of::<T>() * self.slices as usize
    }

    /// Returns `false`: an image has at least one texel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes from one row to the next.
    pub fn row_pitch(&self) -> usize {
        self.extent[0] as usize * size_of::<T>()
    }

    /// Returns the bytes from one slice to the next.
    pub fn slice_pitch(&self) -> usize {
        self.extent[1] as usize * self.row_pitch()
    }
}

impl<T: Texel> MappedImage<T> {
    /// Maps an image whose texels are rows in linear memory, for example in a buffer that the
    /// exporting API copies into an image. Use it if images of that API cannot be mapped, as on
    /// GPUs other than the exporting one ([`ImportedMemory::import_peer`]).
    ///
    /// `level_offsets` contains the offset of each mip level, in bytes from
    /// [`info.offset`](ImageMappingInfo::offset). Rows and slices (layers, or the depth of a 3D
    /// image) are tightly packed. `info.surface` and `info.color_attachment` are ignored. `home` is
    /// a stream of the memory's first device, the only one that uses the image; otherwise as for
    /// [`map`](Self::map).
    ///
    /// # Errors
    /// [`Error::Image`](crate::Error::Image) for an image that is not possible, for offsets that
    /// are not multiples of the texel's size, and for levels that overlap;
    /// [`Error::OutOfRange`](crate::Error::OutOfRange) if the memory is too small; other invalid
    /// arguments each have their own error; [`Error::Driver`](crate::Error::Driver) if the driver
    /// call fails.
    pub fn map_rows(
        memory: &Arc<ImportedMemory>,
        info: &ImageMappingInfo,
        level_offsets: &[u64],
        home: &Arc<CudaStream>,
    ) -> Result<Self> {
        let (object, device) = (Object("image", memory.name()), memory.device());
        let problem = |problem| refuse(&object, device.name(), problem);
        info.validate::<T>().map_err(problem)?;
        let size = size_of_rows(info, level_offsets, size_of::<T>()).map_err(problem)?;
        if !info.offset.is_multiple_of(size_of::<T>() as u64) {
            return Err(problem(row_offsets(info, level_offsets, size_of::<T>())));
        }
        let order = StreamOrder::new(home, device, &object)?;
        // A size that overflows 64 bits is out of range.
        let mapping = LinearMapping::map(memory, info.offset, size.unwrap_or(u64::MAX))?;
        let range = mapping.range().clone();
        let levels = level_offsets.iter().map(|offset| mapping.pointer() + offset).collect();
        let backing = ImageBacking::Rows(RowsBacking { mapping, levels });
        let image = Self { info: *info, mapping: Mapping::new(backing, order), texel: PhantomData };
        memory.log_mapped(&range);
        Ok(image)
    }

    /// Returns the rows of a mip level.
    pub(crate) fn rows(&self, level: u32) -> Result<ImageRows<'_, T>> {
        let rows = self.mapping.backing().rows().and_then(|rows| nth(&rows.levels, level));
        let pointer = rows.map_err(|problem| self.refuse(problem))?;
        let extent = self.level_extent(level);
        // A 3D image has either depth or layers, never both.
        let slices = extent[2].max(self.layers());
        Ok(ImageRows { pointer, extent, slices, order: self.order(), texels: PhantomData })
    }
}

impl<T> MappedImage<T> {
    /// Returns `true` if the texels lie in rows of linear memory, which kernels access by address
    /// ([`ImageViewMut::rows`](crate::ImageViewMut::rows)); `false` for an array, which they access
    /// through textures and surfaces.
    pub fn has_rows(&self) -> bool {
        self.mapping.backing().rows().is_ok()
    }
}

/// Returns the bytes from the first level's texels to the end of the last level's; `None` if they
/// overflow 64 bits.
fn size_of_rows(info: &ImageMappingInfo, offsets: &[u64], texel: usize) -> Result<Option<u64>, ImageProblem> {
    let wrong = || row_offsets(info, offsets, texel);
    if u32::try_from(offsets.len()) != Ok(info.levels) {
        return Err(wrong());
    }
    let of_level = |level| {
        let sides = level_extent(info.extent, level).map(u64::from);
        let texels = sides.into_iter().try_fold(u64::from(info.layers), u64::checked_mul)?;
        texels.checked_mul(texel as u64)
    };
    let mut end = 0u64;
    for (level, &offset) in (0..).zip(offsets) {
        if offset < end || !offset.is_multiple_of(texel as u64) {
            return Err(wrong());
        }
        match of_level(level).and_then(|size| offset.checked_add(size)) {
            Some(ended) => end = ended,
            None => return Ok(None),
        }
    }
    Ok(Some(end))
}

fn row_offsets(info: &ImageMappingInfo, offsets: &[u64], texel: usize) -> ImageProblem {
    ImageProblem::RowOffsets { levels: info.levels, offsets: offsets.len(), texel }
}

// SAFETY: the argument is the address, a u64 like every kernel pointer, and the reference to it
// lives as long as the launch arguments.
unsafe impl<'a, 'b: 'a, 'c: 'b, T> PushKernelArg<&'b mut ImageRows<'c, T>> for LaunchArgs<'a> {
    #[inline(always)]
    fn arg(&mut self, rows: &'b mut ImageRows<'c, T>) -> &mut Self {
        rows.order.join_foreign();
        self.arg(&rows.pointer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::kind::ImageKind;

    #[test]
    fn levels_follow_each_other_without_overlapping() {
        let array = ImageMappingInfo { extent: [8, 4, 1], layers: 3, levels: 2, ..Default::default() };
        let first = 8 * 4 * 3 * 4;
        assert_eq!(size_of_rows(&array, &[0, first], 4), Ok(Some(first + 4 * 2 * 3 * 4)));
        assert_eq!(size_of_rows(&array, &[16, 512], 4), Ok(Some(512 + 4 * 2 * 3 * 4)), "with gaps between them");
        for (offsets, why) in [
            (&[0][..], "one level has no place"),
            (&[0, first, 2 * first], "more places than levels"),
            (&[0, first - 4], "levels overlap"),
            (&[first, 0], "the last one first"),
            (&[2, first + 4], "no multiple of the texel"),
        ] {
            let refused = ImageProblem::RowOffsets { levels: 2, offsets: offsets.len(), texel: 4 };
            assert_eq!(size_of_rows(&array, offsets, 4), Err(refused), "{why}");
        }
        let block = ImageMappingInfo { kind: ImageKind::D3, extent: [4, 4, 4], levels: 2, ..Default::default() };
        assert_eq!(size_of_rows(&block, &[0, 128], 2), Ok(Some(128 + 16)));
        let huge = ImageMappingInfo { extent: [u32::MAX, u32::MAX, 1], layers: 2, ..Default::default() };
        assert_eq!(size_of_rows(&huge, &[0], 4), Ok(None));
        let far = ImageMappingInfo { extent: [1, 1, 1], ..Default::default() };
        assert_eq!(size_of_rows(&far, &[u64::MAX - 3], 4), Ok(None));
    }
}
