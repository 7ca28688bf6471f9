//! Detection of CUDA mappings of exported memory that Vulkan destroys.

use crate::finding::Kind;
use crate::ledger::Ledger;

impl Ledger {
    /// Called when Vulkan destroys an image in exported memory. CUDA must not map an array of it
    /// anymore.
    pub(super) fn report_destroyed_image(&mut self, export: u64) {
        let arrays = self.arrays_of(export);
        self.report_mappings("an image is destroyed", &arrays);
    }

    /// Called when Vulkan frees exported memory. CUDA may still import it, but must not map it
    /// anymore.
    pub(super) fn report_freed_memory(&mut self, export: u64) {
        let mut mapped = self.arrays_of(export);
        let buffers = self.mappings.iter().filter(|(_, mapping)| self.is_of(mapping.memory, export));
        mapped.extend(buffers.map(|(address, _)| (address, self.mappings.name(address))));
        self.report_mappings("exported memory is freed", &mapped);
    }

    fn arrays_of(&self, export: u64) -> Vec<(u64, String)> {
        let arrays = self.arrays.iter().filter(|(_, array)| self.is_of(array.memory, export));
        arrays.map(|(handle, _)| (handle, self.arrays.name(handle))).collect()
    }

    fn is_of(&self, memory: u64, export: u64) -> bool {
        self.memories.find(memory).is_some_and(|memory| memory.descriptor.export == export)
    }

    /// Reports the mappings, except those of a lost context.
    fn report_mappings(&mut self, what: &str, mapped: &[(u64, String)]) {
        for (handle, name) in mapped {
            if !self.was_lost(*handle) {
                self.report(Kind::MappedAtFree, format!("{what} while CUDA has {name} of it"));
            }
        }
    }
}
