//! A renderer with a worker.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bridge::{BufferAccess, BufferSpec, LatestInfo, Listener, Remote, RemoteLatestReader};
use bridge_tests::Rig;

use crate::bounds;
use crate::worker::{Behavior, LEN, Process, Worker};

pub(crate) type Reader = RemoteLatestReader<BufferSpec<u32>>;

/// Waits until `is_so` returns `true`.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Rig::LONG, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until `check` reports that the worker's process has ended: the first report may precede
/// that.
pub(crate) fn until_dead(check: impl Fn() -> Result<(), bridge::Error>) -> bridge::Error {
    let start = Instant::now();
    loop {
        match check() {
            Err(error @ bridge::Error::PeerLost { dead: true, .. }) => return error,
            reported => assert!(start.elapsed() < Rig::LONG, "{reported:?}"),
        }
    }
}

/// A renderer, and the frames that it received.
pub(crate) struct Scene {
    // Field order is drop order: all descriptors of this test are closed before the next test
    // counts them.
    pub(crate) listener: Listener,
    _folder: Option<tempfile::TempDir>,
    last: Option<(u64, u32)>,
    pub(crate) rig: Rig,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let rig = Rig::open();
        let folder = tempfile::tempdir().unwrap();
        let listener = Listener::bind(folder.path().join("renderer")).unwrap();
        Self { listener, _folder: Some(folder), last: None, rig }
    }

    /// For a process that is killed, and must not leave a temporary folder.
    pub(crate) fn at(path: &Path) -> Self {
        let rig = Rig::open();
        Self { listener: Listener::bind(path).unwrap(), _folder: None, last: None, rig }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.listener.path().to_owned()
    }

    pub(crate) fn accept(&self) -> Remote {
        self.listener.accept(self.rig.device(), Rig::LONG).unwrap().unwrap()
    }

    pub(crate) fn spec() -> BufferSpec<u32> {
        BufferSpec::new(LEN, BufferAccess::TRANSFER_READ)
    }

    /// The exchange's timeout is longer than [`Rig::LONG`], so that tests can tell the two apart.
    pub(crate) fn info() -> LatestInfo<'static> {
        LatestInfo { name: "remote", timeout: Rig::LONG * 4, ..Default::default() }
    }

    /// Starts a worker, and returns the reader of its frames.
    pub(crate) fn with(&self, behavior: Behavior, mark: u32) -> (Process, Reader) {
        let worker = Worker::start(&self.path(), behavior, mark);
        let reader = self.accept().latest(&Self::info(), Self::spec()).unwrap();
        (worker, reader)
    }

    /// Returns the value of the newest frame, which is complete and not older than the last one.
    pub(crate) fn read(&mut self, reader: &mut Reader) -> Option<u32> {
        let start = Instant::now();
        let turn = reader.newest().unwrap()?;
        let frame = turn.frame();
        let values = turn.read_back(Rig::LONG).unwrap();
        bounds::check_frame(start.elapsed());
        let value = values[0];
        let other = values.iter().find(|other| **other != value);
        assert_eq!(other, None, "frame {frame} is torn: {value:#x} too");
        assert!(Some((frame, value)) >= self.last, "frame {frame} with {value:#x} after {:?}", self.last);
        self.last = Some((frame, value));
        Some(value)
    }

    /// Reads until the newest frame is at least `value`.
    pub(crate) fn read_until(&mut self, reader: &mut Reader, value: u32) -> u32 {
        let start = Instant::now();
        loop {
            match self.read(reader) {
                Some(read) if read >= value => return read,
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
            assert!(start.elapsed() < Rig::LONG, "{value:#x} does not come; last: {:?}", self.last);
        }
    }

    /// Disconnects the reader, and returns the final value. If `least` is given, waits until the
    /// value reaches it first.
    pub(crate) fn settled(&mut self, reader: &mut Reader, least: Option<u32>) -> Option<u32> {
        if let Some(least) = least {
            self.read_until(reader, least);
        }
        // Waits for the connection's thread, and for copies of frames.
        reader.disconnect();
        let last = self.read(reader);
        assert_eq!(self.read(reader), last, "it still changes");
        last
    }

    /// [`settled`](Self::settled) after the first worker has reached the state of its behavior: the
    /// last complete frame stays.
    pub(crate) fn assert_settled(&mut self, reader: &mut Reader, behavior: Behavior) {
        let least = (behavior != Behavior::NeverWrites).then_some((1 << 20) + 4);
        let last = self.settled(reader, least);
        assert!(if behavior == Behavior::Runs { last >= least } else { last == least }, "{behavior:?}: {last:x?}");
    }

    /// Reads frames until the worker is reported to be lost, and waits until it is reported to be
    /// dead. Returns that report, and how long the first one took.
    pub(crate) fn dead(&mut self, reader: &mut Reader) -> (bridge::Error, Duration) {
        let (_, took) = self.lost(reader);
        (until_dead(|| reader.check_worker()), took)
    }

    /// Reads frames until the worker is reported to be lost. Returns the report, and how long it
    /// took.
    pub(crate) fn lost(&mut self, reader: &mut Reader) -> (bridge::Error, Duration) {
        let start = Instant::now();
        loop {
            if let Err(error) = reader.check_worker() {
                return (error, start.elapsed());
            }
            self.read(reader);
            assert!(start.elapsed() < Rig::LONG, "the worker is not reported to be lost");
        }
    }
}
