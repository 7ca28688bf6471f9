//! Contents of a frame: an image, or a buffer.

use bridge::{BufferSpec, HostImageMut, ImageSpec, Resources, Texel};
use bytemuck::Pod;

/// Contents that a [`CudaWriter`](crate::CudaWriter) writes: an `ImageSpec<T>` for a
/// [`CudaImage`](crate::CudaImage), a `BufferSpec<T>` for a [`CudaBuffer`](crate::CudaBuffer). This
/// trait is sealed.
pub trait Content: Resources + private::Sealed {
    /// A texel, or an element.
    type Item: Pod + Send + Sync;
    /// Memory that a closure on the CPU writes: [`Rows`] of an image, a slice of a buffer.
    type Cpu<'a>;
    #[doc(hidden)]
    fn of_host(host: Self::Host<'_>) -> Self::Cpu<'_>;
    #[doc(hidden)]
    fn of_items(items: &mut [Self::Item], width: usize) -> Self::Cpu<'_>;
}

mod private {
    pub trait Sealed {}
    impl<T> Sealed for bridge::ImageSpec<T> {}
    impl<T> Sealed for bridge::BufferSpec<T> {}
}

/// The texels of an image on the CPU, row by row.
pub struct Rows<'a, T>(Inner<'a, T>);

enum Inner<'a, T> {
    Mapped(HostImageMut<'a, T>),
    Plain { texels: &'a mut [T], width: usize },
}

impl<T: Texel> std::fmt::Debug for Rows<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("width", &self.width()).field("height", &self.height()).finish_non_exhaustive()
    }
}

impl<T: Texel> Rows<'_, T> {
    /// Returns the width in texels.
    pub fn width(&self) -> usize {
        match &self.0 {
            Inner::Mapped(image) => image.width(),
            Inner::Plain { width, .. } => *width,
        }
    }

    /// Returns the number of rows.
    pub fn height(&self) -> usize {
        match &self.0 {
            Inner::Mapped(image) => image.height(),
            Inner::Plain { texels, width } => texels.len() / width,
        }
    }

    /// Returns the row `y`, from the top; `None` if there is none.
    pub fn row_mut(&mut self, y: usize) -> Option<&mut [T]> {
        match &mut self.0 {
            Inner::Mapped(image) => image.row_mut(y),
            Inner::Plain { texels, width } => texels.chunks_exact_mut(*width).nth(y),
        }
    }

    /// Fills every texel with the value that `texel` returns for its column and row.
    pub fn fill_with(&mut self, mut texel: impl FnMut(usize, usize) -> T) {
        for y in 0..self.height() {
            let row = self.row_mut(y).into_iter().flatten();
            row.enumerate().for_each(|(x, target)| *target = texel(x, y));
        }
    }
}

impl<T: Texel> Content for ImageSpec<T> {
    type Item = T;
    type Cpu<'a> = Rows<'a, T>;

    fn of_host(host: Self::Host<'_>) -> Self::Cpu<'_> {
        Rows(Inner::Mapped(host))
    }

    fn of_items(items: &mut [T], width: usize) -> Self::Cpu<'_> {
        Rows(Inner::Plain { texels: items, width })
    }
}

impl<T: Pod + Send + Sync> Content for BufferSpec<T> {
    type Item = T;
    type Cpu<'a> = &'a mut [T];

    fn of_host(host: Self::Host<'_>) -> Self::Cpu<'_> {
        host
    }

    fn of_items(items: &mut [T], _: usize) -> Self::Cpu<'_> {
        items
    }
}
