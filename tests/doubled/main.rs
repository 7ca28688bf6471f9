//! Whole exchanges with CUDA on machines without a GPU: the driver double acts as CUDA, and as a
//! Vulkan driver that exports to it. This does not show anything about ordering on real hardware.
//!
//! Each test is its own process, in which the double reports at the end which rules of the driver
//! were broken.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, clippy::unwrap_used)] // Submissions.

mod captured;
mod compute_first;
mod computes;
mod findings;
mod frame_calls;
mod graphs;
mod grown;
mod hidden;
mod images;
mod in_step;
mod in_step_drawn;
mod kernel_memory;
mod leaks;
mod logged;
mod lost;
mod lost_at_once;
mod lost_vulkan;
mod peer_images;
mod pending;
mod pool;
mod present;
mod probe;
mod queues;
mod recorded;
mod render_first;
mod split;
mod swapped;

use bridge::{Backend, BufferAccess, BufferSpec, Compute, ExchangeInfo, LiveObjects};
use bridge_tests::{Need, Rig, assert_silent, skip};
use driver_double::{Double, Planted};

pub(crate) const LEN: usize = 4 << 10;
pub(crate) const SIZE: u64 = 4 * LEN as u64;

pub(crate) type Words = BufferSpec<u32>;

pub(crate) fn words() -> Words {
    Words::new(LEN, BufferAccess::TRANSFER_WRITE | BufferAccess::TRANSFER_READ)
}

pub(crate) fn info(slots: usize) -> ExchangeInfo<'static> {
    ExchangeInfo { name: "doubled", slots, timeout: Rig::LONG, ..Default::default() }
}

/// Returns `Some` in the test's own process. Returns `None` in the process that started it, and if
/// there is no software driver that the double can use.
fn double(name: &str) -> Option<Double> {
    double_in(|| Double::in_child_with_vulkan(name))
}

/// Like [`double`], in the process that `enter` starts.
fn double_in(enter: impl FnOnce() -> Option<Double>) -> Option<Double> {
    if !Double::has_software_vulkan() {
        skip(Need::Other, "there is no software Vulkan driver (Debian, Ubuntu: `apt install mesa-vulkan-drivers`)");
        return None;
    }
    enter()
}

/// Runs a test of a compute side in its own process, and checks that nothing of it is left and that
/// no rule was broken.
fn with_cuda(name: &str, test: fn(&Rig, &Compute)) {
    with_double(name, |_, rig, compute| test(rig, compute));
}

/// Like [`with_cuda`], for a test that makes calls fail or inspects them.
fn with_double(name: &str, test: impl FnOnce(&Double, &Rig, &Compute)) {
    with_compute(name, |rig| Compute::new(rig.device(), Backend::Cuda).unwrap(), test);
}

/// Like [`with_double`], on the compute side that `make` creates.
fn with_compute(name: &str, make: impl FnOnce(&Rig) -> Compute, test: impl FnOnce(&Double, &Rig, &Compute)) {
    let Some(double) = double(name) else { return };
    let rig = Rig::open();
    assert!(rig.device().is_validated() || std::env::var_os("VK_LAYER_PATH").is_none(), "the layer is not loaded");
    let compute = make(&rig);
    assert_eq!(compute.backend(), Backend::Cuda);
    let before = LiveObjects::now();
    test(&double, &rig, &compute);
    assert_eq!(LiveObjects::now(), before);
    drop(compute);
    let findings = double.findings_at_exit();
    assert!(findings.is_empty(), "{findings:#?}");
    assert_silent(rig.device());
}

/// Like [`with_cuda`], with the waits of CUDA's streams left out: this is the negative control of a
/// test of ordering.
fn without_waits(name: &str, test: fn(&Rig, &Compute)) {
    let Some(double) = double(name) else { return };
    let rig = Rig::open();
    let compute = Compute::new(rig.device(), Backend::Cuda).unwrap();
    double.plant(Planted::Skipped, "cuWaitExternalSemaphoresAsync", 0);
    test(&rig, &compute);
}

#[test]
fn vulkan_reads_what_cuda_writes() {
    with_cuda("vulkan_reads_what_cuda_writes", compute_first::every_frame_crosses_intact);
}

#[test]
fn cuda_waits_for_a_slow_reader() {
    with_cuda("cuda_waits_for_a_slow_reader", |rig, compute| compute_first::with_a_slow_reader(rig, compute, 1));
}

#[test]
fn without_its_wait_cuda_overwrites_what_is_read() {
    let name = "without_its_wait_cuda_overwrites_what_is_read";
    without_waits(name, |rig, compute| compute_first::with_a_slow_reader(rig, compute, 2));
}

#[test]
fn cuda_reads_what_vulkan_writes() {
    with_cuda("cuda_reads_what_vulkan_writes", render_first::every_frame_crosses_intact);
}

#[test]
fn cuda_waits_for_slow_commands() {
    with_cuda("cuda_waits_for_slow_commands", |rig, compute| render_first::after_slow_commands(rig, compute, 2));
}

#[test]
fn without_its_wait_cuda_reads_the_previous_frame() {
    let name = "without_its_wait_cuda_reads_the_previous_frame";
    without_waits(name, |rig, compute| render_first::after_slow_commands(rig, compute, 1));
}

#[test]
fn a_slot_without_its_signal_is_not_reused() {
    with_double("a_slot_without_its_signal_is_not_reused", render_first::signals_fail);
}

#[test]
fn a_slot_of_gpus_out_of_order_is_not_reused() {
    with_double("a_slot_of_gpus_out_of_order_is_not_reused", split::joins_fail);
}

#[test]
fn a_frame_makes_no_call_that_is_not_needed() {
    with_double("a_frame_makes_no_call_that_is_not_needed", frame_calls::are_expected);
}

#[test]
fn preparing_a_present_queries_the_stream_once() {
    with_double("preparing_a_present_queries_the_stream_once", present::is_one_query);
}

#[test]
fn a_lost_context_is_noticed_by_the_next_frame() {
    lost::the_queue_continues("a_lost_context_is_noticed_by_the_next_frame", &info(2), lost::begin);
}

/// It waits for the previous frame, and not for the compute side.
#[test]
fn a_lost_context_is_noticed_by_a_frame_that_waits_for_its_turn() {
    let info = ExchangeInfo { frames_in_flight: Some(1), ..info(2) };
    lost::the_queue_continues("a_lost_context_is_noticed_by_a_frame_that_waits_for_its_turn", &info, lost::begin);
}

#[test]
fn a_lost_context_is_noticed_by_a_writer_that_waits_for_its_turn() {
    lost::a_waiting_writer_lets_the_queue_continue("a_lost_context_is_noticed_by_a_writer_that_waits_for_its_turn");
}

#[test]
fn a_lost_context_is_noticed_by_a_check() {
    lost::the_queue_continues("a_lost_context_is_noticed_by_a_check", &info(2), lost::check);
}

#[test]
fn a_lost_context_is_noticed_by_a_wait() {
    lost::the_queue_continues("a_lost_context_is_noticed_by_a_wait", &info(2), lost::wait);
}

#[test]
fn a_lost_context_is_noticed_by_the_end_of_the_exchange() {
    lost::the_queue_continues("a_lost_context_is_noticed_by_the_end_of_the_exchange", &info(2), lost::end);
}

#[test]
fn a_lost_context_is_noticed_for_a_latest_exchange_too() {
    lost::a_latest_exchange_continues_with_the_others("a_lost_context_is_noticed_for_a_latest_exchange_too");
}

#[test]
fn a_lost_context_is_noticed_by_threads_at_once() {
    lost_at_once::is_signaled_once("a_lost_context_is_noticed_by_threads_at_once");
}

#[test]
fn a_context_that_is_lost_while_an_exchange_is_dropped() {
    lost::while_an_exchange_ends("a_context_that_is_lost_while_an_exchange_is_dropped", drop);
}

#[test]
fn a_context_that_is_lost_while_an_exchange_is_closed() {
    lost::while_an_exchange_ends("a_context_that_is_lost_while_an_exchange_is_closed", |one| one.close().unwrap());
}

#[test]
fn a_lost_context_is_noticed_for_another_compute_side() {
    lost::is_noticed_for_another_compute_side("a_lost_context_is_noticed_for_another_compute_side");
}

/// Its frames may be behind those of the first exchange.
#[test]
fn a_lost_context_is_noticed_by_another_exchange() {
    lost::the_queue_continues("a_lost_context_is_noticed_by_another_exchange", &info(2), lost::begin_other);
}

#[test]
fn an_error_of_a_lost_frame_is_returned_once_its_commands_have_ended() {
    pending::an_error_is_returned_once_the_commands_have_ended(
        "an_error_of_a_lost_frame_is_returned_once_its_commands_have_ended",
    );
}

#[test]
fn a_lost_frame_that_exceeds_the_limit_is_a_timeout() {
    pending::exceeding_the_limit_is_a_timeout("a_lost_frame_that_exceeds_the_limit_is_a_timeout");
}

#[test]
fn an_error_of_a_frame_that_runs_once_is_returned_once_its_commands_have_ended() {
    let name = "an_error_of_a_frame_that_runs_once_is_returned_once_its_commands_have_ended";
    pending::an_error_of_run_once_is_returned_once_the_commands_have_ended(name);
}

#[test]
fn a_frame_that_runs_once_and_exceeds_its_limit_is_a_timeout() {
    pending::exceeding_the_limit_of_run_once_is_a_timeout("a_frame_that_runs_once_and_exceeds_its_limit_is_a_timeout");
}

#[test]
fn a_context_that_is_lost_while_commands_run_once() {
    lost::while_commands_run_once("a_context_that_is_lost_while_commands_run_once");
}

#[test]
fn a_view_keeps_what_commands_of_a_lost_frame_use() {
    pending::a_view_keeps_what_the_commands_use("a_view_keeps_what_commands_of_a_lost_frame_use");
}

#[test]
fn a_view_releases_frames_that_a_lost_context_holds() {
    pending::a_view_releases_its_frames("a_view_releases_frames_that_a_lost_context_holds");
}

#[test]
fn kernel_memory_is_created_while_its_stream_waits() {
    with_double("kernel_memory_is_created_while_its_stream_waits", kernel_memory::is_created_while_its_stream_waits);
}

#[test]
fn kernel_memory_that_is_not_freed_is_counted() {
    kernel_memory::that_is_not_freed_is_counted("kernel_memory_that_is_not_freed_is_counted");
}

#[test]
fn a_block_of_a_pool_waits_only_for_its_parts() {
    with_double("a_block_of_a_pool_waits_only_for_its_parts", pool::a_block_waits_only_for_its_parts);
}

#[test]
fn a_block_of_a_pool_that_is_not_freed_is_counted() {
    pool::a_block_that_is_not_freed_is_counted("a_block_of_a_pool_that_is_not_freed_is_counted");
}

#[test]
fn images_that_are_kept_twice_are_counted_once() {
    leaks::images_that_are_kept_twice_are_counted_once("images_that_are_kept_twice_are_counted_once");
}

#[test]
fn a_graph_frees_nothing_that_was_replaced() {
    with_double("a_graph_frees_nothing_that_was_replaced", graphs::a_graph_frees_nothing_that_was_replaced);
}

#[test]
fn a_signal_in_place_of_a_lost_device_is_tried_again() {
    lost_vulkan::a_release_is_tried_again("a_signal_in_place_of_a_lost_device_is_tried_again");
}

#[test]
fn a_logger_may_close_an_exchange_of_a_lost_device() {
    logged::a_release_is_logged_after_its_lock_is_released("a_logger_may_close_an_exchange_of_a_lost_device");
}

#[test]
fn signals_are_logged_after_their_lock_is_released() {
    logged::signals_are_logged_after_their_lock_is_released("signals_are_logged_after_their_lock_is_released");
}

#[test]
fn a_graph_that_cannot_be_launched_is_captured_again() {
    with_double("a_graph_that_cannot_be_launched_is_captured_again", graphs::a_graph_that_fails_is_captured_again);
}

#[test]
fn launches_wait_for_what_they_use_whichever_turn_lent_it() {
    with_double("launches_wait_for_what_they_use_whichever_turn_lent_it", swapped::launches_wait_for_what_they_use);
}

#[test]
fn resources_of_another_stream_are_refused() {
    with_double("resources_of_another_stream_are_refused", swapped::resources_of_another_stream_are_refused);
}

#[test]
fn a_stream_that_was_not_lent_is_refused() {
    with_double("a_stream_that_was_not_lent_is_refused", swapped::another_stream_is_refused);
}

#[test]
fn a_stream_that_was_not_lent_with_a_part_is_refused() {
    with_double("a_stream_that_was_not_lent_with_a_part_is_refused", swapped::another_stream_of_a_part_is_refused);
}

#[test]
fn launches_of_a_part_wait_for_what_they_use_whichever_turn_lent_it() {
    let name = "launches_of_a_part_wait_for_what_they_use_whichever_turn_lent_it";
    with_double(name, swapped::launches_of_a_part_wait_for_what_they_use);
}
