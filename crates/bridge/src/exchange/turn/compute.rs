//! The compute side's part of a frame.
#![allow(unsafe_code)] // Lends the resources that the turn owns.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::exchange::direction::{ComputeFirst, Direction, RenderFirst};
use crate::exchange::ledger::{FirstSide, NewFrame};
use crate::exchange::state::State;
use crate::exchange::turn_parts::TurnParts;
use crate::exchange::work::Work;
use crate::observe::live::Alive;
use crate::observe::{log_error, log_warn};
use crate::resources::Resources;
use crate::timeline::TimelinePoint;

/// The compute side's part of a frame: it owns the slot until [`finish`](Self::finish).
///
/// If it is dropped before that, its frame is lost: the next `begin` returns [`Error::TurnLost`],
/// and the one after that succeeds.
#[must_use = "a turn that is dropped before `finish` loses its frame"]
pub struct ComputeTurn<R: Resources, D: Direction = ComputeFirst> {
    pub(in crate::exchange) shared: Arc<State<R>>,
    pub(in crate::exchange) frame: u64,
    pub(in crate::exchange) slot: usize,
    /// The value of `rendered` that this frame's submission signals, if Vulkan began the frame.
    pub(in crate::exchange) rendered: u64,
    pub(in crate::exchange) finished: bool,
    /// Set while the leading GPU is not yet ordered after other GPUs that were lent parts of the
    /// slot.
    pub(in crate::exchange) split: bool,
    /// The error because of which the leading GPU was not ordered after the others when it was lent
    /// the slot; the frame then cannot be handed over.
    pub(in crate::exchange) unjoined: Option<Box<Error>>,
    pub(in crate::exchange) direction: PhantomData<fn() -> D>,
    pub(in crate::exchange) alive: Alive,
}

impl<R: Resources, D: Direction> ComputeTurn<R, D> {
    /// Creates the first turn of a frame.
    pub(in crate::exchange) fn new(shared: &Arc<State<R>>, begun: NewFrame) -> Self {
        Self::from_parts(TurnParts::new(shared, begun.frame, begun.slot), 0)
    }

    /// Creates the turn of a frame whose submission signals the value `rendered`.
    pub(in crate::exchange) fn from_parts(
        TurnParts { shared, frame, slot, alive }: TurnParts<R>,
        rendered: u64,
    ) -> Self {
        Self {
            shared,
            frame,
            slot,
            rendered,
            finished: false,
            split: false,
            unjoined: None,
            direction: PhantomData,
            alive,
        }
    }

    /// Returns the frame's number, starting at 0.
    pub fn frame(&self) -> u64 {
        self.frame
    }

    /// Returns the slot's index, less than [`Exchange::slots`](crate::Exchange::slots). The slot
    /// has the contents of its last use or, with [`RenderFirst`], the frame that Vulkan has
    /// rendered.
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// Lends the resources to compute with. With several GPUs, the work is on the leading GPU,
    /// ordered after the parts lent by [`work_split`](Self::work_split). If that order cannot be
    /// established, the frame is lost and [`finish`](Self::finish) returns the error.
    pub fn work(&mut self) -> Work<'_, R> {
        if let Err(error) = self.join_gpus() {
            // The first error is kept: later work may be in order, but work lent in between is not.
            self.unjoined.get_or_insert_with(|| Box::new(error));
        }
        // SAFETY: this turn alone holds the slot, and the work borrows the turn. Results that were
        // computed out of order are never handed over, and no later turn gets the slot before the
        // GPUs are in order again.
        unsafe { self.shared.work(self.slot) }
    }

    /// Hands the slot over by enqueuing a signal after the turn's work. Returns the frame's
    /// [`RenderTurn`] or, with [`RenderFirst`], the point at which the work completes.
    ///
    /// # Errors
    /// The error of the failed driver call; the frame is then lost, as if the turn had been
    /// dropped.
    ///
    /// [`RenderTurn`]: crate::RenderTurn
    pub fn finish(mut self) -> Result<D::Finished<R>> {
        if let Some(error) = self.unjoined.take() {
            return Err(*error);
        }
        let computed = self.shared.enqueue_compute_signal(self.slot)?;
        Ok(self.into_finished(computed))
    }

    /// Orders the leading stream after the other GPUs' parts of the frame: each GPU's home stream
    /// waits for the work of other streams there on its part, and the leading stream waits for the
    /// home streams.
    pub(in crate::exchange) fn join_gpus(&mut self) -> Result<()> {
        if self.split {
            self.shared.objects.lender.join(self.slot)?;
            self.split = false;
        }
        Ok(())
    }

    /// Records that the signal of a value of `computed` is enqueued, and passes the frame on.
    pub(in crate::exchange) fn into_finished(mut self, computed: u64) -> D::Finished<R> {
        self.shared.ledger().finish(self.slot, computed);
        self.finished = true;
        D::on_finished(self.into_parts(), computed)
    }

    /// Returns the slot without handing it over, for a frame with nothing to compute or whose
    /// computation failed. Work that was enqueued or recorded still runs, and the slot's next use
    /// is ordered after it. The frame does not count as lost.
    ///
    /// # Errors
    /// The error of the failed driver call; the frame is then lost, as if the turn had been
    /// dropped.
    pub fn skip(mut self) -> Result<()> {
        match D::FIRST {
            FirstSide::Compute => {
                // The next compute turn of the slot is on the same stream, after the work that is
                // joined here.
                self.shared.objects.lender.join(self.slot)?;
                self.shared.objects.lender.note_unsignaled();
                self.shared.ledger().skip_compute(self.slot);
            }
            FirstSide::Render | FirstSide::RenderRemote => {
                let computed = self.shared.enqueue_compute_signal(self.slot)?;
                self.shared.ledger().finish(self.slot, computed);
                self.shared.record_frame_end(computed);
            }
        }
        self.finished = true;
        Ok(())
    }
}

impl<R: Resources> ComputeTurn<R, RenderFirst> {
    /// Returns the point at which Vulkan has rendered the frame. The compute stream already waits
    /// for it.
    pub fn rendered(&self) -> TimelinePoint {
        self.shared.objects.rendered.point(self.rendered)
    }
}

impl<R: Resources, D: Direction> Drop for ComputeTurn<R, D> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if let Some(error) = self.unjoined.take() {
            log_error!("{error}");
        }
        // Enqueued work may still use the slot. The slot's next frame is ordered after that work:
        // on the leading stream, or by the signal that Vulkan waits for.
        let ended = match D::FIRST {
            FirstSide::Compute => {
                self.shared.objects.lender.note_unsignaled();
                self.join_gpus().map(|()| None)
            }
            FirstSide::Render | FirstSide::RenderRemote => self.shared.enqueue_compute_signal(self.slot).map(Some),
        };
        let mut ledger = self.shared.ledger();
        ledger.drop_compute(self.slot, *ended.as_ref().unwrap_or(&None));
        if let (FirstSide::Compute, Err(_)) = (D::FIRST, &ended) {
            ledger.mark_unjoined(self.slot, self.frame);
        }
        drop(ledger);
        log_warn!("exchange \"{}\": the compute turn of frame {} was dropped", self.shared.name, self.frame);
        if let Err(error) = ended {
            log_error!("{error}");
        }
    }
}

impl<R: Resources, D: Direction> std::fmt::Debug for ComputeTurn<R, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ComputeTurn(\"{}\", frame {}, slot {})", self.shared.name, self.frame, self.slot)
    }
}
