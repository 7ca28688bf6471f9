//! The reader of an exchange in step with a renderer that draws: this side gets each frame once and
//! in order, and values are announced before they are reached.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_ipc::Direction;
use bridge_trace::{log_error, log_warn};
use cuda_import::cudarc::driver::CudaStream;

use crate::error::{Error, Result};
use crate::exchange::read::Read;
use crate::exchange::slots::ExchangeSlots;
use crate::link::Published;
use crate::resources::Resources;
use crate::shared::Shared;
use crate::side::Side;

/// An exchange in step with a renderer that draws, created by
/// [`Worker::exchange_reader`](crate::Worker::exchange_reader). It belongs to one thread at a time.
///
/// It receives every frame that the renderer submits, once and in order. With CUDA, a frame is
/// received before it has been drawn: the stream waits for the drawing on the GPU, and the
/// renderer's next commands that use the slot wait for the work on the stream. Once a slot has been
/// returned, that work must complete within the renderer's limit, or the renderer kills this
/// process.
pub struct ExchangeReader<R: Resources> {
    exchange: ExchangeSlots<R>,
    /// A received frame for which the stream could not be made to wait yet.
    next: Option<Published>,
    /// Number of the last frame that was received.
    last: u64,
    /// Reason why slots can no longer be returned, if any.
    broken: Option<String>,
}

impl<R: Resources> ExchangeReader<R> {
    pub(crate) fn new(shared: &Arc<Shared>, name: &str) -> Result<Self> {
        let exchange = ExchangeSlots::new(shared, name, Direction::RendererWrites, true)?;
        Ok(Self { exchange, next: None, last: 0, broken: None })
    }

    /// Returns the name of the exchange.
    pub fn name(&self) -> &str {
        self.exchange.name()
    }

    /// Returns the number of slots.
    pub fn slots(&self) -> usize {
        self.exchange.slots()
    }

    /// Returns the stream of the turns, or `None` on the CPU.
    pub fn stream(&self) -> Option<&Arc<CudaStream>> {
        self.exchange.stream()
    }

    /// Returns the next frame, or `None` if none arrives within `timeout`. With CUDA, the stream
    /// waits on the GPU until the frame has been drawn; on the CPU it has been drawn already.
    ///
    /// Frame numbers have gaps where the renderer skipped a frame. If the renderer ends the
    /// exchange or the connection as planned, the frames that it submitted before are returned
    /// before the error.
    ///
    /// # Errors
    /// [`Error::PeerLost`] when the renderer's process has ended, [`Error::Closed`] if it has
    /// closed the exchange or the connection, or if a slot could not be returned before;
    /// [`Error::Cuda`] if the stream cannot be made to wait; the next call tries again.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<ExchangeReadTurn<'_, R>>> {
        self.exchange.check_owner()?;
        if let Some(reason) = &self.broken {
            return Err(Error::Closed { exchange: self.name().to_owned(), reason: reason.clone() });
        }
        let deadline = Instant::now().checked_add(timeout);
        let left = || deadline.map_or(timeout, |deadline| deadline.saturating_duration_since(Instant::now()));
        let frame = loop {
            let found = match self.next {
                Some(next) => Some(next),
                None => self.exchange.published(left(), self.last, VecDeque::pop_front)?,
            };
            let Some(frame) = found else { return Ok(None) };
            self.next = Some(frame);
            if let Side::Cuda(side) = &mut self.exchange.side {
                side.wait(frame.value)?;
            }
            self.next = None;
            if !frame.torn {
                break frame;
            }
            log_warn!("exchange \"{}\": the renderer reports that frame {} is torn", self.name(), frame.frame);
            self.give_back(frame, left())?;
        };
        self.last = frame.frame;
        self.exchange.trace_take(frame);
        self.exchange.begin_read(frame.slot);
        Ok(Some(ExchangeReadTurn { reader: self, frame, done: false }))
    }

    /// Returns a slot to the renderer, after all of this side's work with it.
    /// `left` is as for [`ExchangeSlots::send`].
    fn give_back(&mut self, Published { slot, .. }: Published, left: Duration) -> Result<()> {
        let mut value = 0;
        if let Side::Cuda(side) = &mut self.exchange.side {
            // Used up even if the call fails, since the signal may have been enqueued.
            self.exchange.computed += 1;
            value = self.exchange.computed;
            // Signaled before the message is sent: an announced value has to be reached.
            if let Err(error) = side.signal_read(slot, value) {
                self.broken.get_or_insert_with(|| format!("a slot could not be given back: {error}"));
                return Err(error);
            }
        }
        self.exchange.free(slot, value, self.last, left)
    }
}

impl<R: Resources> std::fmt::Debug for ExchangeReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.exchange.debug("ExchangeReader", f)
    }
}

/// A frame that is being read. It owns the slot until [`finish`](Self::finish).
///
/// Dropping it does the same, without waiting for a renderer's process that is ending, and logs
/// errors.
#[must_use = "a turn gives its slot back as soon as it is dropped"]
pub struct ExchangeReadTurn<'a, R: Resources> {
    reader: &'a mut ExchangeReader<R>,
    frame: Published,
    done: bool,
}

impl<R: Resources> ExchangeReadTurn<'_, R> {
    /// Returns the renderer's number of the frame, which increases from one turn to the next.
    pub fn frame(&self) -> u64 {
        self.frame.frame
    }

    /// Returns the index of the turn's slot, starting at 0.
    pub fn slot(&self) -> usize {
        self.frame.slot as usize
    }

    /// Returns the resources to read, which are lent until the turn ends.
    pub fn work(&self) -> Read<'_, R> {
        self.reader.exchange.read(self.frame.slot)
    }

    /// Returns the slot to the renderer. With CUDA, this does not wait for the GPU: a signal is
    /// enqueued after the work on the stream, and after work on other streams that cudarc tracks
    /// for the views. The renderer's next commands that use the slot wait for that signal. The work
    /// must complete within the renderer's limit, or the renderer kills this process.
    ///
    /// Sending waits at most one second for a renderer that does not read its messages. If the
    /// renderer's process is ending, it waits at most five seconds or the worker's own timeout,
    /// whichever is longer.
    ///
    /// # Errors
    /// [`Error::PeerLost`] and [`Error::Closed`] as for [`ExchangeReader::next`]; [`Error::Cuda`]
    /// if the signal cannot be enqueued; the slot is not returned, and the exchange returns no more
    /// frames.
    pub fn finish(mut self) -> Result<()> {
        self.reader.exchange.check_owner()?;
        self.end(Duration::MAX)
    }

    fn end(&mut self, left: Duration) -> Result<()> {
        self.done = true;
        self.reader.give_back(self.frame, left)
    }
}

impl<R: Resources> std::fmt::Debug for ExchangeReadTurn<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ExchangeReadTurn(\"{}\", frame {}, slot {})", self.reader.name(), self.frame(), self.slot())
    }
}

impl<R: Resources> Drop for ExchangeReadTurn<'_, R> {
    fn drop(&mut self) {
        if !self.done
            && !self.reader.exchange.is_forked()
            && let Err(error) = self.end(Duration::ZERO)
        {
            log_error!("exchange \"{}\": {error}", self.reader.name());
        }
    }
}
