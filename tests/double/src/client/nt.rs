//! Functions for tests that exist on Windows only.

use std::ffi::c_int;

use crate::client::Double;
use crate::client::exporter::Exported;
use crate::descriptor::Raw;

/// An object that the exporting side shares by its number.
#[derive(Clone, Copy, Debug)]
pub struct Shared {
    /// The KMT handle, which must never be closed.
    pub kmt: isize,
    /// The number for [`Double::signal`] and similar functions.
    pub number: u64,
}

impl Double {
    /// Allocates `size` bytes on the first device as the exporting side and exports them under a
    /// name.
    ///
    /// # Panics
    ///
    /// If the name is taken.
    pub fn export_named_memory(&self, size: u64, dedicated: bool, name: &str) -> Exported {
        let export = self.control::<extern "C" fn(u64, c_int, *const u16) -> Raw>("double_export_named_memory");
        self.exported(export(size, dedicated.into(), wide(name).as_ptr()))
    }

    /// Creates a semaphore as the exporting side and exports it under a name.
    ///
    /// # Panics
    ///
    /// If the name is taken.
    pub fn export_named_semaphore(&self, timeline: bool, name: &str) -> Exported {
        let export = self.control::<extern "C" fn(c_int, *const u16) -> Raw>("double_export_named_semaphore");
        self.exported(export(timeline.into(), wide(name).as_ptr()))
    }

    /// Allocates `size` bytes on the first device as the exporting side and shares them as a KMT
    /// handle.
    pub fn share_memory(&self, size: u64, dedicated: bool) -> Shared {
        self.shared(self.control::<extern "C" fn(u64, c_int) -> Raw>("double_share_memory")(size, dedicated.into()))
    }

    /// Creates a semaphore as the exporting side and shares it as a KMT handle.
    pub fn share_semaphore(&self, timeline: bool) -> Shared {
        self.shared(self.control::<extern "C" fn(c_int) -> Raw>("double_share_semaphore")(timeline.into()))
    }

    fn shared(&self, raw: Raw) -> Shared {
        Shared { kmt: raw, number: self.control::<extern "C" fn(Raw) -> u64>("double_number")(raw) }
    }
}

fn wide(name: &str) -> Vec<u16> {
    name.encode_utf16().chain([0]).collect()
}
