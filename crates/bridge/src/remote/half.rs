//! The writer's half of an exchange, between one worker and the next.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bridge_ipc::{Backend, Code, Connection};

use super::control::Control;
use super::feed::recover;
use super::offer::{Memory, Terms};
use super::timelines::Timelines;
use crate::error::{Error, Result};
use crate::exchange::resources::Resources;
use crate::exchange::{ComputeFirst, LatestWriter};

/// How long the end of a worker before is waited for, before the program is asked whether it still
/// wants the next.
const AT_A_TIME: Duration = Duration::from_millis(10);

/// The writer's half of an exchange.
pub(super) struct Half<R: Resources> {
    pub(super) writer: LatestWriter<R, ComputeFirst>,
    /// The connection with a worker that was lost, and whose process may still write to the slots
    /// which it held.
    pub(super) before: Option<Connection>,
}

/// The writer's half of an exchange, while nobody listens to a worker.
pub(super) type Home<R> = Arc<Mutex<Option<Half<R>>>>;

/// Takes the writer's half, if nobody has it.
pub(super) fn take<R: Resources>(home: &Home<R>) -> Option<Half<R>> {
    home.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl<R: Resources> Half<R> {
    pub(super) fn new(writer: LatestWriter<R, ComputeFirst>) -> Self {
        Self { writer, before: None }
    }

    /// The memory for the next worker.
    pub(super) fn memory(&self, terms: &Terms) -> Result<Memory<'_>> {
        match terms.backend {
            Backend::Host => Ok(Memory::New),
            Backend::Cuda => {
                let timelines = Timelines::new(self.writer.compute().device(), self.writer.name())?;
                let slots = self.writer.slots();
                Ok(Memory::Exported { slots, export: Box::new(|slot| self.writer.export(slot)), timelines })
            }
        }
    }

    /// Waits until the worker before, if there was one, writes to the slots no more: until its
    /// process has ended. What it may still write to is not given to the `next`, which is told
    /// where that takes longer than `limit`.
    pub(super) fn await_quiet(&mut self, next: &mut Connection, control: &Control, limit: Duration) -> Result<()> {
        let Some(before) = &self.before else { return Ok(()) };
        let invalid =
            |reason| Err(Error::InvalidArgument { object: format!("exchange \"{}\"", self.writer.name()), reason });
        let same = before.peer().pid() == next.peer().pid();
        let start = Instant::now();
        while !(before.peer().wait(AT_A_TIME) && before.wait_for_release(AT_A_TIME)) {
            if control.is_stopped() {
                next.close(Code::Done, "the renderer has ended the exchange");
                return invalid("it was ended before its last worker had".to_owned());
            }
            if start.elapsed() >= limit {
                next.close(Code::Failure, "the last worker has the slots still");
                let pid = before.peer().pid();
                if before.peer().is_dead() {
                    return invalid(format!(
                        "worker process {pid} has ended, and a child that was forked from it has its descriptors still: its GPU work \
                         may go on in the slots; end the child, and let another worker connect then"
                    ));
                }
                let remedy = if same {
                    "it is the process that connects again: drop its `LatestWriter` before the renderer disconnects it"
                } else {
                    "end it, and let another worker connect then"
                };
                return invalid(format!(
                    "worker process {pid}, which was lost or disconnected and did not close the exchange, may still write to its \
                     slots, and has not ended within {limit:?}; {remedy}"
                ));
            }
        }
        self.before = None;
        recover(&self.writer);
        Ok(())
    }
}
