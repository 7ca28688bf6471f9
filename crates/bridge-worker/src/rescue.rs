//! What a stream waits for of the renderer, and its signals in the renderer's place once that is
//! dead.
#![allow(unsafe_code)] // Waits and signals.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bridge_ipc::PeerWatch;
use bridge_trace::{log_error, log_warn};
use cuda_import::cudarc::driver::CudaStream;
use cuda_import::{ImportedSemaphore, Restoring, query, signal_one, wait_one};

use crate::error::Result;

/// The time that signals of a killed renderer may still take: its queue drains.
const DRAIN: Duration = Duration::from_millis(20);

/// The renderer's timeline, and the values that a stream waits for.
pub(crate) struct Rescue {
    rendered: ImportedSemaphore,
    /// Signals what the renderer owes when it is gone. Made at the start; it never waits for
    /// anything.
    signals: Restoring<Arc<CudaStream>>,
    stream: Arc<CudaStream>,
    values: Mutex<Values>,
}

/// Of the renderer's timeline.
#[derive(Default)]
struct Values {
    /// The highest that the stream waits for.
    waited: u64,
    /// The highest whose wait was enqueued.
    enqueued: u64,
    /// The highest that was signaled in the renderer's place.
    signaled: u64,
    /// The same, until somebody has been told.
    untold: Option<u64>,
}

impl Rescue {
    pub(crate) fn new(
        rendered: ImportedSemaphore,
        signals: Restoring<Arc<CudaStream>>,
        stream: &Arc<CudaStream>,
    ) -> Self {
        Self { rendered, signals, stream: Arc::clone(stream), values: Mutex::default() }
    }

    fn values(&self) -> MutexGuard<'_, Values> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn signals(&self) -> &CudaStream {
        &self.signals
    }

    /// Work that is enqueued from now on comes after the renderer's use of a slot. A value that the
    /// stream has waited for already is not waited for again: most slots of a latest exchange come
    /// back without a new one, and each wait stops the GPU between two kernels.
    pub(crate) fn wait(&self, value: u64) -> Result<()> {
        // Before the call, which may block, and without the lock during it: the thread that rescues
        // needs that to end it.
        {
            let mut values = self.values();
            if value <= values.enqueued {
                return Ok(());
            }
            values.waited = values.waited.max(value);
        }
        // SAFETY: the timeline lives until the stream is idle (`CudaSide::drop`). The renderer has
        // seen the value reached, or with `trust` has announced it; should it end before, `rescue`
        // signals it.
        unsafe { wait_one(&self.stream, &self.rendered, value) }?;
        self.values().enqueued = value;
        Ok(())
    }

    /// The renderer is dead: frees the stream of what it waits for. Returns the value that had to
    /// be signaled, once.
    pub(crate) fn rescue(&self) -> Option<u64> {
        let mut values = self.values();
        self.signal(&mut values);
        values.untold.take()
    }

    fn signal(&self, values: &mut Values) {
        if values.waited <= values.signaled || self.is_idle_within(DRAIN) {
            return;
        }
        // SAFETY: the timeline lives until the stream is idle (`CudaSide::drop`). The process that
        // would have signaled the value has ended and its queue had time to drain. Either the
        // stream still waits for it, or runs a long kernel behind it: then the timeline may be past
        // it, and goes back where nothing looks at it any more.
        match unsafe { signal_one(&self.signals, &self.rendered, values.waited) } {
            Ok(()) => (values.signaled, values.untold) = (values.waited, Some(values.waited)),
            Err(error) => log_error!("what the renderer owed could not be signaled in its place: {error}"),
        }
    }

    /// Returns `true` once nothing is left to do, for both streams.
    pub(crate) fn is_idle_within(&self, limit: Duration) -> bool {
        let start = Instant::now();
        loop {
            match (query(&self.stream), query(&self.signals)) {
                (Ok(true), Ok(true)) => return true,
                // After a failure of the context nothing runs any more.
                (Err(error), _) | (_, Err(error)) if error.is_context_lost() => return true,
                _ if start.elapsed() >= limit => return false,
                _ => std::thread::sleep(Duration::from_micros(200)),
            }
        }
    }
}

/// A thread that rescues the stream when the renderer dies, whatever the program does meanwhile: it
/// may wait for the stream itself. Dropping it ends the thread.
pub(crate) struct Guard {
    watch: Arc<PeerWatch>,
    /// `None` once it was left.
    thread: Option<JoinHandle<()>>,
    /// The stream waits for nothing more than it does already.
    left: Arc<AtomicBool>,
}

impl Guard {
    pub(crate) fn new(watch: PeerWatch, rescue: &Arc<Rescue>) -> Option<Self> {
        let watch = Arc::new(watch);
        let left = Arc::new(AtomicBool::new(false));
        let (watching, is_left, rescue) = (Arc::clone(&watch), Arc::clone(&left), Arc::clone(rescue));
        let thread = std::thread::Builder::new().name("bridge-worker".into()).spawn(move || {
            if !watching.wait() {
                return;
            }
            // A frame that was begun in this moment may wait for more.
            while !watching.is_stopped_within(DRAIN) {
                // Asked before, so that all is signaled by the last time.
                let is_last = is_left.load(Ordering::Acquire);
                rescue.signal(&mut rescue.values());
                if is_last {
                    return;
                }
            }
        });
        match thread {
            Ok(thread) => Some(Self { watch, left, thread: Some(thread) }),
            Err(error) => {
                log_warn!("a renderer that dies is noticed by the next call alone: no thread starts: {error}");
                None
            }
        }
    }

    /// Leaves the stream to the thread, which ends once the renderer is dead. Nothing more is
    /// enqueued, and stream and timelines live for ever.
    pub(crate) fn leave(mut self) {
        self.left.store(true, Ordering::Release);
        self.thread = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.watch.stop();
        // It has no panic to tell of.
        let _ = thread.join();
    }
}
