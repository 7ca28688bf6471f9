//! Resources are replaced while frames are in flight: contents and order are kept, nothing is lost,
//! and nothing leaks.
#![allow(unsafe_code, clippy::unwrap_used)] // Submitting.

mod contents;
mod images;
mod limits;
mod order;
mod refused;

use bridge::{BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, RenderTurn};
use bridge_tests::{
    Readback, Rig, on_another_gpu_alone, on_both_backends, on_host_without_linear_images, on_peers, on_small_devices,
};

use contents::{
    every_slot_keeps_its_contents, graphs_are_captured_again, graphs_free_what_was_replaced,
    many_resources_grow_together, pooled_buffers_grow, two_hundred_times_leave_nothing,
    vulkan_first_keeps_its_contents,
};
use images::{
    frames_in_flight_keep_their_images, images_are_kept_for_a_slow_queue, images_follow_every_size,
    images_with_buffers, mips_follow, resized_images_are_waited_for_at_the_same_stages,
};
use limits::{
    buffers_do_not_grow_past_a_limit, images_are_not_resized_past_a_limit, pooled_buffers_do_not_grow_past_a_limit,
};
use order::{
    contents_copied_too_early_are_stale, frames_in_flight_keep_the_old_buffers,
    new_slots_are_waited_for_at_the_same_stages, the_copy_waits_for_a_slow_writer, vulkan_reads_a_copy_too_early,
    vulkan_waits_for_the_copy,
};
use refused::{
    a_size_that_is_too_large_changes_nothing, an_open_turn_is_an_error, lent_turns_that_were_dropped_are_waited_for,
    nothing_is_waited_for_twice,
};

on_both_backends!(
    every_slot_keeps_its_contents,
    vulkan_first_keeps_its_contents,
    many_resources_grow_together,
    pooled_buffers_grow,
    graphs_are_captured_again,
    graphs_free_what_was_replaced,
    two_hundred_times_leave_nothing,
    frames_in_flight_keep_the_old_buffers,
    the_copy_waits_for_a_slow_writer,
    contents_copied_too_early_are_stale,
    new_slots_are_waited_for_at_the_same_stages,
    vulkan_waits_for_the_copy,
    vulkan_reads_a_copy_too_early,
    an_open_turn_is_an_error,
    a_size_that_is_too_large_changes_nothing,
    lent_turns_that_were_dropped_are_waited_for,
    nothing_is_waited_for_twice,
    images_follow_every_size,
    frames_in_flight_keep_their_images,
    images_are_kept_for_a_slow_queue,
    images_with_buffers,
    mips_follow,
    resized_images_are_waited_for_at_the_same_stages,
);

on_host_without_linear_images!(resized_images_are_waited_for_at_the_same_stages);

on_peers!(
    every_slot_keeps_its_contents,
    vulkan_first_keeps_its_contents,
    pooled_buffers_grow,
    graphs_are_captured_again,
    frames_in_flight_keep_the_old_buffers,
    the_copy_waits_for_a_slow_writer,
    contents_copied_too_early_are_stale,
    an_open_turn_is_an_error,
    a_size_that_is_too_large_changes_nothing,
    lent_turns_that_were_dropped_are_waited_for,
    vulkan_waits_for_the_copy,
    vulkan_reads_a_copy_too_early,
    graphs_free_what_was_replaced,
);

on_another_gpu_alone!(
    two_hundred_times_leave_nothing,
    nothing_is_waited_for_twice,
    images_follow_every_size,
    frames_in_flight_keep_their_images,
    images_are_kept_for_a_slow_queue,
    images_with_buffers,
    mips_follow,
);

on_small_devices!(
    buffers_do_not_grow_past_a_limit,
    images_are_not_resized_past_a_limit,
    pooled_buffers_do_not_grow_past_a_limit,
);

const LEN: usize = 16 << 10;
const SIZE: u64 = 4 * LEN as u64;
const USES: BufferAccess = BufferAccess::TRANSFER_READ.union(BufferAccess::TRANSFER_WRITE);

type Words = BufferSpec<u32>;

fn info(slots: usize) -> ExchangeInfo<'static> {
    ExchangeInfo { name: "growing", slots, timeout: Rig::LONG, ..Default::default() }
}

fn words(compute: &Compute, slots: usize) -> Exchange<Words> {
    Exchange::new(compute, &info(slots), Words::new(LEN, USES)).unwrap()
}

/// Returns the first `LEN` words of a frame's buffer.
fn read(readback: &Readback, turn: RenderTurn<Words>) -> Vec<u32> {
    let source = (turn.resources().as_raw(), SIZE);
    readback.run(turn, &[source])
}
