//! CPU views of an image for reading.
#![allow(unsafe_code)] // Slices of mapped memory.

use std::marker::PhantomData;
use std::ptr::NonNull;

use bytemuck::Pod;

use super::{HostImageMut, HostPlaneMut, PlaneLayout};

/// The texels of an image, lent to the CPU for reading. The image has levels and layers, each of
/// which has rows of `T`. Created by [`HostImageMut::as_image`].
///
/// [`row`](Self::row) and [`rows`](Self::rows) return rows of the first level of the first layer,
/// and of a 3D image those of its first depth slice; [`plane`](Self::plane) returns the others.
#[derive(Debug)]
pub struct HostImage<'a, T> {
    start: NonNull<u8>,
    planes: &'a [PlaneLayout],
    levels: u32,
    texels: PhantomData<&'a [T]>,
}

/// One level of one layer of an image, lent to the CPU for reading.
#[derive(Debug)]
pub struct HostPlane<'a, T> {
    start: NonNull<u8>,
    layout: PlaneLayout,
    texels: PhantomData<&'a [T]>,
}

// SAFETY: both types are shared borrows of texels, like `&[T]`.
unsafe impl<T: Sync> Send for HostImage<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for HostImage<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Send for HostPlane<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for HostPlane<'_, T> {}

impl<T> Clone for HostImage<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for HostImage<'_, T> {}

impl<T> Clone for HostPlane<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for HostPlane<'_, T> {}

impl<T: Pod> HostImageMut<'_, T> {
    /// Lends the same texels for reading.
    pub fn as_image(&self) -> HostImage<'_, T> {
        HostImage { start: self.start, planes: self.planes, levels: self.levels, texels: PhantomData }
    }

    /// Returns the depth of the first level, in texels.
    pub fn depth(&self) -> usize {
        self.as_image().depth()
    }

    /// Returns one level of one layer for reading, or `None` if there is no such level or layer.
    pub fn plane(&self, level: u32, layer: u32) -> Option<HostPlane<'_, T>> {
        self.as_image().plane(level, layer)
    }

    /// Returns the rows of the first level of the first layer, from top to bottom; of a 3D image,
    /// those of its first depth slice.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[T]> {
        self.as_image().rows()
    }
}

impl<T: Pod> HostPlaneMut<'_, T> {
    /// Lends the same texels for reading.
    pub fn as_plane(&self) -> HostPlane<'_, T> {
        HostPlane { start: self.start, layout: self.layout, texels: PhantomData }
    }

    /// Returns row `y` of depth slice `z`, or `None` if there is no such row or slice.
    pub fn row(&self, z: usize, y: usize) -> Option<&[T]> {
        self.as_plane().row(z, y)
    }

    /// Returns the rows of depth slice `z`, from top to bottom. Empty if there is no such slice.
    pub fn rows(&self, z: usize) -> impl ExactSizeIterator<Item = &[T]> {
        self.as_plane().rows(z)
    }
}

impl<'a, T: Pod> HostImage<'a, T> {
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

    /// Returns the depth of the first level, in texels.
    pub fn depth(&self) -> usize {
        self.planes.first().map_or(0, |plane| plane.depth)
    }

    /// Returns one level of one layer, or `None` if there is no such level or layer.
    pub fn plane(&self, level: u32, layer: u32) -> Option<HostPlane<'a, T>> {
        if level >= self.levels {
            return None;
        }
        let index = u64::from(layer) * u64::from(self.levels) + u64::from(level);
        let layout = self.planes.get(usize::try_from(index).ok()?).copied()?;
        Some(HostPlane { start: self.start, layout, texels: PhantomData })
    }

    /// Returns row `y` of the first level of the first layer, or `None` if `y` is not less than its
    /// height; of a 3D image, a row of its first depth slice.
    pub fn row(&self, y: usize) -> Option<&'a [T]> {
        self.plane(0, 0)?.row(0, y)
    }

    /// Returns the rows of the first level of the first layer, from top to bottom; of a 3D image,
    /// those of its first depth slice.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &'a [T]> + use<'a, T> {
        let plane = self.plane(0, 0);
        let height = plane.map_or(0, |plane| plane.layout.height);
        (0..height).map(move |y| plane.and_then(|plane| plane.row(0, y)).unwrap_or_default())
    }
}

impl<'a, T: Pod> HostPlane<'a, T> {
    /// Returns the width, height and depth in texels.
    pub fn extent(&self) -> [usize; 3] {
        [self.layout.width, self.layout.height, self.layout.depth]
    }

    /// Returns row `y` of depth slice `z`, or `None` if there is no such row or slice.
    pub fn row(&self, z: usize, y: usize) -> Option<&'a [T]> {
        let row = self.layout.row(z, y)?;
        // SAFETY: `row` is the offset of a row of a plane that fits the mapping, as
        // `HostImageMut::new` requires.
        let first = unsafe { self.start.as_ptr().add(row) };
        // SAFETY: there are `width` aligned texels, and all bit patterns are a valid `Pod`; the
        // `HostImageMut` that this was created from is borrowed for `'a`, so nothing writes them
        // during `'a`.
        Some(unsafe { std::slice::from_raw_parts(first.cast_const().cast(), self.layout.width) })
    }

    /// Returns the rows of depth slice `z`, from top to bottom. Empty if there is no such slice.
    pub fn rows(&self, z: usize) -> impl ExactSizeIterator<Item = &'a [T]> + use<'a, T> {
        let plane = *self;
        let height = if z < plane.layout.depth { plane.layout.height } else { 0 };
        (0..height).map(move |y| plane.row(z, y).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Views return the texels that are in memory: 3 x 2 texels with a gap after each row, 2 depth
    /// slices and 2 layers, in memory filled with ascending numbers.
    #[test]
    fn views_return_the_texels_in_memory() {
        let plane = PlaneLayout { offset: 0, row_pitch: 16, depth_pitch: 40, width: 3, height: 2, depth: 2 };
        let planes = [plane, PlaneLayout { offset: 80, ..plane }];
        let mut memory: Vec<u32> = (0..40).collect();
        assert!(planes.iter().all(|plane| plane.fits::<u32>(160)));
        let start = NonNull::new(memory.as_mut_ptr().cast()).unwrap();
        // SAFETY: the planes were checked to fit, and follow each other.
        let mut image = unsafe { HostImageMut::<u32>::new(start, &planes, 1) };
        image.row_mut(1).unwrap()[2] = 100;
        assert_eq!(image.rows().collect::<Vec<_>>(), [&[0, 1, 2][..], &[4, 5, 100]]);
        let read = image.as_image();
        assert_eq!((read.width(), read.height(), read.depth()), (3, 2, 2));
        assert_eq!((read.levels(), read.layers()), (1, 2));
        assert_eq!((read.rows().len(), read.row(1), read.row(2)), (2, Some(&[4, 5, 100][..]), None));
        let second = read.plane(0, 1).unwrap();
        assert_eq!(second.extent(), [3, 2, 2]);
        assert_eq!(second.rows(1).collect::<Vec<_>>(), [&[30, 31, 32][..], &[34, 35, 36]]);
        assert!(second.rows(2).next().is_none() && read.plane(1, 0).is_none() && read.plane(0, 2).is_none());
        let mut mutable = image.plane_mut(0, 1).unwrap();
        assert_eq!(mutable.rows(0).last().unwrap(), [24, 25, 26]);
        assert_eq!((mutable.row(1, 0), mutable.row(1, 2), mutable.row(2, 0)), (Some(&[30, 31, 32][..]), None, None));
        mutable.row_mut(1, 1).unwrap()[0] = 200;
        assert!(mutable.row_mut(1, 2).is_none() && mutable.row_mut(2, 0).is_none());
        assert_eq!((image.depth(), image.plane(0, 2).is_none()), (2, true));
        assert_eq!(image.plane(0, 1).unwrap().row(1, 1), Some(&[200, 35, 36][..]));
    }
}
