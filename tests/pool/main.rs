//! Many shared buffers in few allocations: they work like buffers with their own memory, and never
//! overlap.
#![allow(unsafe_code, clippy::unwrap_used)] // Submissions.

mod blocks;
mod frames;
mod grows;
mod lives;
#[path = "../property.rs"]
mod property;
mod refused;
mod reuse;

use bridge::{BufferAccess, Compute, ExchangeInfo, SharedPool, SharedPoolInfo};
use bridge_tests::{Rig, on_both_backends, on_peers};

use frames::{
    buffers_are_handed_over_by_hand, frames_of_pooled_exchanges_cross_intact, no_buffer_overlaps_another,
    threads_share_a_pool,
};
use lives::{
    a_thousand_buffers_take_few_imports, buffers_of_random_lifetimes_do_not_overlap,
    large_buffers_leave_blocks_that_are_enough, leaked_memory_is_never_reused, memory_is_reused, nothing_is_left_open,
};
use refused::invalid_requests_are_refused_by_name;
use reuse::{a_range_is_reused_only_after_the_last_frame, a_range_that_is_taken_too_early_is_overwritten};

on_both_backends!(
    frames_of_pooled_exchanges_cross_intact,
    no_buffer_overlaps_another,
    a_thousand_buffers_take_few_imports,
    memory_is_reused,
    large_buffers_leave_blocks_that_are_enough,
    buffers_of_random_lifetimes_do_not_overlap,
    threads_share_a_pool,
    a_range_is_reused_only_after_the_last_frame,
    a_range_that_is_taken_too_early_is_overwritten,
    leaked_memory_is_never_reused,
    nothing_is_left_open,
    invalid_requests_are_refused_by_name,
    buffers_are_handed_over_by_hand,
);

on_peers!(frames_of_pooled_exchanges_cross_intact, no_buffer_overlaps_another);

const LEN: usize = 10_000;
const READ: BufferAccess = BufferAccess::TRANSFER_READ;

fn pool(compute: &Compute, block_size: u64) -> SharedPool {
    SharedPool::new(compute, &SharedPoolInfo { name: "brook", block_size, ..Default::default() }).unwrap()
}

fn in_pool<'a>(name: &'a str, pool: &'a SharedPool) -> ExchangeInfo<'a> {
    ExchangeInfo { name, pool: Some(pool), timeout: Rig::LONG, ..Default::default() }
}

const _: () = {
    const fn shared<T: Send + Sync + Clone>() {}
    shared::<SharedPool>();
};
