//! Limits of a kernel launch in a Vulkan queue.

use crate::kernel::ptx::PtxEntry;

/// The grid, block and additional shared memory of a launch: `<<<grid, block, shared_bytes>>>` in
/// CUDA C++. cudarc's type of the same name is for cudarc's own launches.
///
/// ```
/// use vk_export::LaunchConfig;
///
/// let config = LaunchConfig::for_elements(1000, 256);
/// assert_eq!((config.grid, config.block), ([4, 1, 1], [256, 1, 1]));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LaunchConfig {
    /// Blocks in x, y and z; not 0, and at most 2³¹ - 1, 65 535 and 65 535.
    pub grid: [u32; 3],
    /// Threads per block in x, y and z; not 0, at most 1024, 1024 and 64, and at most 1024 in
    /// total.
    pub block: [u32; 3],
    /// Bytes of shared memory per block in addition to those that the kernel declares (`extern
    /// __shared__`).
    pub shared_bytes: u32,
}

/// The maximum number of threads per block, in total and along x, y and z.
const MAX_THREADS: u32 = 1024;
const MAX_BLOCK: [u32; 3] = [1024, 1024, 64];
/// The maximum number of blocks along x, y and z.
const MAX_GRID: [u32; 3] = [0x7fff_ffff, 65_535, 65_535];
/// The maximum number of bytes of shared memory that a kernel may declare.
const MAX_STATIC_SHARED: u32 = 49_152;
/// The maximum number of bytes of shared memory if a launch adds to it: 49 152 lose the device.
const MAX_SHARED: u32 = 47_104;
/// The maximum number of bytes of arguments: the limit of CUDA on every GPU.
const MAX_ARGS_BYTES: usize = 4096;

impl LaunchConfig {
    /// Returns the configuration of `grid` blocks of `block` threads, without additional shared
    /// memory.
    pub const fn new(grid: [u32; 3], block: [u32; 3]) -> Self {
        Self { grid, block, shared_bytes: 0 }
    }

    /// Returns the configuration with one thread for each of `len` elements, in blocks of `block_x`
    /// threads.
    ///
    /// The last block may have more threads than there are elements left, so kernels compare their
    /// index with the length. The launch rejects 0 blocks and more blocks than the limit.
    pub fn for_elements(len: u64, block_x: u32) -> Self {
        let blocks = len.div_ceil(u64::from(block_x).max(1));
        Self::new([u32::try_from(blocks).unwrap_or(u32::MAX), 1, 1], [block_x, 1, 1])
    }

    /// Returns the configuration with `bytes` of additional shared memory.
    #[must_use]
    pub const fn with_shared_bytes(self, bytes: u32) -> Self {
        Self { shared_bytes: bytes, ..self }
    }
}

/// Returns the first problem of a launch of `entry` with arguments of `args_len` bytes.
pub(crate) fn fault(entry: &PtxEntry, config: &LaunchConfig, args_len: usize) -> Option<String> {
    block_fault(entry, config.block)
        .or_else(|| grid_fault(config.grid))
        .or_else(|| shared_fault(entry, config.shared_bytes))
        .or_else(|| args_fault(entry, args_len))
}

fn shape([x, y, z]: [u32; 3]) -> String {
    format!("{x} x {y} x {z}")
}

fn block_fault(entry: &PtxEntry, block: [u32; 3]) -> Option<String> {
    // Formatted only if there is a problem.
    let all = || shape(block);
    if block.contains(&0) {
        return Some(format!("a block of {} threads is empty", all()));
    }
    let threads = block.iter().fold(1u32, |all, one| all.saturating_mul(*one));
    let within = block.iter().zip(MAX_BLOCK).all(|(one, most)| *one <= most);
    if threads > MAX_THREADS || !within {
        return Some(format!(
            "a block of {} threads is too large; the maximum is {MAX_THREADS}, and {} along x, y and z",
            all(),
            shape(MAX_BLOCK)
        ));
    }
    if let Some(required) = entry.required_block().filter(|required| *required != block) {
        return Some(format!("it was compiled for blocks of {} threads (.reqntid), not {}", shape(required), all()));
    }
    let most = entry.max_threads().filter(|most| threads > *most)?;
    Some(format!("it was compiled for blocks of at most {most} threads (__launch_bounds__), not {threads}"))
}

fn grid_fault(grid: [u32; 3]) -> Option<String> {
    let all = || shape(grid);
    if grid.contains(&0) {
        return Some(format!("a grid of {} blocks is empty: nothing would run", all()));
    }
    let within = grid.iter().zip(MAX_GRID).all(|(one, most)| *one <= most);
    (!within).then(|| {
        let most = shape(MAX_GRID);
        format!("a grid of {} blocks is too large, and nothing would run; the maximum is {most}", all())
    })
}

fn shared_fault(entry: &PtxEntry, added: u32) -> Option<String> {
    let declared = entry.static_shared_bytes();
    let most = if added == 0 { MAX_STATIC_SHARED } else { MAX_SHARED };
    (declared.saturating_add(added) > most).then(|| {
        format!(
            "{declared} bytes of shared memory declared and {added} added are too many; the maximum in a Vulkan \
             queue is {most}"
        )
    })
}

fn args_fault(entry: &PtxEntry, args_len: usize) -> Option<String> {
    let (wanted, count) = (entry.args_size(), entry.params().len());
    if args_len != wanted {
        return Some(format!("its {count} arguments have {wanted} bytes, not {args_len}"));
    }
    (wanted > MAX_ARGS_BYTES).then(|| {
        format!(
            "{wanted} bytes of arguments are too many, the maximum is {MAX_ARGS_BYTES}; pass the address of a buffer"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::ptx::Ptx;

    fn entry(text: &str) -> PtxEntry {
        let ptx = Ptx::new(format!(".version 8.0 .target sm_52 .address_size 64 .visible .entry f{text} {{ ret; }}"));
        ptx.unwrap().entries()[0].clone()
    }

    #[track_caller]
    fn refused(entry: &PtxEntry, config: LaunchConfig, args_len: usize, because: &str) {
        let reason = fault(entry, &config, args_len).unwrap_or_default();
        assert!(reason.contains(because), "{reason:?}");
    }

    #[test]
    fn launches_that_hang_or_are_ignored_are_refused() {
        let f = entry("()");
        let fine = LaunchConfig::new([1; 3], [1; 3]);
        for (grid, block) in [
            ([1; 3], [1024, 1, 1]),
            ([1; 3], [1, 1024, 1]),
            ([1; 3], [16, 1, 64]),
            ([0x7fff_ffff, 1, 1], [1; 3]),
            ([1, 65_535, 65_535], [1; 3]),
        ] {
            assert_eq!(fault(&f, &LaunchConfig::new(grid, block), 0), None, "{grid:?} {block:?}");
        }
        for axis in 0..3 {
            let mut zero = [1; 3];
            zero[axis] = 0;
            refused(&f, LaunchConfig { block: zero, ..fine }, 0, "threads is empty");
            refused(&f, LaunchConfig { grid: zero, ..fine }, 0, "nothing would run");
        }
        for block in [[1025, 1, 1], [2048, 1, 1], [1, 1025, 1], [1, 1, 65], [32, 33, 1], [u32::MAX; 3]] {
            refused(&f, LaunchConfig { block, ..fine }, 0, "too large; the maximum is 1024");
        }
        for grid in [[0x8000_0000, 1, 1], [1, 65_536, 1], [1, 1, 65_536], [u32::MAX; 3]] {
            refused(&f, LaunchConfig { grid, ..fine }, 0, "is too large, and nothing would run");
        }
    }

    #[test]
    fn block_constraints_of_the_kernel_are_enforced() {
        let config = |x| LaunchConfig::new([1; 3], [x, 2, 1]);
        let bounded = entry("() .maxntid 64, 2");
        assert_eq!(fault(&bounded, &config(64), 0), None);
        refused(&bounded, config(65), 0, "at most 128 threads");
        let required = entry("() .reqntid 64, 2");
        assert_eq!(fault(&required, &config(64), 0), None);
        refused(&required, config(32), 0, "blocks of 64 x 2 x 1 threads (.reqntid), not 32 x 2 x 1");
    }

    #[test]
    fn shared_memory_is_limited_to_working_sizes() {
        let fine = LaunchConfig::new([1; 3], [1; 3]);
        let of = |bytes: u32| entry(&format!("() {{ .shared .align 4 .b8 s[{bytes}]; ret; }} .entry g()"));
        assert_eq!(of(100).static_shared_bytes(), 100);
        assert_eq!(fault(&of(49_152), &fine, 0), None);
        refused(&of(49_156), fine, 0, "49156 bytes of shared memory declared and 0 added");
        assert_eq!(fault(&of(100), &fine.with_shared_bytes(47_004), 0), None);
        refused(&of(100), fine.with_shared_bytes(47_005), 0, "100 bytes of shared memory declared and 47005 added");
        refused(&of(49_152), fine.with_shared_bytes(4), 0, "is 47104");
        refused(&of(4), fine.with_shared_bytes(u32::MAX), 0, "too many");
    }

    #[test]
    fn argument_size_is_checked() {
        let (f, config) = (entry("(.param .u64 a, .param .u32 b)"), LaunchConfig::for_elements(10, 4));
        assert_eq!(fault(&f, &config, 12), None);
        for len in [0, 8, 11, 13, 16] {
            refused(&f, config, len, &format!("its 2 arguments have 12 bytes, not {len}"));
        }
        let large = entry("(.param .align 4 .b8 a[4100])");
        refused(&large, config, 4100, "is 4096");
        assert_eq!(fault(&entry("(.param .align 4 .b8 a[4096])"), &config, 4096), None);
    }

    #[test]
    fn elements_are_rounded_up_to_blocks() {
        assert_eq!(LaunchConfig::for_elements(1025, 256), LaunchConfig::new([5, 1, 1], [256, 1, 1]));
        let f = entry("()");
        refused(&f, LaunchConfig::for_elements(0, 256), 0, "a grid of 0 x 1 x 1 blocks is empty");
        refused(&f, LaunchConfig::for_elements(5, 0), 0, "a block of 0 x 1 x 1 threads is empty");
        refused(&f, LaunchConfig::for_elements(u64::MAX, 1), 0, "too large");
    }
}
