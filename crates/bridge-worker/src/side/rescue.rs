//! The values of the renderer's timeline that a stream waits for, and their signals in the
//! renderer's place after its death.
#![allow(unsafe_code)] // Waits and signals.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bridge_trace::log_error;
use cuda_import::cudarc::driver::CudaStream;
use cuda_import::{ImportedSemaphore, LogHold, Restoring, query, signal_one, wait_one};

use crate::error::Result;

/// Time that signals of a killed renderer may still take, while its queue drains.
pub(crate) const DRAIN: Duration = Duration::from_millis(20);

/// The renderer's timeline, and the values that a stream waits for.
pub(crate) struct Rescue {
    rendered: ImportedSemaphore,
    /// Stream that signals the values owed by a dead renderer. Created at the start; it never
    /// waits.
    signals: Restoring<Arc<CudaStream>>,
    stream: Restoring<Arc<CudaStream>>,
    /// `true` if the renderer may announce values that it has not reached. Otherwise it owes none,
    /// and a long kernel of this side must not be taken for a wait.
    trusts: bool,
    values: Mutex<Values>,
}

/// Values of the renderer's timeline.
#[derive(Default)]
struct Values {
    /// The highest value that the stream waits for.
    waited: u64,
    /// The highest value whose wait was enqueued.
    enqueued: u64,
    /// The highest value that was signaled in the renderer's place.
    signaled: u64,
    /// The same value, until it was reported.
    unreported: Option<u64>,
}

impl Rescue {
    pub(crate) fn new(
        rendered: ImportedSemaphore,
        signals: Restoring<Arc<CudaStream>>,
        stream: &Arc<CudaStream>,
        trusts: bool,
    ) -> Self {
        Self { rendered, signals, stream: Restoring::new(Arc::clone(stream)), trusts, values: Mutex::default() }
    }

    fn values(&self) -> MutexGuard<'_, Values> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn signals(&self) -> &CudaStream {
        &self.signals
    }

    /// Orders work that is enqueued from now on after the renderer's use of a slot. Values for
    /// which a wait was enqueued before are skipped: most slots of a latest exchange return without
    /// a new value, and each wait stops the GPU between two kernels.
    pub(crate) fn wait(&self, value: u64) -> Result<()> {
        // Recorded before the wait call, which may block. The lock is not held during the call,
        // since the thread that signals in the renderer's place needs it to unblock the call.
        {
            let mut values = self.values();
            if value <= values.enqueued {
                return Ok(());
            }
            values.waited = values.waited.max(value);
        }
        // SAFETY: the timeline lives until the stream is idle (`CudaSide::drop`). The renderer has
        // observed the value as reached, or with `trust` has announced it; if the renderer ends
        // before that, `rescue` signals it.
        unsafe { wait_one(&self.stream, &self.rendered, value) }?;
        self.values().enqueued = value;
        Ok(())
    }

    /// Signals the values that the stream waits for, after the renderer has died. Does not call the
    /// program's logger on a thread that has a [`LogHold`].
    pub(crate) fn signal_owed(&self) -> Result<()> {
        // Dropped after `values` is unlocked: the program's logger may take any lock.
        let _held = LogHold::new();
        self.signal_locked(&mut self.values())
    }

    /// Like [`signal_owed`](Self::signal_owed), but logs an error. Returns the value that had to be
    /// signaled, once.
    pub(crate) fn rescue(&self) -> Option<u64> {
        log_failure(self.signal_owed());
        self.values().unreported.take()
    }

    fn signal_locked(&self, values: &mut Values) -> Result<()> {
        if !self.trusts || values.waited <= values.signaled || self.is_idle_within(DRAIN) {
            return Ok(());
        }
        // SAFETY: the timeline lives until the stream is idle (`CudaSide::drop`). The process that
        // would have signaled the value has ended, and its queue had time to drain. The stream
        // either still waits for the value, or runs a long kernel after it: the timeline may then
        // be past the value and is set back, but nothing reads it any more.
        unsafe { signal_one(&self.signals, &self.rendered, values.waited) }?;
        (values.signaled, values.unreported) = (values.waited, Some(values.waited));
        Ok(())
    }

    /// Waits until both streams are idle, for at most `limit`; returns `true` if they are.
    pub(crate) fn is_idle_within(&self, limit: Duration) -> bool {
        let start = Instant::now();
        loop {
            match (query(&self.stream), query(&self.signals)) {
                (Ok(true), Ok(true)) => return true,
                // After a failure of the context, no work runs any more.
                (Err(error), _) | (_, Err(error)) if error.is_context_lost() => return true,
                _ if start.elapsed() >= limit => return false,
                _ => std::thread::sleep(Duration::from_micros(200)),
            }
        }
    }
}

/// Logs an error of [`Rescue::signal_owed`].
pub(crate) fn log_failure(signaled: Result<()>) {
    if let Err(error) = signaled {
        log_error!("the renderer's outstanding signals could not be made in its place: {error}");
    }
}
