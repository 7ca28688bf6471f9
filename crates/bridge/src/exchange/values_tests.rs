//! Values of `computed` rise, whatever becomes of their signals.
#![allow(clippy::unwrap_used)] // A test that cannot continue fails.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cuda_import::cudarc::driver::DriverError;
use cuda_import::cudarc::driver::sys::CUresult;
use vk_export::BufferAccess;

use super::state::State;
use crate::buffer::spec::BufferSpec;
use crate::compute::{Backend, Compute};
use crate::exchange::{Exchange, ExchangeInfo, Resources};
use crate::test_device::device;

/// Signals the next value, and returns it.
fn signal<R: Resources>(state: &State<R>) -> u64 {
    state.enqueue_compute_signal_for([]).unwrap()
}

fn exchange(compute: &Compute) -> Exchange<BufferSpec<u32>> {
    let spec = BufferSpec::<u32>::new(64, BufferAccess::TRANSFER_READ);
    Exchange::new(compute, &ExchangeInfo::default(), spec).unwrap()
}

#[test]
fn values_of_signals_that_fail_are_used_up() {
    let Some(device) = device() else { return };
    let compute = Compute::new(&device, Backend::Host).unwrap();
    let exchange = exchange(&compute);
    let state = &exchange.shared;
    let first = signal(state);
    let mut taken = 0;
    let failed = state.signal_computed(|value| {
        taken = value;
        Err(DriverError(CUresult::CUDA_ERROR_INVALID_VALUE).into())
    });
    failed.unwrap_err();
    assert_eq!(taken, first + 1);
    let panics = AssertUnwindSafe(|| state.signal_computed(|_| std::panic::resume_unwind(Box::new(()))));
    catch_unwind(panics).unwrap_err();
    assert_eq!(signal(state), first + 3);
    exchange.close().unwrap();
}

#[test]
fn threads_take_different_values_in_order() {
    const SIGNALS: usize = 200;
    let Some(device) = device() else { return };
    let compute = Compute::new(&device, Backend::Host).unwrap();
    let exchange = exchange(&compute);
    let state = &exchange.shared;
    let mut all = std::thread::scope(|scope| {
        let take = || (0..SIGNALS).map(|_| signal(state)).collect::<Vec<_>>();
        let threads = [(); 2].map(|()| scope.spawn(take));
        threads.map(|thread| thread.join().unwrap()).concat()
    });
    assert_eq!(all.len(), 2 * SIGNALS);
    assert!(all.chunks(SIGNALS).all(|own| own.is_sorted()));
    all.sort_unstable();
    assert!(all.windows(2).all(|pair| pair[1] == pair[0] + 1), "{all:?}");
    exchange.close().unwrap();
}
