//! The end of latest exchanges on an engine's device, where the bridge submits nothing by itself.
//! There is only one test, because the device's functions are replaced.
#![allow(unsafe_code, clippy::unwrap_used)] // Replacements of Vulkan functions, and submissions.

mod flushed;
mod initial;
mod stand_ins;
mod written;

use std::mem::ManuallyDrop;

use bridge::vk_export::ExportDevice;
use bridge::{Backend, Compute};
use bridge_tests::{Engine, case_on};

use flushed::{
    an_open_turn_beside_a_lent_hand_over_is_no_lent_turn, submissions_of_the_engine_recover_slots,
    the_parts_of_a_flush_prove_the_end,
};
use initial::{
    a_late_hand_over_costs_nothing_once_it_ran, a_refused_hand_over_costs_nothing,
    closing_during_an_open_hand_over_is_refused, images_replaced_after_a_late_hand_over_live_until_it_ran,
    no_exchange_is_left_by_a_refused_hand_over, slots_are_not_revived_during_an_open_hand_over,
};
use written::slots_that_are_still_written_are_waited_for;

type Case = fn(&ExportDevice, &Compute);

#[test]
fn an_engines_exchanges_end() {
    // Never destroyed: objects that are leaked on purpose keep their device alive.
    let engine = ManuallyDrop::new(Engine::new(Some(stand_ins::hook)));
    // SAFETY: the engine's own handles, which live forever.
    let device = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
    assert!(!device.queues_are_synchronized());
    let cases: [(&str, Case); 9] = [
        ("the_parts_of_a_flush_prove_the_end", the_parts_of_a_flush_prove_the_end),
        ("a_turn_beside_a_lent_hand_over", an_open_turn_beside_a_lent_hand_over_is_no_lent_turn),
        ("submissions_of_the_engine_recover_slots", submissions_of_the_engine_recover_slots),
        ("closing_beside_an_open_hand_over", closing_during_an_open_hand_over_is_refused),
        ("a_refused_hand_over_costs_nothing", a_refused_hand_over_costs_nothing),
        ("a_late_hand_over_costs_nothing", a_late_hand_over_costs_nothing_once_it_ran),
        ("images_live_until_their_hand_over_ran", images_replaced_after_a_late_hand_over_live_until_it_ran),
        ("slots_are_not_revived_twice", slots_are_not_revived_during_an_open_hand_over),
        ("slots_that_are_written_are_waited_for", slots_that_are_still_written_are_waited_for),
    ];
    for backend in [Backend::Host, Backend::Cuda] {
        for (name, case) in cases {
            if let Some(compute) = case_on(&device, backend, name) {
                case(&device, &compute);
            }
        }
    }
    no_exchange_is_left_by_a_refused_hand_over(&engine);
    engine.assert_silent();
}
