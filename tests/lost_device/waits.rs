//! CUDA's streams wait for frames of the lost device, which never complete.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bridge::{
    BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, LatestInfo, LiveObjects, Result, TimelinePoint,
};
use bridge_tests::Rig;

use crate::{Counter, DROPS_SUBMISSIONS, LOST};

fn words() -> BufferSpec<u32> {
    BufferSpec::new(16, BufferAccess::TRANSFER_READ)
}

/// Calls `submit` while submissions are accepted but do not run.
pub(crate) fn while_dropping_submissions<T>(submit: impl FnOnce() -> T) -> T {
    DROPS_SUBMISSIONS.store(true, Ordering::Relaxed);
    let result = submit();
    DROPS_SUBMISSIONS.store(false, Ordering::Relaxed);
    result
}

/// Frames of an exchange, of one on the same stream, and of one whose buffers were replaced
/// meanwhile. CUDA continues once the first exchange that is closed has noticed the loss, even
/// though its own time limit is zero. That exchange either has no frames, or knows of the loss from
/// its frames. No wait or reader treats the frames as drawn.
pub(crate) fn lose_what_cuda_waits_for(compute: &Compute, counter: Counter, idle_first: bool) {
    let limits = if idle_first { [Duration::ZERO, Rig::LONG] } else { [Rig::LONG, Duration::ZERO] };
    let [idle, mut waiting, mut replaced] = [limits[0], limits[1], Rig::LONG].map(|timeout| {
        let info = ExchangeInfo { name: "doomed", slots: 1, timeout, ..Default::default() };
        Exchange::new(compute, &info, words()).unwrap()
    });
    let frame = |exchange: &mut Exchange<BufferSpec<u32>>| {
        // SAFETY: no commands.
        while_dropping_submissions(|| unsafe { exchange.begin().unwrap().finish().unwrap().submit(&[]) }.unwrap())
    };
    let drawn = [&mut waiting, &mut replaced].map(frame);
    // After the previous frame, with one slot.
    let behind = waiting.begin().unwrap().finish().unwrap();
    let computed = behind.computed();
    behind.skip();
    replaced.grow(32).unwrap();
    assert!(!compute.is_idle().unwrap(), "the stream waits");
    let latest = LatestInfo { name: "doomed", timeout: Rig::LONG, ..Default::default() };
    let (mut writer, mut reader) = Exchange::latest_render_first(compute, &latest, words()).unwrap();
    // SAFETY: no commands.
    let written = while_dropping_submissions(|| unsafe { writer.begin().unwrap().submit(&[]) }.unwrap());
    assert!(reader.newest().unwrap().is_none(), "it is not drawn");

    *LOST.lock().unwrap() = Some(counter);
    let start = Instant::now();
    let (first, second) = if idle_first { (idle, waiting) } else { (waiting, idle) };
    first.close().unwrap();
    assert!(compute.is_idle().unwrap(), "the stream waits no more");
    let looks: [fn(&TimelinePoint) -> Result<()>; 4] = [
        |point| point.wait(Rig::LONG),
        |point| point.wait_blocking(Rig::LONG),
        |point| point.wait_ended(Rig::LONG),
        |point| point.is_reached().map(|reached| assert!(!reached, "{point:?} is reached")),
    ];
    for point in drawn.iter().chain([&computed, &written]) {
        for (look, looks) in looks.iter().enumerate() {
            let error = looks(point).expect_err(&format!("{counter:?}: look {look} takes {point:?} for reached"));
            assert!(error.is_device_lost(), "{counter:?}: {error}");
        }
    }
    let newest = reader.newest().map(|frame| frame.is_some());
    assert!(newest.as_ref().is_err_and(bridge::Error::is_device_lost), "{counter:?}: {newest:?}");
    writer.close(reader).unwrap();
    for exchange in [replaced, second] {
        exchange.close().unwrap();
    }
    drop((drawn, computed, written));
    let now = LiveObjects::now();
    assert!(now.is_empty(), "{counter:?}: {now}");
    assert!(compute.is_idle().unwrap());
    assert!(start.elapsed() < Rig::LONG, "{:?}", start.elapsed());
}
