//! Tracking of descriptors: those that the driver owns, those that it closed, and those without an
//! owner.

use std::ffi::c_uint;

use crate::abi::{Handle, OPAQUE_KMT, UNKNOWN};
use crate::descriptor::{self, Raw};
#[cfg(not(windows))]
use crate::export::Export;
use crate::finding::{Kind, Refusal};
use crate::ledger::Ledger;

/// A descriptor that the driver owns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor {
    pub(crate) raw: Raw,
    /// The export that it must refer to.
    pub(crate) export: u64,
}

impl Descriptor {
    /// Returns `true` if it still refers to its export.
    fn is_open(&self) -> bool {
        descriptor::number(self.raw) == Some(self.export)
    }
}

impl Ledger {
    /// Closes a descriptor that the driver owns.
    pub(crate) fn close(&mut self, descriptor: Descriptor, of: &str) {
        if descriptor.is_open() {
            descriptor::close(descriptor.raw);
        } else {
            self.report(Kind::DoubleClose, format!("descriptor {} of {of} was closed by others", descriptor.raw));
        }
    }

    /// Checks that a handle is imported with the type it was exported with: shared by number, or
    /// not.
    pub(crate) fn check_sharing(&self, handle: &Handle, kind: c_uint) -> Result<(), Refusal> {
        let by_number = self.by_number.iter().any(|shared| shared.raw as u64 == handle.as_object());
        if by_number == (kind == OPAQUE_KMT) {
            return Ok(());
        }
        let text = format!("handle {:#x} is imported as of type {kind}", handle.as_object());
        Err(Refusal::new(UNKNOWN, Kind::WrongObject, text))
    }

    /// Closes the driver's own reference to an imported object.
    #[cfg(windows)]
    pub(crate) fn close_watched(&mut self, raw: Raw) {
        descriptor::close(raw);
    }

    /// Closes a descriptor passed to a call, and detects whether its number is closed again.
    #[cfg(not(windows))]
    pub(crate) fn close_watched(&mut self, raw: Raw) {
        let export = self.serial();
        self.exports.insert(export, Export::Decoy);
        if descriptor::replace(raw, export).is_ok() {
            self.decoys.push(Descriptor { raw, export });
        }
    }

    /// Ends the detection and returns all findings.
    pub(crate) fn take_findings(&mut self) -> Vec<(Kind, String)> {
        for decoy in std::mem::take(&mut self.decoys) {
            self.exports.remove(&decoy.export);
            if decoy.is_open() {
                descriptor::close(decoy.raw);
            } else {
                let text = format!("descriptor {}, which the driver had closed, was closed again", decoy.raw);
                self.report(Kind::DoubleClose, text);
            }
        }
        let by_number = std::mem::take(&mut self.by_number);
        let (kept, closed) = by_number.into_iter().partition::<Vec<_>, _>(|shared| shared.is_open());
        self.by_number = kept;
        for shared in closed {
            self.report(Kind::DoubleClose, format!("{:#x}, which is shared by its number, was closed", shared.raw));
        }
        std::mem::take(&mut self.findings)
    }

    /// Returns the open descriptors of exports that the driver does not own.
    pub(crate) fn unowned_descriptors(&self) -> Vec<Raw> {
        let memories = self.memories.iter().map(|(_, memory)| memory.descriptor.raw);
        let semaphores = self.semaphores.iter().map(|(_, semaphore)| semaphore.descriptor.raw);
        let mapped = self.vmm.descriptors();
        #[cfg(target_os = "linux")]
        let mapped = mapped.chain(self.vulkan.descriptors());
        let others = self.decoys.iter().chain(&self.by_number).map(|other| other.raw);
        let owned: Vec<_> = memories.chain(semaphores).chain(mapped).chain(others).collect();
        descriptor::open().into_iter().map(|(raw, _)| raw).filter(|raw| !owned.contains(raw)).collect()
    }
}
