//! State shared by a connection and its exchanges.

use std::sync::Arc;
use std::time::Duration;

use bridge_ipc::Hello;
use bridge_trace::Event;
use cuda_import::CudaDevice;

use crate::link::Link;

/// The connection of a worker, which its exchanges share: dropping the last of them says goodbye.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) link: Arc<Link>,
    pub(crate) cuda: Option<CudaDevice>,
    /// Why it computes there.
    pub(crate) reason: String,
    pub(crate) renderer: Hello,
    pub(crate) timeout: Duration,
    /// `true` if this side allows exchanges in step. The renderer's answer is in `renderer`.
    pub(crate) trust: bool,
}

impl Shared {
    /// An event of the trace, of this side.
    pub(crate) fn event<'a>(&self, event: &'static str, object: &'a str) -> Event<'a> {
        Event::new(event, if self.cuda.is_some() { "cuda" } else { "host" }, object)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.link.bye();
    }
}
