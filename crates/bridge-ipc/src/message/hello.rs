//! The first message of each side.

use uuid::Uuid;

use crate::limits::{MIN_VERSION, VERSION};
use crate::message::{DecodeError, code, read_name, write_name};
use crate::wire;

/// The two sides of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The process that owns the Vulkan device, the memory and the timelines; it listens.
    Renderer,
    /// The process that computes; it connects.
    Worker,
}

impl Role {
    /// Returns the role of the peer.
    pub fn other(self) -> Self {
        match self {
            Self::Renderer => Self::Worker,
            Self::Worker => Self::Renderer,
        }
    }
}

/// Backend that a worker computes with. It determines which handles the worker receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// CUDA: opaque descriptors of GPU memory and timelines.
    Cuda,
    /// The CPU: sealed memory files, and no timelines.
    Host,
}

impl Backend {
    pub(crate) fn bit(self) -> u32 {
        match self {
            Self::Cuda => 1,
            Self::Host => 2,
        }
    }
}

/// Identity of a process. The renderer sends its Hello first and lists the backends that it allows;
/// the worker answers with the one that it has chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The newest version of the protocol that the sender supports.
    pub version: u32,
    /// The oldest version of the protocol that the sender supports.
    pub oldest: u32,
    /// Process ID of the sender.
    pub pid: u32,
    /// The side that sends the message.
    pub role: Role,
    /// From the renderer: whether workers may compute with CUDA. From the worker: whether it does.
    pub cuda: bool,
    /// From the renderer: whether workers may compute on the CPU. From the worker: whether it does.
    pub host: bool,
    /// The sender's GPU; nil if it uses none.
    pub device_uuid: Uuid,
    /// Version of the GPU's driver, in the encoding of the sender's API; used in logs.
    pub driver_version: u32,
    /// `true` if the sender takes part in exchanges whose values are announced before they are
    /// reached ([`Offer::trust`](crate::Offer::trust)). Such exchanges require that both sides set
    /// it.
    pub trust: bool,
    /// Name of the process in errors and logs, up to 64 bytes.
    pub name: String,
}

impl Hello {
    /// Creates the Hello of this process. It names no backend.
    pub fn new(role: Role, name: &str) -> Self {
        Self {
            version: VERSION,
            oldest: MIN_VERSION,
            pid: std::process::id(),
            role,
            cuda: false,
            host: false,
            device_uuid: Uuid::nil(),
            driver_version: 0,
            trust: false,
            name: name.to_owned(),
        }
    }

    /// Returns `true` if the message names `backend`.
    pub fn has(&self, backend: Backend) -> bool {
        match backend {
            Backend::Cuda => self.cuda,
            Backend::Host => self.host,
        }
    }

    /// Returns the worker's choice, or `None` if the message names both backends or none.
    pub fn backend(&self) -> Option<Backend> {
        match (self.cuda, self.host) {
            (true, false) => Some(Backend::Cuda),
            (false, true) => Some(Backend::Host),
            _ => None,
        }
    }

    /// Returns the newest version that both sides support, if any.
    pub(crate) fn common_version(&self) -> Option<u32> {
        common(self.oldest, self.version)
    }

    pub(crate) fn to_wire(&self) -> Result<wire::Hello, DecodeError> {
        let cuda = if self.cuda { Backend::Cuda.bit() } else { 0 };
        let host = if self.host { Backend::Host.bit() } else { 0 };
        Ok(wire::Hello {
            header: wire::Hello::HEADER,
            magic: wire::MAGIC,
            version: self.version.into(),
            oldest: self.oldest.into(),
            pid: self.pid.into(),
            role: (if self.role == Role::Renderer { 1 } else { 2 }).into(),
            backends: (cuda | host).into(),
            handles: handles(self.cuda, self.host).into(),
            device_uuid: self.device_uuid.into_bytes(),
            driver_version: self.driver_version.into(),
            flags: (if self.trust { TRUST } else { 0 }).into(),
            name: write_name(&self.name)?,
        })
    }

    pub(crate) fn from_wire(wire: &wire::Hello) -> Result<Self, DecodeError> {
        if wire.magic != wire::MAGIC {
            return Err(DecodeError::Magic);
        }
        // The remaining fields may differ in a version that this side does not support.
        let (oldest, newest) = (wire.oldest.get(), wire.version.get());
        if common(oldest, newest).is_none() {
            return Err(DecodeError::Version { oldest, newest });
        }
        // A newer version may define bits that are unknown here. They are ignored, since the
        // connection uses a version that both sides support.
        let is_newer = newest > VERSION;
        let known = |bits: u32, known: u32| if is_newer { bits & known } else { bits };
        let flags = known(wire.flags.get(), FLAGS);
        // Reserved in version 1.
        if flags > 0 && newest < TRUST_SINCE {
            return Err(DecodeError::Reserved("Hello"));
        }
        if flags & !FLAGS != 0 {
            return Err(code("flags", flags));
        }
        let role = match wire.role.get() {
            1 => Role::Renderer,
            2 => Role::Worker,
            other => return Err(code("role", other)),
        };
        let backends = known(wire.backends.get(), BACKENDS);
        let (cuda, host) = (backends & Backend::Cuda.bit() != 0, backends & Backend::Host.bit() != 0);
        if backends & !BACKENDS != 0 {
            return Err(code("backends", backends));
        }
        // A newer version may have unknown backends with any handles.
        let (stated, needed) = (wire.handles.get(), handles(cuda, host));
        if known(stated, needed) != needed {
            return Err(code("handles", stated));
        }
        Ok(Self {
            version: wire.version.get(),
            oldest: wire.oldest.get(),
            pid: wire.pid.get(),
            role,
            cuda,
            host,
            device_uuid: Uuid::from_bytes(wire.device_uuid),
            driver_version: wire.driver_version.get(),
            trust: flags & TRUST != 0,
            name: read_name("name", &wire.name)?,
        })
    }
}

/// The bit of `flags` for [`Hello::trust`].
const TRUST: u32 = 1;

/// The bits of `flags` and of `backends` that the supported versions define.
const FLAGS: u32 = TRUST;
const BACKENDS: u32 = 3;

/// The first version in which values may be announced.
const TRUST_SINCE: u32 = 2;

/// Returns the newest version that is supported by this side and by a peer that supports `oldest`
/// to `newest`.
fn common(oldest: u32, newest: u32) -> Option<u32> {
    let version = newest.min(VERSION);
    (version >= oldest.max(MIN_VERSION)).then_some(version)
}

/// Returns the handles that the backends use. Bit 0: opaque descriptors of memory, bit 1: of
/// timelines, bit 2: sealed memory files.
fn handles(cuda: bool, host: bool) -> u32 {
    (if cuda { 3 } else { 0 }) | (if host { 4 } else { 0 })
}
