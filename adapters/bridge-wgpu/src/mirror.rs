//! wgpu's view of an exchange, shared by its handles and turns.
#![allow(unsafe_code)] // Hands new images over, and records copies.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ash::vk;
use bridge::{InitialTurn, Lease, LiveObjects, Resources, SubmitParts};

use crate::device::Bridge;
use crate::error::{Error, Result};
use crate::order::Order;
use crate::own_commands::OwnCommands;
use crate::parts::Parts;
use crate::raw;
use crate::scope::capture_recording;
use crate::shared::{Filled, Flow, Shared, SlotInfo};

/// wgpu's view of an exchange.
pub(crate) struct Mirror<S: Shared> {
    pub(crate) gpu: Bridge,
    pub(crate) flow: Flow,
    pub(crate) name: String,
    /// Timeout of waits on the host.
    pub(crate) timeout: Duration,
    pub(crate) objects: S::Objects,
    pub(crate) shared: S,
    pub(crate) order: Order,
    /// Set once a copy by wgpu's own commands has filled the objects: wgpu then considers them
    /// initialized.
    is_filled: AtomicBool,
    /// Wrapped at their first use.
    slots: Box<[OnceLock<S::Slot>]>,
}

impl<S: Shared> Mirror<S> {
    /// Creates the objects that persist over all frames. Returns the specifications of the
    /// resources, and a function that creates the view for the number of slots, which the bridge
    /// has checked by then.
    pub(crate) fn new(
        gpu: &Bridge,
        flow: Flow,
        name: &str,
        timeout: Duration,
        shared: S,
        order: Order,
    ) -> Result<(S::Specs, impl FnOnce(usize) -> Arc<Self> + use<S>)> {
        let specs = shared.specs(gpu, flow, name)?;
        let objects = shared.objects(gpu, flow, name)?;
        let (gpu, name) = (gpu.clone(), name.to_owned());
        let of_slots = move |slots| {
            let slots = (0..slots).map(|_| OnceLock::new()).collect();
            Arc::new(Self {
                gpu,
                flow,
                name,
                timeout,
                objects,
                shared,
                order,
                is_filled: AtomicBool::new(false),
                slots,
            })
        };
        Ok((specs, of_slots))
    }

    /// Checks that the frame is submitted with a `Bridge` of the device that its exchange was
    /// created on.
    pub(crate) fn require_device(&self, gpu: &Bridge) -> Result<()> {
        if gpu.is_same(&self.gpu) {
            return Ok(());
        }
        Err(Error::invalid(
            format!("a frame of exchange \"{}\"", self.name),
            "it belongs to another wgpu device; submit it with a `Bridge` of its exchange's device",
        ))
    }

    /// Returns a slot as wgpu sees it; `lease` must belong to the slot.
    pub(crate) fn slot(&self, lease: Lease, render: <S::Specs as Resources>::Render<'_>) -> Result<&S::Slot> {
        let slot = &self.slots[lease.slot()];
        if slot.get().is_none() {
            let Self { gpu, flow, name, .. } = self;
            let made = self.shared.wrap(&SlotInfo { gpu, flow: *flow, name, lease }, render)?;
            // If another thread was faster, its equivalent value is used.
            let _ = slot.set(made);
        }
        slot.get().ok_or_else(|| Error::invalid(&self.name, "a slot was not wrapped"))
    }

    /// Records the acquire of a slot, the copy, and the release, in separate command buffers:
    /// wgpu's barriers come first in each, and wgpu rejects encoders with commands of both kinds.
    /// If Vulkan commands also [make the copy](Self::copies_raw), all three are in one command
    /// buffer.
    pub(crate) fn record<'r>(
        &self,
        lease: Lease,
        resources: impl Fn() -> <S::Specs as Resources>::Render<'r>,
        parts: &mut Parts,
        acquire: impl FnOnce(vk::CommandBuffer),
        release: impl FnOnce(vk::CommandBuffer),
    ) -> Result<()> {
        let Self { gpu, name, flow, .. } = self;
        self.refuse_first(parts)?;
        if self.copies_raw() {
            return self.record_raw(&resources, parts, acquire, release);
        }
        let slot = self.slot(lease, resources())?;
        let (acquire, ()) = raw::record(gpu, name, |commands| {
            parts.own.push(OwnCommands::new(commands));
            acquire(commands);
        })?;
        let copy = self.copy(slot)?;
        let settle = if S::IN_PLACE { self.settle(slot)? } else { None };
        let (release, ()) = raw::record(gpu, name, |commands| {
            // The settling commands contain only the transitions of a slot's textures, each once.
            parts.own.push(if settle.is_some() {
                OwnCommands::behind_transitions(commands)
            } else {
                OwnCommands::new(commands)
            });
            release(commands);
        })?;
        match (S::IN_PLACE, flow) {
            (false, Flow::In) => parts.before.extend(chain(acquire, copy, release)),
            (false, Flow::Out) => parts.behind.extend(chain(acquire, copy, release)),
            (true, flow) => {
                parts.before.push(acquire);
                match flow {
                    Flow::In => parts.before.extend(copy),
                    Flow::Out => parts.behind.extend(copy),
                }
                parts.behind.extend(settle);
                parts.behind.push(release);
            }
        }
        Ok(())
    }

    /// Records wgpu's barriers for a copy of objects. With them, wgpu keeps the objects alive for
    /// the submission.
    pub(crate) fn transition(&self, commands: &mut wgpu::CommandEncoder, objects: Filled<'_>) {
        let (of_buffers, of_textures) = match self.flow {
            Flow::In => (wgpu::BufferUses::COPY_DST, wgpu::TextureUses::COPY_DST),
            Flow::Out => (wgpu::BufferUses::COPY_SRC, wgpu::TextureUses::COPY_SRC),
        };
        let buffers = objects.buffers.into_iter().map(|buffer| wgpu::BufferTransition { buffer, state: of_buffers });
        let textures = objects.textures.into_iter();
        let textures = textures.map(|texture| wgpu::TextureTransition { texture, selector: None, state: of_textures });
        commands.transition_resources(buffers, textures);
    }

    /// Returns the copy between a slot and the persistent objects, if any.
    pub(crate) fn copy(&self, slot: &S::Slot) -> Result<Option<wgpu::CommandBuffer>> {
        let copy = || self.encode(|commands| S::copy(self.flow, slot, &self.objects, commands));
        S::COPIES.then(copy).transpose()
    }

    /// Returns the commands that bring a slot back to the state for the hand-over, after the
    /// program's commands have used it; `None` if there is nothing to do.
    pub(crate) fn settle(&self, slot: &S::Slot) -> Result<Option<wgpu::CommandBuffer>> {
        S::SETTLES.then(|| self.encode(|commands| S::settle(slot, commands))).transpose()
    }

    /// Submits a signal after submissions for which wgpu did not report whether they were made, so
    /// that their end can be detected. `parts` returns the parts of a flush. Returns the signal, if
    /// one is needed.
    pub(crate) fn flush(
        &self,
        parts: impl FnOnce() -> bridge::Result<Option<SubmitParts>>,
    ) -> Result<Option<vk::SemaphoreSubmitInfo<'static>>> {
        // Locked before the value is taken: other threads submit frames of the exchange, and the
        // values must increase. If a callback finds the lock taken, another submission is being
        // made, whose signal follows; if that is refused, the next call of the exchange flushes, or
        // its end.
        let Some(_order) = self.order.lock() else { return Ok(None) };
        self.flush_locked(parts)
    }

    fn flush_locked(
        &self,
        parts: impl FnOnce() -> bridge::Result<Option<SubmitParts>>,
    ) -> Result<Option<vk::SemaphoreSubmitInfo<'static>>> {
        let Some(signal) = parts()?.map(|parts| parts.signal()) else { return Ok(None) };
        self.gpu.signal(&self.name, &[signal])?;
        Ok(Some(signal))
    }

    /// [Flushes](Self::flush), and waits for the signal: the slots of such submissions are then
    /// free.
    pub(crate) fn recover(&self, parts: impl FnOnce() -> bridge::Result<Option<SubmitParts>>) -> Result<()> {
        let signal = self.flush(parts)?;
        signal.map_or(Ok(()), |signal| self.gpu.wait(&self.name, &signal, self.timeout))
    }

    /// [Flushes](Self::flush), and then drops a handle of the exchange, which waits for the signal.
    /// If a callback calls this while a submission of the exchange is being made, this is done
    /// after that submission, which may be refused, so that its own signal never arrives.
    pub(crate) fn end<T: Send + 'static>(
        self: &Arc<Self>,
        mut handle: T,
        parts: impl FnOnce(&mut T) -> bridge::Result<Option<SubmitParts>> + Send + 'static,
    ) {
        let mirror = Arc::clone(self);
        self.order.end(move || {
            if let Err(error) = mirror.flush_locked(|| parts(&mut handle)) {
                let name = &mirror.name;
                log::error!("exchange \"{name}\": its last frames may not be seen to end: {error}");
            }
            Box::new(Ended { handle: Some(handle), mirror })
        });
    }

    /// Ends the exchange like [`end`](Self::end), by `close`, and returns the error. In a callback
    /// that finds the lock taken, the holder ends it after its submission, and this returns `Ok`.
    pub(crate) fn close<T: Send + 'static>(
        self: &Arc<Self>,
        mut handle: T,
        parts: impl FnOnce(&mut T) -> bridge::Result<Option<SubmitParts>> + Send + 'static,
        close: impl FnOnce(T) -> bridge::Result<()>,
    ) -> Result<()> {
        let Some(order) = self.order.lock() else {
            self.end(handle, parts);
            return Ok(());
        };
        let flushed = self.flush_locked(|| parts(&mut handle));
        drop(order);
        let closed = self.free_by(|| close(handle));
        // Without the signal, the close fails too, and says less.
        flushed?;
        Ok(closed?)
    }

    /// Drops a handle of the exchange. If that leaks the exchange, because its work is not known to
    /// have completed, wgpu's queue is leaked as well: when the last reference to it is dropped,
    /// wgpu waits for everything on it, without a limit. A compute turn of a latest exchange that
    /// outlives both handles leaks the exchange later, and not the queue.
    pub(crate) fn free<T>(&self, handle: T) {
        self.free_by(|| drop(handle));
    }

    /// Like [`free`](Self::free), for a function that drops the handle.
    fn free_by<R>(&self, free: impl FnOnce() -> R) -> R {
        let leaked = || LiveObjects::now().leaked_timelines;
        let before = leaked();
        let freed = free();
        // The counter is for the whole process: if another exchange is leaked at the same time,
        // both queues are.
        if leaked() != before {
            std::mem::forget(self.gpu.clone());
        }
        freed
    }

    /// Notes that a submitted frame copies the objects.
    pub(crate) fn note_filled(&self) {
        self.is_filled.store(true, Ordering::Release);
    }

    /// Returns `true` if a frame has copied the objects.
    pub(crate) fn is_filled(&self) -> bool {
        self.is_filled.load(Ordering::Acquire)
    }

    pub(crate) fn encode(&self, record: impl FnOnce(&mut wgpu::CommandEncoder)) -> Result<wgpu::CommandBuffer> {
        let Self { gpu, name, .. } = self;
        capture_recording(gpu.device(), name, || {
            let descriptor = wgpu::CommandEncoderDescriptor { label: Some(name) };
            let mut commands = gpu.device().create_command_encoder(&descriptor);
            record(&mut commands);
            commands.finish()
        })
    }
}

/// The handle of an ended exchange, which is [freed](Mirror::free) on drop.
struct Ended<S: Shared, T> {
    handle: Option<T>,
    mirror: Arc<Mirror<S>>,
}

impl<S: Shared, T> Drop for Ended<S, T> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            self.mirror.free(handle);
        }
    }
}

/// Chains the two parts of a hand-over, with a copy between, if any.
fn chain(
    acquire: wgpu::CommandBuffer,
    copy: Option<wgpu::CommandBuffer>,
    release: wgpu::CommandBuffer,
) -> impl Iterator<Item = wgpu::CommandBuffer> {
    std::iter::once(acquire).chain(copy).chain([release])
}

/// Hands new images, or slots that were out of use, over to the compute side, through wgpu's queue.
pub(crate) fn initialize<S: Shared>(
    mirror: &Mirror<S>,
    record: impl FnOnce(vk::CommandBuffer) -> bridge::Result<InitialTurn<S::Specs>>,
) -> Result<()> {
    let gpu = &mirror.gpu;
    let _order = mirror.order.lock().ok_or_else(Order::called_back)?;
    // wgpu's encoders record for the family of its queue, which is the exchange's, outside a pass.
    let (commands, (own, turn)) = raw::record(gpu, &mirror.name, |commands| (commands, record(commands)))?;
    let turn = turn?;
    let parts = turn.parts();
    let signal = parts.signal();
    // If this fails, the turn is dropped and counts as not submitted, and so does the exchange's
    // initialization.
    gpu.push_signaling(&mirror.name, Some((commands, OwnCommands::new(own))), parts.waits(), &[signal])?;
    // SAFETY: the commands were submitted after the waits, and the signal after the commands.
    unsafe { turn.submitted() };
    Ok(())
}
