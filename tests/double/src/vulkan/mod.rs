//! A Vulkan driver whose memory and timelines this library's CUDA imports: a software driver, with
//! what that lacks for it. The loader is sent here (`VK_DRIVER_FILES`, `VK_ICD_FILENAMES`), so that
//! the program, its loader and its layers run unmodified.
//!
//! Exportable memory is an anonymous file, which the software driver takes by its address
//! (`VK_EXT_external_memory_host`); CUDA's copies read and write the file. Of an image in it, the
//! software driver says where the texels lie, and CUDA's arrays look there. Exportable timelines
//! are the software driver's, which CUDA's waits ask and its signals signal. All else is the
//! software driver's own.
//!
//! | file | subject |
//! |---|---|
//! | `entry` | the entry points of a driver, and which functions are replaced |
//! | `device` | what is said of the device, and its creation |
//! | `memory`, `image`, `timeline` | what is exported |
//! | `mapped` | what CUDA still has of it when it is destroyed |
//! | `texel` | formats of images, as CUDA names them |
//! | `watch` | the thread that notices what the software driver has signaled |
//!
//! Unsafe because these are C functions; what each asks of its caller stands in the Vulkan
//! specification.

mod chain;
mod device;
mod entry;
mod image;
mod mapped;
mod memory;
mod texel;
mod timeline;
mod watch;

use std::collections::BTreeMap;

use crate::descriptor::{self, Raw};
use crate::watch::Descriptor;
use image::Image;
use memory::Memory;
use timeline::Timeline;

pub(crate) use entry::is_installed;
pub(crate) use timeline::Shared;

/// The GPU of the double that this is.
const DEVICE: i32 = 0;

/// What can be exported, by its Vulkan handle.
#[derive(Debug)]
pub(crate) struct Vulkan {
    memories: BTreeMap<u64, Memory>,
    images: BTreeMap<u64, Image>,
    timelines: BTreeMap<u64, Timeline>,
    /// Bytes that may be allocated in all.
    room: u64,
}

impl Vulkan {
    pub(crate) const fn new() -> Self {
        Self { memories: BTreeMap::new(), images: BTreeMap::new(), timelines: BTreeMap::new(), room: 0 }
    }

    /// Whether so many more bytes can be allocated.
    fn has_room(&self, size: u64) -> bool {
        let taken: u64 = self.memories.values().map(Memory::size).sum();
        taken.checked_add(size).is_some_and(|all| all <= self.room)
    }

    /// Closes the descriptors of what is left, which is exported no more. The memory stays mapped:
    /// the driver below may use it.
    pub(crate) fn forget(&mut self) {
        for raw in self.descriptors() {
            descriptor::close(raw);
        }
        std::mem::take(&mut self.memories).into_values().for_each(std::mem::forget);
        self.timelines.clear();
        self.images.clear();
    }

    /// The descriptors that belong to this driver.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = Raw> {
        let memories = self.memories.values().map(|memory| memory.descriptor);
        memories.chain(self.timelines.values().map(|timeline| timeline.descriptor)).map(|Descriptor { raw, .. }| raw)
    }
}
