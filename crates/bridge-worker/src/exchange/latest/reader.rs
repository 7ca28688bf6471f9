//! The reader of a latest exchange: the renderer draws frames, and the worker computes with the
//! newest.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_ipc::Direction;
use bridge_trace::log_error;
use cuda_import::cudarc::driver::CudaStream;

use crate::error::Result;
use crate::exchange::read::Read;
use crate::exchange::slots::ExchangeSlots;
use crate::link::Published;
use crate::resources::Resources;
use crate::shared::Shared;
use crate::side::Side;

/// The reader of an exchange. It belongs to one thread at a time.
pub struct LatestReader<R: Resources> {
    exchange: ExchangeSlots<R>,
    /// The frame of the current turns. This side owns its slot.
    held: Option<Published>,
    /// A newer frame, which replaces `held` once the required calls succeed.
    next: Option<Published>,
}

impl<R: Resources> LatestReader<R> {
    pub(crate) fn new(shared: &Arc<Shared>, name: &str) -> Result<Self> {
        let exchange = ExchangeSlots::new(shared, name, Direction::RendererWrites, false)?;
        Ok(Self { exchange, held: None, next: None })
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

    /// Returns the newest frame, which is the previous one again if there is none newer; `None`
    /// before the first frame. Does not wait. The previous frame's slot returns to the renderer
    /// after the work of its turns.
    ///
    /// # Errors
    /// [`Error::PeerLost`](crate::Error::PeerLost) when the renderer's process has ended,
    /// [`Error::Closed`](crate::Error::Closed) if it has closed the exchange or the connection,
    /// [`Error::Cuda`](crate::Error::Cuda) if this side's GPU work has failed.
    pub fn newest(&mut self) -> Result<Option<ReadTurn<'_, R>>> {
        self.wait_for_newer(Duration::ZERO)?;
        let Some(frame) = self.held else { return Ok(None) };
        self.exchange.begin_read(frame.slot);
        Ok(Some(ReadTurn { reader: self, frame, done: false }))
    }

    /// Waits, for at most `timeout`, until [`newest`](Self::newest) can return a frame that it has
    /// not returned before. Returns `true` if it can.
    ///
    /// # Errors
    /// As [`newest`](Self::newest).
    pub fn wait_for_newer(&mut self, timeout: Duration) -> Result<bool> {
        self.exchange.check_owner()?;
        let deadline = Instant::now().checked_add(timeout);
        let left = || deadline.map_or(timeout, |deadline| deadline.saturating_duration_since(Instant::now()));
        loop {
            // A frame that an earlier call could not take is available already.
            let found = self.published(if self.next.is_some() { Duration::ZERO } else { left() })?;
            let waits = found.is_some();
            self.choose(found.unwrap_or_default(), left())?;
            if let Some(next) = self.next {
                self.take(next, left())?;
                return Ok(true);
            }
            if !waits {
                return Ok(false);
            }
        }
    }

    /// Takes the frames that the renderer has published, including torn ones, whose slots have to
    /// be returned. Waits for at most `timeout`.
    fn published(&mut self, timeout: Duration) -> Result<Option<Vec<Published>>> {
        let frame = self.frame();
        let all = |frames: &mut VecDeque<Published>| (!frames.is_empty()).then(|| frames.drain(..).collect());
        self.exchange.published(timeout, frame, all)
    }

    /// Returns the number of the held frame, for errors.
    fn frame(&self) -> u64 {
        self.held.map_or(0, |held| held.frame)
    }

    /// Selects the newest frame that is not torn, and returns the slots of the others.
    fn choose(&mut self, frames: Vec<Published>, left: Duration) -> Result<()> {
        let newest = frames.iter().rposition(|frame| !frame.torn);
        let superseded = newest.and_then(|newest| self.next.replace(frames[newest]));
        let others = frames.iter().enumerate().filter(|(place, _)| Some(*place) != newest).map(|(_, frame)| frame);
        for frame in superseded.iter().chain(others) {
            // This side has enqueued no work for these frames.
            self.free(frame.slot, 0, left)?;
        }
        Ok(())
    }

    /// Makes `next` the held frame once all required calls have succeeded, and returns the slot of
    /// the previous frame.
    fn take(&mut self, next: Published, left: Duration) -> Result<()> {
        let mut done = 0;
        if let Side::Cuda(side) = &mut self.exchange.side {
            if let Some(old) = self.held {
                // Used up even if the call fails.
                self.exchange.computed += 1;
                done = self.exchange.computed;
                side.signal_read(old.slot, done)?;
            }
            // The value is reached, or announced with trust. The stream has to wait in either case,
            // since a value that was read elsewhere does not order memory accesses.
            side.wait(next.value)?;
        }
        self.next = None;
        let old = self.held.replace(next);
        self.exchange.trace_take(next);
        match old {
            Some(old) => self.free(old.slot, done, left),
            None => Ok(()),
        }
    }

    fn free(&mut self, slot: u32, value: u64, left: Duration) -> Result<()> {
        let frame = self.frame();
        self.exchange.free(slot, value, frame, left)
    }
}

impl<R: Resources> std::fmt::Debug for LatestReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.exchange.debug("LatestReader", f)
    }
}

/// A frame that is being read. This side keeps its slot until a newer frame is taken.
#[must_use = "a turn ends as soon as it is dropped"]
pub struct ReadTurn<'a, R: Resources> {
    reader: &'a mut LatestReader<R>,
    frame: Published,
    done: bool,
}

impl<R: Resources> ReadTurn<'_, R> {
    /// Returns the frame's number, which never decreases.
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

    /// Ends the turn. Dropping it does the same, and logs the error.
    ///
    /// # Errors
    /// [`Error::Cuda`](crate::Error::Cuda) if work on other streams could not be joined.
    pub fn finish(mut self) -> Result<()> {
        self.reader.exchange.check_owner()?;
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.done = true;
        match &self.reader.exchange.side {
            Side::Cuda(side) => side.join(self.frame.slot),
            Side::Host(_) => Ok(()),
        }
    }
}

impl<R: Resources> std::fmt::Debug for ReadTurn<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReadTurn(\"{}\", frame {}, slot {})", self.reader.name(), self.frame(), self.slot())
    }
}

impl<R: Resources> Drop for ReadTurn<'_, R> {
    fn drop(&mut self) {
        if !self.done
            && !self.reader.exchange.is_forked()
            && let Err(error) = self.end()
        {
            log_error!("exchange \"{}\": {error}", self.reader.name());
        }
    }
}
