//! Memory that the exporting side has created, and imported memory.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use cuda_import::{ImportedMemory, MemoryImportInfo};
use driver_double::{Exported, ImageShape};

use crate::images;
use crate::outcome::Outcome;
use crate::world::World;

/// Size in bytes.
pub(crate) const SIZE: u64 = 4096;

/// Number of words in a memory.
pub(crate) const WORDS: usize = SIZE as usize / 4;

/// Maximum number of imports in a case.
const MAX_IMPORTS: usize = 24;

/// Offset of the memory in the file of a descriptor of the double, in bytes.
const HEADER: u64 = 4096;

pub(crate) struct Memory {
    /// `None` once it was dropped, or if the import failed.
    pub(crate) imported: Option<Arc<ImportedMemory>>,
    /// The exporting side's view of the memory.
    file: File,
    /// The contents once all enqueued work is done; `None` for unknown words.
    pub(crate) words: Vec<Option<u32>>,
    /// The contents of its image by level, with all layers; `None` for unknown levels. Empty
    /// without an image.
    pub(crate) levels: Vec<Option<Vec<u32>>>,
    /// Byte ranges that are mapped.
    pub(crate) claims: Vec<Range<u64>>,
}

impl Memory {
    pub(crate) fn is_image(&self) -> bool {
        !self.levels.is_empty()
    }

    /// Returns the error that mapping these bytes must return.
    pub(crate) fn refuses(&self, offset: u64, len: usize, home: Option<usize>) -> Option<&'static str> {
        let end = offset + len as u64 * 4;
        if len == 0 {
            Some("Zero")
        } else if !offset.is_multiple_of(4) {
            Some("Misaligned")
        } else if home.is_none() {
            Some("ContextMismatch")
        } else if end > SIZE {
            Some("OutOfRange")
        } else {
            self.is_claimed(&(offset..end)).then_some("Overlap")
        }
    }

    pub(crate) fn is_claimed(&self, range: &Range<u64>) -> bool {
        self.claims.iter().any(|claim| claim.start < range.end && range.start < claim.end)
    }

    pub(crate) fn give_back(&mut self, range: &Range<u64>) {
        self.claims.retain(|claim| claim != range);
    }

    /// Returns the current values of these words as the exporting side sees them.
    pub(crate) fn seen(&self, words: &Range<usize>) -> Vec<u32> {
        let mut bytes = vec![0; words.len() * 4];
        self.file.read_exact_at(&mut bytes, HEADER + words.start as u64 * 4).unwrap();
        bytes.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]])).collect()
    }
}

impl World<'_> {
    pub(crate) fn import(&mut self, dedicated: bool) -> Option<Outcome> {
        let exported = self.double.export_memory(SIZE, dedicated);
        self.import_exported(exported, dedicated, Vec::new())
    }

    pub(crate) fn import_image(&mut self) -> Option<Outcome> {
        let shape: &ImageShape = &images::SHAPE;
        let exported = self.double.exporter(0).export_image(SIZE, true, shape);
        self.import_exported(exported, true, images::zeros())
    }

    fn import_exported(
        &mut self,
        exported: Exported,
        dedicated: bool,
        levels: Vec<Option<Vec<u32>>>,
    ) -> Option<Outcome> {
        if self.memories.len() >= MAX_IMPORTS {
            return None;
        }
        let file = File::from(exported.handle.try_clone().unwrap());
        let info = MemoryImportInfo { name: "memory", allocation_size: SIZE, dedicated };
        // SAFETY: the double exported it with this size and flag, and no longer accesses it.
        let imported = unsafe { ImportedMemory::import(&self.device, exported.handle, &info) };
        let (imported, result) = match imported {
            Ok(imported) => (Some(imported), Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.memories.push(Memory { imported, file, words: vec![Some(0); WORDS], levels, claims: Vec::new() });
        Some(Outcome::new("memories", result))
    }

    /// Returns a memory of this kind that can still be mapped.
    pub(crate) fn memory(&self, memory: u8, image: bool) -> Option<(usize, Arc<ImportedMemory>)> {
        let mapped = |(which, memory): (usize, &Memory)| {
            let imported = memory.imported.as_ref().filter(|_| memory.is_image() == image);
            imported.map(|imported| (which, Arc::clone(imported)))
        };
        let alive: Vec<_> = self.memories.iter().enumerate().filter_map(mapped).collect();
        alive.get(usize::from(memory).checked_rem(alive.len())?).cloned()
    }
}
