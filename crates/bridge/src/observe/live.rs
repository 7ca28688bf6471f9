//! Counts of live objects of each kind, and of those leaked on purpose.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Kinds of objects that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Exchange,
    Turn,
    Buffer,
    Image,
    Timeline,
    Block,
    Lease,
    KernelMemory,
    /// A pool of command buffers; counted only if it is leaked.
    CommandPool,
}

const KINDS: usize = 9;

static ALIVE: [AtomicUsize; KINDS] = [const { AtomicUsize::new(0) }; KINDS];
static LEAKED: [AtomicUsize; KINDS] = [const { AtomicUsize::new(0) }; KINDS];

/// Counts an object as alive until this guard is dropped. A forgotten guard stays counted.
#[derive(Debug)]
pub(crate) struct Alive(Kind);

impl Alive {
    #[inline]
    pub(crate) fn new(kind: Kind) -> Self {
        ALIVE[kind as usize].fetch_add(1, Ordering::Relaxed);
        Self(kind)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.0
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exchange => "exchange",
            Self::Turn => "turn",
            Self::Buffer => "shared buffer",
            Self::Image => "shared image",
            Self::Timeline => "timeline",
            Self::Block => "block",
            Self::Lease => "lease",
            Self::KernelMemory => "kernel memory",
            Self::CommandPool => "command pool",
        })
    }
}

impl Drop for Alive {
    #[inline]
    fn drop(&mut self) {
        ALIVE[self.0 as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts `count` objects as leaked on purpose; they stay counted as alive.
pub(crate) fn leaked(kind: Kind, count: usize) {
    LEAKED[kind as usize].fetch_add(count, Ordering::Relaxed);
}

/// The objects of this crate that are alive in this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveObjects {
    /// Exchanges, including those that only their turns keep alive.
    pub exchanges: usize,
    /// Compute and render turns.
    pub turns: usize,
    /// Number of shared buffers.
    pub buffers: usize,
    /// Number of shared images.
    pub images: usize,
    /// Number of timelines.
    pub timelines: usize,
    /// Blocks of shared pools: allocations that many shared buffers lie in.
    pub blocks: usize,
    /// Leases; each keeps the buffers and images of one slot.
    pub leases: usize,
    /// [`KernelMemory`](crate::KernelMemory), including memory that was dropped while unfinished
    /// work uses it.
    pub kernel_memories: usize,
    /// Shared buffers that were leaked on purpose because they may still have been in use; also
    /// included in `buffers`.
    pub leaked_buffers: usize,
    /// Shared images that were leaked on purpose; also included in `images`.
    pub leaked_images: usize,
    /// Timelines that were leaked on purpose; also included in `timelines`.
    pub leaked_timelines: usize,
    /// Blocks of shared pools that were leaked on purpose; also included in `blocks`.
    pub leaked_blocks: usize,
    /// [`KernelMemory`](crate::KernelMemory) that CUDA did not free when it was dropped; also
    /// included in `kernel_memories`.
    pub leaked_kernel_memories: usize,
    /// Command pools that were leaked on purpose because their commands may still have been
    /// running, together with the resources of those commands: kernels, staging buffers,
    /// destinations of copies. These pools are counted only here, and keep the device alive.
    pub leaked_command_pools: usize,
}

impl LiveObjects {
    /// Returns the current counts. Other threads may create and drop objects meanwhile.
    pub fn now() -> Self {
        let alive = |kind: Kind| ALIVE[kind as usize].load(Ordering::Relaxed);
        let leaked = |kind: Kind| LEAKED[kind as usize].load(Ordering::Relaxed);
        Self {
            exchanges: alive(Kind::Exchange),
            turns: alive(Kind::Turn),
            buffers: alive(Kind::Buffer),
            images: alive(Kind::Image),
            timelines: alive(Kind::Timeline),
            blocks: alive(Kind::Block),
            leases: alive(Kind::Lease),
            kernel_memories: alive(Kind::KernelMemory),
            leaked_buffers: leaked(Kind::Buffer),
            leaked_images: leaked(Kind::Image),
            leaked_timelines: leaked(Kind::Timeline),
            leaked_blocks: leaked(Kind::Block),
            leaked_kernel_memories: leaked(Kind::KernelMemory),
            leaked_command_pools: leaked(Kind::CommandPool),
        }
    }

    /// Returns `true` if all counts are zero.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for LiveObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} exchanges, {} turns, {} buffers ({} leaked on purpose), {} images ({}), {} timelines ({}), {} blocks ({}), \
             {} leases, {} kernel memories ({}), {} command pools leaked on purpose",
            self.exchanges,
            self.turns,
            self.buffers,
            self.leaked_buffers,
            self.images,
            self.leaked_images,
            self.timelines,
            self.leaked_timelines,
            self.blocks,
            self.leaked_blocks,
            self.leases,
            self.kernel_memories,
            self.leaked_kernel_memories,
            self.leaked_command_pools
        )
    }
}
