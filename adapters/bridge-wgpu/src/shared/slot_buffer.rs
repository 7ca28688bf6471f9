//! Buffers that wgpu uses in the slots.
#![allow(unsafe_code)] // Wraps a buffer of the bridge for wgpu.

use std::marker::PhantomData;

use bridge::{BufferSpec, RenderBuffer};
use bytemuck::Pod;

use super::buffer::size;
use super::{Filled, Flow, Share, Shared, SlotInfo, raw};
use crate::access;
use crate::device::Bridge;
use crate::error::Result;

/// A buffer of `len` elements of `T` without a copy: wgpu uses the slots themselves.
///
/// Each [`Frame`](crate::Frame) lends the [`wgpu::Buffer`] of its slot with
/// [`objects`](crate::Frame::objects). There is one buffer per slot, which stays the same each time
/// the slot is used: a program should keep objects that it creates from the buffer, such as bind
/// groups, for each [`slot`](crate::Frame::slot).
///
/// A clone keeps the memory alive, even after the exchange is dropped.
#[derive(Debug, Clone)]
pub struct SlotBuffer<T> {
    len: usize,
    usage: wgpu::BufferUsages,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod + Send + Sync> SlotBuffer<T> {
    /// Describes a buffer of `len` elements that wgpu uses with `usage`.
    ///
    /// # Safety
    /// The buffer that a frame lends, and its clones, are only used in the commands that are
    /// [submitted](Bridge::submit) with that frame: not in other submissions, and not with
    /// [`wgpu::Queue::write_buffer`]. The compute side works on the buffer before and after.
    pub unsafe fn new(len: usize, usage: wgpu::BufferUsages) -> Self {
        Self { len, usage, element: PhantomData }
    }

    /// Returns the number of elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the same description with another length.
    pub(crate) fn with_len(&self, len: usize) -> Self {
        Self { len, ..self.clone() }
    }
}

impl<T: Pod + Send + Sync> Shared for SlotBuffer<T> {
    type Specs = BufferSpec<T>;
    type Objects = ();
    type Lent<'f> = &'f wgpu::Buffer;
    type Slot = wgpu::Buffer;
}

impl<T: Pod + Send + Sync> Share<Self> for SlotBuffer<T> {
    const IN_PLACE: bool = true;
    const COPIES: bool = false;
    const SETTLES: bool = false;

    fn specs(&self, _: &Bridge, _: Flow, name: &str) -> Result<BufferSpec<T>> {
        let object = format!("slot buffer \"{name}\"");
        size::<T>(self.len, &object)?;
        Ok(BufferSpec::new(self.len, access::of_buffer(self.usage, &object)?))
    }

    fn objects(&self, _: &Bridge, _: Flow, _: &str) -> Result<()> {
        Ok(())
    }

    fn wrap(&self, slot: &SlotInfo<'_>, render: RenderBuffer<'_, T>) -> Result<wgpu::Buffer> {
        let (label, size, lease) = (Some(slot.name), render.size(), slot.lease.clone());
        let descriptor = wgpu::BufferDescriptor { label, size, usage: self.usage, mapped_at_creation: false };
        // SAFETY: created with this usage, by `specs`. The lease keeps the buffer alive until wgpu
        // is done with the wrapper and its clones.
        unsafe { raw::buffer(slot.gpu, render.as_raw(), &descriptor, Box::new(move || drop(lease))) }
    }

    fn lend<'f>(slot: &'f wgpu::Buffer, (): &'f ()) -> &'f wgpu::Buffer {
        slot
    }

    fn copy(_: Flow, _: &wgpu::Buffer, (): &(), _: &mut wgpu::CommandEncoder) {}

    fn filled<'o>((): &'o (), _: &mut Filled<'o>) {}

    fn settle(_: &wgpu::Buffer, _: &mut wgpu::CommandEncoder) {}
}
