//! Launches at the limits of what is allowed: what `Kernel::check_launch` accepts must work.

use bridge::vk_export::{LaunchConfig, Placement};

use crate::gpu::{Gpu, KERNEL, TRANSFER, address, launch};

/// Kernels that use the last bytes of their shared memory, and one that counts its threads.
const EDGES: &str = "
.version 8.0
.target sm_52
.address_size 64

.extern .shared .align 16 .b8 dynamic[];

.visible .entry last_of_dynamic(.param .u64 out, .param .u32 offset)
{
    .reg .b32 %r<6>;
    .reg .b64 %rd<3>;
    ld.param.u64 %rd1, [out];
    ld.param.u32 %r1, [offset];
    cvta.to.global.u64 %rd2, %rd1;
    mov.u32 %r2, dynamic;
    add.u32 %r3, %r2, %r1;
    mov.u32 %r4, 77;
    st.volatile.shared.u32 [%r3], %r4;
    ld.volatile.shared.u32 %r5, [%r3];
    st.global.u32 [%rd2], %r5;
    ret;
}

.visible .entry last_of_both(.param .u64 out, .param .u32 offset)
{
    .shared .align 4 .b8 tile[4096];
    .reg .b32 %r<8>;
    .reg .b64 %rd<3>;
    ld.param.u64 %rd1, [out];
    ld.param.u32 %r1, [offset];
    cvta.to.global.u64 %rd2, %rd1;
    mov.u32 %r2, dynamic;
    add.u32 %r3, %r2, %r1;
    mov.u32 %r4, 70;
    mov.u32 %r6, 7;
    st.volatile.shared.u32 [%r3], %r4;
    st.volatile.shared.u32 [tile+4092], %r6;
    ld.volatile.shared.u32 %r5, [%r3];
    ld.volatile.shared.u32 %r7, [tile+4092];
    add.u32 %r5, %r5, %r7;
    st.global.u32 [%rd2], %r5;
    ret;
}

.visible .entry last_of_static(.param .u64 out)
{
    .shared .align 4 .b8 tile[49152];
    .reg .b32 %r<3>;
    .reg .b64 %rd<3>;
    ld.param.u64 %rd1, [out];
    cvta.to.global.u64 %rd2, %rd1;
    mov.u32 %r1, 77;
    st.volatile.shared.u32 [tile+49148], %r1;
    ld.volatile.shared.u32 %r2, [tile+49148];
    st.global.u32 [%rd2], %r2;
    ret;
}

.visible .entry count(.param .u64 out)
{
    .reg .b64 %rd<3>;
    ld.param.u64 %rd1, [out];
    cvta.to.global.u64 %rd2, %rd1;
    red.global.add.u32 [%rd2], 1;
    ret;
}

.visible .entry last_argument(.param .u64 out, .param .align 4 .b8 filler[4084], .param .u32 last)
{
    .reg .b32 %r<2>;
    .reg .b64 %rd<3>;
    ld.param.u64 %rd1, [out];
    ld.param.u32 %r1, [last];
    cvta.to.global.u64 %rd2, %rd1;
    st.global.u32 [%rd2], %r1;
    ret;
}
";

/// Returns what a kernel writes to its first word.
fn word(gpu: &Gpu, name: &str, config: LaunchConfig, more: &[&[u8]]) -> u32 {
    let kernel = gpu.module(EDGES).kernel(name).unwrap();
    let out = gpu.buffer(1, Placement::DeviceLocal);
    let seen = gpu.buffer(1, Placement::HostVisible);
    gpu.run(gpu.device.queue(), |commands| {
        gpu.fill(commands, &out, 0);
        gpu.barrier(commands, TRANSFER, KERNEL);
        let address = address(&out);
        let args: Vec<&[u8]> = std::iter::once(&address[..]).chain(more.iter().copied()).collect();
        launch(&kernel, commands, config, &args);
        gpu.barrier(commands, KERNEL, TRANSFER);
        gpu.copy(commands, &out, &seen);
    });
    gpu.words(&seen)[0]
}

#[test]
fn all_allowed_shared_memory_works() {
    let Some(gpu) = Gpu::new() else { return };
    let one = LaunchConfig::new([1; 3], [1; 3]);
    for bytes in [4u32, 47_104] {
        let offset = (bytes - 4).to_ne_bytes();
        assert_eq!(word(&gpu, "last_of_dynamic", one.with_shared_bytes(bytes), &[&offset]), 77, "{bytes}");
    }
    let offset = (43_008u32 - 4).to_ne_bytes();
    assert_eq!(word(&gpu, "last_of_both", one.with_shared_bytes(43_008), &[&offset]), 77);
    assert_eq!(word(&gpu, "last_of_static", one, &[]), 77);
}

#[test]
fn all_allowed_blocks_and_grids_run_completely() {
    let Some(gpu) = Gpu::new() else { return };
    for (grid, block) in [
        ([1, 1, 1], [1024, 1, 1]),
        ([3, 2, 1], [1, 1024, 1]),
        ([1, 1, 1], [4, 4, 64]),
        ([1, 65_535, 2], [32, 1, 1]),
        ([1, 2, 65_535], [32, 1, 1]),
        ([70_000, 1, 1], [32, 1, 1]),
    ] {
        let threads = grid.iter().chain(&block).product::<u32>();
        assert_eq!(word(&gpu, "count", LaunchConfig::new(grid, block), &[]), threads, "{grid:?} {block:?}");
    }
}

#[test]
fn all_allowed_arguments_arrive() {
    let Some(gpu) = Gpu::new() else { return };
    let one = LaunchConfig::new([1; 3], [1; 3]);
    assert_eq!(word(&gpu, "last_argument", one, &[&[1; 4084], &0x1234_5678u32.to_ne_bytes()]), 0x1234_5678);
}
