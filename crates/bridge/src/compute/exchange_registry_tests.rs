//! Tests of the wait for the signals of several exchanges, some of whose compute sides are lost.
#![allow(clippy::unwrap_used)] // Tests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use vk_export::ExportDevice;

use super::{ExchangeTimelines, end_all_signals};
use crate::error::{Error, Result};
use crate::observe::trace;
use crate::signaler::Signaler;
use crate::timeline::history::History;
use crate::timeline::hooked::{fail_next_signal, refusing};
use crate::timeline::{Peer, Timeline, TimelinePoint};

const LIMIT: Duration = Duration::from_secs(60);

/// A compute side on another API that makes no signals.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    /// It still works.
    Slow,
    /// A group that has lost its leader only.
    Leaderless,
    Lost,
}

impl Peer for Side {
    fn trace_side(&self) -> trace::Side {
        trace::Side::Cuda
    }

    fn is_foreign(&self) -> bool {
        true
    }

    fn imports_timeline(&self, _: Signaler) -> bool {
        false
    }

    fn ensure_alive(&self) -> Result<()> {
        match self {
            Self::Slow => Ok(()),
            Self::Leaderless | Self::Lost => Err(Error::HostFailed { reason: "on purpose".into() }),
        }
    }

    fn is_lost(&self) -> bool {
        *self == Self::Lost
    }

    fn release_lost(&self) {}

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

struct Registered {
    signaled: Arc<ExchangeTimelines>,
    point: TimelinePoint,
    failed: Arc<AtomicBool>,
}

/// An exchange with one frame that waits for the side.
fn exchange(device: &ExportDevice, side: Side) -> Registered {
    let history = Arc::new(History::new("waited"));
    let timeline = |signaler| Timeline::new(device, Arc::new(side), signaler, &history).unwrap();
    let (computed, rendered) = (timeline(Signaler::Compute), timeline(Signaler::Queue));
    let failed = Arc::new(AtomicBool::new(false));
    computed.issue(1);
    let point = computed.point(1);
    let signaled = ExchangeTimelines::new([&computed, &rendered], Weak::new(), &failed);
    Registered { signaled, point, failed }
}

#[test]
fn an_error_of_one_exchange_leaves_no_other_waiting() {
    let Some(device) = refusing() else { return };
    for (first, limit) in [(Side::Leaderless, LIMIT), (Side::Slow, Duration::from_millis(1))] {
        let [first, lost, other] = [first, Side::Lost, Side::Lost].map(|side| exchange(&device, side));
        let all = [&first, &lost, &other].map(|one| Arc::clone(&one.signaled));
        let error = end_all_signals(&all, limit).unwrap_err();
        let is_timeout = matches!(error, Error::Timeout { .. });
        assert!(is_timeout || error.to_string().contains("on purpose"), "that of the first: {error}");
        assert!(!first.point.is_reached().unwrap(), "its work may continue");
        for one in [&lost, &other] {
            assert!(one.point.is_reached().unwrap());
            assert!(one.failed.load(Ordering::Acquire), "its next frame reports the fault");
        }
    }
}

#[test]
fn a_signal_that_the_host_cannot_make_is_an_error() {
    let Some(device) = refusing() else { return };
    let [failing, other] = [(), ()].map(|()| exchange(&device, Side::Lost));
    let all = [&failing, &other].map(|one| Arc::clone(&one.signaled));
    fail_next_signal();
    let error = end_all_signals(&all, LIMIT).unwrap_err();
    assert!(error.is_out_of_memory(), "{error}");
    assert!(!failing.point.is_reached().unwrap() && other.point.is_reached().unwrap());
    end_all_signals(&all, LIMIT).expect("the next call tries again");
    assert!(failing.point.is_reached().unwrap());
}
