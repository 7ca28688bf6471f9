//! Frames that are submitted together.
#![allow(unsafe_code)] // Passes on contracts.

use crate::device::Bridge;
use crate::error::Result;
use crate::order::Order;
use crate::parts::Parts;

/// Frames that are submitted together: a [`Frame`](crate::Frame), a frame of a [latest
/// exchange](crate::Exchange::latest), or several of them, which may be of different exchanges: a
/// tuple of two to four, a `Vec` or an `Option`, also within each other. This trait is sealed.
#[allow(private_bounds)] // Closed on purpose.
pub trait Frames: Batch<Done = <Self as Frames>::Submitted> {
    /// Type that [`Bridge::submit`] returns: the [`TimelinePoint`](crate::TimelinePoint) at which
    /// the GPU is done with the frame, or, with [`RenderFirst`](crate::RenderFirst), the frame's
    /// [`ComputeTurn`](crate::ComputeTurn). For several frames, the same collection of these.
    type Submitted;
}

/// The steps of submitting frames.
pub(crate) trait Batch: Sized {
    /// Frames whose waits and signals are lent.
    type Lent;
    /// [`Frames::Submitted`].
    type Done;

    /// Does the work that must precede lending any of the frames and taking the locks on
    /// submissions: host waits, which would block other threads.
    fn prepare(&self, gpu: &Bridge) -> Result<()>;

    /// Adds the locks on submissions of all exchanges.
    fn orders(&self, all: &mut Vec<Order>);

    /// Lends the frames and records their hand-over.
    fn lend(self, parts: &mut Parts) -> Result<Self::Lent>;

    /// Corrects wgpu's tracking after it refused a submission: wgpu has already recorded the states
    /// in which the command buffers before the one at fault leave their resources, as if they had
    /// run.
    fn repair(lent: &Self::Lent);

    /// Notifies the frames that nothing was submitted.
    ///
    /// # Safety
    /// No submission with the parts was accepted, and none will be.
    unsafe fn refused(lent: Self::Lent);

    /// Notifies the frames that they were submitted.
    ///
    /// # Safety
    /// The parts were submitted to wgpu's queue: waits, then commands, then signals.
    unsafe fn submitted(lent: Self::Lent) -> Result<Self::Done>;
}

impl<F: Frames> Frames for Vec<F> {
    type Submitted = Vec<F::Submitted>;
}

impl<F: Frames> Batch for Vec<F> {
    type Lent = Vec<F::Lent>;
    type Done = Vec<F::Submitted>;

    fn prepare(&self, gpu: &Bridge) -> Result<()> {
        self.iter().try_for_each(|frame| frame.prepare(gpu))
    }

    fn orders(&self, all: &mut Vec<Order>) {
        self.iter().for_each(|frame| frame.orders(all));
    }

    fn lend(self, parts: &mut Parts) -> Result<Self::Lent> {
        let mut all = Vec::new();
        for frame in self {
            match frame.lend(parts) {
                Ok(lent) => all.push(lent),
                Err(error) => {
                    // SAFETY: nothing was submitted.
                    unsafe { Self::refused(all) };
                    return Err(error);
                }
            }
        }
        Ok(all)
    }

    fn repair(lent: &Self::Lent) {
        lent.iter().for_each(F::repair);
    }

    unsafe fn refused(lent: Self::Lent) {
        // SAFETY: the same contract.
        lent.into_iter().for_each(|lent| unsafe { F::refused(lent) });
    }

    unsafe fn submitted(lent: Self::Lent) -> Result<Self::Done> {
        // Each frame is notified, even if others fail.
        // SAFETY: the same contract.
        let all: Vec<_> = lent.into_iter().map(|lent| unsafe { F::submitted(lent) }).collect();
        // If one has failed, the turns of the others are dropped, as documented at
        // `Bridge::submit`.
        all.into_iter().collect()
    }
}

impl<F: Frames> Frames for Option<F> {
    type Submitted = Option<F::Submitted>;
}

impl<F: Frames> Batch for Option<F> {
    type Lent = Option<F::Lent>;
    type Done = Option<F::Submitted>;

    fn prepare(&self, gpu: &Bridge) -> Result<()> {
        self.as_ref().map_or(Ok(()), |frame| frame.prepare(gpu))
    }

    fn orders(&self, all: &mut Vec<Order>) {
        self.iter().for_each(|frame| frame.orders(all));
    }

    fn lend(self, parts: &mut Parts) -> Result<Self::Lent> {
        self.map(|frame| frame.lend(parts)).transpose()
    }

    fn repair(lent: &Self::Lent) {
        lent.iter().for_each(F::repair);
    }

    unsafe fn refused(lent: Self::Lent) {
        if let Some(lent) = lent {
            // SAFETY: the same contract.
            unsafe { F::refused(lent) };
        }
    }

    unsafe fn submitted(lent: Self::Lent) -> Result<Self::Done> {
        // SAFETY: the same contract.
        lent.map(|lent| unsafe { F::submitted(lent) }).transpose()
    }
}

impl<A: Frames, B: Frames> Frames for (A, B) {
    type Submitted = (A::Submitted, B::Submitted);
}

impl<A: Frames, B: Frames> Batch for (A, B) {
    type Lent = (A::Lent, B::Lent);
    type Done = (A::Submitted, B::Submitted);

    fn prepare(&self, gpu: &Bridge) -> Result<()> {
        self.0.prepare(gpu)?;
        self.1.prepare(gpu)
    }

    fn orders(&self, all: &mut Vec<Order>) {
        self.0.orders(all);
        self.1.orders(all);
    }

    fn lend(self, parts: &mut Parts) -> Result<Self::Lent> {
        let first = self.0.lend(parts)?;
        match self.1.lend(parts) {
            Ok(second) => Ok((first, second)),
            Err(error) => {
                // SAFETY: nothing was submitted.
                unsafe { A::refused(first) };
                Err(error)
            }
        }
    }

    fn repair((first, second): &Self::Lent) {
        A::repair(first);
        B::repair(second);
    }

    unsafe fn refused((first, second): Self::Lent) {
        // SAFETY: the same contract.
        unsafe { A::refused(first) };
        // SAFETY: the same contract.
        unsafe { B::refused(second) };
    }

    unsafe fn submitted((first, second): Self::Lent) -> Result<Self::Done> {
        // Each frame is notified, even if the other fails.
        // SAFETY: the same contract.
        let first = unsafe { A::submitted(first) };
        // SAFETY: the same contract.
        let second = unsafe { B::submitted(second) };
        Ok((first?, second?))
    }
}

/// Implements the traits for a larger tuple by those for pairs, into which it is regrouped.
macro_rules! tuple {
    ($($part:ident $value:ident),* => $pairs:ty, $regrouped:tt) => {
        impl<$($part: Frames),*> Frames for ($($part,)*) {
            type Submitted = ($($part::Submitted,)*);
        }

        impl<$($part: Frames),*> Batch for ($($part,)*) {
            type Lent = <$pairs as Batch>::Lent;
            type Done = ($($part::Submitted,)*);

            fn prepare(&self, gpu: &Bridge) -> Result<()> {
                let ($($value,)*) = self;
                $($value.prepare(gpu)?;)*
                Ok(())
            }

            fn orders(&self, all: &mut Vec<Order>) {
                let ($($value,)*) = self;
                $($value.orders(all);)*
            }

            fn lend(self, parts: &mut Parts) -> Result<Self::Lent> {
                let ($($value,)*) = self;
                $regrouped.lend(parts)
            }

            fn repair(lent: &Self::Lent) {
                <$pairs>::repair(lent);
            }

            unsafe fn refused(lent: Self::Lent) {
                // SAFETY: the same contract.
                unsafe { <$pairs>::refused(lent) };
            }

            unsafe fn submitted(lent: Self::Lent) -> Result<Self::Done> {
                // SAFETY: the same contract.
                let $regrouped = unsafe { <$pairs>::submitted(lent) }?;
                Ok(($($value,)*))
            }
        }
    };
}

tuple!(A a, B b, C c => ((A, B), C), ((a, b), c));
tuple!(A a, B b, C c, D d => ((A, B), (C, D)), ((a, b), (c, d)));
