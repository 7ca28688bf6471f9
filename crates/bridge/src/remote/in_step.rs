//! Common parts of the two exchanges in step with a worker.

use std::sync::Arc;

use super::accepted::Remote;
use super::part::WorkerHandle;
use super::terms::in_step;
use super::workers::Workers;
use crate::compute::Compute;
use crate::error::Result;
use crate::exchange::{ExchangeInfo, ProgramHalf, RemoteDraws, RemoteHandle, RemoteTurns, WorkerReader, WorkerWriter};
use crate::resources::{Resources, Share as _};

/// The handle of an exchange in step on behalf of its workers.
pub(super) trait InStepHandle: WorkerHandle {
    /// The program's half of the exchange.
    type Program: ProgramHalf<Self::Resources>;

    /// Creates both halves of an exchange.
    fn create(compute: &Compute, info: &ExchangeInfo<'_>, resources: &Self::Resources) -> Result<Self>;

    /// Returns the program's half.
    fn program(&self) -> Arc<Self::Program>;
}

impl<R: Resources> InStepHandle for WorkerWriter<R> {
    type Program = RemoteTurns<R>;

    fn create(compute: &Compute, info: &ExchangeInfo<'_>, resources: &R) -> Result<Self> {
        Self::new(compute, info, resources)
    }

    fn program(&self) -> Arc<RemoteTurns<R>> {
        self.steps()
    }
}

impl<R: Resources> InStepHandle for WorkerReader<R> {
    type Program = RemoteDraws<R>;

    fn create(compute: &Compute, info: &ExchangeInfo<'_>, resources: &R) -> Result<Self> {
        Self::new(compute, info, resources)
    }

    fn program(&self) -> Arc<RemoteDraws<R>> {
        self.draws()
    }
}

/// An exchange in step with a worker: the successive workers, which have one half, and the
/// program's half.
pub(super) struct InStep<E: InStepHandle> {
    // Field order is drop order: the thread signals what the worker owes before the slots are
    // dropped.
    pub(super) workers: Workers<E>,
    pub(super) program: Arc<E::Program>,
    pub(super) compute: Compute,
    pub(super) slots: usize,
    pub(super) name: String,
    pub(super) resources: <E as RemoteHandle>::Resources,
}

impl<E: InStepHandle> InStep<E> {
    /// Offers an exchange to the worker if `check` allows it.
    pub(super) fn new(
        remote: Remote,
        info: &ExchangeInfo<'_>,
        resources: E::Resources,
        check: impl FnOnce(&Remote) -> Result<()>,
    ) -> Result<Self> {
        let (remote, compute) = remote.prepare(|remote| {
            check(remote)?;
            remote.compute_for_exchange(info)
        })?;
        Self::of(remote, compute, info, resources)
    }

    /// Offers an exchange with this compute side to the worker.
    pub(super) fn of(
        remote: Remote,
        compute: Compute,
        info: &ExchangeInfo<'_>,
        resources: E::Resources,
    ) -> Result<Self> {
        let mut kinds = Vec::new();
        resources.kinds(&mut kinds);
        let (remote, handle) = remote.prepare(|_| E::create(&compute, info, &resources))?;
        let program = handle.program();
        let workers = Workers::new(remote, &in_step(info), kinds, handle)?;
        let woken = Arc::clone(&program);
        workers.status().set_on_loss(move || woken.wake());
        Ok(Self { workers, program, compute, slots: info.slots, name: info.name.to_owned(), resources })
    }

    /// Checks that a worker is connected, and that frames can be copied for a worker on the CPU.
    pub(super) fn check_worker(&self) -> Result<()> {
        self.workers.require_worker()?;
        self.program.check_compute()
    }

    /// Disconnects the worker, and then closes the exchange.
    pub(super) fn close(&mut self) -> Result<()> {
        drop(self.workers.end()?);
        self.program.close()
    }

    /// Formats the exchange for `Debug`.
    pub(super) fn debug(&self, kind: &str, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, slots, process) = (&self.name, self.slots, self.workers.process());
        write!(f, "{kind}(\"{name}\", {slots} slots, worker process {process})")
    }
}

impl<E: InStepHandle> Drop for InStep<E> {
    fn drop(&mut self) {
        // The thread withdraws torn frames; the program has not taken the others.
        self.workers.leave();
        if !self.workers.is_forked() {
            self.program.discard();
        }
    }
}

/// Methods of both exchanges in step, which have the field `shared: InStep<_>`.
macro_rules! shared_methods {
    ($name:ident) => {
        impl<R: Resources> $name<R> {
            /// Returns the process ID of the worker, or of the last one.
            pub fn pid(&self) -> u32 {
                self.shared.workers.process()
            }

            /// Disconnects as [`disconnect`](Self::disconnect) does, and then closes the exchange,
            /// as [`Exchange::close`](crate::Exchange::close) does.
            ///
            /// # Errors
            /// As [`Exchange::close`](crate::Exchange::close).
            pub fn close(mut self) -> Result<()> {
                self.shared.close()
            }

            /// Returns the resources in each slot.
            pub fn resources(&self) -> &R {
                &self.shared.resources
            }

            /// Returns the exchange's name.
            pub fn name(&self) -> &str {
                &self.shared.name
            }

            /// Returns the number of slots.
            pub fn slots(&self) -> usize {
                self.shared.slots
            }

            /// Returns the compute side: the thread that copies frames from or to a worker on the
            /// CPU, or [`Backend::Remote`](crate::Backend::Remote).
            pub fn compute(&self) -> &Compute {
                &self.shared.compute
            }

            /// Returns the queue that turns are submitted to. The turns' barriers name its family.
            pub fn queue(&self) -> &Queue {
                self.shared.program.queue(&self.shared.compute)
            }

            /// Returns a [`Lease`] on the Vulkan objects of a slot.
            ///
            /// # Errors
            /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if `slot` is out of range.
            pub fn lease(&self, slot: usize) -> Result<Lease> {
                self.shared.program.state().checked_lease(slot)
            }

            /// Submits the first hand-over of new images and waits for it, as
            /// [`Exchange::initialize`](crate::Exchange::initialize).
            ///
            /// # Errors
            /// As [`Exchange::initialize`](crate::Exchange::initialize).
            pub fn initialize(&mut self) -> Result<()> {
                self.shared.program.state().initialize()
            }

            /// Records the first hand-over of new images, as
            /// [`Exchange::record_initial`](crate::Exchange::record_initial).
            ///
            /// # Errors
            /// As [`Exchange::record_initial`](crate::Exchange::record_initial).
            ///
            /// # Safety
            /// As [`Exchange::record_initial`](crate::Exchange::record_initial).
            pub unsafe fn record_initial(&mut self, commands: vk::CommandBuffer) -> Result<InitialTurn<R>> {
                // SAFETY: the caller guarantees it.
                unsafe { self.shared.program.state().record_initial(commands) }
            }

            /// Returns the parts of a submission that recovers the slots of dropped lent turns, as
            /// [`Exchange::flush_parts`](crate::Exchange::flush_parts).
            ///
            /// # Errors
            /// As [`Exchange::flush_parts`](crate::Exchange::flush_parts).
            pub fn flush_parts(&mut self) -> Result<Option<SubmitParts>> {
                self.shared.program.state().flush_parts()
            }
        }

        impl<R: Resources> std::fmt::Debug for $name<R> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.shared.debug(stringify!($name), f)
            }
        }
    };
}

pub(super) use shared_methods;
