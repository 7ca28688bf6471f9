//! The writer of an exchange in step: the renderer gets each frame once and in order, and values
//! are announced before they are reached.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use bridge_ipc::Message;
use bridge_trace::{log_error, log_warn};
use cuda_import::cudarc::driver::CudaStream;

use crate::error::{Error, Result};
use crate::exchange::latest::writer::{LatestWriter, Work, WriteTurn};
use crate::resources::Resources;
use crate::shared::Shared;
use crate::side::Side;

/// An exchange in step with the renderer, created by [`Worker::exchange`](crate::Worker::exchange).
/// It belongs to one thread at a time.
///
/// The renderer gets every frame, in order. It may submit the commands that draw a frame as soon as
/// the frame is announced: its GPU waits for the frame, and this side's stream waits for the
/// renderer's last commands that use the slot. An announced frame must be finished: a worker that
/// does not finish a frame within the renderer's limit is killed.
pub struct ExchangeWriter<R: Resources> {
    writer: LatestWriter<R>,
    progress: Progress,
}

/// State of an exchange between turns.
#[derive(Default)]
struct Progress {
    /// Reason why no more frames can be announced, if any.
    broken: Option<String>,
    /// The frame that was announced to the renderer and has not ended. Also set after its turn was
    /// leaked.
    announced: Option<Announced>,
}

/// A frame that was announced to the renderer, so that its value has to be reached.
#[derive(Clone, Copy)]
struct Announced {
    slot: u32,
    value: u64,
    /// `false` if the message could not be sent. The renderer may still have it.
    sent: bool,
}

impl<R: Resources> ExchangeWriter<R> {
    pub(crate) fn new(shared: &Arc<Shared>, name: &str) -> Result<Self> {
        Ok(Self { writer: LatestWriter::new(shared, name, true)?, progress: Progress::default() })
    }

    /// Returns the name of the exchange.
    pub fn name(&self) -> &str {
        self.writer.name()
    }

    /// Returns the number of slots.
    pub fn slots(&self) -> usize {
        self.writer.slots()
    }

    /// Returns the stream of the frames, or `None` on the CPU.
    pub fn stream(&self) -> Option<&Arc<CudaStream>> {
        self.writer.stream()
    }

    /// Begins a frame, in the slot that the renderer freed first. Waits for such a slot, for at
    /// most [`WorkerInfo::timeout`](crate::WorkerInfo::timeout), while the renderer holds all slots
    /// and has not submitted commands that use one of them. With CUDA the stream then waits for
    /// those commands; on the CPU the renderer copies frames, and a slot is free once its last
    /// frame was copied.
    ///
    /// If the last turn was announced and then leaked (`mem::forget`), its frame is torn first.
    ///
    /// # Errors
    /// As [`LatestWriter::begin`]; [`Error::Closed`] once a value could not be signaled.
    pub fn begin(&mut self) -> Result<ExchangeTurn<'_, R>> {
        self.writer.exchange.check_owner()?;
        self.tear_leaked(Duration::MAX)?;
        if let Some(reason) = &self.progress.broken {
            return Err(Error::Closed { exchange: self.writer.name().to_owned(), reason: reason.clone() });
        }
        Ok(ExchangeTurn { turn: self.writer.begin()?, value: None, progress: &mut self.progress })
    }

    /// Tears the frame of a turn that was announced and leaked, if any. `left` is as for
    /// [`ExchangeSlots::send`](crate::exchange::slots::ExchangeSlots::send).
    fn tear_leaked(&mut self, left: Duration) -> Result<()> {
        let Some(Announced { slot, value, .. }) = self.progress.announced else { return Ok(()) };
        let (name, frame) = (self.writer.name(), self.writer.next_frame);
        log_warn!("exchange \"{name}\": the turn of frame {frame}, which was announced, was leaked: it is torn");
        let turn = WriteTurn { slot, done: false, writer: &mut self.writer };
        ExchangeTurn { turn, value: Some(value), progress: &mut self.progress }.tear(left)
    }
}

impl<R: Resources> Drop for ExchangeWriter<R> {
    fn drop(&mut self) {
        if self.writer.exchange.is_forked() {
            return;
        }
        if let Err(error) = self.tear_leaked(Duration::ZERO) {
            log_error!("exchange \"{}\": {error}", self.writer.name());
        }
    }
}

impl<R: Resources> std::fmt::Debug for ExchangeWriter<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ExchangeWriter(\"{}\", {} slots)", self.name(), self.slots())
    }
}

/// A frame that is being written. It owns the slot until [`finish`](Self::finish).
///
/// Dropping it is the same as [`skip`](Self::skip), with a warning in the log.
#[must_use = "a turn that is dropped before `finish` gives no frame"]
pub struct ExchangeTurn<'a, R: Resources> {
    turn: WriteTurn<'a, R>,
    /// Value of the frame's signal, once it was allocated. It is used up then, even if the signal
    /// fails: no other frame gets it.
    value: Option<u64>,
    progress: &'a mut Progress,
}

impl<R: Resources> ExchangeTurn<'_, R> {
    /// Returns the frame's number, starting at 0. Frames are numbered consecutively.
    pub fn frame(&self) -> u64 {
        self.turn.frame()
    }

    /// Returns the index of the turn's slot, starting at 0.
    pub fn slot(&self) -> usize {
        self.turn.slot()
    }

    /// Returns the turn's resources, which are lent until it ends.
    pub fn work(&mut self) -> Work<'_, R> {
        self.turn.work()
    }

    /// Announces the frame to the renderer before it is finished, so that the renderer can submit
    /// commands that wait for it on the GPU. After this call, the frame must be finished within the
    /// renderer's limit, or the renderer kills this process.
    ///
    /// With CUDA, [`finish`](Self::finish) announces a frame that the GPU has not finished yet, so
    /// this call is useful only if the host needs a long time before `finish`. On the CPU, it lets
    /// the renderer proceed before the frame is finished.
    ///
    /// # Errors
    /// [`Error::PeerLost`] and [`Error::Closed`] as for [`ExchangeWriter::begin`]. No renderer gets
    /// the frame then, and [`finish`](Self::finish) and [`skip`](Self::skip) also return an error,
    /// unless the renderer has only closed the exchange.
    pub fn announce(&mut self) -> Result<()> {
        self.turn.writer.exchange.check_owner()?;
        let (exchange, slot, frame) = (self.turn.writer.exchange.offer.exchange, self.turn.slot, self.turn.frame());
        match self.progress.announced {
            Some(Announced { sent: true, .. }) => return Ok(()),
            Some(Announced { sent: false, .. }) => return Err(self.turn.writer.exchange.unsent(frame)),
            None => {}
        }
        let value = self.value();
        // Set first: even if sending fails, the renderer may have the message, and owns the slot.
        self.progress.announced = Some(Announced { slot, value, sent: false });
        self.turn.writer.exchange.traced(slot).publish(frame, value);
        let publish = Message::Publish { exchange, slot, frame, value };
        if self.turn.writer.exchange.send_if_open(&publish, frame, Duration::MAX)? {
            self.progress.announced = Some(Announced { slot, value, sent: true });
            return Ok(());
        }
        self.progress.announced = None;
        Err(self.turn.writer.exchange.closed())
    }

    /// Hands the frame over. With CUDA, this does not wait: the stream signals the frame after its
    /// work, and the renderer is notified at once.
    ///
    /// # Errors
    /// [`Error::PeerLost`] and [`Error::Closed`] as for [`ExchangeWriter::begin`]; [`Error::Cuda`]
    /// if the signal cannot be enqueued; the frame is then torn, and the exchange begins no more
    /// frames. A torn frame that was announced is signaled after the frames before it, for which
    /// this call waits up to two seconds.
    pub fn finish(mut self) -> Result<()> {
        self.turn.writer.exchange.check_owner()?;
        let said = match &self.turn.writer.exchange.side {
            Side::Cuda(_) => {
                // Signaled before it is announced, unless it was announced before: an announced
                // value has to be reached.
                self.signal()?;
                self.announce()
            }
            Side::Host(_) => self.announce().and_then(|()| self.say_done(Duration::MAX)),
        };
        // No further message follows, even if the renderer could not be notified.
        self.end();
        said
    }

    /// Skips the frame and returns its slot; the next frame gets the same number. If the frame was
    /// announced, it is torn instead: the renderer is notified, and continues with the current
    /// contents of the slot.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn skip(mut self) -> Result<()> {
        self.turn.writer.exchange.check_owner()?;
        if self.is_announced() { self.tear(Duration::MAX) } else { self.turn.give_back() }
    }

    fn is_announced(&self) -> bool {
        self.progress.announced.is_some()
    }

    /// Returns the value of the frame's signal, which the first call allocates.
    fn value(&mut self) -> u64 {
        let computed = &mut self.turn.writer.exchange.computed;
        *self.value.get_or_insert_with(|| {
            *computed += 1;
            *computed
        })
    }

    /// Enqueues the signal of the frame. If that fails and the renderer waits for it, signals it
    /// from another stream.
    fn signal(&mut self) -> Result<()> {
        let (frame, slot, announced, value) = (self.turn.frame(), self.turn.slot, self.is_announced(), self.value());
        let writer = &mut *self.turn.writer;
        let Side::Cuda(side) = &mut writer.exchange.side else { return Ok(()) };
        let Err(error) = side.signal(frame, slot, value) else { return Ok(()) };
        self.progress.broken.get_or_insert_with(|| format!("a frame could not be signaled: {error}"));
        if announced {
            // Sent first: a frame whose value is reached and that is not torn counts as complete.
            let torn = Message::Torn { exchange: writer.exchange.offer.exchange, slot, frame };
            writer.exchange.shared.link.send_unreported(writer.exchange.offer.exchange, &torn);
            // The signal was not enqueued, and the renderer waits for it.
            if let Side::Cuda(side) = &self.turn.writer.exchange.side {
                side.signal_in_place(value);
            }
            self.end();
        }
        Err(error)
    }

    /// Marks the frame as torn, and still signals its value. `left` is as for
    /// [`ExchangeSlots::send`].
    ///
    /// [`ExchangeSlots::send`]: crate::exchange::slots::ExchangeSlots::send
    fn tear(&mut self, left: Duration) -> Result<()> {
        let (exchange, slot, frame) = (self.turn.writer.exchange.offer.exchange, self.turn.slot, self.turn.frame());
        let told = self.say(&Message::Torn { exchange, slot, frame }, left);
        let signaled = match &self.turn.writer.exchange.side {
            Side::Cuda(_) => self.signal(),
            Side::Host(_) => self.say_done(left),
        };
        self.end();
        told.and(signaled)
    }

    fn say_done(&mut self, left: Duration) -> Result<()> {
        // Makes the written bytes visible to the receiver of the message.
        fence(Ordering::Release);
        let (exchange, slot, frame) = (self.turn.writer.exchange.offer.exchange, self.turn.slot, self.turn.frame());
        self.say(&Message::Done { exchange, slot, frame }, left)
    }

    fn say(&mut self, message: &Message, left: Duration) -> Result<()> {
        self.turn.writer.send(message, left)
    }

    /// Ends the turn: the slot belongs to the renderer, and the next frame follows.
    fn end(&mut self) {
        if !std::mem::replace(&mut self.turn.done, true) {
            self.turn.writer.next_frame += 1;
        }
        self.progress.announced = None;
    }
}

impl<R: Resources> std::fmt::Debug for ExchangeTurn<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ExchangeTurn(\"{}\", frame {}, slot {})", self.turn.writer.name(), self.frame(), self.slot())
    }
}

impl<R: Resources> Drop for ExchangeTurn<'_, R> {
    fn drop(&mut self) {
        if !self.is_announced() || self.turn.done || self.turn.writer.exchange.is_forked() {
            // The inner turn returns the slot if it still has it.
            return;
        }
        let frame = self.turn.frame();
        let torn = self.tear(Duration::ZERO);
        let name = &self.turn.writer.exchange.offer.name;
        log_warn!("exchange \"{name}\": the turn of frame {frame}, which was announced, was dropped: it is torn");
        if let Err(error) = torn {
            log_error!("exchange \"{name}\": {error}");
        }
    }
}
