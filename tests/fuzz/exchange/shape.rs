//! The resources of exchanges in a case: their words on the CPU, and their parts in Vulkan.

use bridge::ash::vk;
use bridge::{
    BufferAccess, BufferSpec, ImageAccess, ImageSpec, KernelBuffer, KernelImage, RenderBuffer, RenderImage, Resources,
};

/// Length of a new buffer.
pub(crate) const LEN: usize = 257;

/// Extent of an image.
pub(crate) const EXTENT: [u32; 2] = [17, 9];

/// All words of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Written by the CPU, with a different value in each word.
    Pattern(u32),
    /// Filled by Vulkan, with the same value in all words.
    Flat(u32),
}

impl Content {
    pub(crate) fn word(self, index: u32) -> u32 {
        match self {
            Self::Pattern(tag) => tag.wrapping_mul(0x9e37_79b1).wrapping_add(index),
            Self::Flat(tag) => tag,
        }
    }

    /// Returns the first word that differs from the expected contents.
    pub(crate) fn difference(self, words: &[u32]) -> Option<String> {
        let mut expected = (0..).map(|index| self.word(index));
        let (at, found) = words.iter().enumerate().find(|(_, word)| expected.next() != Some(**word))?;
        Some(format!("word {at} of {} is {found:#x} where {self:?} has {:#x}", words.len(), self.word(at as u32)))
    }
}

/// A buffer or an image of a slot, which is copied from and filled.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    Buffer { raw: vk::Buffer, size: u64 },
    Image { raw: vk::Image, layout: vk::ImageLayout, extent: vk::Extent2D },
}

impl Part {
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Buffer { size, .. } => *size,
            Self::Image { extent, .. } => u64::from(extent.width) * u64::from(extent.height) * 4,
        }
    }
}

/// Resources of 32-bit words.
pub(crate) trait Shape: Resources + Sized {
    const BUFFERS: usize;
    const IMAGES: usize;

    fn spec() -> Self;

    /// Passes all words to `visit`, in pieces.
    fn words(lent: Self::Host<'_>, visit: &mut dyn FnMut(&mut [u32]));

    fn parts(lent: Self::Render<'_>, parts: &mut Vec<Part>);

    /// Returns the parts for work recorded in command buffers.
    fn kernel_parts(lent: &Self::Kernel<'_>, parts: &mut Vec<Part>);
}

impl Shape for BufferSpec<u32> {
    const BUFFERS: usize = 1;
    const IMAGES: usize = 0;

    fn spec() -> Self {
        Self::new(LEN, BufferAccess::TRANSFER_READ | BufferAccess::TRANSFER_WRITE)
    }

    fn words(lent: &mut [u32], visit: &mut dyn FnMut(&mut [u32])) {
        visit(lent);
    }

    fn parts(lent: RenderBuffer<'_, u32>, parts: &mut Vec<Part>) {
        parts.push(Part::Buffer { raw: lent.as_raw(), size: lent.size() });
    }

    fn kernel_parts(lent: &KernelBuffer<'_, u32>, parts: &mut Vec<Part>) {
        if let Some(raw) = lent.as_raw() {
            parts.push(Part::Buffer { raw, size: 4 * lent.len() as u64 });
        }
    }
}

impl Shape for ImageSpec<u32> {
    const BUFFERS: usize = 0;
    const IMAGES: usize = 1;

    fn spec() -> Self {
        Self::new(vk::Format::R32_UINT, EXTENT, ImageAccess::TRANSFER_READ | ImageAccess::TRANSFER_WRITE)
    }

    fn words(mut lent: Self::Host<'_>, visit: &mut dyn FnMut(&mut [u32])) {
        lent.rows_mut().for_each(visit);
    }

    fn parts(lent: RenderImage<'_>, parts: &mut Vec<Part>) {
        let [width, height, _] = lent.extent();
        let extent = vk::Extent2D { width, height };
        parts.push(Part::Image { raw: lent.as_raw(), layout: lent.layout(), extent });
    }

    fn kernel_parts(lent: &KernelImage<'_, u32>, parts: &mut Vec<Part>) {
        if let Some(image) = lent.vulkan() {
            let extent = vk::Extent2D { width: EXTENT[0], height: EXTENT[1] };
            parts.push(Part::Image { raw: image.as_raw(), layout: vk::ImageLayout::GENERAL, extent });
        }
    }
}

impl<S: Shape> Shape for Vec<S> {
    const BUFFERS: usize = 3 * S::BUFFERS;
    const IMAGES: usize = 3 * S::IMAGES;

    fn spec() -> Self {
        vec![S::spec(), S::spec(), S::spec()]
    }

    fn words(lent: Self::Host<'_>, visit: &mut dyn FnMut(&mut [u32])) {
        lent.for_each(|one| S::words(one, visit));
    }

    fn parts(lent: Self::Render<'_>, parts: &mut Vec<Part>) {
        lent.for_each(|one| S::parts(one, parts));
    }

    fn kernel_parts(lent: &Vec<S::Kernel<'_>>, parts: &mut Vec<Part>) {
        lent.iter().for_each(|one| S::kernel_parts(one, parts));
    }
}

impl<A: Shape, B: Shape> Shape for (A, B) {
    const BUFFERS: usize = A::BUFFERS + B::BUFFERS;
    const IMAGES: usize = A::IMAGES + B::IMAGES;

    fn spec() -> Self {
        (A::spec(), B::spec())
    }

    fn words((a, b): Self::Host<'_>, visit: &mut dyn FnMut(&mut [u32])) {
        A::words(a, visit);
        B::words(b, visit);
    }

    fn parts((a, b): Self::Render<'_>, parts: &mut Vec<Part>) {
        A::parts(a, parts);
        B::parts(b, parts);
    }

    fn kernel_parts((a, b): &Self::Kernel<'_>, parts: &mut Vec<Part>) {
        A::kernel_parts(a, parts);
        B::kernel_parts(b, parts);
    }
}
