//! The complete state of the double.

pub(crate) mod array;
pub(crate) mod call_log;
pub(crate) mod copy;
pub(crate) mod graph;
mod host_call;
mod lost;
pub(crate) mod module;
pub(crate) mod queue;
mod stream;
mod twin;
pub(crate) mod vmm;
pub(crate) mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::thread::ThreadId;

use crate::abi::{Code, INVALID_CONTEXT, INVALID_HANDLE, INVALID_VALUE, UNKNOWN};
use crate::descriptor::{self, Raw};
use crate::export::{Export, Exports, Payload};
use crate::finding::{self, Kind, Refusal};
use crate::ledger::array::{Array, Level, Object};
use crate::ledger::call_log::Gate;
use crate::ledger::graph::{Capture, Exec, Graph};
use crate::ledger::module::{Function, Module};
use crate::ledger::queue::Queue;
use crate::ledger::vmm::Vmm;
use crate::ledger::watch::Descriptor;
use crate::refused::Refused;
use crate::table::Table;
#[cfg(target_os = "linux")]
use crate::vulkan::Vulkan;

/// Start of the handle range. Handles, device addresses and pointers have disjoint ranges, so that
/// they cannot be confused.
const HANDLES: u64 = 0xd000_0000_0000;
const ADDRESSES: u64 = 0x7000_0000_0000;

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) device: i32,
    /// Number of references to a primary context; `None` for another context, which its owner
    /// destroys.
    pub(crate) retained: Option<u32>,
    /// The queue of its legacy default stream.
    pub(crate) default_stream: u64,
    /// The queues of its per-thread default streams.
    pub(crate) per_thread: Vec<(ThreadId, u64)>,
}

#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) context: u64,
    pub(crate) descriptor: Descriptor,
    pub(crate) size: u64,
    pub(crate) dedicated: bool,
}

/// A mapping. Its handle is the device address.
#[derive(Debug)]
pub(crate) struct Mapping {
    pub(crate) context: u64,
    pub(crate) memory: u64,
    /// Offset in the memory, in bytes.
    pub(crate) offset: u64,
    pub(crate) size: u64,
    /// `true` if `cuMemAlloc` created it, so that freeing it frees the memory.
    pub(crate) allocated: bool,
}

#[derive(Debug)]
pub(crate) struct Semaphore {
    pub(crate) context: u64,
    pub(crate) descriptor: Descriptor,
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) context: u64,
}

#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) context: u64,
    /// Number of times it was recorded.
    pub(crate) recorded: u64,
    /// `true` if the last record was captured.
    pub(crate) captured: bool,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) gate: Gate,
    pub(crate) initialized: bool,
    /// Attribute values that a test has overridden for all devices.
    pub(crate) attributes: BTreeMap<i32, i32>,
    /// The device that is not listed.
    pub(crate) hidden: Option<i32>,
    pub(crate) contexts: Table<Context>,
    pub(crate) memories: Table<Memory>,
    pub(crate) mappings: Table<Mapping>,
    pub(crate) arrays: Table<Array>,
    /// Owned by their arrays.
    pub(crate) levels: Table<Level>,
    pub(crate) textures: Table<Object>,
    pub(crate) surfaces: Table<Object>,
    pub(crate) semaphores: Table<Semaphore>,
    pub(crate) vmm: Vmm,
    pub(crate) modules: Table<Module>,
    /// Owned by their modules.
    pub(crate) functions: Table<Function>,
    pub(crate) streams: Table<Stream>,
    pub(crate) events: Table<Event>,
    pub(crate) graphs: Table<Graph>,
    pub(crate) execs: Table<Exec>,
    /// Captures by stream.
    pub(crate) captures: BTreeMap<u64, Capture>,
    /// `true` if all work is held, as if another program used the GPU.
    pub(crate) held: bool,
    /// The device whose work is held.
    pub(crate) held_device: Option<i32>,
    /// Lost contexts, with the error code of the fault.
    pub(crate) lost: BTreeMap<u64, Code>,
    /// Queues by stream. They outlive their stream: enqueued work completes even if the stream is
    /// destroyed.
    pub(crate) queues: BTreeMap<u64, Queue>,
    /// Event records that are not reached yet, which may outlive their event. Records of one event
    /// may be on several streams and be reached in any order.
    pub(crate) unreached: BTreeSet<(u64, u64)>,
    /// Calls of host functions that have not returned.
    pub(crate) running: BTreeSet<u64>,
    pub(crate) exports: Exports,
    #[cfg(target_os = "linux")]
    pub(crate) vulkan: Vulkan,
    pub(crate) refused: Refused,
    /// Objects that the exporting side shares by number, with the handle of that number.
    pub(crate) by_number: Vec<Descriptor>,
    /// Decoys that replace descriptors which the driver closed.
    pub(crate) decoys: Vec<Descriptor>,
    pub(crate) findings: Vec<(Kind, String)>,
    serial: u64,
    next_address: u64,
}

impl Ledger {
    pub(crate) const fn new() -> Self {
        Self {
            gate: Gate::new(),
            initialized: false,
            attributes: BTreeMap::new(),
            hidden: None,
            contexts: Table::new("context"),
            memories: Table::new("memory"),
            mappings: Table::new("mapping"),
            arrays: Table::new("array"),
            levels: Table::new("level"),
            textures: Table::new("texture"),
            surfaces: Table::new("surface"),
            semaphores: Table::new("semaphore"),
            vmm: Vmm::new(),
            modules: Table::new("module"),
            functions: Table::new("function"),
            streams: Table::new("stream"),
            events: Table::new("event"),
            graphs: Table::new("graph"),
            execs: Table::new("exec"),
            captures: BTreeMap::new(),
            held: false,
            held_device: None,
            lost: BTreeMap::new(),
            queues: BTreeMap::new(),
            unreached: BTreeSet::new(),
            running: BTreeSet::new(),
            exports: BTreeMap::new(),
            #[cfg(target_os = "linux")]
            vulkan: Vulkan::new(),
            refused: Refused::Measured,
            decoys: Vec::new(),
            by_number: Vec::new(),
            findings: Vec::new(),
            serial: 0,
            next_address: ADDRESSES,
        }
    }

    /// Returns a number that was never returned before.
    pub(crate) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(crate) fn new_handle(&mut self) -> u64 {
        HANDLES + self.serial() * 16
    }

    /// Returns `true` if `word` is in the range of handles, live or not.
    pub(crate) fn is_handle(&self, word: u64) -> bool {
        (HANDLES..=HANDLES + self.serial * 16).contains(&word)
    }

    /// Returns `true` if `word` is in the range of device addresses, mapped or not.
    pub(crate) fn is_address(&self, word: u64) -> bool {
        (ADDRESSES..self.next_address).contains(&word)
    }

    /// Returns a device address that is not adjacent to another one.
    pub(crate) fn new_address(&mut self, size: u64) -> u64 {
        const GAP: u64 = 1 << 21;
        let address = self.next_address;
        self.next_address += size.next_multiple_of(GAP) + GAP;
        address
    }

    pub(crate) fn report(&mut self, kind: Kind, text: String) {
        finding::log(kind, &text);
        self.findings.push((kind, text));
    }

    /// Reports a broken rule as a finding while the call continues, as it does in the driver.
    pub(crate) fn report_broken_rule(&mut self, of: &str, result: Result<(), (Kind, String)>) {
        if let Err((kind, text)) = result {
            self.report(kind, format!("{of}: {text}"));
        }
    }

    /// Checks that an object of context `owner` may be used while `context` is current.
    pub(crate) fn check_context(&self, context: u64, what: &str, owner: u64) -> Result<(), Refusal> {
        if context == owner {
            return Ok(());
        }
        let text =
            format!("a {what} of {} is used with {} current", self.contexts.name(owner), self.contexts.name(context));
        Err(Refusal::new(INVALID_CONTEXT, Kind::WrongContext, text))
    }

    /// Returns the memory of `size` bytes at a device address, as a descriptor and an offset in it.
    pub(crate) fn locate(&self, address: u64, size: u64) -> Result<(Raw, u64), Refusal> {
        let mapping = self.mappings.iter().find(|(start, mapping)| {
            address.checked_sub(*start).is_some_and(|into| into.saturating_add(size) <= mapping.size)
        });
        let Some((start, mapping)) = mapping else {
            if let Some(place) = self.vmm.locate(address, size) {
                return Ok(place);
            }
            let text = format!("{size} bytes at {address:#x} are not mapped");
            return Err(Refusal::new(INVALID_VALUE, Kind::OutOfBounds, text));
        };
        let memory = self.memories.get(mapping.memory)?;
        Ok((memory.descriptor.raw, mapping.offset + (address - start)))
    }

    /// Returns the export of a descriptor passed to a call. The caller keeps the descriptor.
    pub(crate) fn export(&self, raw: Raw) -> Result<(u64, &Export), Code> {
        let number = descriptor::number(raw).ok_or(UNKNOWN)?;
        Ok((number, self.exports.get(&number).ok_or(UNKNOWN)?))
    }

    pub(crate) fn payload(&mut self, number: u64) -> Result<&mut Payload, Refusal> {
        match self.exports.get_mut(&number) {
            Some(Export::Semaphore(payload)) => Ok(payload),
            _ => Err(INVALID_HANDLE.into()),
        }
    }

    /// Returns handle and name of each object, and whether it still exists because its destroying
    /// call was made to fail or its context is lost.
    pub(crate) fn live(&self) -> Vec<(u64, String, bool)> {
        let objects = (self.textures.names()).chain(self.surfaces.names()).chain(self.arrays.names());
        let objects = objects.chain(self.mappings.names()).chain(self.memories.names()).chain(self.semaphores.names());
        let objects = objects.chain(self.vmm.reservations.names()).chain(self.vmm.allocations.names());
        let objects = objects.chain(self.modules.names()).chain(self.execs.names()).chain(self.graphs.names());
        let objects = objects.chain(self.events.names()).chain(self.streams.names()).chain(self.contexts.names());
        objects.map(|(handle, name, refused)| (handle, name, refused || self.was_lost(handle))).collect()
    }

    /// Reports every remaining object as a finding.
    pub(crate) fn find_leaks(&mut self) {
        for (_, name, refused) in self.live() {
            if !refused {
                self.report(Kind::ObjectLeak, format!("{name} was never destroyed"));
            }
        }
        for stream in std::mem::take(&mut self.captures).into_keys() {
            self.report(Kind::CaptureLeft, format!("the capture of {} was never ended", self.streams.name(stream)));
        }
        for raw in self.unowned_descriptors() {
            self.report(Kind::DescriptorLeak, format!("descriptor {raw} was never closed"));
        }
    }

    /// Drops everything that is left, as the end of the process would.
    pub(crate) fn forget(&mut self) {
        self.take_findings();
        let memories = self.memories.clear().into_iter().map(|memory| memory.descriptor);
        let semaphores = self.semaphores.clear().into_iter().map(|semaphore| semaphore.descriptor);
        for descriptor in memories.chain(semaphores) {
            self.close(descriptor, "what was forgotten");
        }
        self.forget_vmm();
        #[cfg(target_os = "linux")]
        self.vulkan.forget();
        self.textures.clear();
        self.surfaces.clear();
        self.levels.clear();
        self.arrays.clear();
        self.mappings.clear();
        self.execs.clear();
        self.graphs.clear();
        self.captures.clear();
        self.functions.clear();
        self.modules.clear();
        self.events.clear();
        self.streams.clear();
        self.contexts.clear();
        self.queues.clear();
        self.unreached.clear();
        self.running.clear();
        self.lost.clear();
        (self.held, self.held_device) = (false, None);
        self.refused = Refused::Measured;
        for shared in std::mem::take(&mut self.by_number) {
            descriptor::close(shared.raw);
        }
        self.findings.clear();
        self.attributes.clear();
        self.hidden = None;
        self.gate = Gate::new();
    }
}
