//! [`Sharing`]: requirements of a compute side for the resources that it shares.

use vk_export::ash::vk;
use vk_export::{Counterpart, Placement};

/// Creation parameters of the buffers that a compute side maps, and the kind of hand-over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sharing {
    pub(crate) counterpart: Counterpart,
    pub(crate) placement: Placement,
    /// Usage flags that buffers need in addition to the requested ones.
    pub(crate) buffer_usage: vk::BufferUsageFlags,
}
