//! What the tests can ask for on Windows alone.

use std::ffi::c_int;

use crate::client::Double;
use crate::descriptor::Raw;
use crate::exporter::Exported;

/// What the exporting side shares by its number.
#[derive(Clone, Copy, Debug)]
pub struct Shared {
    /// Never to be closed.
    pub kmt: isize,
    /// For [`Double::signal`] and its like.
    pub number: u64,
}

impl Double {
    /// The exporting side allocates `size` bytes on the first device and exports them under a name.
    ///
    /// # Panics
    /// When the name is taken.
    pub fn export_named_memory(&self, size: u64, dedicated: bool, name: &str) -> Exported {
        let export = self.control::<extern "C" fn(u64, c_int, *const u16) -> Raw>("double_export_named_memory");
        self.exported(export(size, dedicated.into(), wide(name).as_ptr()))
    }

    /// The exporting side makes a semaphore and exports it under a name.
    ///
    /// # Panics
    /// When the name is taken.
    pub fn export_named_semaphore(&self, timeline: bool, name: &str) -> Exported {
        let export = self.control::<extern "C" fn(c_int, *const u16) -> Raw>("double_export_named_semaphore");
        self.exported(export(timeline.into(), wide(name).as_ptr()))
    }

    /// The exporting side allocates `size` bytes on the first device and shares them as a KMT
    /// handle.
    pub fn share_memory(&self, size: u64, dedicated: bool) -> Shared {
        self.shared(self.control::<extern "C" fn(u64, c_int) -> Raw>("double_share_memory")(size, dedicated.into()))
    }

    /// The exporting side makes a semaphore and shares it as a KMT handle.
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
