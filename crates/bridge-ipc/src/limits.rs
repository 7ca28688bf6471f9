//! Versions and limits of the protocol.

/// The newest version of the protocol that this crate speaks.
pub const VERSION: u32 = 3;
/// The oldest version of the protocol that this crate speaks.
pub const OLDEST_VERSION: u32 = 1;
/// The first version in which the renderer may write in an exchange that is in step.
pub const RENDERER_IN_STEP_SINCE: u32 = 3;
/// The most slots of an exchange.
pub const MOST_SLOTS: u32 = 64;
/// The most resources of a slot.
pub const MOST_RESOURCES: u32 = 16;
/// The most exchanges that are open on a connection at a time.
pub const MOST_EXCHANGES: usize = 64;
/// Limit on how far a timeline may rise from one signal to the next.
pub const MOST_STEP: u64 = 1 << 20;
