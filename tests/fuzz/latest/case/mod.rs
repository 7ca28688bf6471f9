//! A case: a latest exchange, with a thread for each side.

mod compute_first;
mod frames;
#[allow(dead_code)] // Used by the other targets.
pub(crate) mod held;
mod op;
mod render_first;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use bridge::{Backend, BufferSpec, Compute, ExportDevice, ImageSpec, LiveObjects};
use bridge_fuzz::Counts;
use bridge_tests::Rig;

use held::Held;
pub(crate) use op::{Case, case};

/// Time for a writer to write frames if it does not wait.
const MOMENT: Duration = Duration::from_millis(5);

/// State shared by both threads of a case.
#[derive(Default)]
pub(crate) struct Common {
    counts: Mutex<Counts>,
    /// The last frame known to be finished, plus one.
    finished: AtomicU64,
    /// The last frame that was published, plus one.
    published: AtomicU64,
    /// `true` if the writer is done, if the compute side writes.
    writer_is_done: AtomicBool,
    held: Held,
}

impl Common {
    fn count(&self, what: &'static str) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).add(what);
    }

    /// Notes that `frame` is published, or about to be.
    fn note_published(&self, frame: u64) {
        self.published.fetch_max(frame + 1, Ordering::SeqCst);
    }

    fn note_finished(&self, frame: u64) {
        self.finished.fetch_max(frame + 1, Ordering::SeqCst);
    }

    /// Gives a writer that incorrectly does not wait for the reader the time to write each slot.
    fn let_writer_overrun(&self, slots: usize) {
        let published = || self.published.load(Ordering::SeqCst);
        let (before, start) = (published(), Instant::now());
        let goes_on = || published() <= before + slots as u64 && !self.writer_is_done.load(Ordering::SeqCst);
        while goes_on() && start.elapsed() < MOMENT {
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Checks the frame that the reader received: `before` is the value of `finished` before the
    /// call.
    fn check(&self, before: u64, frame: Option<u64>, last: Option<u64>, lost: bool) {
        let published = self.published.load(Ordering::SeqCst);
        let Some(frame) = frame else {
            // Unless a frame was lost, there is a frame once one is finished.
            assert!(before == 0 || lost, "no frame, and {before} are finished");
            return;
        };
        assert!(frame < published, "frame {frame} of {published}");
        assert!(Some(frame) >= last, "frame {frame} after {last:?}");
        assert!(frame + 1 >= before, "frame {frame}, and {before} were finished");
    }
}

/// Checks that all words belong to the frame.
fn whole(words: &[u32], frame: u64) -> Result<(), String> {
    let word = u32::try_from(frame).unwrap();
    match words.iter().position(|found| *found != word) {
        None => Ok(()),
        Some(i) => Err(format!("word {i} of frame {frame} is {}", words[i])),
    }
}

/// Returns the result of the other thread, or resumes its panic.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Runs a case, and checks that none of its objects are alive at the end.
pub(crate) fn run(device: &ExportDevice, backend: Backend, case: &Case, held: Held) -> Counts {
    let before = LiveObjects::now();
    let compute = Compute::new(device, backend).unwrap();
    let common = Common { held, ..Common::default() };
    match (case.render_first, case.images) {
        (true, true) => render_first::run::<ImageSpec<u32>>(&compute, case, &common),
        (true, false) => render_first::run::<BufferSpec<u32>>(&compute, case, &common),
        (false, true) => compute_first::run::<ImageSpec<u32>>(&compute, case, &common),
        (false, false) => compute_first::run::<BufferSpec<u32>>(&compute, case, &common),
    }
    if case.images {
        common.count("cases of images");
    }
    drop(compute);
    let start = Instant::now();
    while LiveObjects::now() != before {
        assert!(start.elapsed() < Rig::LONG, "alive are {}, and before were {before}", LiveObjects::now());
        std::thread::sleep(Duration::from_micros(200));
    }
    common.counts.into_inner().unwrap_or_else(PoisonError::into_inner)
}
