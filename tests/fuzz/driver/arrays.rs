//! Arrays in imported memory, with their own mappings or in blocks.

use std::ops::Range;
use std::sync::Arc;

use cuda_import::{BufferMappingInfo, MappedBlock, MappedBuffer};

use crate::memories::SIZE;
use crate::outcome::Outcome;
use crate::world::World;

/// Maximum number of arrays in a case.
const MAX_ARRAYS: usize = 40;

pub(crate) struct Block {
    /// `None` once it was dropped.
    pub(crate) block: Option<Arc<MappedBlock>>,
    pub(crate) memory: usize,
    /// Byte ranges assigned to parts.
    pub(crate) taken: Vec<Range<u64>>,
    /// Number of live parts, including forgotten ones.
    pub(crate) parts: usize,
}

pub(crate) struct Array {
    /// `None` once it was dropped.
    pub(crate) buffer: Option<MappedBuffer<u32>>,
    pub(crate) memory: usize,
    pub(crate) block: Option<usize>,
    /// Word range in the memory.
    pub(crate) words: Range<usize>,
    /// Its home stream.
    pub(crate) home: usize,
    /// `true` if the end of some use of it may not have been recorded.
    pub(crate) suspect: bool,
    /// Number of graphs that use it.
    pub(crate) graphs: usize,
}

impl Array {
    /// Returns the byte range in the memory.
    pub(crate) fn bytes(&self) -> Range<u64> {
        self.words.start as u64 * 4..self.words.end as u64 * 4
    }
}

impl World<'_> {
    pub(crate) fn map(&mut self, memory: u8, offset: u64, len: usize, home: u8) -> Option<Outcome> {
        let (which, imported) = self.memory(memory, false)?;
        let (home, stream) = self.home(home);
        if self.arrays.len() >= MAX_ARRAYS {
            return None;
        }
        let refused = self.memories[which].refuses(offset, len, home);
        let made = MappedBuffer::map(&imported, &BufferMappingInfo { offset, len }, &stream);
        let result = made.map(|buffer| {
            assert_eq!((buffer.len(), buffer.offset(), buffer.size()), (len, offset, len as u64 * 4));
            let array = self.push(buffer, which, None, home);
            let bytes = self.arrays[array].bytes();
            self.memories[which].claims.push(bytes);
        });
        Some(Outcome::new("mappings", result).must(refused))
    }

    fn push(&mut self, buffer: MappedBuffer<u32>, memory: usize, block: Option<usize>, home: Option<usize>) -> usize {
        let start = buffer.offset() as usize / 4;
        let words = start..start + buffer.len();
        let home = home.unwrap_or(0);
        self.arrays.push(Array { buffer: Some(buffer), memory, block, words, home, suspect: false, graphs: 0 });
        self.arrays.len() - 1
    }

    pub(crate) fn map_block(&mut self, memory: u8, home: u8) -> Option<Outcome> {
        let (which, imported) = self.memory(memory, false)?;
        let (home, stream) = self.home(home);
        let claimed = self.memories[which].is_claimed(&(0..SIZE)).then_some("Overlap");
        let refused = if home.is_none() { Some("ContextMismatch") } else { claimed };
        let result = MappedBlock::map(&imported, &stream).map(|block| {
            self.memories[which].claims.push(0..SIZE);
            self.blocks.push(Block { block: Some(block), memory: which, taken: Vec::new(), parts: 0 });
        });
        Some(Outcome::new("blocks", result).must(refused))
    }

    pub(crate) fn part(&mut self, block: u8, offset: u64, len: usize, home: u8) -> Option<Outcome> {
        let alive: Vec<_> = (0..self.blocks.len()).filter(|&block| self.blocks[block].block.is_some()).collect();
        let which = *alive.get(usize::from(block).checked_rem(alive.len())?)?;
        if self.arrays.len() >= MAX_ARRAYS {
            return None;
        }
        let (home, stream) = self.home(home);
        let (end, memory) = (offset + len as u64 * 4, self.blocks[which].memory);
        let Block { block, taken, .. } = &self.blocks[which];
        let block = Arc::clone(block.as_ref()?);
        let refused = if len == 0 {
            Some("Zero")
        } else if end > SIZE {
            Some("OutOfRange")
        } else if !offset.is_multiple_of(4) {
            Some("Misaligned")
        } else if home.is_none() {
            Some("ContextMismatch")
        } else {
            taken.iter().any(|other| other.start < end && offset < other.end).then_some("Overlap")
        };
        let made = MappedBuffer::new_in(&block, &BufferMappingInfo { offset, len }, &stream);
        let result = made.map(|buffer| {
            let array = self.push(buffer, memory, Some(which), home);
            let bytes = self.arrays[array].bytes();
            self.blocks[which].taken.push(bytes);
            self.blocks[which].parts += 1;
        });
        assert_eq!(block.parts(), self.blocks[which].taken.len());
        Some(Outcome::new("parts", result).must(refused))
    }

    /// Takes an array's buffer, to be returned with [`put_back`](Self::put_back).
    pub(crate) fn take(&mut self, array: u8) -> Option<(usize, MappedBuffer<u32>)> {
        let alive: Vec<_> = (0..self.arrays.len()).filter(|&array| self.arrays[array].buffer.is_some()).collect();
        let which = *alive.get(usize::from(array).checked_rem(alive.len())?)?;
        Some((which, self.arrays[which].buffer.take()?))
    }

    pub(crate) fn put_back(&mut self, (array, buffer): (usize, MappedBuffer<u32>)) {
        self.arrays[array].buffer = Some(buffer);
    }

    /// Notes that the array will hold `words` from `start` on once all enqueued work is done.
    pub(crate) fn expect_words(&mut self, array: usize, start: usize, words: &[u32]) {
        let words = words.iter().copied().map(Some).collect();
        self.set_expected_words(array, start, words);
    }

    /// Like [`expect_words`](Self::expect_words), with unknown contents.
    pub(crate) fn expect_unknown(&mut self, array: usize) {
        let len = self.arrays[array].words.len();
        self.set_expected_words(array, 0, vec![None; len]);
    }

    fn set_expected_words(&mut self, array: usize, start: usize, words: Vec<Option<u32>>) {
        let Array { memory, words: place, .. } = &self.arrays[array];
        let (memory, start) = (*memory, place.start + start);
        let range = start..start + words.len();
        self.memories[memory].words[range.clone()].copy_from_slice(&words);
        self.forget_expected(memory, &range);
    }

    /// Returns the contents, or `None` if they are unknown.
    pub(crate) fn expected_words(&self, array: usize) -> Option<Vec<u32>> {
        let Array { memory, words, .. } = &self.arrays[array];
        self.memories[*memory].words[words.clone()].iter().copied().collect()
    }

    /// Notes that the first array was copied to the other one, from its first element on.
    pub(crate) fn note_copy(&mut self, from: usize, to: usize) {
        let Array { memory, words, .. } = &self.arrays[from];
        let len = words.len().min(self.arrays[to].words.len());
        let copied = self.memories[*memory].words[words.start..words.start + len].to_vec();
        self.set_expected_words(to, 0, copied);
    }

    pub(crate) fn write(&mut self, array: u8, stream: u8, start: u8, len: u8) -> Option<Outcome> {
        let (array, mut buffer) = self.take(array)?;
        let (_, stream) = self.stream(stream);
        let start = usize::from(start) % buffer.len();
        let len = 1 + usize::from(len) % (buffer.len() - start);
        let words = self.words(len);
        let mut view = buffer.view_mut();
        let mut part = view.slice_mut(start..start + len).unwrap();
        let result = stream.memcpy_htod(&words, &mut part);
        if result.is_ok() {
            self.expect_words(array, start, &words);
        }
        self.put_back((array, buffer));
        Some(Outcome::new("writes", result).by_cudarc().using([array], []))
    }

    pub(crate) fn copy(&mut self, from: u8, to: u8, stream: u8) -> Option<Outcome> {
        let from = self.take(from)?;
        let Some(mut to) = self.take(to) else {
            self.put_back(from);
            return None;
        };
        let (_, stream) = self.stream(stream);
        let len = from.1.len().min(to.1.len());
        let source = from.1.view().slice(..len).unwrap();
        let mut view = to.1.view_mut();
        let mut target = view.slice_mut(..len).unwrap();
        let result = stream.memcpy_dtod(&source, &mut target);
        if result.is_ok() {
            self.note_copy(from.0, to.0);
        }
        let arrays = [from.0, to.0];
        self.put_back(from);
        self.put_back(to);
        Some(Outcome::new("copies", result).by_cudarc().using(arrays, []))
    }

    pub(crate) fn copy_from(&mut self, from: u8, to: u8) -> Option<Outcome> {
        let from = self.take(from)?;
        let Some(to) = self.take(to) else {
            self.put_back(from);
            return None;
        };
        // SAFETY: nothing else uses either buffer, and dropping them waits for the copy. This
        // includes the source, whose order has the home stream of the target as a foreign stream.
        let result = unsafe { to.1.copy_from(&from.1) };
        if result.is_ok() {
            self.note_copy(from.0, to.0);
        }
        let arrays = [from.0, to.0];
        self.put_back(from);
        self.put_back(to);
        Some(Outcome::new("copies by the home stream", result).using(arrays, []))
    }

    pub(crate) fn read(&mut self, array: u8, stream: u8) -> Option<Outcome> {
        let (array, buffer) = self.take(array)?;
        let (_, stream) = self.stream(stream);
        let read = stream.clone_dtoh(&buffer.view());
        self.put_back((array, buffer));
        let result = read.map(|words| {
            if let (false, Some(held)) = (self.lost, self.expected_words(array)) {
                assert_eq!(words, held, "array {array} does not hold what was written last");
            }
        });
        Some(Outcome::new("reads", result).by_cudarc().using([array], []))
    }

    pub(crate) fn join(&mut self, array: u8) -> Option<Outcome> {
        let (array, buffer) = self.take(array)?;
        let result = buffer.join_foreign_work();
        self.put_back((array, buffer));
        Some(Outcome::new("joins", result).using([array], []))
    }
}
