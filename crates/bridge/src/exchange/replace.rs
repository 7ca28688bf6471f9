//! Replacing the resources in the slots of a running exchange: larger buffers, images of another
//! size.
#![allow(unsafe_code)] // Copies, waits and signals.

use std::sync::Arc;

use bytemuck::Pod;
use cuda_import::Texel;

use crate::buffer::spec::BufferSpec;
use crate::error::{Error, Result};
use crate::exchange::ledger::FirstSide;
use crate::exchange::ledger::initial::InitialState;
use crate::exchange::slots::hand_over;
use crate::exchange::slots::use_ends::UseEnds;
use crate::exchange::state::State;
use crate::exchange::{Direction, Exchange};
use crate::image::spec::ImageSpec;
use crate::observe::log_error;
use crate::resources::Resources;

impl<R: Resources, D: Direction> Exchange<R, D> {
    /// Replaces the resources in the slots: with another size, format or usage, or another number
    /// of them in a `Vec`. The host does not wait, and frames in flight keep using the old
    /// resources.
    ///
    /// The contents of **buffers are kept**, slot by slot, up to the smaller of both sizes: the
    /// compute side copies them after all earlier work and after the last submission that uses
    /// them. Additional elements are undefined. The contents of **images are undefined**, as in a
    /// new exchange. In a `Vec`, resources are matched by index.
    ///
    /// Frame numbers and the values of both timelines continue, and the number and order of the
    /// slots stay the same. Handles of the old resources, and objects made for them (descriptors,
    /// the program's own image views, recorded commands), are valid until the last submitted frame
    /// is rendered. The old resources are freed after that, in a later [`begin`](Self::begin),
    /// [`compute_with`](Self::compute_with) or `replace` (with CUDA, on a separate thread), or when
    /// the exchange ends. The new slots have other handles, addresses and surfaces: take them from
    /// each turn. A [`FrameGraph`](crate::FrameGraph) is captured again automatically. Buffers come
    /// from the [`pool`](crate::ExchangeInfo::pool) again, if there is one.
    ///
    /// If the bridge does not submit by itself ([`needs_initial`](Self::needs_initial)), new images
    /// need a first hand-over again.
    ///
    /// Do not call it while you hold the lock of the engine's [`QueueLock`](vk_export::QueueLock):
    /// it may submit the hand-over of images, or a signal after dropped lent turns.
    ///
    /// # Errors
    /// [`Error::ReplacedWhileOpen`] while a turn is open; [`Error::InvalidArgument`] while an
    /// [`InitialTurn`](crate::InitialTurn) is open; the errors of [`Exchange::new`], such as
    /// [`vk_export::Error::TooLarge`]; [`Error::TurnLost`] if it is unknown whether a dropped lent
    /// turn still uses a buffer, see [`flush_parts`](Self::flush_parts);
    /// [`vk_export::Error::QueueHeld`] inside [`Queue::with`](vk_export::Queue::with) if it
    /// submits. On any error the exchange keeps its resources, and the new ones are freed:
    /// immediately, which with CUDA waits for the frames in flight, or, if a copy had begun, like
    /// other replaced resources.
    pub fn replace(&mut self, resources: R) -> Result<()> {
        self.replaced.free();
        let old = &self.shared;
        if let Some((frame, stage)) = old.ledger().open_use() {
            return Err(Error::ReplacedWhileOpen { exchange: old.name.clone(), frame, stage });
        }
        if let InitialState::Lent(_) = old.ledger().initial() {
            return Err(old.initial_lent_error());
        }
        old.check_compute()?;
        let carries = self.resources.has_contents_to_copy() && resources.has_contents_to_copy();
        let settled = if carries { Some(old.settle()?) } else { None };

        let new = old.renew(&resources)?;
        match old.replace_with(&new, settled) {
            Ok(ends) => {
                let old = std::mem::replace(&mut self.shared, new);
                self.replaced.push(old, ends);
                self.resources = resources;
                Ok(())
            }
            Err(error) => {
                let ends = old.retraction();
                self.replaced.push(new, ends);
                Err(error)
            }
        }
    }
}

impl<T: Pod + Send + Sync, D: Direction> Exchange<BufferSpec<T>, D> {
    /// Grows every buffer to `len` elements while frames are in flight. Each slot keeps its
    /// elements, and the additional ones are undefined. Does nothing if the length is unchanged.
    ///
    /// Equivalent to [`replace`](Self::replace) with the same spec and a new length; see there for
    /// details. Grow in few, large steps: every call allocates, exports and imports all slots
    /// again.
    #[doc = concat!("\n# Examples\n```\n", include_str!("../../docs/grow.rs"), "```")]
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for fewer elements than there are ([`replace`](Self::replace) can
    /// shorten buffers), otherwise as [`replace`](Self::replace): [`vk_export::Error::TooLarge`]
    /// for more than the device's `maxBufferSize`, [`vk_export::Error::OutOfMemory`] for more than
    /// its memory holds. The exchange then keeps its old buffers.
    pub fn grow(&mut self, len: usize) -> Result<()> {
        let now = self.resources.len();
        if len == now {
            return Ok(());
        }
        if len < now {
            return Err(Error::invalid(
                format!("exchange \"{}\"", self.shared.name),
                format!("its buffers have {now} elements and cannot grow to {len}; `Exchange::replace` shortens"),
            ));
        }
        self.replace(self.resources.with_len(len))
    }
}

impl<T: Texel, D: Direction> Exchange<ImageSpec<T>, D> {
    /// Changes the width and height of the images while frames are in flight, for example to match
    /// a window. Their contents are undefined. Depth, layers and format stay the same; an image
    /// with a full mip chain gets a full chain again, any other keeps its number of levels as far
    /// as they fit. Does nothing if the size is unchanged.
    ///
    /// Equivalent to [`replace`](Self::replace) with the same spec and a new size; see there for
    /// details. To change the depth, use [`replace`](Self::replace) with
    /// [`ImageSpec::with_extent`].
    #[doc = concat!("\n# Examples\n```\n", include_str!("../../docs/resize.rs"), "```")]
    ///
    /// # Errors
    /// As [`replace`](Self::replace); a size of 0, as a minimized window has, is refused.
    pub fn resize(&mut self, [width, height]: [u32; 2]) -> Result<()> {
        let [now_wide, now_high, depth] = self.resources.extent();
        if [width, height] == [now_wide, now_high] {
            return Ok(());
        }
        self.replace(self.resources.with_extent([width, height, depth]))
    }
}

impl<R: Resources> State<R> {
    /// Returns a value of `rendered` after which Vulkan no longer uses the slots. Its signal was
    /// submitted.
    fn settle(&self) -> Result<u64> {
        self.flush()?;
        let settled = self.ledger().settled_value(|| self.objects.rendered.value().unwrap_or(0));
        settled.map_err(|refusal| self.refusal_error(refusal))
    }

    /// Enqueues the work that makes `new` the exchange's slots, and records the change. With
    /// `settled`, the contents are copied after that value of `rendered`. No turn is held,
    /// and nothing uses `new` yet.
    ///
    /// # Errors
    /// The error of the failed driver call. The compute side may then be using `new`; the exchange
    /// keeps its slots.
    fn replace_with(&self, new: &Arc<Self>, settled: Option<u64>) -> Result<UseEnds> {
        if let Some(value) = settled {
            if value > 0 {
                self.enqueue_compute_wait(value)?;
            }
            // For work of other streams that the compute stream is not ordered after yet.
            self.join_all()?;
            // SAFETY: no turn is held, so the compute side has been given all its work with these
            // slots; Vulkan's use ends at `value`, which the compute side waits for. Nothing uses
            // the new slots. Both generations are freed after the signal below or, without it, once
            // the compute side has drained.
            unsafe { new.objects.lender.copy_contents_from(&self.objects.lender) }?;
        } else {
            self.join_all()?;
        }
        let computed = self.signal_all_work()?;

        let images = hand_over::is_needed(&new.barriers);
        let submits = self.compute.device().queues_are_synchronized();
        let handed_over = if images && submits { self.hand_over(new)? } else { 0 };
        let mut ledger = self.ledger();
        let after = match self.first {
            // The compute side's own copies are on its stream, before all later work.
            FirstSide::Compute => handed_over,
            // The hand-over is on Vulkan's own queue.
            FirstSide::Render | FirstSide::RenderRemote if settled.is_some() => computed,
            FirstSide::Render | FirstSide::RenderRemote => 0,
        };
        ledger.mark_replaced(after, images && !submits);
        Ok(UseEnds { rendered: ledger.last_rendered(), computed: Some(computed) })
    }

    /// Makes the compute side signal a value of `computed` after all its work, and returns the
    /// value.
    fn signal_all_work(&self) -> Result<u64> {
        // SAFETY: the values rise strictly: the compute side is this timeline's only signaler, and
        // `signal_computed` takes and enqueues one value at a time. The lender is dropped after the
        // point was reached.
        self.signal_computed(|value| unsafe { self.objects.lender.signal(value) })
    }

    /// Returns the end of the use of slots that never became the exchange's: after the work that
    /// the compute side was given.
    fn retraction(&self) -> UseEnds {
        let computed =
            self.signal_all_work().inspect_err(|error| log_error!("exchange \"{}\": {error}", self.name)).ok();
        UseEnds { rendered: self.ledger().last_rendered(), computed }
    }
}
