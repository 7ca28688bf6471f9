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
    buffers_are_handed_over_by_hand, no_buffer_lies_over_another, pooled_exchanges_cross_whole, threads_share_a_pool,
};
use lives::{
    a_thousand_buffers_take_few_imports, large_buffers_leave_blocks_that_are_enough, memory_comes_back,
    nothing_is_left_open, random_lives_keep_apart, what_is_leaked_never_comes_back,
};
use refused::what_cannot_be_is_refused_by_name;
use reuse::{a_range_is_reused_only_after_the_last_frame, a_range_that_is_taken_too_early_is_overwritten};

on_both_backends!(
    pooled_exchanges_cross_whole,
    no_buffer_lies_over_another,
    a_thousand_buffers_take_few_imports,
    memory_comes_back,
    large_buffers_leave_blocks_that_are_enough,
    random_lives_keep_apart,
    threads_share_a_pool,
    a_range_is_reused_only_after_the_last_frame,
    a_range_that_is_taken_too_early_is_overwritten,
    what_is_leaked_never_comes_back,
    nothing_is_left_open,
    what_cannot_be_is_refused_by_name,
    buffers_are_handed_over_by_hand,
);

on_peers!(pooled_exchanges_cross_whole, no_buffer_lies_over_another);

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
