//! [`SharedPool`], which places many shared buffers in few allocations.

mod blocks;
mod dedicated;
mod ranges;

use std::sync::{Arc, Mutex, MutexGuard, Weak};

use vk_export::ash::vk;
use vk_export::{Block, BlockInfo, BufferAccess, Counterpart};

use crate::compute::Compute;
use crate::compute::mapped::{Container, Mapped};
use crate::error::{Error, Result};
use crate::observe::live::Kind;
use crate::observe::object::Object;
pub(crate) use blocks::PoolRange;
use blocks::{Blocks, Entry, PoolBlock, VulkanBlock, lock};
use dedicated::{DedicatedMemory, DedicatedTotal};
use ranges::{AllocatedRange, MAX_BLOCK_SIZE, Ranges, round_up};

/// Minimum block size, since smaller blocks would hold few buffers.
const MIN_BLOCK_SIZE: u64 = 64 << 10;

/// Total bytes of a device's exportable blocks above which buffers of [`MIN_DEDICATED_SIZE`] or
/// more get dedicated memory instead of another block.
const POOLED_BYTES_LIMIT: u64 = 512 << 20;
/// Minimum buffer size at which a separate import is worth its cost; see [`POOLED_BYTES_LIMIT`].
const MIN_DEDICATED_SIZE: u64 = 1 << 20;

/// Configuration of a [`SharedPool`].
#[derive(Debug, Clone, Copy)]
pub struct SharedPoolInfo<'a> {
    /// Name in errors, traces and GPU debuggers. Default: "pool".
    pub name: &'a str,
    /// Size of one block in bytes, not zero. Rounded up to a power of two of at least 64 KiB.
    /// Default: 64 MiB.
    pub block_size: u64,
    /// Vulkan usage flags of all uses of the buffers; each buffer is created with all of them.
    /// Default: those of all constants of [`BufferAccess`] except
    /// [`ACCELERATION_STRUCTURE_INPUT`](BufferAccess::ACCELERATION_STRUCTURE_INPUT), which requires
    /// device features.
    pub usage: vk::BufferUsageFlags,
}

impl Default for SharedPoolInfo<'_> {
    fn default() -> Self {
        let all = BufferAccess::VERTEX_INPUT
            | BufferAccess::INDEX_INPUT
            | BufferAccess::INDIRECT
            | BufferAccess::SHADER_READ
            | BufferAccess::UNIFORM_READ
            | BufferAccess::TRANSFER_READ
            | BufferAccess::TRANSFER_WRITE;
        Self { name: "pool", block_size: 64 << 20, usage: all.usage }
    }
}

/// An allocator for many shared buffers. Buffers are suballocated from blocks that are exported,
/// imported and mapped once, so creating or dropping a buffer allocates, exports and imports
/// nothing.
///
/// Pass it to an exchange in [`ExchangeInfo::pool`](crate::ExchangeInfo::pool), or to
/// [`SharedBuffer::new_in`](crate::SharedBuffer::new_in). Buffer offsets are multiples of 256 bytes
/// and of the alignment that Vulkan and the elements require. The pool adds a block if no block has
/// room. One empty block is kept for reuse; dropping a buffer frees the other empty blocks.
/// (Freeing a block on the CUDA side waits for all work of the context, as freeing a buffer with
/// dedicated memory does.)
///
/// Some buffers get dedicated memory instead, as without a pool: buffers that are larger than a
/// block, and, once the exported blocks of all pools of the device add up to 512 MiB, buffers of 1
/// MiB or more that do not fit into an existing block. The reason is that NVIDIA's driver
/// compresses blocks, and with more than several GiB of blocks, kernels with random reads slow down
/// to a sixth or less of their speed; dedicated memory is not affected (see BENCHMARKS.md).
/// [`PoolReport::dedicated`] counts these buffers, and the first one is logged. Smaller buffers are
/// always placed in blocks.
///
/// The memory of a dropped buffer is reused. An exchange drops its buffers only after both sides
/// have finished with them; memory that it leaks deliberately is never reused.
///
/// Clones refer to the same pool, and any thread may use it. Its memory is freed with the last
/// clone and the last buffer.
#[doc = concat!("\n# Examples\n```\n", include_str!("../../docs/shared_pool.rs"), "```")]
#[derive(Clone)]
pub struct SharedPool(Arc<Inner>);

struct Inner {
    /// Buffers reference their pool through this field. It holds no compute side: buffers may be
    /// dropped on the CPU backend's own thread, and dropping the last reference to that backend
    /// waits for the thread to end.
    blocks: Arc<Mutex<Blocks>>,
    own: Arc<DedicatedTotal>,
    compute: Compute,
    name: String,
    block_size: u64,
    usage: vk::BufferUsageFlags,
}

/// Where a pool places a buffer.
#[derive(Debug)]
pub(crate) enum Place {
    /// In a block.
    Block(PoolRange),
    /// In dedicated memory, which the creator of the buffer allocates. The buffer is counted while
    /// this is alive.
    Dedicated { _counted: DedicatedMemory },
}

impl Place {
    /// Returns the block that the buffer is part of, if any.
    pub(crate) fn container(&self) -> Option<Weak<dyn Container>> {
        match self {
            Self::Block(range) => Some(range.container()),
            Self::Dedicated { .. } => None,
        }
    }
}

/// Usage of a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolReport {
    /// Number of live blocks.
    pub blocks: usize,
    /// Number of live buffers, in blocks or in dedicated memory.
    pub buffers: usize,
    /// Number of `buffers` with dedicated memory; see [`SharedPool`].
    pub dedicated: usize,
    /// Total size of the blocks and of the dedicated memory, in bytes.
    pub allocated: u64,
    /// Bytes used by the buffers, including padding.
    pub used: u64,
}

impl SharedPool {
    /// Creates a pool and allocates its first block, so that an unsupported configuration fails
    /// here instead of at the first buffer.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a block size of 0 or of more than 512 GiB, otherwise the
    /// error of the failed Vulkan or CUDA call, such as [`vk_export::Error::NotExportable`] if the
    /// driver requires a dedicated allocation for each buffer.
    pub fn new(compute: &Compute, info: &SharedPoolInfo<'_>) -> Result<Self> {
        let invalid = |reason: &str| Error::invalid(format!("shared pool \"{}\"", info.name), reason);
        if info.block_size == 0 {
            return Err(invalid("its block size is 0 bytes; 64 MiB hold many buffers"));
        }
        if info.block_size > MAX_BLOCK_SIZE {
            return Err(invalid(
                "its block size is over 512 GiB; buffers larger than a block get their own memory anyway",
            ));
        }
        let pool = Self(Arc::new(Inner {
            blocks: Arc::new(Mutex::new(Blocks { list: Vec::new(), requested_count: 0 })),
            own: Arc::default(),
            compute: compute.clone(),
            name: info.name.to_owned(),
            block_size: info.block_size.next_power_of_two().max(MIN_BLOCK_SIZE),
            usage: info.usage,
        }));
        let number = pool.lock().number();
        let first = pool.create_entry(number)?;
        pool.lock().list.push(first);
        Ok(pool)
    }

    /// Returns the pool's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the compute side that the pool's buffers are for.
    pub fn compute(&self) -> &Compute {
        &self.0.compute
    }

    /// Returns the size of one block in bytes, rounded as described for
    /// [`SharedPoolInfo::block_size`].
    pub fn block_size(&self) -> u64 {
        self.0.block_size
    }

    /// Returns the current usage of the pool.
    pub fn report(&self) -> PoolReport {
        let blocks = self.lock();
        let (dedicated, bytes) = self.0.own.now();
        let own = PoolReport { blocks: 0, buffers: dedicated, dedicated, allocated: bytes, used: bytes };
        blocks.list.iter().fold(own, |sum, Entry { block, ranges }| PoolReport {
            blocks: sum.blocks + 1,
            buffers: sum.buffers + ranges.live(),
            allocated: sum.allocated + block.vulkan().size(),
            used: sum.used + ranges.allocated(),
            ..sum
        })
    }

    /// Checks that `object` may be created in this pool for `compute` and used for `accesses`.
    pub(crate) fn check_use(&self, compute: &Compute, accesses: BufferAccess, object: &str) -> Result<()> {
        let invalid = |reason| Err(Error::invalid(object, reason));
        if !self.0.compute.is_same(compute) {
            return invalid(format!(
                "pool \"{}\" was made with another Compute; make the pool and the exchange with clones of one",
                self.name()
            ));
        }
        let more = accesses.usage & !self.0.usage;
        if !more.is_empty() {
            return invalid(format!(
                "pool \"{}\" was made without {more:?}; add it to SharedPoolInfo::usage",
                self.name()
            ));
        }
        Ok(())
    }

    /// Allocates `size` bytes, not zero, for a buffer whose elements require `alignment`, a power
    /// of two.
    pub(crate) fn take(&self, size: u64, alignment: u64) -> Result<Place> {
        let mut blocks = self.lock();
        if round_up(size).is_none_or(|size| size > self.0.block_size) {
            return Ok(Place::Dedicated { _counted: DedicatedMemory::new(&self.0.own, size) });
        }
        if let Some(range) = self.allocate_in(&mut blocks, size, alignment) {
            return Ok(Place::Block(range));
        }
        if size >= MIN_DEDICATED_SIZE
            && self.is_compressed()
            && self.blocks_of_device() + self.0.block_size > POOLED_BYTES_LIMIT
        {
            let counted = DedicatedMemory::new(&self.0.own, size);
            drop(blocks);
            self.0.own.log_once(self.name());
            return Ok(Place::Dedicated { _counted: counted });
        }
        let number = blocks.number();
        drop(blocks);
        self.allocate_in_new_block(number, size, alignment)?.map(Place::Block).ok_or_else(|| {
            let object = format!("shared pool \"{}\"", self.name());
            Error::invalid(object, format!("a new block has no room for {size} bytes"))
        })
    }

    /// Creates a block without holding the lock, since the driver call may be slow. Then allocates
    /// from any block that has room by now, including the new one. If the new block turns out not
    /// to be needed, it is kept for later buffers, since freeing it would wait for the GPU.
    ///
    /// # Errors
    /// The error of creating the block, if the other blocks still have no room.
    fn allocate_in_new_block(&self, number: usize, size: u64, alignment: u64) -> Result<Option<PoolRange>> {
        let made = self.create_entry(number);
        let mut blocks = self.lock();
        let failed = made.map(|made| blocks.list.push(made)).err();
        let range = self.allocate_in(&mut blocks, size, alignment);
        drop(blocks);
        match (range, failed) {
            (None, Some(error)) => Err(error),
            (range, _) => Ok(range),
        }
    }

    /// Returns `true` if the driver may compress the blocks; see [`SharedPool`].
    fn is_compressed(&self) -> bool {
        self.0.compute.side().sharing().counterpart == Counterpart::External
    }

    /// Returns the total bytes of exported blocks of all pools of the device.
    fn blocks_of_device(&self) -> u64 {
        self.0.compute.device().allocated_bytes().in_exported_blocks
    }

    /// Allocates bytes in the first block that has room.
    fn allocate_in(&self, blocks: &mut Blocks, size: u64, alignment: u64) -> Option<PoolRange> {
        blocks.list.iter_mut().find_map(|Entry { block, ranges }| {
            let taken = ranges.take(size, alignment.max(block.vulkan().alignment()))?;
            Some(self.range(block, taken))
        })
    }

    fn range(&self, block: &Arc<PoolBlock>, taken: AllocatedRange) -> PoolRange {
        PoolRange { taken: Some(taken), block: Arc::clone(&block.vulkan), blocks: Arc::downgrade(&self.0.blocks) }
    }

    fn create_entry(&self, number: usize) -> Result<Entry> {
        let size = self.0.block_size;
        let object = || format!("shared pool \"{}\"", self.name());
        let uncounted = || Error::invalid(object(), format!("blocks of {size} bytes"));
        let ranges = Ranges::new(size).ok_or_else(uncounted)?;
        let block = self.create_block(number, size)?;
        Ok(Entry { block, ranges })
    }

    fn create_block(&self, number: usize, size: u64) -> Result<Arc<PoolBlock>> {
        let (device, side) = (self.0.compute.device(), self.0.compute.side());
        let name = format!("{}.block{number}", self.name());
        let sharing = side.sharing();
        let (usage, placement) = (self.0.usage | sharing.buffer_usage, sharing.placement);
        let vulkan = Block::new(device, &BlockInfo { name: &name, size, usage, placement })?;
        let mapping = side.map_block(&vulkan)?;
        let object = Object::new(Kind::Block, &name, side.trace_side(), Some(size));
        let vulkan = Arc::new(VulkanBlock { vulkan, object });
        Ok(Arc::new(PoolBlock { mapping: Mapped::new(mapping, &vulkan, None), vulkan }))
    }

    fn lock(&self) -> MutexGuard<'_, Blocks> {
        lock(&self.0.blocks)
    }
}

impl std::fmt::Debug for SharedPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let report = self.report();
        write!(f, "SharedPool(\"{}\", {} buffers in {} blocks)", self.name(), report.buffers, report.blocks)
    }
}
