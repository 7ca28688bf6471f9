//! Versions and limits of the protocol.

/// The newest version of the protocol that this crate supports.
pub const VERSION: u32 = 3;
/// The oldest version of the protocol that this crate supports.
pub const MIN_VERSION: u32 = 1;
/// The first version in which the renderer may be the writer of an exchange in step.
pub const RENDERER_IN_STEP_SINCE: u32 = 3;
/// Maximum number of slots of an exchange.
pub const MAX_SLOTS: u32 = 64;
/// Maximum number of resources of a slot.
pub const MAX_RESOURCES: u32 = 16;
/// Maximum number of exchanges that are open on a connection at a time.
pub const MAX_EXCHANGES: usize = 64;
/// Maximum increase of a timeline from one signal to the next.
pub const MAX_VALUE_STEP: u64 = 1 << 20;
