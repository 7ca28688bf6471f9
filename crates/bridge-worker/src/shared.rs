//! State shared by a connection and its exchanges.

use std::sync::Arc;
use std::time::Duration;

use bridge_ipc::Hello;
use cuda_import::CudaDevice;

use crate::link::Link;

/// The connection of a worker, which its exchanges share. Dropping the last reference sends a Bye.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) link: Arc<Link>,
    pub(crate) cuda: Option<CudaDevice>,
    /// Reason for the choice of the backend and the device.
    pub(crate) reason: String,
    pub(crate) renderer: Hello,
    pub(crate) timeout: Duration,
    /// `true` if this side allows exchanges in step. The renderer's answer is in `renderer`.
    pub(crate) trust: bool,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.link.is_forked() {
            // The driver's objects belong to the parent.
            std::mem::forget(self.cuda.take());
        }
        self.link.bye();
    }
}
