//! A Vulkan driver whose memory and timelines this library's CUDA can import: a software driver,
//! extended with the exports that it lacks. The loader finds it through `VK_DRIVER_FILES` and
//! `VK_ICD_FILENAMES`, so that the program, its loader and its layers run unmodified.
//!
//! Exportable memory is an anonymous file, which the software driver imports by host address
//! (`VK_EXT_external_memory_host`); CUDA copies read and write the file. For an image in it, the
//! software driver reports where the texels are, and CUDA arrays use that placement. Exportable
//! timelines are timelines of the software driver, which CUDA waits query and CUDA signals signal.
//! Everything else is handled by the software driver alone.
//!
//! | file | subject |
//! |---|---|
//! | `entry` | the entry points of a driver, and which functions are replaced |
//! | `device` | device properties and device creation |
//! | `memory`, `image`, `timeline` | functions for exported objects |
//! | `families`, `queues/*` | more queues than the software driver has |
//! | `objects`, `shared` | the exported objects |
//! | `underlying` | the software driver |
//! | `mapped` | CUDA mappings of exported memory when it is destroyed |
//! | `texel` | CUDA formats of Vulkan formats |
//! | `watch` | the thread that detects signals of the software driver |
//!
//! Unsafe because these are C functions; the Vulkan specification documents their contracts.

mod chain;
mod device;
mod entry;
mod families;
mod image;
mod mapped;
mod memory;
mod objects;
mod queues;
mod shared;
mod texel;
mod timeline;
mod underlying;
mod watch;

use std::collections::BTreeMap;

use crate::descriptor::{self, Raw};
use crate::ledger::watch::Descriptor;
use objects::{Image, Memory, Timeline};

pub(crate) use shared::Shared;
pub(crate) use underlying::is_installed;

/// The GPU of the double that this Vulkan device is.
const DEVICE: i32 = 0;

/// Exportable objects by their Vulkan handles.
#[derive(Debug)]
pub(crate) struct Vulkan {
    memories: BTreeMap<u64, Memory>,
    images: BTreeMap<u64, Image>,
    timelines: BTreeMap<u64, Timeline>,
    /// Total number of bytes that may be allocated.
    room: u64,
}

impl Vulkan {
    pub(crate) const fn new() -> Self {
        Self { memories: BTreeMap::new(), images: BTreeMap::new(), timelines: BTreeMap::new(), room: 0 }
    }

    /// Returns `true` if `size` more bytes can be allocated.
    fn has_room(&self, size: u64) -> bool {
        let taken: u64 = self.memories.values().map(Memory::size).sum();
        taken.checked_add(size).is_some_and(|all| all <= self.room)
    }

    /// Closes the descriptors of everything that is left, which ends its export. The memory stays
    /// mapped because the underlying driver may use it.
    pub(crate) fn forget(&mut self) {
        for raw in self.descriptors() {
            descriptor::close(raw);
        }
        std::mem::take(&mut self.memories).into_values().for_each(std::mem::forget);
        self.timelines.clear();
        self.images.clear();
    }

    /// Returns the descriptors that belong to this driver.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = Raw> {
        let memories = self.memories.values().map(|memory| memory.descriptor);
        memories.chain(self.timelines.values().map(|timeline| timeline.descriptor)).map(|Descriptor { raw, .. }| raw)
    }
}
