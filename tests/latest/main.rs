//! Two sides at independent rates: the reader sees complete frames that never go backwards, and
//! neither side waits for the other.
#![allow(unsafe_code, clippy::unwrap_used)] // Submitting.

mod clocks;
mod contents;
mod controls;
mod images;
mod lent;
mod lives;
mod mistakes;
mod rates;
mod render_first;
mod schedules;

use bridge::{
    BufferAccess, BufferSpec, Compute, Exchange, LatestInfo, LatestReader, LatestWriter, RenderRead, TimelinePoint,
};
use bridge_tests::{Filler, Readback, Rig, on_another_gpu_alone, on_both_backends, on_host_without_linear_images};

use clocks::{both_sides_keep_their_rates, in_step_the_slower_rate_is_that_of_both};
use contents::{every_frame_is_intact_and_none_is_older, the_same_frame_is_lent_again_without_a_wait};
use controls::{a_reader_without_its_wait_sees_a_stale_frame, a_torn_frame_is_detected};
use images::{
    all_resources_are_of_one_frame, images_are_recovered_after_a_read, images_keep_their_contents_between_turns,
    images_of_unknown_layout_are_initialized_again, images_that_vulkan_writes_are_read_intact,
};
use lent::{a_lent_turn_of_unknown_fate_retires_its_slots, a_lent_turn_takes_its_frame};
use lives::{
    a_dropped_side_is_reported_to_the_other, a_thousand_exchanges_leave_nothing,
    either_side_is_removed_while_the_other_runs, the_last_handle_is_dropped_inside_its_own_closure,
};
use mistakes::{
    dropped_turns_cost_no_more_than_a_frame, invalid_requests_are_refused, work_that_fails_is_reported_to_both,
};
use rates::{
    a_paused_side_does_not_delay_the_other, a_slow_reader_delays_no_writer, a_slow_writer_delays_no_reader,
    a_stalled_exchange_does_not_delay_others, frames_are_no_older_than_the_bound,
    more_submissions_than_declared_hold_the_writers_work,
};
use render_first::{
    frames_that_vulkan_draws_are_intact_and_never_older, lent_and_dropped_frames_of_vulkan_cost_no_others,
    more_turns_than_declared_hold_vulkans_writes, neither_vulkan_nor_its_reader_waits,
    slots_of_lost_submissions_are_recovered,
};
use schedules::every_schedule_matches_the_model;

on_both_backends!(
    every_frame_is_intact_and_none_is_older,
    the_same_frame_is_lent_again_without_a_wait,
    a_reader_without_its_wait_sees_a_stale_frame,
    a_torn_frame_is_detected,
    a_lent_turn_takes_its_frame,
    a_lent_turn_of_unknown_fate_retires_its_slots,
    a_dropped_side_is_reported_to_the_other,
    a_thousand_exchanges_leave_nothing,
    either_side_is_removed_while_the_other_runs,
    dropped_turns_cost_no_more_than_a_frame,
    invalid_requests_are_refused,
    work_that_fails_is_reported_to_both,
    a_slow_writer_delays_no_reader,
    a_slow_reader_delays_no_writer,
    a_paused_side_does_not_delay_the_other,
    a_stalled_exchange_does_not_delay_others,
    frames_are_no_older_than_the_bound,
    both_sides_keep_their_rates,
    in_step_the_slower_rate_is_that_of_both,
    more_submissions_than_declared_hold_the_writers_work,
    images_keep_their_contents_between_turns,
    images_of_unknown_layout_are_initialized_again,
    images_are_recovered_after_a_read,
    images_that_vulkan_writes_are_read_intact,
    all_resources_are_of_one_frame,
    frames_that_vulkan_draws_are_intact_and_never_older,
    neither_vulkan_nor_its_reader_waits,
    lent_and_dropped_frames_of_vulkan_cost_no_others,
    more_turns_than_declared_hold_vulkans_writes,
    slots_of_lost_submissions_are_recovered,
    the_last_handle_is_dropped_inside_its_own_closure,
    every_schedule_matches_the_model,
);

on_another_gpu_alone!(
    images_keep_their_contents_between_turns,
    images_of_unknown_layout_are_initialized_again,
    images_that_vulkan_writes_are_read_intact,
    all_resources_are_of_one_frame,
);

on_host_without_linear_images!(
    images_keep_their_contents_between_turns,
    images_of_unknown_layout_are_initialized_again,
    images_are_recovered_after_a_read,
    images_that_vulkan_writes_are_read_intact,
    all_resources_are_of_one_frame,
);

const LEN: usize = 4096;
const SIZE: u64 = 4 * LEN as u64;
/// The distance between the first words of two frames: more than the number of words.
const STRIDE: u32 = 10_000;

type Words = BufferSpec<u32>;
type Pair = (LatestWriter<Words>, LatestReader<Words>);

fn info() -> LatestInfo<'static> {
    LatestInfo { timeout: Rig::LONG, ..Default::default() }
}

fn words(compute: &Compute, info: &LatestInfo<'_>) -> Pair {
    Exchange::latest(compute, info, Words::new(LEN, BufferAccess::TRANSFER_READ)).unwrap()
}

/// Publishes a frame that is filled with its number, after a delay.
fn publish(writer: &mut LatestWriter<Words>, filler: &Filler, delay: u64) -> TimelinePoint {
    let mut turn = writer.begin().unwrap();
    let base = base(turn.frame());
    filler.fill_work(turn.work(), base, std::time::Duration::from_micros(delay));
    turn.publish().unwrap()
}

fn base(frame: u64) -> u32 {
    u32::try_from(frame).unwrap() * STRIDE
}

/// Returns the frame of these words, or an error if they are of several frames or of none.
fn frame_of(words: &[u32]) -> Result<u64, String> {
    let frame = words[0] / STRIDE;
    match words.iter().zip(frame * STRIDE..).position(|(word, expected)| *word != expected) {
        None => Ok(frame.into()),
        Some(i) => Err(format!("word 0 is of frame {frame}, word {i} is {} of frame {}", words[i], words[i] / STRIDE)),
    }
}

/// Submits a copy of the frame.
fn submit(turn: RenderRead<Words>, readback: &Readback) -> TimelinePoint {
    let commands = readback.record_read(&turn, &[(turn.resources().as_raw(), SIZE)]);
    // SAFETY: recorded with the turn's barriers; the readback waits for the point before it is used
    // again or dropped.
    let point = unsafe { turn.submit(&[commands]) }.unwrap();
    readback.note(point.clone());
    point
}

/// Takes the newest frame and reads it; returns `None` if there is no frame.
fn read(reader: &mut LatestReader<Words>, readback: &Readback) -> Option<u64> {
    let turn = reader.newest().unwrap()?;
    let frame = turn.frame();
    submit(turn, readback);
    readback.finish();
    assert_eq!(frame_of(&readback.words()[..LEN]), Ok(frame));
    Some(frame)
}
