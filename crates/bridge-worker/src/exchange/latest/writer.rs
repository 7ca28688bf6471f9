//! The writer of a latest exchange: the worker writes frames, and the renderer draws the newest.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use bridge_ipc::{Direction, Message};
use bridge_trace::{log_error, log_warn};
use cuda_import::cudarc::driver::CudaStream;

use crate::error::{Error, Result};
use crate::exchange::latest::held::{Frame, FreeSlots};
use crate::exchange::latest::publisher::Publisher;
use crate::exchange::slots::ExchangeSlots;
use crate::link::{Ended, State};
use crate::resources::Resources;
use crate::shared::Shared;
use crate::side::Side;

/// Interval at which a wait for the GPU checks the renderer.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// The writer of an exchange. It belongs to one thread at a time.
pub struct LatestWriter<R: Resources> {
    /// Dropped before `exchange`, which ends this side's part in it.
    publisher: Publisher,
    pub(crate) exchange: ExchangeSlots<R>,
    free: FreeSlots,
    pub(crate) next_frame: u64,
}

/// The resources of a turn, by backend.
#[non_exhaustive]
pub enum Work<'a, R: Resources> {
    /// Kernels and copies on a stream.
    Cuda(CudaWork<'a, R>),
    /// Copies on this thread.
    Host(HostWork<'a, R>),
}

/// Stream and resources of a turn with CUDA.
#[non_exhaustive]
pub struct CudaWork<'a, R: Resources> {
    /// The exchange's own stream. Work on it is part of the frame; work with the views on other
    /// streams is joined when the frame is published, if cudarc tracks it.
    pub stream: &'a Arc<CudaStream>,
    /// The resources of the slot. They hold an older frame, or nothing.
    pub resources: R::CudaViews<'a>,
}

/// Resources of a turn on the CPU.
#[non_exhaustive]
pub struct HostWork<'a, R: Resources> {
    /// The resources of the slot. They hold an older frame, or zeros.
    pub resources: R::HostViews<'a>,
}

impl<R: Resources> std::fmt::Debug for Work<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cuda(cuda) => cuda.fmt(f),
            Self::Host(host) => host.fmt(f),
        }
    }
}

impl<R: Resources> std::fmt::Debug for CudaWork<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CudaWork").field("stream", self.stream).finish_non_exhaustive()
    }
}

impl<R: Resources> std::fmt::Debug for HostWork<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostWork").finish_non_exhaustive()
    }
}

impl<R: Resources> LatestWriter<R> {
    pub(crate) fn new(shared: &Arc<Shared>, name: &str, trust: bool) -> Result<Self> {
        let exchange = ExchangeSlots::new(shared, name, Direction::WorkerWrites, trust)?;
        let publisher = Publisher::new(&shared.link, exchange.offer.exchange);
        Ok(Self { publisher, exchange, free: FreeSlots::new(), next_frame: 0 })
    }

    /// Returns the name of the exchange.
    pub fn name(&self) -> &str {
        self.exchange.name()
    }

    /// Returns the number of slots.
    pub fn slots(&self) -> usize {
        self.exchange.slots()
    }

    /// Returns the stream of the frames, or `None` on the CPU.
    pub fn stream(&self) -> Option<&Arc<CudaStream>> {
        self.exchange.stream()
    }

    /// Begins a frame, in the slot that the renderer freed first. Waits for such a slot, for at
    /// most [`WorkerInfo::timeout`](crate::WorkerInfo::timeout), and for the writer's own oldest
    /// frame if [`Offer::writer_in_flight`](bridge_ipc::Offer::writer_in_flight) frames are
    /// unfinished.
    ///
    /// # Errors
    /// [`Error::PeerLost`] at once when the renderer's process ends, [`Error::Closed`] if it has
    /// closed the exchange or the connection (up to a millisecond later if a slot is free),
    /// [`Error::Timeout`] if no slot is free in time; `begin` may then be called again.
    /// [`Error::Cuda`] if this side's GPU work has failed; the renderer is notified which frames
    /// are torn.
    pub fn begin(&mut self) -> Result<WriteTurn<'_, R>> {
        self.exchange.check_owner()?;
        let start = Instant::now();
        let timeout = self.exchange.shared.timeout;
        let exchange = self.exchange.offer.exchange;
        let mut freed = std::mem::take(&mut self.free);
        // Looked for while the GPU still works on the previous frame.
        let at_hand = self.exchange.shared.link.try_find(|state| oldest(state, exchange, &mut freed));
        if let Err(error) = self.wait_for_room(start, &mut freed) {
            at_hand.flatten().into_iter().for_each(|slot| freed.push_front(slot));
            self.free = freed;
            return Err(error);
        }
        let finished = self.exchange.side.finished();
        let link = &self.exchange.shared.link;
        let at_hand = at_hand.or_else(|| {
            // A slot of an own frame requires no message, a freed one requires no answer to one.
            self.publisher.recycle(finished, &mut freed);
            let is_empty = freed.is_empty();
            let slot = |state: &mut State| oldest(state, exchange, &mut freed);
            if is_empty { link.try_read(slot) } else { link.try_find(slot) }
        });
        let found = at_hand.map_or_else(
            || {
                // The renderer returns slots for frames.
                self.publisher.announce();
                let left = timeout.saturating_sub(start.elapsed());
                link.wait_for(left, |state| oldest(state, exchange, &mut freed))
            },
            Ok,
        );
        self.free = freed;
        match found {
            Ok(Some((slot, value))) => {
                if let Side::Cuda(side) = &mut self.exchange.side
                    && let Err(error) = side.wait(value)
                {
                    self.free.push_front((slot, value));
                    return Err(error);
                }
                self.exchange.traced(slot).begin(self.next_frame);
                Ok(WriteTurn { slot, done: false, writer: self })
            }
            Ok(None) => Err(self.exchange.closed()),
            Err(Ended::Timeout) => Err(Error::Timeout {
                what: format!(
                    "a free slot of \"{}\" from {}",
                    self.exchange.offer.name,
                    self.exchange.shared.link.peer()
                ),
                waited: timeout,
            }),
            Err(ended) => Err(self.exchange.ended(ended, self.next_frame)),
        }
    }

    fn wait_for_room(&mut self, start: Instant, free: &mut FreeSlots) -> Result<()> {
        let (most, timeout) = (self.exchange.offer.writer_in_flight as usize, self.exchange.shared.timeout);
        while let Side::Cuda(side) = &mut self.exchange.side {
            match side.wait_for_room(most, CHECK_INTERVAL.min(timeout.saturating_sub(start.elapsed()))) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err((error, torn)) => {
                    let exchange = self.exchange.offer.exchange;
                    let unknown = self.publisher.abandon(side.finished(), free);
                    for (frame, slot) in torn {
                        if unknown.is_some_and(|unknown| frame >= unknown) {
                            break;
                        }
                        let torn = Message::Torn { exchange, slot, frame };
                        if !matches!(self.exchange.shared.link.send(exchange, &torn, Duration::MAX), Ok(true)) {
                            break;
                        }
                    }
                    return Err(error);
                }
            }
            // A frame may wait for a renderer that has ended, and whose process may take a while to
            // exit.
            match self.exchange.shared.link.check(timeout.saturating_sub(start.elapsed())) {
                Ok(()) | Err(Ended::Timeout) => {}
                Err(ended) => return Err(self.exchange.ended(ended, self.next_frame)),
            }
            if start.elapsed() >= timeout {
                let what = format!("the end of the oldest of {most} frames of \"{}\"", self.exchange.offer.name);
                return Err(Error::Timeout { what, waited: timeout });
            }
        }
        Ok(())
    }

    /// Sends a message about the next frame. `left` is as for [`ExchangeSlots::send`].
    pub(crate) fn send(&mut self, message: &Message, left: Duration) -> Result<()> {
        self.exchange.send(message, self.next_frame, left)
    }
}

/// Returns the slot that was `freed` first, including those that the renderer has freed by now;
/// `Some(None)` if it has closed the exchange.
fn oldest(state: &mut State, exchange: u32, freed: &mut FreeSlots) -> Option<Option<(u32, u64)>> {
    let inbox = state.inboxes.get_mut(&exchange)?;
    freed.extend(inbox.freed.drain(..));
    if inbox.closed { Some(None) } else { freed.pop_front().map(Some) }
}

impl<R: Resources> std::fmt::Debug for LatestWriter<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.exchange.debug("LatestWriter", f)
    }
}

/// A frame that is being written. It owns the slot until [`publish`](Self::publish).
///
/// Dropping it is the same as [`skip`](Self::skip), with a warning in the log.
#[must_use = "a turn that is dropped before `publish` gives no frame"]
pub struct WriteTurn<'a, R: Resources> {
    pub(crate) writer: &'a mut LatestWriter<R>,
    pub(crate) slot: u32,
    pub(crate) done: bool,
}

impl<R: Resources> WriteTurn<'_, R> {
    /// Returns the frame's number, starting at 0. Published frames are numbered consecutively.
    pub fn frame(&self) -> u64 {
        self.writer.next_frame
    }

    /// Returns the index of the turn's slot, starting at 0.
    pub fn slot(&self) -> usize {
        self.slot as usize
    }

    /// Returns the turn's resources, which are lent until it ends.
    pub fn work(&mut self) -> Work<'_, R> {
        match &mut self.writer.exchange.side {
            Side::Cuda(side) => {
                let (stream, resources) = side.views(self.slot);
                Work::Cuda(CudaWork { stream, resources })
            }
            Side::Host(slots) => Work::Host(HostWork { resources: R::host_views(&slots[self.slot as usize]) }),
        }
    }

    /// Hands the frame over. With CUDA, this does not wait: the renderer takes the frame once the
    /// GPU has finished it.
    ///
    /// With CUDA, frames that follow each other within 150 µs share a message: the renderer is told
    /// about the newest complete one. If no other frame follows, a thread tells it 0.3 ms after the
    /// last message.
    ///
    /// A frame that the renderer was not told about ends with this process, and so does one that
    /// the GPU has not finished. To keep the last frame, drop the writer before the process ends:
    /// that tells the renderer, and waits for the GPU, for at most two seconds.
    /// [`std::process::exit`] drops nothing. On the CPU, the renderer is told at once.
    ///
    /// # Errors
    /// [`Error::PeerLost`] and [`Error::Closed`] as for [`LatestWriter::begin`], which reports them
    /// if the message is sent later; [`Error::Cuda`] if the signal cannot be enqueued; this side
    /// then keeps the slot, and the next frame gets the same number.
    pub fn publish(mut self) -> Result<()> {
        self.writer.exchange.check_owner()?;
        let writer = &mut *self.writer;
        let (exchange, frame, value) =
            (writer.exchange.offer.exchange, writer.next_frame, writer.exchange.computed + 1);
        let finished = match &mut writer.exchange.side {
            Side::Cuda(side) => {
                // Used up even if the call fails, since the signal may have been enqueued.
                writer.exchange.computed = value;
                side.signal(frame, self.slot, value)?;
                Some(side.finished())
            }
            Side::Host(_) => {
                writer.exchange.computed = value;
                // Makes the written bytes visible to the receiver of the message.
                fence(Ordering::Release);
                None
            }
        };
        self.done = true;
        writer.exchange.traced(self.slot).publish(frame, value);
        writer.next_frame = frame + 1;
        let Some(finished) = finished else {
            let publish = Message::Publish { exchange, slot: self.slot, frame, value };
            return writer.exchange.send(&publish, frame, Duration::MAX);
        };
        match writer.publisher.publish(Frame { slot: self.slot, frame, value }, finished, &mut writer.free) {
            Ok(true) => Ok(()),
            Ok(false) => Err(writer.exchange.closed()),
            Err(ended) => Err(writer.exchange.ended(ended, frame)),
        }
    }

    /// Skips the frame and returns its slot. Work that was enqueued still runs, and the slot's next
    /// use is ordered after it.
    ///
    /// # Errors
    /// [`Error::Cuda`] if work on other streams could not be joined.
    pub fn skip(mut self) -> Result<()> {
        self.writer.exchange.check_owner()?;
        self.give_back()
    }

    pub(crate) fn give_back(&mut self) -> Result<()> {
        self.done = true;
        self.writer.exchange.traced(self.slot).skip(self.writer.next_frame);
        // The stream already waits for the renderer's use of the slot.
        self.writer.free.push_front((self.slot, 0));
        match &self.writer.exchange.side {
            Side::Cuda(side) => side.join(self.slot),
            Side::Host(_) => Ok(()),
        }
    }
}

impl<R: Resources> std::fmt::Debug for WriteTurn<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WriteTurn(\"{}\", frame {}, slot {})", self.writer.name(), self.frame(), self.slot())
    }
}

impl<R: Resources> Drop for WriteTurn<'_, R> {
    fn drop(&mut self) {
        if self.done || self.writer.exchange.is_forked() {
            return;
        }
        log_warn!("exchange \"{}\": the turn of frame {} was dropped", self.writer.name(), self.writer.next_frame);
        if let Err(error) = self.give_back() {
            log_error!("exchange \"{}\": {error}", self.writer.name());
        }
    }
}
