//! Messages of errors about turns and slots.

use std::fmt::{self, Formatter};

use crate::error::Stage;

pub(super) fn turn_open(exchange: &str, frame: &u64, stage: &Stage, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "exchange \"{exchange}\": the {stage} turn of frame {frame} is still open; {} it first", stage.end())
}

pub(super) fn replaced_while_open(exchange: &str, frame: &u64, stage: &Stage, f: &mut Formatter<'_>) -> fmt::Result {
    write!(
        f,
        "exchange \"{exchange}\": its resources cannot be replaced while the {stage} turn of frame {frame} is open; {} it first",
        stage.end()
    )
}

pub(super) fn not_initialized(exchange: &str, f: &mut Formatter<'_>) -> fmt::Result {
    write!(
        f,
        "exchange \"{exchange}\" has new images that were not handed over to the compute side, and may not submit to the engine's \
         queue by itself: call `Exchange::initialize`, or submit what `Exchange::record_initial` records and call `submitted`"
    )
}

pub(super) fn slot_busy(
    exchange: &str,
    slot: &usize,
    frame: &u64,
    slots: &usize,
    f: &mut Formatter<'_>,
) -> fmt::Result {
    write!(
        f,
        "exchange \"{exchange}\": slot {slot} still holds frame {frame}, whose render turn was neither submitted nor \
         skipped; submit or skip it before you begin another frame, or use more than {slots} slots"
    )
}

pub(super) fn slots_retired(exchange: &str, retired: &usize, slots: &usize, f: &mut Formatter<'_>) -> fmt::Result {
    write!(
        f,
        "exchange \"{exchange}\": no slot is available for writing: {retired} of {slots} are retired because lent turns were dropped \
         without `submitted` or `not_submitted`; `LatestReader::initialize` recovers them"
    )
}

pub(super) fn out_of_order(exchange: &str, frame: &u64, first: &u64, f: &mut Formatter<'_>) -> fmt::Result {
    write!(
        f,
        "exchange \"{exchange}\": frame {frame} cannot be submitted or lent while frame {first} is lent: a timeline's \
         values must be signaled in order; end that `LentTurn` or `InitialTurn` first, with `submitted` or `not_submitted`"
    )
}

pub(super) fn lost_turn(frame: u64, stage: Stage) -> String {
    match stage {
        Stage::Compute => {
            format!(
                "the compute turn of frame {frame} was dropped before `finish` or `publish`; call `skip` to discard a \
                 frame"
            )
        }
        Stage::Render => format!(
            "the render turn of frame {frame} was dropped before it was submitted; call `skip` to discard a frame"
        ),
        Stage::Submit => format!(
            "the lent turn of frame {frame} was dropped, and its signal has not arrived: \
             call `submitted` after a successful vkQueueSubmit2, `not_submitted` otherwise; \
             submitting the parts of `Exchange::flush_parts` recovers the slot"
        ),
    }
}
