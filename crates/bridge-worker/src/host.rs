//! Views of a slot for a worker on the CPU, in memory that the renderer's process can access at any
//! time.
//!
//! In the protocol, the slot belongs to one side at a time, but a faulty renderer may write it
//! during a turn of the worker. Therefore no `&[T]` of the memory is created: elements are copied
//! in and out, and a pointer is available for callers that can rule this out.

use std::marker::PhantomData;
use std::sync::Arc;

use bridge_ipc::{ImageDescriptor, LevelLayout, MappedMemory, Resource, ResourceKind};
use bytemuck::Pod;
use cuda_import::Texel;

use crate::error::{Error, Result};

/// A resource in a memory file.
#[derive(Debug)]
pub struct HostMemory {
    memory: Arc<MappedMemory>,
    offset: usize,
    /// Size in bytes.
    len: usize,
    levels: Vec<LevelLayout>,
    image: Option<ImageDescriptor>,
}

impl HostMemory {
    /// Returns `None` if the sizes do not fit this machine. That the resource is inside the memory
    /// was checked when the message was decoded.
    pub(crate) fn new(memory: MappedMemory, resource: &Resource) -> Option<Self> {
        let (offset, len) = (usize::try_from(resource.offset).ok()?, usize::try_from(resource.min_size()?).ok()?);
        let (levels, image) = match &resource.kind {
            ResourceKind::Buffer(_) => (Vec::new(), None),
            ResourceKind::Image(image) => (image.layout()?.0, Some(*image)),
            _ => return None,
        };
        Some(Self { memory: Arc::new(memory), offset, len, levels, image })
    }
}

/// A read-only [`HostBuffer`] or [`HostImage`].
#[derive(Debug)]
pub struct ReadOnly<V>(pub(crate) V);

impl<V> std::ops::Deref for ReadOnly<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.0
    }
}

/// The elements of a slot on a worker that computes on the CPU, lent for a turn.
#[derive(Debug)]
pub struct HostBuffer<'a, T> {
    memory: &'a HostMemory,
    elements: PhantomData<fn() -> T>,
}

impl<'a, T: Pod> HostBuffer<'a, T> {
    pub(crate) fn new(memory: &'a HostMemory) -> Self {
        Self { memory, elements: PhantomData }
    }

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.memory.len / size_of::<T>()
    }

    /// Returns `false`: an offered buffer has at least one element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies `elements` into the slot, from element `start` on.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if they are not inside the buffer; nothing is copied then.
    pub fn write_from(&mut self, start: usize, elements: &[T]) -> Result<()> {
        let offset = self.offset(start, elements.len())?;
        match self.memory.memory.write(offset, bytemuck::cast_slice(elements)) {
            true => Ok(()),
            false => Err(self.out_of_range(start, elements.len())),
        }
    }

    /// Copies elements of the slot, from element `start` on. Elements that were not written in this
    /// turn are from an older frame, or zero.
    ///
    /// # Errors
    /// As [`write_from`](Self::write_from).
    pub fn read_into(&self, start: usize, elements: &mut [T]) -> Result<()> {
        let offset = self.offset(start, elements.len())?;
        match self.memory.memory.read(offset, bytemuck::cast_slice_mut(elements)) {
            true => Ok(()),
            false => Err(self.out_of_range(start, elements.len())),
        }
    }

    /// Returns a pointer to the first element, aligned to at least 16 bytes and lent for the turn.
    /// Another process can write the memory at any time, so the caller is responsible for any
    /// reference to it.
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.memory.memory.as_ptr().wrapping_add(self.memory.offset).cast()
    }

    fn offset(&self, start: usize, count: usize) -> Result<usize> {
        let inside = start.checked_add(count).is_some_and(|end| end <= self.len());
        if inside { Ok(self.memory.offset + start * size_of::<T>()) } else { Err(self.out_of_range(start, count)) }
    }

    fn out_of_range(&self, start: usize, count: usize) -> Error {
        Error::OutOfRange { what: "elements", start, end: start.saturating_add(count), len: self.len() }
    }
}

/// An image of a slot on a worker that computes on the CPU, lent for a turn. Its rows have no
/// padding, and layers, or the slices of a 3D image, follow each other in memory.
#[derive(Debug)]
pub struct HostImage<'a, T> {
    memory: &'a HostMemory,
    texels: PhantomData<fn() -> T>,
}

impl<'a, T: Texel> HostImage<'a, T> {
    pub(crate) fn new(memory: &'a HostMemory) -> Self {
        Self { memory, texels: PhantomData }
    }

    /// Returns the number of mip levels, at least 1.
    pub fn levels(&self) -> u32 {
        self.memory.levels.len() as u32
    }

    /// Returns the number of layers, at least 1, and 6 per cube.
    pub fn layers(&self) -> u32 {
        self.memory.image.map_or(1, |image| image.layers)
    }

    /// Returns the extent of a mip level in texels, or `None` if there is no such level.
    pub fn level_extent(&self, level: u32) -> Option<[u32; 3]> {
        self.memory.levels.get(level as usize).map(|level| level.extent)
    }

    /// Returns the number of texels of a mip level with all its layers or slices, or 0 if there is
    /// no such level.
    pub fn level_len(&self, level: u32) -> usize {
        let size = self.memory.levels.get(level as usize).and_then(|level| usize::try_from(level.size).ok());
        size.unwrap_or(0) / size_of::<T>()
    }

    /// Copies `texels` into a mip level, from texel `start` on: `x + width * (y + height * slice)`.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if they are not inside the level, or if there is no such level;
    /// nothing is copied then.
    pub fn write_from(&mut self, level: u32, start: usize, texels: &[T]) -> Result<()> {
        let offset = self.offset(level, start, texels.len())?;
        match self.memory.memory.write(offset, bytemuck::cast_slice(texels)) {
            true => Ok(()),
            false => Err(self.out_of_range(level, start, texels.len())),
        }
    }

    /// Copies texels of a mip level, counted as in [`write_from`](Self::write_from).
    ///
    /// # Errors
    /// As [`write_from`](Self::write_from).
    pub fn read_into(&self, level: u32, start: usize, texels: &mut [T]) -> Result<()> {
        let offset = self.offset(level, start, texels.len())?;
        match self.memory.memory.read(offset, bytemuck::cast_slice_mut(texels)) {
            true => Ok(()),
            false => Err(self.out_of_range(level, start, texels.len())),
        }
    }

    fn offset(&self, level: u32, start: usize, count: usize) -> Result<usize> {
        let place = self.memory.levels.get(level as usize).and_then(|place| usize::try_from(place.offset).ok());
        let inside = start.checked_add(count).is_some_and(|end| end <= self.level_len(level));
        match place {
            Some(place) if inside => Ok(self.memory.offset + place + start * size_of::<T>()),
            _ => Err(self.out_of_range(level, start, count)),
        }
    }

    fn out_of_range(&self, level: u32, start: usize, count: usize) -> Error {
        Error::OutOfRange { what: "texels", start, end: start.saturating_add(count), len: self.level_len(level) }
    }
}
