//! In step with a renderer that draws: each frame once and in order, and values that are announced
//! before they are reached.

use std::sync::Arc;
use std::time::Duration;

use bridge_ipc::{Direction, Message, Offer};
use cuda_import::cudarc::driver::CudaStream;

use crate::error::Error;
use crate::frame::Frame;
use crate::link::{Ended, Published};
use crate::reader::{CudaRead, HostRead, Read};
use crate::shared::Shared;
use crate::side::{self, EndTrace, Imported, SEND_LIMIT, Side};

/// An exchange in step with a renderer that draws, made by
/// [`Worker::exchange_reader`](crate::Worker::exchange_reader). It belongs to one thread at a time.
///
/// It has every frame that the renderer submits, once and in order. With CUDA a frame comes before
/// it is drawn: the stream waits for it, and the renderer's next commands with the slot wait for
/// what the stream does with it. What was given back has to come to its end: a worker that does not
/// within the renderer's limit is killed.
pub struct ExchangeReader<F: Frame> {
    /// Before `shared`: the slots go before the connection.
    side: Side<F>,
    offer: Offer,
    /// A frame for which the stream could not be made to wait so far.
    next: Option<Published>,
    /// The last frame that was had.
    last: u64,
    /// The last value of this side's timeline.
    computed: u64,
    /// Why no frame can be given back any more.
    broken: Option<String>,
    end: EndTrace,
    shared: Arc<Shared>,
}

impl<F: Frame> ExchangeReader<F> {
    pub(crate) fn new(shared: &Arc<Shared>, name: &str) -> Result<Self, Error> {
        let Imported { side, offer, computed } = side::import(shared, name, Direction::RendererWrites, true)?;
        let (end, shared) = (EndTrace::default(), Arc::clone(shared));
        let reader = Self { side, offer, next: None, last: 0, computed, broken: None, end, shared };
        reader.shared.ready(&reader.offer)?;
        Ok(reader)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.offer.name
    }

    /// Slots.
    pub fn slots(&self) -> usize {
        self.offer.slots as usize
    }

    /// The stream of its turns; `None` on the CPU.
    pub fn stream(&self) -> Option<&Arc<CudaStream>> {
        match &self.side {
            Side::Cuda(side) => Some(side.stream()),
            Side::Host(_) => None,
        }
    }

    /// The next frame, waited for on the host for at most `timeout`; `None` if there is none by
    /// then. With CUDA its stream waits until it is drawn; on the CPU it is.
    ///
    /// Numbers of frames that the renderer has skipped are left out, and so are those of frames that
    /// it takes back.
    ///
    /// # Errors
    /// [`Error::PeerLost`] when the renderer's process has ended, [`Error::Closed`] where it has
    /// closed the exchange or the connection, and once a slot could not be given back;
    /// [`Error::Cuda`] where the stream cannot be made to wait: the next call tries again.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<ExchangeReadTurn<'_, F>>, Error> {
        if let Some(reason) = &self.broken {
            return Err(Error::Closed { exchange: self.offer.name.clone(), reason: reason.clone() });
        }
        let frame = loop {
            let found = match self.next {
                Some(next) => Some(next),
                None => self.published(timeout)?,
            };
            let Some(frame) = found else { return Ok(None) };
            self.next = Some(frame);
            if let Side::Cuda(side) = &mut self.side {
                side.wait(frame.value)?;
            }
            self.next = None;
            if !frame.torn {
                break frame;
            }
            log::warn!("exchange \"{}\": frame {} is torn, as the renderer says", self.offer.name, frame.frame);
            self.give_back(frame)?;
        };
        self.last = frame.frame;
        let taken = self.shared.event("take", &self.offer.name).slot(frame.slot.into());
        bridge_trace::event(taken.frame(frame.frame).value(frame.value));
        Ok(Some(ExchangeReadTurn { reader: self, frame, done: false }))
    }

    /// Takes the frame that the renderer has published first. Waits for at most `timeout`.
    fn published(&mut self, timeout: Duration) -> Result<Option<Published>, Error> {
        let exchange = self.offer.exchange;
        let found = self.shared.link.wait_for(timeout, |state| {
            let inbox = state.inboxes.get_mut(&exchange)?;
            if inbox.closed {
                return Some(None);
            }
            inbox.published.pop_front().map(Some)
        });
        match found {
            Ok(Some(frame)) => Ok(Some(frame)),
            Ok(None) => {
                self.end.tell(&self.shared, "close", &self.offer.name);
                let reason = format!("by {}", self.shared.link.peer());
                Err(Error::Closed { exchange: self.offer.name.clone(), reason })
            }
            Err(Ended::Timeout) => Ok(None),
            Err(ended) => Err(self.ended(ended)),
        }
    }

    /// Gives a slot back, behind all of this side's work with it.
    fn give_back(&mut self, Published { slot, .. }: Published) -> Result<(), Error> {
        let mut value = 0;
        if let Side::Cuda(side) = &mut self.side {
            value = self.computed + 1;
            // Before it is told: what is told comes.
            if let Err(error) = side.signal_read(slot, value) {
                self.broken.get_or_insert_with(|| format!("a slot could not be given back: {error}"));
                return Err(error);
            }
            self.computed = value;
        }
        bridge_trace::event(self.shared.event("free", &self.offer.name).slot(slot.into()).value(value));
        let free = Message::Free { exchange: self.offer.exchange, slot, value };
        let sent = self.shared.link.send(&free, SEND_LIMIT);
        sent.map_err(|ended| self.ended(ended))
    }

    fn ended(&mut self, ended: Ended) -> Error {
        self.end.tell_of(&self.shared, &ended, &self.offer.name);
        let owed = self.side.rescue(&ended);
        side::ended_error(&self.shared, &self.offer.name, self.last, owed, ended)
    }
}

impl<F: Frame> std::fmt::Debug for ExchangeReader<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ExchangeReader(\"{}\", {} slots)", self.name(), self.slots())
    }
}

impl<F: Frame> Drop for ExchangeReader<F> {
    fn drop(&mut self) {
        self.end.tell(&self.shared, "close", &self.offer.name);
        self.shared.leave(&mut self.side, self.offer.exchange);
    }
}

/// A frame that is being read. It has the slot until [`finish`](Self::finish).
///
/// Dropping it does the same, and logs the error.
#[must_use = "a turn gives its slot back as soon as it is dropped"]
pub struct ExchangeReadTurn<'a, F: Frame> {
    reader: &'a mut ExchangeReader<F>,
    frame: Published,
    done: bool,
}

impl<F: Frame> ExchangeReadTurn<'_, F> {
    /// The number of the frame: the renderer's, which rises from one turn to the next.
    pub fn frame(&self) -> u64 {
        self.frame.frame
    }

    /// The slot.
    pub fn slot(&self) -> usize {
        self.frame.slot as usize
    }

    /// The resources to read, lent until the turn ends.
    pub fn work(&self) -> Read<'_, F> {
        match &self.reader.side {
            Side::Cuda(side) => {
                let (stream, views) = side.sources(self.frame.slot);
                Read::Cuda(CudaRead { stream, views })
            }
            Side::Host(slots) => Read::Host(HostRead { views: F::host_sources(&slots[self.frame.slot as usize]) }),
        }
    }

    /// Gives the slot back. With CUDA nothing is waited for: the stream signals behind its work, and
    /// behind that with the views on other streams where cudarc knows of it, and the renderer's next
    /// commands with the slot wait for that. From here on the work has to end within the renderer's
    /// limit: past it, this process is killed.
    ///
    /// # Errors
    /// [`Error::PeerLost`] and [`Error::Closed`] as for [`ExchangeReader::next`]; [`Error::Cuda`]
    /// where the signal cannot be enqueued: the slot is not given back, and the exchange gives no
    /// other frames.
    pub fn finish(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        self.done = true;
        self.reader.give_back(self.frame)
    }
}

impl<F: Frame> Drop for ExchangeReadTurn<'_, F> {
    fn drop(&mut self) {
        if !self.done
            && let Err(error) = self.end()
        {
            log::error!("exchange \"{}\": {error}", self.reader.offer.name);
        }
    }
}
