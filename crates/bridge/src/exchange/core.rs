//! State common to all generations of an exchange's slots: its configuration, its ledger and
//! its locks.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use vk_export::QueueKind;

use super::info::ExchangeInfo;
use super::ledger::{FirstSide, Ledger};
use super::pace::Pace;
use super::shared_ledger::SharedLedger;
use super::unfinished::Unfinished;
use crate::compute::Compute;
use crate::observe::frame_mutex::FrameMutex;
use crate::observe::live::{Alive, Kind};
use crate::pool::SharedPool;

/// Callback for a slot that changes hands on Vulkan's side.
pub(super) type OnChange = Box<dyn Fn() + Send + Sync>;

/// State that stays when the resources of an exchange are replaced.
pub(crate) struct Core {
    pub(super) ledger: SharedLedger,
    /// `None` if frames in flight are not limited; frames then take no lock.
    pub(super) pace: Option<FrameMutex<Pace>>,
    pub(super) first: FirstSide,
    pub(super) compute: Compute,
    pub(super) name: String,
    pub(super) timeout: Duration,
    pub(super) queue: QueueKind,
    /// Pool from which buffers are allocated, if any.
    pub(super) pool: Option<SharedPool>,
    /// Set once the compute side is known to have failed; every frame checks it first.
    pub(super) failed: Arc<AtomicBool>,
    /// Set once closing has failed; the drop then does not wait again.
    pub(super) close_failed: AtomicBool,
    /// Set once a generation was leaked together with the timelines, which all generations share.
    pub(super) timelines_leaked: AtomicBool,
    /// Called when Vulkan's side returns a slot; set if the compute side is in another process.
    pub(super) on_change: OnceLock<OnChange>,
    /// Commands of frames that no caller waits for any more.
    pub(super) unfinished: Unfinished,
    pub(super) _alive: Alive,
}

impl Core {
    pub(super) fn new(compute: &Compute, info: &ExchangeInfo<'_>, first: FirstSide) -> Self {
        Self {
            ledger: SharedLedger::new(Ledger::new(first, info.slots)),
            pace: info.frames_in_flight.map(|bound| FrameMutex::new(Pace::new(bound))),
            first,
            compute: compute.clone(),
            name: info.name.to_owned(),
            timeout: info.timeout,
            queue: info.queue,
            pool: info.pool.cloned(),
            failed: Arc::default(),
            close_failed: AtomicBool::new(false),
            timelines_leaked: AtomicBool::new(false),
            on_change: OnceLock::new(),
            unfinished: Unfinished::new(info.name),
            _alive: Alive::new(Kind::Exchange),
        }
    }
}
