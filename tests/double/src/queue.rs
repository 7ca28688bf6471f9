//! What streams have still to do. Work is done as soon as what it waits for is there, before the
//! call returns that brought it about, so a queue that is not empty waits for something; unless a
//! test holds all work.

use std::collections::VecDeque;

use crate::abi::ILLEGAL_ADDRESS;
use crate::copy::Copy3d;
use crate::descriptor;
use crate::finding::Refusal;
use crate::host_function::HostFunction;
use crate::ledger::Ledger;
use crate::module::Launch;
use crate::stream::SyncMode;

#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) context: u64,
    pub(crate) sync: SyncMode,
    /// Each with a number that rises from one call to the next, whatever the stream.
    pub(crate) work: VecDeque<(u64, Work)>,
}

impl Queue {
    pub(crate) fn new(context: u64, sync: SyncMode) -> Self {
        Self { context, sync, work: VecDeque::new() }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Work {
    Wait {
        semaphore: u64,
        export: u64,
        value: u64,
    },
    Signal {
        semaphore: u64,
        export: u64,
        value: u64,
    },
    /// The event reaches its n-th record.
    Record {
        event: u64,
        nth: u64,
    },
    WaitEvent {
        event: u64,
        nth: u64,
    },
    Write {
        address: u64,
        bytes: Vec<u8>,
    },
    Copy {
        to: u64,
        from: u64,
        size: u64,
    },
    Copy3d(Copy3d),
    /// Of an allocation.
    Free {
        address: u64,
    },
    Launch(Launch),
    Call(HostFunction),
    /// Of a host function that was called.
    Return {
        call: u64,
    },
}

impl Ledger {
    /// What a stream that is captured is given goes into the graph.
    pub(crate) fn enqueue(&mut self, stream: u64, work: Work) {
        if let Some(capture) = self.captures.get_mut(&stream) {
            return capture.work.push(work);
        }
        let order = self.serial();
        if let Some(queue) = self.queues.get_mut(&stream) {
            queue.work.push_back((order, work));
        }
        self.proceed();
    }

    /// Does all that can be done, and says whether there was any. Work that goes wrong takes the
    /// context with it: later calls say so.
    pub(crate) fn proceed(&mut self) -> bool {
        if self.held {
            return false;
        }
        let mut any = false;
        let ready = |ledger: &Self| {
            ledger.queues.iter().find_map(|(&stream, queue)| {
                let (order, work) = queue.work.front()?;
                let device = ledger.contexts.find(queue.context).map(|context| context.device);
                let is_held = device.is_some() && device == ledger.held_device;
                (!is_held && ledger.held_by(queue, *order).is_none() && ledger.is_ready(work)).then_some(stream)
            })
        };
        while let Some(stream) = ready(self) {
            any = true;
            let Some(queue) = self.queues.get_mut(&stream) else { continue };
            let (context, Some((order, work))) = (queue.context, queue.work.pop_front()) else { continue };
            let performed = match work {
                Work::Call(function) => self.begin(stream, order, function),
                work => self.perform(context, work),
            };
            if let Err(refusal) = performed {
                if let Some((kind, text)) = refusal.finding {
                    self.find(kind, text);
                }
                self.lose(context, ILLEGAL_ADDRESS);
            }
        }
        let Self { queues, streams, contexts, .. } = self;
        queues.retain(|&stream, queue| {
            let is_default = contexts.iter().any(|(_, context)| {
                context.default_stream == stream || context.per_thread.iter().any(|&(_, its)| its == stream)
            });
            !queue.work.is_empty() || is_default || streams.find(stream).is_some()
        });
        any
    }

    /// Whether a stream waits for what Vulkan may signal without a call of CUDA's.
    #[cfg(target_os = "linux")]
    pub(crate) fn waits_for_vulkan(&self) -> bool {
        use crate::export::{Export, Payload};
        self.queues.values().filter_map(|queue| queue.work.front()).any(|(_, work)| match work {
            Work::Wait { export, .. } => {
                matches!(self.exports.get(export), Some(Export::Semaphore(Payload::Vulkan { .. })))
            }
            _ => false,
        })
    }

    /// What the first stream of the context that is not idle waits for.
    pub(crate) fn obstacle_in(&self, context: u64) -> Option<String> {
        let of_context = self.queues.iter().filter(|(_, queue)| queue.context == context);
        of_context.map(|(&stream, _)| stream).find_map(|stream| self.obstacle(stream))
    }

    /// What the stream waits for, unless everything enqueued on it has been done.
    pub(crate) fn obstacle(&self, stream: u64) -> Option<String> {
        let queue = self.queues.get(&stream)?;
        let Some((order, next)) = queue.work.front() else {
            // The legacy default stream has ended once those have that its next work would wait
            // for.
            return self
                .held_by(queue, u64::MAX)
                .filter(|_| queue.sync == SyncMode::Legacy)
                .and_then(|it| self.obstacle(it));
        };
        if let Some(holds) = self.held_by(queue, *order) {
            return Some(format!("{} waits for {}", self.streams.name(stream), self.streams.name(holds)));
        }
        let what = match next {
            Work::Wait { semaphore, value, .. } => format!("{} to reach {value}", self.semaphores.name(*semaphore)),
            Work::WaitEvent { event, nth } => {
                let is_record =
                    |work: &Work| matches!(work, Work::Record { event: its, nth: at } if (its, at) == (event, nth));
                let mut queues = self.queues.iter();
                let of = queues.find(|(_, queue)| queue.work.iter().any(|(_, work)| is_record(work)));
                let why = of.and_then(|(&stream, _)| self.obstacle(stream)).unwrap_or_else(|| "never".to_owned());
                format!("{}, recorded when: {why}", self.events.name(*event))
            }
            Work::Return { .. } => "a host function to return".to_owned(),
            _ => return Some(format!("{} has work to do", self.streams.name(stream))),
        };
        Some(format!("{} waits for {what}", self.streams.name(stream)))
    }

    /// Whether everything enqueued on the stream has been done.
    pub(crate) fn is_idle(&self, stream: u64) -> bool {
        self.obstacle(stream).is_none()
    }

    /// Whether a wait for the semaphore or a signal of it has still to be done.
    pub(crate) fn is_pending(&self, semaphore: u64) -> bool {
        self.queues.values().flat_map(|queue| &queue.work).any(|(_, work)| {
            matches!(work, Work::Wait { semaphore: used, .. } | Work::Signal { semaphore: used, .. } if *used == semaphore)
        })
    }

    /// Whether a copy from or to the array has still to be done.
    pub(crate) fn is_array_pending(&self, array: u64) -> bool {
        let of_array = |level| self.levels.find(level).is_some_and(|level| level.array == array);
        let mut work = self.queues.values().flat_map(|queue| &queue.work);
        work.any(|(_, work)| matches!(work, Work::Copy3d(copy) if copy.levels().any(of_array)))
    }

    /// Whether the event's n-th record is reached; the 0th, of one that was never recorded, is.
    pub(crate) fn has_reached(&self, event: u64, nth: u64) -> bool {
        !self.unreached.contains(&(event, nth))
    }

    fn is_ready(&self, work: &Work) -> bool {
        use crate::export::Export;
        match work {
            Work::Wait { export, value, .. } => match self.exports.get(export) {
                Some(Export::Semaphore(payload)) => payload.is_reached(*value),
                _ => true,
            },
            Work::WaitEvent { event, nth } => self.has_reached(*event, *nth),
            Work::Return { call } => !self.running.contains(call),
            _ => true,
        }
    }

    fn perform(&mut self, context: u64, work: Work) -> Result<(), Refusal> {
        match work {
            Work::Wait { export, .. } => self.payload(export)?.complete_wait(),
            Work::Signal { semaphore, export, value } => {
                let completed = self.payload(export)?.complete_signal(value);
                let name = self.semaphores.name(semaphore);
                self.note(&name, completed);
            }
            Work::Record { event, nth } => {
                self.unreached.remove(&(event, nth));
            }
            // Only `proceed` knows the stream, which has to stand until the function returns.
            Work::Call(_) | Work::WaitEvent { .. } | Work::Return { .. } => {}
            Work::Write { address, bytes } => {
                let (raw, offset) = self.place(address, bytes.len() as u64)?;
                descriptor::write(raw, offset, &bytes).map_err(|_| crate::abi::UNKNOWN)?;
            }
            Work::Copy { to, from, size } => {
                let bytes = self.load(from, size)?;
                let (raw, offset) = self.place(to, size)?;
                descriptor::write(raw, offset, &bytes).map_err(|_| crate::abi::UNKNOWN)?;
            }
            Work::Copy3d(copy) => copy.perform(self)?,
            Work::Free { address } => self.free(address)?,
            Work::Launch(launch) => {
                self.check_launch(context, &launch)?;
                self.run_twin(&launch)?;
            }
        }
        Ok(())
    }

    /// The bytes at a device address, now.
    pub(crate) fn load(&self, address: u64, size: u64) -> Result<Vec<u8>, Refusal> {
        let (raw, offset) = self.place(address, size)?;
        let len = usize::try_from(size).map_err(|_| crate::abi::UNKNOWN)?;
        Ok(descriptor::read(raw, offset, len).map_err(|_| crate::abi::UNKNOWN)?)
    }
}
