//! Lines of the crates below, held back while a lock is held.

/// While one is alive, lines that `vk-export` and `cuda-import` log on this thread are held back:
/// the program's logger may take any lock of the bridge. Declare it before the lock's guard.
pub(crate) struct LogHold {
    _vulkan: vk_export::LogHold,
    _cuda: cuda_import::LogHold,
}

impl LogHold {
    #[inline]
    pub(crate) fn new() -> Self {
        Self { _vulkan: vk_export::LogHold::new(), _cuda: cuda_import::LogHold::new() }
    }
}
