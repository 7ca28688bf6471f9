//! The CUDA side of an exchange: the imported slots and timelines, and the stream.
#![allow(unsafe_code)] // Imports, waits and signals cannot check their arguments.

use std::collections::VecDeque;
use std::mem::{ManuallyDrop, forget, take};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_ipc::{OsHandle, Owner, PeerWatch, Resource, Side, Timeline};
use bridge_trace::{log_error, log_warn};
use cuda_import::cudarc::driver::CudaStream;
use cuda_import::{
    CudaDevice, ImportedMemory, ImportedSemaphore, MemoryImportInfo, Restoring, SemaphoreKind, StreamEvent, query,
    signal_and_record, signal_one,
};

use crate::device::refused_timeline;
use crate::error::{Error, Result};
use crate::resources::Resources;
use crate::side::guard::Guard;
use crate::side::rescue::Rescue;

/// Time limit of the wait for the stream in `drop`, and of a wait for signals pending on it.
const DROP_LIMIT: Duration = Duration::from_secs(2);

/// The interval at which pending signals are looked at.
const CHECK_INTERVAL: Duration = Duration::from_micros(200);

pub(crate) struct CudaSide<R: Resources> {
    slots: ManuallyDrop<Vec<R::Mapped>>,
    computed: ManuallyDrop<ImportedSemaphore>,
    /// The renderer's timeline, with the values that the stream waits for.
    rescue: ManuallyDrop<Arc<Rescue>>,
    stream: Restoring<Arc<CudaStream>>,
    /// In step, the thread that handles the death of the renderer.
    guard: Option<Guard>,
    /// `true` if a wait for the stream has timed out, so that nothing may be freed.
    stuck: bool,
    /// Frames that are not known to be finished: number, slot and end event.
    unfinished: VecDeque<(u64, u32, StreamEvent)>,
    /// Frames with a lower number are known to be finished.
    finished: u64,
    /// `true` if the last signal has no event, so that its frame may be unfinished as well.
    unmarked: bool,
    /// Events of finished frames, for reuse.
    spare: Vec<StreamEvent>,
    /// The process that has imported the slots. A forked child makes no driver call.
    owner: Owner,
}

impl<R: Resources> CudaSide<R> {
    /// Imports all slots. `trusts` is `true` if the renderer may announce values that it has not
    /// reached.
    pub(crate) fn new(
        device: &CudaDevice,
        (name, trusts): (&str, bool),
        resources: Vec<(Resource, OsHandle)>,
        timelines: Vec<(Timeline, OsHandle)>,
    ) -> Result<Self> {
        let (mut computed, mut rendered) = (None, None);
        for (timeline, handle) in timelines {
            let (place, side) = match timeline.side {
                Side::Computed => (&mut computed, "computed"),
                Side::Rendered => (&mut rendered, "rendered"),
            };
            let name = format!("{name}.{side}");
            // SAFETY: the renderer states that the handle is a timeline of its GPU, which is this
            // one, or a peer on which the import is known to work; the session has compared the
            // UUIDs.
            let imported = unsafe { ImportedSemaphore::import(device, handle, SemaphoreKind::Timeline, &name) };
            *place = Some(imported.map_err(|error| refused_timeline(device, timeline.device_uuid, error))?);
        }
        let (Some(computed), Some(rendered)) = (computed, rendered) else {
            return Err(Error::Mismatch {
                exchange: name.to_owned(),
                reason: "it does not have two timelines".to_owned(),
            });
        };
        let (stream, signals) = (Restoring::new(device.new_stream()?), Restoring::new(device.new_stream()?));
        let mut side = Self {
            slots: ManuallyDrop::new(Vec::new()),
            computed: ManuallyDrop::new(computed),
            rescue: ManuallyDrop::new(Arc::new(Rescue::new(rendered, signals, &stream, trusts))),
            stream,
            guard: None,
            stuck: false,
            unfinished: VecDeque::new(),
            finished: 0,
            unmarked: false,
            spare: Vec::new(),
            owner: Owner::current(),
        };
        let mut slot = Vec::with_capacity(R::RESOURCES);
        for (resource, handle) in resources {
            let name = format!("{name}[{}].{}", resource.slot, resource.index);
            let memory = import(device, &name, &resource, handle)?;
            slot.push((memory, resource));
            if slot.len() == R::RESOURCES {
                // SAFETY: rule "mappings must match those of the exporting API": memory and sizes
                // come from the same message.
                side.slots.push(unsafe { R::map(&slot, &side.stream) }?);
                slot.clear();
            }
        }
        Ok(side)
    }

    pub(crate) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    pub(crate) fn views(&mut self, slot: u32) -> (&Arc<CudaStream>, R::CudaViews<'_>) {
        (&self.stream, R::cuda_views(&mut self.slots[slot as usize]))
    }

    /// Begins to lend a slot for reading: the exclusive borrow proves that nothing borrowed from an
    /// earlier turn is alive, so that the events of its uses on other streams can be reused.
    pub(crate) fn begin_read(&mut self, slot: u32) {
        drop(R::cuda_views(&mut self.slots[slot as usize]));
    }

    pub(crate) fn sources(&self, slot: u32) -> (&Arc<CudaStream>, R::CudaSources<'_>) {
        (&self.stream, R::cuda_sources(&self.slots[slot as usize]))
    }

    /// Enqueues a signal after all previous work, including work with the slot on other streams,
    /// which a turn that was leaked, or whose join has failed, leaves behind.
    pub(crate) fn signal_read(&mut self, slot: u32, value: u64) -> Result<()> {
        self.join(slot)?;
        // SAFETY: the timeline lives until the stream is idle (`drop`); only this side signals it,
        // with rising values.
        unsafe { signal_one(&self.stream, &self.computed, value) }?;
        Ok(())
    }

    /// Orders work that is enqueued from now on after the renderer's use of the slot.
    pub(crate) fn wait(&mut self, value: u64) -> Result<()> {
        self.rescue.wait(value)
    }

    /// Starts the guard thread, since the stream waits for values that are not reached yet: the
    /// thread signals them if the renderer dies.
    pub(crate) fn guard(&mut self, watch: PeerWatch) {
        let rescue = Arc::clone(&self.rescue);
        self.guard = Guard::new(watch, move || rescue.signal_owed());
    }

    /// Orders the next signal after work on other streams with the slot.
    pub(crate) fn join(&self, slot: u32) -> Result<()> {
        Ok(R::join(&self.slots[slot as usize])?)
    }

    /// Signals the frame after all previous work.
    ///
    /// # Errors
    /// If the call fails, nothing was signaled.
    pub(crate) fn signal(&mut self, frame: u64, slot: u32, value: u64) -> Result<()> {
        self.join(slot)?;
        // SAFETY: the timeline lives until the stream is idle (`drop`); only this side signals it,
        // with rising values.
        let end = unsafe { signal_and_record(&self.stream, &self.computed, value, self.spare.pop()) }?;
        self.unmarked = end.is_err();
        match end {
            Ok(end) => self.unfinished.push_back((frame, slot, end)),
            // The frame is signaled anyway, but not counted among those in flight.
            Err(error) => log_warn!("the end of frame {frame} cannot be queried: {error}"),
        }
        Ok(())
    }

    /// Signals a frame for which the renderer waits and whose signal on its own stream has failed.
    /// Uses another stream, after the frames before it have been signaled. If that takes too long,
    /// signals nothing, and the renderer's own limit applies.
    pub(crate) fn signal_in_place(&self, value: u64) {
        if !self.await_signals() {
            log_error!(
                "value {value}, which was announced, is not signaled: frames before it are unfinished after {DROP_LIMIT:?}"
            );
            return;
        }
        // SAFETY: the timeline lives until the stream is idle (`drop`). Rule "the value is greater
        // than every value signaled or pending": only this side signals the timeline, with rising
        // values; the lower ones were reached or never will be (`await_signals`), and the previous
        // signal of the same value was refused (`signal`).
        if let Err(error) = unsafe { signal_one(self.rescue.signals(), &self.computed, value) } {
            log_error!("value {value}, which was announced, cannot be signaled: {error}");
        }
    }

    /// Waits on the host until no signal is pending on the stream, up to a limit. Does not use the
    /// stream that signals in the renderer's place, for which the pending signals may be waiting.
    /// Returns `false` if a signal is pending or may be.
    fn await_signals(&self) -> bool {
        let start = Instant::now();
        loop {
            let reached = match self.unfinished.back() {
                _ if self.unmarked => query(&self.stream),
                Some((_, _, end)) => end.is_reached(),
                None => Ok(true),
            };
            match reached {
                Ok(true) => return true,
                // After a failure of the context nothing runs any more.
                Err(error) if error.is_context_lost() => return true,
                _ if start.elapsed() >= DROP_LIMIT => return false,
                _ => std::thread::sleep(CHECK_INTERVAL),
            }
        }
    }

    /// Waits until fewer than `most` frames are unfinished, for at most `limit` per frame that has
    /// to end. Returns `false` if one has not ended by then.
    ///
    /// # Errors
    /// The stream's failure, and the frames that will not be complete.
    pub(crate) fn wait_for_room(&mut self, most: usize, limit: Duration) -> Result<bool, (Error, Vec<(u64, u32)>)> {
        while let Some((_, _, end)) = self.unfinished.front() {
            let has_room = self.unfinished.len() < most;
            match end.wait(if has_room { Duration::ZERO } else { limit }) {
                Ok(false) => return Ok(has_room),
                Ok(true) => {
                    if let Some((frame, _, end)) = self.unfinished.pop_front() {
                        self.finished = frame + 1;
                        self.spare.push(end);
                    }
                }
                Err(error) => {
                    // The stream may go on with them.
                    self.unmarked = true;
                    let torn = self.unfinished.drain(..).map(|(frame, slot, _)| (frame, slot)).collect();
                    return Err((error.into(), torn));
                }
            }
        }
        Ok(true)
    }

    /// Returns a frame number: frames with a lower one were seen as finished by
    /// [`wait_for_room`](Self::wait_for_room).
    pub(crate) fn finished(&self) -> u64 {
        self.finished
    }

    /// Signals the values that the stream waits for, after the renderer has died. Returns the value
    /// that had to be signaled, if any.
    pub(crate) fn rescue(&mut self) -> Option<u64> {
        self.rescue.rescue()
    }

    /// Waits for all work with the slots, including work on other streams, up to a limit. Returns
    /// `false` if the work does not end, or if that cannot be determined: the slots are then
    /// leaked, since they may still be in use.
    pub(crate) fn finish(&mut self) -> bool {
        if !self.stuck {
            self.stuck = !self.is_joined() || !self.rescue.is_idle_within(DROP_LIMIT);
        }
        !self.stuck
    }

    /// Orders the stream after work on other streams that no publish covers, which a turn that was
    /// leaked, or whose join has failed, leaves behind. Returns `false` if that failed.
    fn is_joined(&self) -> bool {
        match self.slots.iter().map(|slot| R::join(slot)).fold(Ok(()), Result::and) {
            // After a failure of the context, no work runs any more.
            Err(error) if !error.is_context_lost() => {
                log_error!("work on other streams with the slots of an exchange cannot be waited for: {error}");
                false
            }
            _ => true,
        }
    }
}

impl<R: Resources> Drop for CudaSide<R> {
    fn drop(&mut self) {
        if self.owner.is_forked() {
            // Everything of the driver belongs to the parent, which goes on with it. The streams
            // are not dropped, since `rescue` has them, too.
            return forget((take(&mut self.unfinished), take(&mut self.spare)));
        }
        let is_idle = self.finish() && {
            // The guard's thread may have enqueued a signal meanwhile. It makes no more calls.
            self.guard = None;
            self.rescue.is_idle_within(DROP_LIMIT)
        };
        if !is_idle {
            // Freeing would block until the stream's waits end, and memory in use must not be
            // freed.
            log_error!(
                "the stream of an exchange is not idle after {DROP_LIMIT:?}: its slots and timelines are leaked"
            );
            // The guard signals the values that the stream waits for once the renderer is dead.
            if let Some(guard) = self.guard.take() {
                guard.leave();
            }
            return;
        }
        for slot in self.slots.iter() {
            // SAFETY: both streams are idle, and work on other streams was joined to them
            // (`finish`).
            unsafe { R::assume_idle(slot) };
        }
        // SAFETY: dropped only here, once, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.slots) };
        // SAFETY: as above; every wait and signal has completed, since the streams are idle and no
        // thread is left that enqueues any.
        unsafe { ManuallyDrop::drop(&mut self.computed) };
        // SAFETY: as above; the guard has dropped the share of its thread.
        unsafe { ManuallyDrop::drop(&mut self.rescue) };
    }
}

/// Imports the memory of a resource: on the renderer's GPU directly, on another GPU as peer memory.
fn import(
    device: &CudaDevice,
    name: &str,
    resource: &Resource,
    handle: OsHandle,
) -> Result<Arc<ImportedMemory>, cuda_import::Error> {
    let info = MemoryImportInfo { name, allocation_size: resource.allocation_size, dedicated: resource.dedicated };
    if device.uuid() == resource.device_uuid {
        // SAFETY: rule "mappings must match those of the exporting API": handle, size and flag come
        // from the same message, and the UUIDs are equal. The renderer does not use the slot during
        // a turn, which the session ensures.
        unsafe { ImportedMemory::import(device, handle, &info) }
    } else {
        // SAFETY: as above; the message's UUID is that of the renderer's GPU, which the session
        // ensures.
        unsafe { ImportedMemory::import_peer(device, &[], handle, &info) }
    }
}
