//! CPU views of an image in host-visible memory, whose rows are `row_pitch` bytes apart.
#![allow(unsafe_code)] // Slices of mapped memory.

pub(crate) mod read;

use std::marker::PhantomData;
use std::ptr::NonNull;

use bytemuck::Pod;

/// Memory layout of one mip level of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlaneLayout {
    /// Bytes from the start of the mapping to the first texel.
    pub(crate) offset: usize,
    /// Bytes from one row to the next; `depth_pitch` from one depth slice to the next.
    pub(crate) row_pitch: usize,
    pub(crate) depth_pitch: usize,
    /// Extent in texels.
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) depth: usize,
}

impl PlaneLayout {
    /// Returns `true` if all texels of type `T` are aligned and within `size` bytes, and the rows
    /// and depth slices do not overlap.
    pub(crate) fn fits<T>(&self, size: usize) -> bool {
        let align = align_of::<T>();
        let Some(row) = self.width.checked_mul(size_of::<T>()) else { return false };
        let last = |count: usize, pitch: usize| count.checked_sub(1).and_then(|last| last.checked_mul(pitch));
        let end = || -> Option<usize> {
            let rows = last(self.height, self.row_pitch)?.checked_add(row)?;
            let apart = (self.height == 1 || self.row_pitch >= row) && (self.depth == 1 || self.depth_pitch >= rows);
            let end = self.offset.checked_add(last(self.depth, self.depth_pitch)?)?.checked_add(rows)?;
            apart.then_some(end)
        };
        let pitches = (self.height == 1 || self.row_pitch.is_multiple_of(align))
            && (self.depth == 1 || self.depth_pitch.is_multiple_of(align));
        self.offset.is_multiple_of(align) && pitches && end().is_some_and(|end| end <= size)
    }

    /// Returns the offset of a row in the mapping, in bytes.
    fn row(&self, z: usize, y: usize) -> Option<usize> {
        (z < self.depth && y < self.height).then(|| self.offset + z * self.depth_pitch + y * self.row_pitch)
    }
}

/// The texels of an image, lent to the CPU for writing. The image has levels and layers, each of
/// which has rows of `T`.
///
/// [`row_mut`](Self::row_mut) and [`rows_mut`](Self::rows_mut) return rows of the first level of
/// the first layer, and of a 3D image those of its first depth slice. Most images have no other
/// rows; [`plane_mut`](Self::plane_mut) returns them.
#[derive(Debug)]
pub struct HostImageMut<'a, T> {
    start: NonNull<u8>,
    planes: &'a [PlaneLayout],
    levels: u32,
    texels: PhantomData<&'a mut [T]>,
}

// SAFETY: the type is an exclusive borrow of texels, like `&mut [T]`.
unsafe impl<T: Send> Send for HostImageMut<'_, T> {}
// SAFETY: as above; `&self` only lends `&[T]`.
unsafe impl<T: Sync> Sync for HostImageMut<'_, T> {}

/// One level of one layer of an image on the CPU.
#[derive(Debug)]
pub struct HostPlaneMut<'a, T> {
    start: NonNull<u8>,
    layout: PlaneLayout,
    texels: PhantomData<&'a mut [T]>,
}

// SAFETY: the type is an exclusive borrow of texels, like `&mut [T]`.
unsafe impl<T: Send> Send for HostPlaneMut<'_, T> {}
// SAFETY: as above; `&self` only lends `&[T]`.
unsafe impl<T: Sync> Sync for HostPlaneMut<'_, T> {}

impl<'a, T: Pod> HostImageMut<'a, T> {
    /// Creates the view. The planes are all levels of layer 0, then of layer 1, and so on.
    ///
    /// # Safety
    /// Every plane [fits](PlaneLayout::fits) the mapping at `start`, which lives for `'a`, the
    /// planes do not overlap, and nothing else reads or writes them during `'a`.
    pub(crate) unsafe fn new(start: NonNull<u8>, planes: &'a [PlaneLayout], levels: u32) -> Self {
        Self { start, planes, levels, texels: PhantomData }
    }

    /// Returns the number of mip levels.
    pub fn levels(&self) -> u32 {
        self.levels
    }

    /// Returns the number of array layers.
    pub fn layers(&self) -> u32 {
        u32::try_from(self.planes.len()).unwrap_or(u32::MAX) / self.levels.max(1)
    }

    /// Returns the width of the first level, in texels.
    pub fn width(&self) -> usize {
        self.planes.first().map_or(0, |plane| plane.width)
    }

    /// Returns the height of the first level, in texels.
    pub fn height(&self) -> usize {
        self.planes.first().map_or(0, |plane| plane.height)
    }

    /// Returns one level of one layer, or `None` if there is no such level or layer.
    pub fn plane_mut(&mut self, level: u32, layer: u32) -> Option<HostPlaneMut<'_, T>> {
        let layout = self.layout(level, layer)?;
        Some(HostPlaneMut { start: self.start, layout, texels: PhantomData })
    }

    fn layout(&self, level: u32, layer: u32) -> Option<PlaneLayout> {
        if level >= self.levels {
            return None;
        }
        let index = u64::from(layer) * u64::from(self.levels) + u64::from(level);
        self.planes.get(usize::try_from(index).ok()?).copied()
    }

    /// Returns row `y` of the first level of the first layer, or `None` if `y` is not less than its
    /// height; of a 3D image, a row of its first depth slice.
    pub fn row(&self, y: usize) -> Option<&[T]> {
        let layout = self.layout(0, 0)?;
        // SAFETY: the row is inside a plane that fits; `self` is borrowed for as long as the slice.
        Some(unsafe { std::slice::from_raw_parts(self.texel(layout.row(0, y)?), layout.width) })
    }

    fn texel(&self, offset: usize) -> *const T {
        // SAFETY: `offset` is the offset of a row of a plane that fits the mapping.
        unsafe { self.start.as_ptr().add(offset) }.cast_const().cast()
    }

    /// Returns row `y` of the first level of the first layer for writing; see [`row`](Self::row).
    pub fn row_mut(&mut self, y: usize) -> Option<&mut [T]> {
        self.rows_mut().nth(y)
    }

    /// Returns the rows of the first level of the first layer, from top to bottom; of a 3D image,
    /// those of its first depth slice.
    pub fn rows_mut(&mut self) -> impl ExactSizeIterator<Item = &mut [T]> {
        let layout = self.layout(0, 0);
        Rows::new(self.start, layout, 0)
    }
}

impl<T: Pod> HostPlaneMut<'_, T> {
    /// Returns the width, height and depth in texels.
    pub fn extent(&self) -> [usize; 3] {
        [self.layout.width, self.layout.height, self.layout.depth]
    }

    /// Returns row `y` of depth slice `z` for writing; see [`row`](Self::row).
    pub fn row_mut(&mut self, z: usize, y: usize) -> Option<&mut [T]> {
        self.rows_mut(z).nth(y)
    }

    /// Returns the rows of depth slice `z`, from top to bottom. Empty if there is no such slice.
    pub fn rows_mut(&mut self, z: usize) -> impl ExactSizeIterator<Item = &mut [T]> {
        Rows::new(self.start, (z < self.layout.depth).then_some(self.layout), z)
    }
}

#[cfg(all(target_os = "linux", feature = "remote"))]
impl<T: Pod> HostPlaneMut<'_, T> {
    /// Returns all texels in row order, in runs of contiguous memory: the whole plane, its depth
    /// slices, or its rows.
    pub(crate) fn runs_mut(&mut self) -> impl Iterator<Item = &mut [T]> {
        let PlaneLayout { row_pitch, depth_pitch, width, height, depth, .. } = self.layout;
        let row = width * size_of::<T>();
        let has_tight_rows = height == 1 || row_pitch == row;
        let has_tight_depths = has_tight_rows && (depth == 1 || depth_pitch == row * height);
        let (depths, rows, len) = match (has_tight_rows, has_tight_depths) {
            (_, true) => (1, 1, width * height * depth),
            (true, false) => (depth, 1, width * height),
            (false, false) => (depth, height, width),
        };
        let (start, layout) = (self.start, self.layout);
        let places = (0..depths).flat_map(move |z| (0..rows).map(move |y| (z, y)));
        places.filter_map(move |(z, y)| {
            let row = layout.row(z, y)?;
            // SAFETY: `row` is the offset of a row of a plane that fits the mapping.
            let first = unsafe { start.as_ptr().add(row) };
            // SAFETY: there are `len` aligned texels, since the rows of a run follow each other
            // without a gap, and all bit patterns are a valid `Pod`; runs do not overlap, each is
            // lent once, and `self` is borrowed for as long.
            Some(unsafe { std::slice::from_raw_parts_mut(first.cast(), len) })
        })
    }
}

/// Iterator that lends each row of one depth slice of a plane once.
struct Rows<'a, T> {
    start: NonNull<u8>,
    layout: Option<PlaneLayout>,
    z: usize,
    next: usize,
    texels: PhantomData<&'a mut [T]>,
}

impl<T> Rows<'_, T> {
    fn new(start: NonNull<u8>, layout: Option<PlaneLayout>, z: usize) -> Self {
        Self { start, layout, z, next: 0, texels: PhantomData }
    }
}

impl<'a, T: Pod> Iterator for Rows<'a, T> {
    type Item = &'a mut [T];

    fn next(&mut self) -> Option<&'a mut [T]> {
        self.nth(0)
    }

    fn nth(&mut self, skip: usize) -> Option<&'a mut [T]> {
        let layout = self.layout?;
        let y = self.next.checked_add(skip)?;
        let row = layout.row(self.z, y)?;
        self.next = y + 1;
        // SAFETY: `row` is the offset of a row of a plane that fits the mapping.
        let first = unsafe { self.start.as_ptr().add(row) };
        // SAFETY: there are `width` aligned texels, and all bit patterns are a valid `Pod`; rows do
        // not overlap, each is lent once, and the borrow that this iterator was created from lasts
        // for `'a`.
        Some(unsafe { std::slice::from_raw_parts_mut(first.cast(), layout.width) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.layout.map_or(0, |layout| layout.height.saturating_sub(self.next));
        (left, Some(left))
    }
}

impl<T: Pod> ExactSizeIterator for Rows<'_, T> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layout(width: usize, height: usize, depth: usize, gap: usize) -> PlaneLayout {
        let row_pitch = 4 * (width + gap);
        PlaneLayout { offset: 4 * gap, row_pitch, depth_pitch: row_pitch * (height + gap), width, height, depth }
    }

    #[test]
    fn layouts_that_leave_the_memory_or_overlap_do_not_fit() {
        let plane = layout(4, 3, 2, 1);
        let end = 4 + plane.depth_pitch + 2 * plane.row_pitch + 16;
        assert!(plane.fits::<u32>(end));
        assert!(!plane.fits::<u32>(end - 1));
        assert!(!PlaneLayout { offset: 2, ..plane }.fits::<u32>(1 << 20), "misaligned");
        assert!(!PlaneLayout { row_pitch: 12, ..plane }.fits::<u32>(1 << 20), "rows overlap");
        assert!(!PlaneLayout { depth_pitch: 8, ..plane }.fits::<u32>(1 << 20), "depths overlap");
        assert!(!PlaneLayout { offset: usize::MAX - 3, ..plane }.fits::<u32>(usize::MAX), "overflow");
        assert!(!PlaneLayout { height: 0, ..plane }.fits::<u32>(1 << 20), "nothing");
    }

    proptest! {
        /// Iterating over the rows visits every texel once and touches no byte between the rows.
        #[test]
        fn rows_reach_every_texel_and_no_gap(
            width in 1usize..9, height in 1usize..7, depth in 1usize..4, gap in 0usize..3, layers in 1u32..3,
        ) {
            let first = layout(width, height, depth, gap);
            let plane_size = 4 * gap + first.depth_pitch * depth;
            let planes: Vec<_> = (0..layers as usize)
                .map(|layer| PlaneLayout { offset: first.offset + layer * plane_size, ..first })
                .collect();
            let mut memory = vec![u32::MAX; (plane_size * planes.len()).div_ceil(4) + 64];
            prop_assert!(planes.iter().all(|plane| plane.fits::<u32>(memory.len() * 4)));
            let start = NonNull::new(memory.as_mut_ptr().cast()).unwrap();
            // SAFETY: the planes were checked to fit, and follow each other.
            let mut image = unsafe { HostImageMut::<u32>::new(start, &planes, 1) };
            prop_assert_eq!((image.layers(), image.width(), image.height()), (layers, width, height));
            let mut count = 0;
            for layer in 0..layers {
                let mut plane = image.plane_mut(0, layer).unwrap();
                for z in 0..depth {
                    prop_assert_eq!(plane.rows_mut(z).len(), height);
                    for row in plane.rows_mut(z) {
                        for texel in row {
                            prop_assert_eq!(*texel, u32::MAX, "lent twice");
                            *texel = count;
                            count += 1;
                        }
                    }
                }
                prop_assert!(plane.rows_mut(depth).next().is_none());
            }
            #[cfg(all(target_os = "linux", feature = "remote"))]
            {
                // The runs contain the same texels in the same order, in a single run if there are
                // no gaps.
                let mut next = 0;
                for layer in 0..layers {
                    let mut plane = image.plane_mut(0, layer).unwrap();
                    let mut runs = 0;
                    for run in plane.runs_mut() {
                        runs += 1;
                        for texel in run {
                            prop_assert_eq!(*texel, next);
                            next += 1;
                        }
                    }
                    let tight_rows = gap == 0 || height == 1;
                    let tight = tight_rows && (gap == 0 || depth == 1);
                    prop_assert_eq!(runs, if tight { 1 } else if tight_rows { depth } else { depth * height });
                }
                prop_assert_eq!(next, count);
            }
            prop_assert!(image.plane_mut(1, 0).is_none() && image.plane_mut(0, layers).is_none());
            prop_assert!(image.row(height).is_none() && image.row_mut(height).is_none());
            prop_assert_eq!(image.row(0).unwrap()[0], 0);
            prop_assert_eq!(image.row_mut(height - 1).unwrap()[0] as usize, width * (height - 1));
            let written = memory.iter().filter(|word| **word != u32::MAX).count();
            prop_assert_eq!(written, count as usize);
        }
    }
}
