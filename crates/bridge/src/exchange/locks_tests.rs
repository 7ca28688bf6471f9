//! The number of locks that a frame takes on the thread that calls it.
#![allow(unsafe_code, clippy::unwrap_used)] // Submissions.

use std::time::Duration;

use vk_export::BufferAccess;

use crate::buffer::spec::BufferSpec;
use crate::compute::{Backend, Compute};
use crate::exchange::{Exchange, ExchangeInfo, Work};
use crate::observe::frame_mutex::locks;
use crate::test_device::device;

const LIMIT: Duration = Duration::from_secs(20);

/// The locks that a frame takes with any compute side: the ledger's in `begin`, when Vulkan takes
/// its value and when each side has handed the slot over, and those of the order of both sides'
/// signals. `vkQueueSubmit2` is called under one more, which is vk-export's.
const ANY_SIDE: usize = 4 + 2;
/// The locks of the CPU backend's queue of work, which with CUDA is the driver's: for the wait, for
/// the closure, and for the signal.
const HOST_QUEUE: usize = 3;

#[test]
fn frames_of_any_number_of_buffers_take_six_locks() {
    let Some(device) = device() else { return };
    let compute = Compute::new(&device, Backend::Host).unwrap();
    for buffers in [1, 3, 16] {
        let spec = BufferSpec::<u32>::new(64, BufferAccess::TRANSFER_READ);
        let mut exchange = Exchange::new(&compute, &ExchangeInfo::default(), vec![spec; buffers]).unwrap();
        for frame in 0..10 {
            let before = locks();
            let mut turn = exchange.begin().unwrap();
            let Work::Host(host) = turn.work() else { unreachable!("the CPU was requested") };
            host.run(|_| ()).unwrap();
            let turn = turn.finish().unwrap();
            // SAFETY: there are no commands.
            let point = unsafe { turn.submit(&[]) }.unwrap();
            // A slot that was never used has nothing to wait for.
            let no_wait = usize::from(frame < exchange.slots());
            assert_eq!(locks() - before, ANY_SIDE + HOST_QUEUE - no_wait, "{buffers} buffers, frame {frame}");
            point.wait(LIMIT).unwrap();
        }
        exchange.close().unwrap();
    }
}
