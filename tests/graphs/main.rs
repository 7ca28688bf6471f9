//! Frames as CUDA graphs: complete and ordered like other frames, and captured once per slot. On
//! the CPU, the same program runs its closure in every frame.
#![allow(unsafe_code, clippy::unwrap_used)] // Graphs and submitting.

mod counter;
mod frames;
mod misuse;
mod order;

use bridge::BufferSpec;
use bridge_tests::{on_both_backends, on_cuda_alone, on_peers};

use frames::{
    every_frame_crosses_intact, frames_that_vulkan_begins, frames_with_and_without_a_graph_follow_each_other,
    invalidating_captures_again, skipped_frames_cost_nothing, two_exchanges_on_one_stream_capture_at_once,
    values_rise_over_a_thousand_frames,
};
use misuse::{
    a_closure_that_fails_loses_one_frame, another_stream_is_refused, the_graph_of_another_exchange_is_refused,
};
use order::{
    a_graph_and_its_exchange_are_dropped_in_any_order, a_graph_waits_for_a_slow_reader,
    a_slow_reader_unknown_to_the_graph_is_overwritten, vulkan_waits_for_a_slow_graph,
    without_the_wait_vulkan_reads_the_previous_contents,
};

on_both_backends!(
    every_frame_crosses_intact,
    values_rise_over_a_thousand_frames,
    vulkan_waits_for_a_slow_graph,
    without_the_wait_vulkan_reads_the_previous_contents,
    a_graph_waits_for_a_slow_reader,
    a_slow_reader_unknown_to_the_graph_is_overwritten,
    frames_with_and_without_a_graph_follow_each_other,
    frames_that_vulkan_begins,
    skipped_frames_cost_nothing,
    a_closure_that_fails_loses_one_frame,
    the_graph_of_another_exchange_is_refused,
    a_graph_and_its_exchange_are_dropped_in_any_order,
    invalidating_captures_again,
);

on_cuda_alone!(another_stream_is_refused, two_exchanges_on_one_stream_capture_at_once);

on_peers!(every_frame_crosses_intact, vulkan_waits_for_a_slow_graph, a_graph_waits_for_a_slow_reader);

const LEN: usize = 16 << 10;
const SIZE: u64 = 4 * LEN as u64;

type Words = BufferSpec<u32>;
