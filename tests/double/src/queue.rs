//! What streams have still to do. Work is done as soon as what it waits for is there, before the call returns that brought
//! it about; so a queue that is not empty waits for something.

use std::collections::VecDeque;

use crate::copy::Copy3d;
use crate::descriptor;
use crate::finding::Refusal;
use crate::ledger::Ledger;

#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) context: u64,
    pub(crate) work: VecDeque<Work>,
}

#[derive(Debug)]
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
}

impl Ledger {
    pub(crate) fn enqueue(&mut self, stream: u64, work: Work) {
        if let Some(queue) = self.queues.get_mut(&stream) {
            queue.work.push_back(work);
        }
        self.proceed();
    }

    /// Does all that can be done.
    pub(crate) fn proceed(&mut self) {
        let ready = |ledger: &Self| {
            ledger.queues.iter().find_map(|(&stream, queue)| ledger.is_ready(queue.work.front()?).then_some(stream))
        };
        while let Some(stream) = ready(self) {
            let work = self.queues.get_mut(&stream).and_then(|queue| queue.work.pop_front());
            if let Some(Err(Refusal { finding: Some((kind, text)), .. })) = work.map(|work| self.perform(work)) {
                self.find(kind, text);
            }
        }
        let Self { queues, streams, contexts, .. } = self;
        queues.retain(|&stream, queue| {
            let is_default = contexts.iter().any(|(_, context)| context.default_stream == stream);
            !queue.work.is_empty() || is_default || streams.iter().any(|(live, _)| live == stream)
        });
    }

    /// Whether everything enqueued in the context has been done.
    pub(crate) fn is_drained(&self, context: u64) -> bool {
        self.queues.values().all(|queue| queue.context != context || queue.work.is_empty())
    }

    /// Whether everything enqueued on the stream has been done.
    pub(crate) fn is_idle(&self, stream: u64) -> bool {
        self.queues.get(&stream).is_none_or(|queue| queue.work.is_empty())
    }

    /// Whether a wait for the semaphore or a signal of it has still to be done.
    pub(crate) fn is_pending(&self, semaphore: u64) -> bool {
        self.queues.values().flat_map(|queue| &queue.work).any(|work| {
            matches!(work, Work::Wait { semaphore: used, .. } | Work::Signal { semaphore: used, .. } if *used == semaphore)
        })
    }

    /// Whether a copy from or to the array has still to be done.
    pub(crate) fn is_array_pending(&self, array: u64) -> bool {
        let of_array = |level| self.levels.get(level).is_ok_and(|level| level.array == array);
        let mut work = self.queues.values().flat_map(|queue| &queue.work);
        work.any(|work| matches!(work, Work::Copy3d(copy) if copy.levels().any(of_array)))
    }

    pub(crate) fn has_reached(&self, event: u64, nth: u64) -> bool {
        nth == 0 || self.reached.get(&event).is_some_and(|&reached| reached >= nth)
    }

    fn is_ready(&self, work: &Work) -> bool {
        use crate::export::Export;
        match work {
            Work::Wait { export, value, .. } => match self.exports.get(export) {
                Some(Export::Semaphore(payload)) => payload.is_reached(*value),
                _ => true,
            },
            Work::WaitEvent { event, nth } => self.has_reached(*event, *nth),
            Work::Signal { .. } | Work::Record { .. } | Work::Write { .. } | Work::Copy { .. } | Work::Copy3d(_) => {
                true
            }
        }
    }

    fn perform(&mut self, work: Work) -> Result<(), Refusal> {
        match work {
            Work::Wait { export, .. } => self.payload(export)?.complete_wait(),
            Work::Signal { export, value, .. } => self.payload(export)?.complete_signal(value),
            Work::Record { event, nth } => {
                self.reached.insert(event, nth);
            }
            Work::WaitEvent { .. } => {}
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
