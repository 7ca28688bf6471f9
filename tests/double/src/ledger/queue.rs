//! Pending work of streams. Work runs as soon as everything it waits for has happened, before the
//! call that caused this returns. A queue that is not empty therefore waits for something, unless a
//! test holds all work.

use std::collections::VecDeque;

use crate::abi::ILLEGAL_ADDRESS;
use crate::descriptor;
use crate::finding::Refusal;
use crate::host_function::HostFunction;
use crate::ledger::Ledger;
use crate::ledger::copy::Copy3d;
use crate::ledger::module::Launch;

/// How a stream is ordered relative to the legacy default stream of its context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncMode {
    /// The legacy default stream itself.
    Legacy,
    /// The stream and the legacy default stream wait for each other's earlier work.
    Blocking,
    NonBlocking,
}

#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) context: u64,
    pub(crate) sync: SyncMode,
    /// Each item of work with its number. Numbers increase from call to call, across all streams.
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
    /// Frees an allocation.
    Free {
        address: u64,
    },
    Launch(Launch),
    Call(HostFunction),
    /// Waits for a host function to return.
    Return {
        call: u64,
    },
}

impl Ledger {
    /// Adds work to a stream, or to the capture if the stream is captured.
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

    /// Enqueues a signal as the exporting side.
    pub(crate) fn submit_signal(&mut self, number: u64, value: u64) {
        let submitted = self.payload(number).map(|payload| payload.submit_signal(value));
        self.report_broken_rule("the exporting side", submitted.unwrap_or(Ok(())));
    }

    /// Completes a signal that the exporting side enqueued, and runs all work that is ready then.
    pub(crate) fn complete_signal(&mut self, number: u64, value: u64) {
        let completed = self.payload(number).map(|payload| payload.complete_signal(value));
        self.report_broken_rule("the exporting side", completed.unwrap_or(Ok(())));
        self.proceed();
    }

    /// Runs all work that is ready, and returns whether there was any. Failing work loses the
    /// context, which later calls report.
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
                (!is_held && ledger.delaying_stream(queue, *order).is_none() && ledger.is_ready(work)).then_some(stream)
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
                    self.report(kind, text);
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

    /// Returns `true` if a stream waits for a timeline that Vulkan may signal without a CUDA call.
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

    /// Returns what the first busy stream of the context waits for.
    pub(crate) fn obstacle_in(&self, context: u64) -> Option<String> {
        let of_context = self.queues.iter().filter(|(_, queue)| queue.context == context);
        of_context.map(|(&stream, _)| stream).find_map(|stream| self.obstacle(stream))
    }

    /// Returns what the stream waits for, or `None` if it is idle.
    pub(crate) fn obstacle(&self, stream: u64) -> Option<String> {
        let queue = self.queues.get(&stream)?;
        let Some((order, next)) = queue.work.front() else {
            // The legacy default stream is idle once the streams are idle that its next work would
            // wait for.
            return self
                .delaying_stream(queue, u64::MAX)
                .filter(|_| queue.sync == SyncMode::Legacy)
                .and_then(|it| self.obstacle(it));
        };
        if let Some(holds) = self.delaying_stream(queue, *order) {
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

    /// Returns `true` if everything enqueued on the stream is done.
    pub(crate) fn is_idle(&self, stream: u64) -> bool {
        self.obstacle(stream).is_none()
    }

    /// Returns `true` if a wait for the semaphore or a signal of it is pending.
    pub(crate) fn is_pending(&self, semaphore: u64) -> bool {
        self.queues.values().flat_map(|queue| &queue.work).any(|(_, work)| {
            matches!(work, Work::Wait { semaphore: used, .. } | Work::Signal { semaphore: used, .. } if *used == semaphore)
        })
    }

    /// Returns `true` if a copy from or to the array is pending.
    pub(crate) fn is_array_pending(&self, array: u64) -> bool {
        let of_array = |level| self.levels.find(level).is_some_and(|level| level.array == array);
        let mut work = self.queues.values().flat_map(|queue| &queue.work);
        work.any(|(_, work)| matches!(work, Work::Copy3d(copy) if copy.levels().any(of_array)))
    }

    /// Returns `true` if the event's n-th record is reached. The 0th record, of an event that was
    /// never recorded, always is.
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
                self.report_broken_rule(&name, completed);
            }
            Work::Record { event, nth } => {
                self.unreached.remove(&(event, nth));
            }
            // `proceed` handles calls, because only it knows the stream that waits until the
            // function returns.
            Work::Call(_) | Work::WaitEvent { .. } | Work::Return { .. } => {}
            Work::Write { address, bytes } => {
                let (raw, offset) = self.locate(address, bytes.len() as u64)?;
                descriptor::write(raw, offset, &bytes).map_err(|_| crate::abi::UNKNOWN)?;
            }
            Work::Copy { to, from, size } => {
                let bytes = self.load(from, size)?;
                let (raw, offset) = self.locate(to, size)?;
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

    /// Returns the current bytes at a device address.
    pub(crate) fn load(&self, address: u64, size: u64) -> Result<Vec<u8>, Refusal> {
        let (raw, offset) = self.locate(address, size)?;
        let len = usize::try_from(size).map_err(|_| crate::abi::UNKNOWN)?;
        Ok(descriptor::read(raw, offset, len).map_err(|_| crate::abi::UNKNOWN)?)
    }
}
