//! Tests of submissions as the driver receives them.
#![allow(unsafe_code, clippy::unwrap_used)] // Replaces a Vulkan function, and submits.

use std::ffi::c_void;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use vk_export::{BufferAccess, ExportDevice};

use super::*;
use crate::buffer::spec::BufferSpec;
use crate::compute::Compute;
use crate::compute::remote::Trust;
use crate::exchange::ExchangeInfo;
use crate::exchange::ledger::FirstSide;
use crate::timeline::hooked::hooked;

const LIMIT: Duration = Duration::from_secs(20);

/// The semaphores and values that each batch of a call signals.
type Signals = Vec<Vec<(vk::Semaphore, u64)>>;

static REAL: OnceLock<vk::PFN_vkQueueSubmit2> = OnceLock::new();
static CALLS: Mutex<Vec<Signals>> = Mutex::new(Vec::new());

unsafe extern "system" fn record(
    queue: vk::Queue,
    count: u32,
    batches: *const vk::SubmitInfo2<'_>,
    fence: vk::Fence,
) -> vk::Result {
    // SAFETY: by the specification, an array of `count` elements.
    let infos = unsafe { std::slice::from_raw_parts(batches, count as usize) };
    let signals = infos.iter().map(|info| {
        let count = info.signal_semaphore_info_count as usize;
        // SAFETY: as above; each batch of these tests signals something.
        let infos = unsafe { std::slice::from_raw_parts(info.p_signal_semaphore_infos, count) };
        infos.iter().map(|info| (info.semaphore, info.value)).collect()
    });
    CALLS.lock().unwrap().push(signals.collect());
    let real = REAL.get().unwrap();
    // SAFETY: upheld by the caller.
    unsafe { real(queue, count, batches, fence) }
}

/// Returns the device, whose submissions are recorded. Returns `None` and skips the test if there
/// is no device.
fn recorded() -> Option<ExportDevice> {
    hooked(|name, real| {
        if name != c"vkQueueSubmit2" {
            return real;
        }
        // SAFETY: the function of this name has this type.
        let _ = REAL.set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkQueueSubmit2>(real) });
        record as *const c_void
    })
}

/// The mirror is signaled in an earlier batch than `rendered`, so it is signaled first however the
/// queue orders batches: once `rendered` reaches a value, the mirror may be freed. Software drivers
/// do not show the difference, since both are signaled before anything reads them.
#[test]
fn the_mirror_is_signaled_before_rendered() {
    let Some(device) = recorded() else { return };
    let compute = Compute::remote_unchecked(&device, false, Trust::Simulated).unwrap();
    let info = ExchangeInfo { name: "mirrored", timeout: LIMIT, ..Default::default() };
    let words = BufferSpec::<u32>::new(64, BufferAccess::TRANSFER_READ);
    let state = State::new(&compute, &info, &words, FirstSide::Compute).unwrap();
    let mirror = state.objects.mirror.as_ref().map(Arc::clone).unwrap();
    let (mirror, rendered) = (mirror.semaphore().as_raw(), state.objects.rendered.semaphore().as_raw());
    CALLS.lock().unwrap().clear();
    for value in 1..=2 {
        {
            let _order = state.lock_submissions().unwrap();
            assert_eq!(state.ledger().last_rendered() + 1, value);
            // SAFETY: no commands; the value is the next one, taken under the lock that is held.
            unsafe { state.submit_batch(&[], value, &SubmitInfo::default()) }.unwrap();
            state.ledger().take_rendered_value();
        }
        state.objects.rendered.issue(value);
        state.objects.rendered.point(value).wait(LIMIT).unwrap();
        let calls = std::mem::take(&mut *CALLS.lock().unwrap());
        assert_eq!(calls, [vec![vec![(mirror, value)], vec![(rendered, value)]]]);
    }
}
