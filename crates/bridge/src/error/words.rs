//! Phrases of the errors' messages.

use crate::compute::backend::Backend;
use crate::error::Stage;
use crate::timeline::signaller::Signaller;

pub(super) fn lost(frame: u64, stage: Stage) -> String {
    match stage {
        Stage::Compute => {
            format!(
                "the compute turn of frame {frame} was dropped before `finish` or `publish`; the next `begin` goes on"
            )
        }
        Stage::Render => format!(
            "the render turn of frame {frame} was dropped before it was submitted; call `skip` where that is meant"
        ),
        Stage::Submit => format!(
            "the render turn of frame {frame} was lent and dropped, and its signal has not \
             come: call `submitted` after a successful vkQueueSubmit2, `not_submitted` if it never happened; \
             `Exchange::flush_parts` brings the slot back"
        ),
    }
}

/// What was signalled in the place of a worker in step.
pub(super) fn settled(torn: &[u64], signalled: Option<u64>) -> String {
    let Some(value) = signalled else { return String::new() };
    let torn: Vec<_> = torn.iter().map(u64::to_string).collect();
    format!(", of torn frames {}, and value {value} was signalled in its place", torn.join(", "))
}

pub(super) fn whole(frame: Option<u64>) -> String {
    frame.map_or("none".to_owned(), |frame| frame.to_string())
}

pub(super) fn hint(signaller: Signaller) -> &'static str {
    match signaller {
        Signaller::Compute => "a kernel may be stuck, or waiting for a frame that Vulkan never submitted",
        Signaller::Queue => "the queue may be stuck, or the submission may wait for work that never ends",
    }
}

/// Reasons for a compute side to be busy although no signal is late.
pub(super) fn busy(backend: Backend) -> &'static str {
    match backend {
        Backend::Cuda => {
            "what others gave it holds the end up (another exchange of the same `Compute`, or another stream of the context: CUDA \
             frees nothing while one waits), or what a turn left that was dropped or skipped; close the exchange once that has ended"
        }
        _ => {
            "what a turn left that was dropped or skipped has not ended, or waits behind another exchange of the same `Compute`; close \
             the exchange once that has ended"
        }
    }
}
