//! Messages between two processes on one GPU, a renderer and a worker, and the socket that carries
//! them.
//!
//! The renderer owns the Vulkan device, the memory and the timelines. A worker computes with CUDA
//! or on the CPU. The renderer offers an *exchange*, a number of slots that both processes can
//! access. From then on, each slot belongs to one side at a time, and every hand-over is a message.
//! The encoding is described in `docs/ipc.md`.
//!
//! | module | subject |
//! |---|---|
//! | `message` | a type for each message, validated when it is decoded |
//! | `wire` | the encoding of the messages as bytes |
//! | `limits` | versions and limits of the protocol |
//! | `session` | rules for which message is allowed when; no I/O |
//! | `handle` | OS handles, which are sent with messages |
//! | `transport` | the socket, the peer's process, descriptors (Linux) |
//! | `seals` | memory file flags and seals that older kernels do not support (Linux) |
//! | `shared_memory` | CPU memory that both processes map (Linux) |
//!
//! All data from the peer is validated as if the peer were hostile: sizes, counts, formats, owners,
//! values. Data that is not allowed ends the connection with an error, and descriptors that came
//! with it are closed.
//!
//! A peer is dead only once its process has ended ([`PeerProcess::has_exited`]). A closed socket
//! means only that no more messages will arrive, and a stopped process may continue.
//!
//! # Compatibility
//! Enums and errors that may gain variants and fields are `#[non_exhaustive]`, so a `match` on them
//! needs a wildcard arm. The enums for the two sides ([`Role`], [`Direction`], [`Side`]) will keep
//! two variants. Messages have the fields of the newest version of the protocol: a new field comes
//! with a new version.

// The items that some links refer to exist on Linux only.
#![cfg_attr(not(target_os = "linux"), allow(rustdoc::broken_intra_doc_links))]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(target_os = "linux")]
mod allocation;
mod error;
mod handle;
mod limits;
mod message;
#[cfg(target_os = "linux")]
mod seals;
mod session;
mod shared_memory;
mod transport;
mod wire;

pub use error::{Error, MemoryProblem, Result};
pub use handle::OsHandle;
pub use limits::{
    MAX_EXCHANGES, MAX_RESOURCES, MAX_SLOTS, MAX_VALUE_STEP, MIN_VERSION, RENDERER_IN_STEP_SINCE, VERSION,
};
pub use message::channel::Channel;
pub use message::hello::{Backend, Hello, Role};
pub use message::offer::{Direction, Offer};
pub use message::resource::{
    BufferDescriptor, Handle, ImageDescriptor, ImageShape, LevelLayout, Resource, ResourceKind,
};
pub use message::timeline::{Side, Timeline};
pub use message::{Code, DecodeError, Message, Received};
pub use session::{ExchangePhase, Session, Verdict, Violation};
pub use shared_memory::{MappedMemory, SharedMemory};
#[cfg(target_os = "linux")]
#[doc(hidden)] // For the other crates of this project.
pub use transport::Owner;
pub use transport::{ConnectInfo, Connection, Listener, ListenerInfo, PeerProcess, PeerWatch, Readiness, Waiter};
pub use uuid::Uuid;
pub use wire::{FORMATS, MAX_MESSAGE_SIZE};

// Users may rely on these auto traits; the compiler checks them.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Backend>();
    shared::<BufferDescriptor>();
    shared::<Channel>();
    shared::<Code>();
    shared::<ConnectInfo>();
    shared::<Connection>();
    shared::<DecodeError>();
    shared::<Direction>();
    shared::<Error>();
    shared::<ExchangePhase>();
    shared::<Handle>();
    shared::<Hello>();
    shared::<ImageDescriptor>();
    shared::<ImageShape>();
    shared::<LevelLayout>();
    shared::<Listener>();
    shared::<ListenerInfo>();
    shared::<MappedMemory>();
    shared::<MemoryProblem>();
    shared::<Message>();
    shared::<Offer>();
    shared::<OsHandle>();
    shared::<PeerProcess>();
    shared::<PeerWatch>();
    shared::<Received>();
    shared::<Resource>();
    shared::<ResourceKind>();
    shared::<Role>();
    shared::<Session>();
    shared::<SharedMemory>();
    shared::<Side>();
    shared::<Timeline>();
    shared::<Uuid>();
    shared::<Verdict>();
    shared::<Violation>();
    shared::<Readiness>();
    shared::<Waiter>();
};
