//! Phrases of the errors' messages.

use crate::compute::backend::Backend;
use crate::timeline::signaller::Signaller;

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
