//! Phrases of the errors' messages.

use crate::backend::Backend;
use crate::signaler::Signaler;

pub(super) fn timeout_hint(signaler: Signaler) -> &'static str {
    match signaler {
        Signaler::Compute => "a kernel may be stuck, or waiting for a frame that Vulkan never submitted",
        Signaler::Queue => "the queue may be stuck, or the submission may wait for work that never ends",
    }
}

/// Returns possible reasons why a compute side is busy although no signal is late.
pub(super) fn busy_hint(backend: Backend) -> &'static str {
    match backend {
        Backend::Cuda => {
            "other work has not finished: of another exchange of the same `Compute`, of another stream of the context (CUDA frees \
             nothing while one is blocked), or of a dropped or skipped turn; wait for it before you close the exchange"
        }
        _ => {
            "the work of a dropped or skipped turn has not finished, or waits for another exchange of the same `Compute`; wait for it \
             before you close the exchange"
        }
    }
}
