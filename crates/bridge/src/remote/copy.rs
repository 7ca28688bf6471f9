//! A frame of a worker on the CPU, copied out of the memory that both processes have, or one for a
//! worker, copied into it.
//!
//! The memory is read and written, and never mapped: bytes that change meanwhile are bytes that
//! were read sooner or later, and memory that was made smaller is an error, where a mapping would
//! be a data race and a signal that ends the process.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};

use crate::remote::runs::Run;
use crate::remote::wake::Wake;

/// The memory that a worker writes its frames to, or reads them from: of each of its slots, one
/// file a resource.
pub(super) type Files = Box<[Arc<[File]>]>;

/// The direction of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From the worker's memory.
    In,
    /// To the worker's memory.
    Out,
}

/// The result of a copy, set by the thread that makes it.
pub(super) struct CopyEnd {
    result: OnceLock<Result<(), String>>,
    wake: Arc<Wake>,
}

impl CopyEnd {
    pub(super) fn new(wake: &Arc<Wake>) -> Arc<Self> {
        Arc::new(Self { result: OnceLock::new(), wake: Arc::clone(wake) })
    }

    /// `None` while it goes on.
    pub(super) fn result(&self) -> Option<Result<(), String>> {
        self.result.get().cloned()
    }
}

/// Copies a slot's runs of bytes from or to the memory of a worker's slot, one file a resource.
/// Dropping it tells the end.
pub(super) struct Copy {
    way: Way,
    files: Arc<[File]>,
    /// Resources that were begun.
    begun: usize,
    offset: u64,
    /// `None` before the first run.
    result: Option<Result<(), String>>,
    end: Arc<CopyEnd>,
}

impl Copy {
    pub(super) fn new(way: Way, files: &Arc<[File]>, end: &Arc<CopyEnd>) -> Self {
        Self { way, files: Arc::clone(files), begun: 0, offset: 0, result: None, end: Arc::clone(end) }
    }

    /// Copies the next run.
    pub(super) fn copy(&mut self, place: Run, run: &mut [u8]) {
        match place {
            Run::Resource => (self.begun, self.offset) = (self.begun + 1, 0),
            Run::Level => self.offset = self.offset.next_multiple_of(16),
            Run::Next => {}
        }
        if !matches!(self.result, Some(Err(_))) {
            let what = if self.way == Way::In { "read" } else { "written" };
            let copied = self.transfer(run);
            self.result = Some(copied.map_err(|error| format!("the memory of its frames cannot be {what}: {error}")));
        }
        self.offset += run.len() as u64;
    }

    fn transfer(&self, run: &mut [u8]) -> std::io::Result<()> {
        let file = self.begun.checked_sub(1).and_then(|index| self.files.get(index));
        let file = file.ok_or(std::io::ErrorKind::NotFound)?;
        match self.way {
            Way::In => file.read_exact_at(run, self.offset),
            Way::Out => file.write_all_at(run, self.offset),
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let result = self.result.take().unwrap_or_else(|| Err("the compute thread has failed".to_owned()));
        // It is told once.
        let _ = self.end.result.set(result);
        self.end.wake.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn memory(contents: &[&[u8]]) -> Arc<[File]> {
        let file = |bytes: &&[u8]| {
            let mut file = File::from(rustix::fs::memfd_create("frames", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
            file.write_all(bytes).unwrap();
            file
        };
        contents.iter().map(file).collect()
    }

    fn end() -> Arc<CopyEnd> {
        CopyEnd::new(&Arc::new(Wake::new().unwrap()))
    }

    #[test]
    fn runs_lie_where_they_say() {
        let end = end();
        let mut copy = Copy::new(Way::In, &memory(&[b"0123456789abcdefGH", b"xyz"]), &end);
        let mut runs = [[0; 2]; 4];
        for (run, place) in runs.iter_mut().zip([Run::Resource, Run::Next, Run::Level, Run::Resource]) {
            copy.copy(place, run);
        }
        assert_eq!(end.result(), None, "it goes on");
        drop(copy);
        assert_eq!((runs, end.result()), ([*b"01", *b"23", *b"GH", *b"xy"], Some(Ok(()))));
    }

    #[test]
    fn runs_are_written_where_they_are_read() {
        let (end, files) = (end(), memory(&[b"..................", b"..."]));
        let mut copy = Copy::new(Way::Out, &files, &end);
        for (run, place) in
            [b"01", b"23", b"GH", b"xy"].iter().zip([Run::Resource, Run::Next, Run::Level, Run::Resource])
        {
            copy.copy(place, &mut run.to_vec());
        }
        drop(copy);
        let contents = files.iter().map(|file| {
            let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
            file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        });
        assert_eq!(contents.collect::<Vec<_>>(), [&b"0123............GH"[..], b"xy."]);
        assert_eq!(end.result(), Some(Ok(())));
    }

    #[test]
    fn memory_that_is_too_small_is_an_error() {
        let end = end();
        let mut copy = Copy::new(Way::In, &memory(&[b"0123"]), &end);
        copy.copy(Run::Resource, &mut [0; 8]);
        // What follows does not hide it.
        copy.copy(Run::Next, &mut []);
        drop(copy);
        assert!(end.result().unwrap().unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn a_copy_that_never_ran_has_failed() {
        let end = end();
        drop(Copy::new(Way::In, &memory(&[b"0123"]), &end));
        assert!(end.result().unwrap().is_err());
    }
}
