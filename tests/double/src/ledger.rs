//! All that the double knows.

use std::collections::BTreeMap;
use std::ffi::c_uint;

use crate::abi::{Code, Handle, INVALID_CONTEXT, INVALID_HANDLE, OPAQUE_KMT, UNKNOWN};
use crate::array::{Array, Level, Object};
use crate::descriptor::{self, Raw};
use crate::export::{Export, Exports, Payload};
use crate::finding::{Kind, Refusal};
use crate::gate::Gate;
use crate::graph::{Capture, Exec, Graph};
use crate::queue::Queue;
use crate::table::Table;

/// Handles begin here and device addresses above, so that neither is mistaken for the other or for a pointer.
const HANDLES: u64 = 0xd000_0000_0000;
const ADDRESSES: u64 = 0x7000_0000_0000;

/// A device's primary context, the only kind there is.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) device: i32,
    pub(crate) retained: u32,
    /// The queue of its default stream.
    pub(crate) default_stream: u64,
}

#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) context: u64,
    pub(crate) descriptor: Descriptor,
    pub(crate) size: u64,
    pub(crate) dedicated: bool,
}

/// One that the driver owns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor {
    pub(crate) raw: Raw,
    /// The export it must mean.
    pub(crate) export: u64,
}

impl Descriptor {
    /// Whether it still means its export.
    fn is_open(&self) -> bool {
        descriptor::number(self.raw) == Some(self.export)
    }
}

/// Its handle is the device address.
#[derive(Debug)]
pub(crate) struct Mapping {
    pub(crate) context: u64,
    pub(crate) memory: u64,
    /// In the memory, in bytes.
    pub(crate) offset: u64,
    pub(crate) size: u64,
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
    /// How often it was recorded.
    pub(crate) recorded: u64,
    /// Whether the last record was captured.
    pub(crate) captured: bool,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) gate: Gate,
    pub(crate) initialised: bool,
    /// What a test says of the devices instead of what they say of themselves, by attribute.
    pub(crate) attributes: BTreeMap<i32, i32>,
    pub(crate) contexts: Table<Context>,
    pub(crate) memories: Table<Memory>,
    pub(crate) mappings: Table<Mapping>,
    pub(crate) arrays: Table<Array>,
    /// Owned by their arrays.
    pub(crate) levels: Table<Level>,
    pub(crate) textures: Table<Object>,
    pub(crate) surfaces: Table<Object>,
    pub(crate) semaphores: Table<Semaphore>,
    pub(crate) streams: Table<Stream>,
    pub(crate) events: Table<Event>,
    pub(crate) graphs: Table<Graph>,
    pub(crate) execs: Table<Exec>,
    /// By the stream that is captured.
    pub(crate) captures: BTreeMap<u64, Capture>,
    /// By stream, longer than that lives: what was enqueued is done even if the stream is destroyed.
    pub(crate) queues: BTreeMap<u64, Queue>,
    /// By event, longer than that lives: which of its records has been reached.
    pub(crate) reached: BTreeMap<u64, u64>,
    pub(crate) exports: Exports,
    /// What the exporting side shares by its number, with the handle that has it.
    pub(crate) by_number: Vec<Descriptor>,
    decoys: Vec<Descriptor>,
    findings: Vec<(Kind, String)>,
    serial: u64,
    next_address: u64,
}

impl Ledger {
    pub(crate) const fn new() -> Self {
        Self {
            gate: Gate::new(),
            initialised: false,
            attributes: BTreeMap::new(),
            contexts: Table::new("context"),
            memories: Table::new("memory"),
            mappings: Table::new("mapping"),
            arrays: Table::new("array"),
            levels: Table::new("level"),
            textures: Table::new("texture"),
            surfaces: Table::new("surface"),
            semaphores: Table::new("semaphore"),
            streams: Table::new("stream"),
            events: Table::new("event"),
            graphs: Table::new("graph"),
            execs: Table::new("exec"),
            captures: BTreeMap::new(),
            queues: BTreeMap::new(),
            reached: BTreeMap::new(),
            exports: BTreeMap::new(),
            decoys: Vec::new(),
            by_number: Vec::new(),
            findings: Vec::new(),
            serial: 0,
            next_address: ADDRESSES,
        }
    }

    /// A number never used before.
    pub(crate) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(crate) fn new_handle(&mut self) -> u64 {
        HANDLES + self.serial() * 16
    }

    /// A device address with nothing near it.
    pub(crate) fn new_address(&mut self, size: u64) -> u64 {
        const GAP: u64 = 1 << 21;
        let address = self.next_address;
        self.next_address += size.next_multiple_of(GAP) + GAP;
        address
    }

    pub(crate) fn find(&mut self, kind: Kind, text: String) {
        self.findings.push((kind, text));
    }

    /// A call goes on although it broke a rule, as the driver would.
    pub(crate) fn note(&mut self, of: &str, result: Result<(), (Kind, String)>) {
        if let Err((kind, text)) = result {
            self.find(kind, format!("{of}: {text}"));
        }
    }

    /// The stream's queue; null means the default stream of `context`, and so do the two reserved handles.
    pub(crate) fn stream(&self, context: u64, raw: u64) -> Result<u64, Refusal> {
        if raw <= 2 {
            return Ok(self.contexts.get(context)?.default_stream);
        }
        self.of(context, "stream", self.streams.get(raw)?.context)?;
        self.check_capture(raw)?;
        Ok(raw)
    }

    /// Whether an object of context `owner` may be used with `context` current.
    pub(crate) fn of(&self, context: u64, what: &str, owner: u64) -> Result<(), Refusal> {
        if context == owner {
            return Ok(());
        }
        let text =
            format!("a {what} of {} is used with {} current", self.contexts.name(owner), self.contexts.name(context));
        Err(Refusal::new(INVALID_CONTEXT, Kind::WrongContext, text))
    }

    /// The memory behind `size` bytes at a device address: a descriptor and an offset in it.
    pub(crate) fn place(&self, address: u64, size: u64) -> Result<(Raw, u64), Refusal> {
        let mapping = self.mappings.iter().find(|(start, mapping)| {
            address.checked_sub(*start).is_some_and(|into| into.saturating_add(size) <= mapping.size)
        });
        let Some((start, mapping)) = mapping else {
            let text = format!("{size} bytes at {address:#x} are not mapped");
            return Err(Refusal::new(700, Kind::OutOfBounds, text));
        };
        let memory = self.memories.get(mapping.memory)?;
        Ok((memory.descriptor.raw, mapping.offset + (address - start)))
    }

    /// What a descriptor that is handed in carries. It stays its giver's.
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

    /// Closes what the driver owns.
    pub(crate) fn close(&mut self, descriptor: Descriptor, of: &str) {
        if descriptor.is_open() {
            descriptor::close(descriptor.raw);
        } else {
            self.find(Kind::DoubleClose, format!("descriptor {} of {of} was closed by others", descriptor.raw));
        }
    }

    /// Whether what is handed in was exported as the kind that the importer says: by number, or not.
    pub(crate) fn check_sharing(&self, handle: &Handle, kind: c_uint) -> Result<(), Refusal> {
        let by_number = self.by_number.iter().any(|shared| shared.raw as u64 == handle.as_object());
        if by_number == (kind == OPAQUE_KMT) {
            return Ok(());
        }
        let text = format!("handle {:#x} is imported as of type {kind}", handle.as_object());
        Err(Refusal::new(UNKNOWN, Kind::WrongObject, text))
    }

    /// Closes the driver's own reference to what was handed in.
    #[cfg(windows)]
    pub(crate) fn close_under_watch(&mut self, raw: Raw) {
        descriptor::close(raw);
    }

    /// Closes what was handed in, and watches whether somebody closes the number again.
    #[cfg(not(windows))]
    pub(crate) fn close_under_watch(&mut self, raw: Raw) {
        let export = self.serial();
        self.exports.insert(export, Export::Decoy);
        if descriptor::replace(raw, export).is_ok() {
            self.decoys.push(Descriptor { raw, export });
        }
    }

    /// Ends the watch, and hands over all that was found.
    pub(crate) fn take_findings(&mut self) -> Vec<(Kind, String)> {
        for decoy in std::mem::take(&mut self.decoys) {
            self.exports.remove(&decoy.export);
            if decoy.is_open() {
                descriptor::close(decoy.raw);
            } else {
                let text = format!("descriptor {}, which the driver had closed, was closed again", decoy.raw);
                self.find(Kind::DoubleClose, text);
            }
        }
        let by_number = std::mem::take(&mut self.by_number);
        let (kept, closed) = by_number.into_iter().partition::<Vec<_>, _>(|shared| shared.is_open());
        self.by_number = kept;
        for shared in closed {
            self.find(Kind::DoubleClose, format!("{:#x}, which is shared by its number, was closed", shared.raw));
        }
        std::mem::take(&mut self.findings)
    }

    /// Handle, name, and whether its destroy was made to fail.
    pub(crate) fn live(&self) -> Vec<(u64, String, bool)> {
        let objects = (self.textures.names()).chain(self.surfaces.names()).chain(self.arrays.names());
        let objects = objects.chain(self.mappings.names()).chain(self.memories.names()).chain(self.semaphores.names());
        let objects = objects.chain(self.execs.names()).chain(self.graphs.names());
        objects.chain(self.events.names()).chain(self.streams.names()).chain(self.contexts.names()).collect()
    }

    /// Descriptors of exports that are open and not the driver's.
    pub(crate) fn loose(&self) -> Vec<Raw> {
        let memories = self.memories.iter().map(|(_, memory)| memory.descriptor.raw);
        let semaphores = self.semaphores.iter().map(|(_, semaphore)| semaphore.descriptor.raw);
        let others = self.decoys.iter().chain(&self.by_number).map(|other| other.raw);
        let owned: Vec<_> = memories.chain(semaphores).chain(others).collect();
        descriptor::open().into_iter().map(|(raw, _)| raw).filter(|raw| !owned.contains(raw)).collect()
    }

    /// Nothing may be left any more: what is becomes a finding.
    pub(crate) fn find_leaks(&mut self) {
        for (_, name, refused) in self.live() {
            if !refused {
                self.find(Kind::ObjectLeak, format!("{name} was never destroyed"));
            }
        }
        for stream in std::mem::take(&mut self.captures).into_keys() {
            self.find(Kind::CaptureLeft, format!("the capture of {} was never ended", self.streams.name(stream)));
        }
        for raw in self.loose() {
            self.find(Kind::DescriptorLeak, format!("descriptor {raw} was never closed"));
        }
    }

    /// Drops what is left, as the end of the process would.
    pub(crate) fn forget(&mut self) {
        self.take_findings();
        let memories = self.memories.clear().into_iter().map(|memory| memory.descriptor);
        let semaphores = self.semaphores.clear().into_iter().map(|semaphore| semaphore.descriptor);
        for descriptor in memories.chain(semaphores) {
            self.close(descriptor, "what was forgotten");
        }
        self.textures.clear();
        self.surfaces.clear();
        self.levels.clear();
        self.arrays.clear();
        self.mappings.clear();
        self.execs.clear();
        self.graphs.clear();
        self.captures.clear();
        self.events.clear();
        self.streams.clear();
        self.contexts.clear();
        self.queues.clear();
        for shared in std::mem::take(&mut self.by_number) {
            descriptor::close(shared.raw);
        }
        self.findings.clear();
        self.attributes.clear();
        self.gate = Gate::new();
    }
}
