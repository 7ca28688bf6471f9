//! Copies of frames between slots and the memory that is shared with a worker on the CPU.
//!
//! Memory that a worker writes is read with system calls and never mapped: bytes that change
//! meanwhile are just older or newer, and memory that was shrunk results in an error, whereas a
//! mapping would cause a data race and a signal that ends the process. Memory that a worker reads
//! is mapped: its seals keep the worker from changing it, and a `write` call would have to wait for
//! other `write` calls in progress.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};

use bridge_ipc::MappedMemory;

use crate::remote::wake::Waker;
use crate::resources::runs::Run;

/// The memory that a worker writes its frames to, or reads them from: for each of its slots, the
/// memory of each resource.
pub(super) type SlotFiles = Box<[Arc<[SlotMemory]>]>;

/// The memory of a resource in a worker's slot.
#[derive(Debug)]
pub(super) enum SlotMemory {
    /// Memory that the worker writes.
    WorkerFile(File),
    /// Memory that the worker reads.
    RendererFile(MappedMemory),
}

/// The result of a copy, set by the thread that copies.
pub(super) struct CopyResult {
    result: OnceLock<Result<(), String>>,
    waker: Arc<Waker>,
}

impl CopyResult {
    pub(super) fn new(waker: &Arc<Waker>) -> Arc<Self> {
        Arc::new(Self { result: OnceLock::new(), waker: Arc::clone(waker) })
    }

    /// Returns the result, or `None` while the copy is in progress.
    pub(super) fn result(&self) -> Option<Result<(), String>> {
        self.result.get().cloned()
    }
}

/// A copy of a slot's runs of bytes from the memory of a worker that writes, or to that of a worker
/// that reads. Dropping it sets the result.
pub(super) struct CopyTask {
    files: Arc<[SlotMemory]>,
    /// Number of resources that were started.
    begun: usize,
    offset: u64,
    /// `None` before the first run.
    result: Option<Result<(), String>>,
    end: Arc<CopyResult>,
}

impl CopyTask {
    pub(super) fn new(files: &Arc<[SlotMemory]>, end: &Arc<CopyResult>) -> Self {
        Self { files: Arc::clone(files), begun: 0, offset: 0, result: None, end: Arc::clone(end) }
    }

    /// Copies the next run.
    pub(super) fn copy(&mut self, place: Run, run: &mut [u8]) {
        match place {
            Run::Resource => (self.begun, self.offset) = (self.begun + 1, 0),
            Run::Level => self.offset = self.offset.next_multiple_of(16),
            Run::Next => {}
        }
        if !matches!(self.result, Some(Err(_))) {
            let copied = self.transfer(run);
            self.result = Some(copied.map_err(|error| format!("the memory of its frames cannot be used: {error}")));
        }
        self.offset += run.len() as u64;
    }

    fn transfer(&self, run: &mut [u8]) -> std::io::Result<()> {
        let file = self.begun.checked_sub(1).and_then(|index| self.files.get(index));
        let file = file.ok_or(std::io::ErrorKind::NotFound)?;
        match file {
            SlotMemory::WorkerFile(file) => file.read_exact_at(run, self.offset),
            SlotMemory::RendererFile(memory) => {
                let written = usize::try_from(self.offset).is_ok_and(|offset| memory.write(offset, run));
                if written { Ok(()) } else { Err(std::io::ErrorKind::WriteZero.into()) }
            }
        }
    }
}

impl Drop for CopyTask {
    fn drop(&mut self) {
        let result = self.result.take().unwrap_or_else(|| Err("the compute thread has failed".to_owned()));
        // The result is set only here, once.
        let _ = self.end.result.set(result);
        self.end.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn memory(contents: &[&[u8]]) -> Arc<[SlotMemory]> {
        let file = |bytes: &&[u8]| {
            let mut file = File::from(rustix::fs::memfd_create("frames", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
            file.write_all(bytes).unwrap();
            SlotMemory::WorkerFile(file)
        };
        contents.iter().map(file).collect()
    }

    fn end() -> Arc<CopyResult> {
        CopyResult::new(&Arc::new(Waker::new().unwrap()))
    }

    #[test]
    fn runs_are_read_at_their_positions() {
        let end = end();
        let mut copy = CopyTask::new(&memory(&[b"0123456789abcdefGH", b"xyz"]), &end);
        let mut runs = [[0; 2]; 4];
        for (run, place) in runs.iter_mut().zip([Run::Resource, Run::Next, Run::Level, Run::Resource]) {
            copy.copy(place, run);
        }
        assert_eq!(end.result(), None, "it goes on");
        drop(copy);
        assert_eq!((runs, end.result()), ([*b"01", *b"23", *b"GH", *b"xy"], Some(Ok(()))));
    }

    #[test]
    fn runs_are_written_at_their_positions() {
        let end = end();
        let ours = [18, 3].map(|bytes| bridge_ipc::SharedMemory::new_read_only("frames", bytes).unwrap());
        let (theirs, files): (Vec<_>, Vec<_>) =
            ours.into_iter().map(|(file, ours)| (file, SlotMemory::RendererFile(ours))).unzip();
        let mut copy = CopyTask::new(&Arc::from(files), &end);
        for (run, place) in
            [b"01", b"23", b"GH", b"xy"].iter().zip([Run::Resource, Run::Next, Run::Level, Run::Resource])
        {
            copy.copy(place, &mut run.to_vec());
        }
        drop(copy);
        let contents = theirs.iter().map(|memory| {
            let mut bytes = vec![0; memory.len()];
            assert!(memory.map_read_only().unwrap().read(0, &mut bytes));
            bytes
        });
        assert_eq!(contents.collect::<Vec<_>>(), [&b"0123\0\0\0\0\0\0\0\0\0\0\0\0GH"[..], b"xy\0"]);
        assert_eq!(end.result(), Some(Ok(())));
    }

    #[test]
    fn memory_that_is_too_small_is_an_error() {
        let end = end();
        let mut copy = CopyTask::new(&memory(&[b"0123"]), &end);
        copy.copy(Run::Resource, &mut [0; 8]);
        // A later run does not hide the error.
        copy.copy(Run::Next, &mut []);
        drop(copy);
        assert!(end.result().unwrap().unwrap_err().contains("cannot be used"));
    }

    #[test]
    fn a_copy_that_never_ran_has_failed() {
        let end = end();
        drop(CopyTask::new(&memory(&[b"0123"]), &end));
        assert!(end.result().unwrap().is_err());
    }
}
