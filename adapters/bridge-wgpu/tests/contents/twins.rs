//! Kernels that run on every compute side, with twins in Rust on the CPU, and their memory.
#![allow(unsafe_code, clippy::unwrap_used)] // A test; launches.

use crate::support::{bridges, info, read_buffer, validation_messages};
use bridge_wgpu::bridge::{BufferSpec, Kernel, KernelMemory, TwinSlice, Work};
use bridge_wgpu::{Bridge, Exchange, LatestInfo, LaunchConfig, SharedBuffer, wgpu};

const LEN: usize = 1000;
const PTX: &str = include_str!("../../../../shaders/probe.ptx");

/// Loads kernels once, for every backend: one that writes consecutive numbers, and one that adds.
fn kernels(bridge: &Bridge) -> [Kernel; 2] {
    let module = bridge.load("probe", PTX).unwrap();
    let module = module.with_twin::<(TwinSlice<u32>, u32, u32, u64)>("fill_after", |_, (words, len, base, _)| {
        (base..base + len).zip(words).for_each(|(number, word)| *word = number);
    });
    let module = module.unwrap().with_twin::<(TwinSlice<u32>, TwinSlice<u32>, u32)>("add", |_, (words, more, _)| {
        words.iter_mut().zip(more).for_each(|(word, more)| *word += *more);
    });
    let module = module.unwrap();
    ["fill_after", "add"].map(|name| module.kernel(name).unwrap())
}

/// Enqueues numbers from `base` on, plus the contents of `memory`.
fn compute(
    work: Work<'_, BufferSpec<u32>>,
    [fill, add]: &[Kernel; 2],
    base: u32,
    memory: &KernelMemory<u32>,
) -> bridge_wgpu::Result<()> {
    let work = work.kernels()?;
    let (config, len) = (LaunchConfig::for_elements(LEN as u64, 256), LEN as u32);
    // SAFETY: the kernel's four parameters, of these types, and it writes `len` elements.
    unsafe { work.launch(fill, &config, (work.resources, len, base, 0u64)) }?;
    // SAFETY: the kernel's three parameters, of these types; both have `len` elements.
    Ok(unsafe { work.launch(add, &config, (work.resources, memory, len)) }?)
}

fn expected(base: u32) -> Vec<u32> {
    (0..LEN as u32).map(|index| base + index + 7).collect()
}

#[test]
fn one_launch_computes_on_every_backend() {
    for bridge in bridges() {
        let spec = SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC);
        let mut exchange = Exchange::new(&bridge, &info("numbers"), spec).unwrap();
        let (kernels, memory) = (kernels(&bridge), bridge.kernel_memory("sevens", &[7u32; LEN]).unwrap());
        for base in [0, 1000, 2000, 3000] {
            let mut turn = exchange.begin().unwrap();
            compute(turn.work(), &kernels, base, &memory).unwrap();
            bridge.submit([], turn.finish().unwrap()).unwrap();
            assert_eq!(read_buffer(&bridge, exchange.objects()), expected(base));
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// The compute side of a latest exchange has its own stream, and the memory of another stream is
/// refused there.
#[test]
fn memory_of_a_latest_exchange_is_of_its_stream() {
    for bridge in bridges() {
        let kernels = kernels(&bridge);
        let foreign = bridge.kernel_memory("foreign", &[7u32; LEN]).unwrap();
        let spec = || SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST);
        let (mut writer, mut reader) = Exchange::latest(&bridge, &LatestInfo::default(), spec()).unwrap();
        let memory = writer.kernel_memory("sevens", &[7u32; LEN]).unwrap();
        let mut turn = writer.begin().unwrap();
        let error = compute(turn.work(), &kernels, 5000, &foreign).unwrap_err();
        assert!(error.to_string().contains("belongs to another stream"), "{error}");
        compute(turn.work(), &kernels, 5000, &memory).unwrap();
        turn.publish().unwrap().wait(crate::support::LIMIT).unwrap();
        bridge.submit([], reader.newest().unwrap()).unwrap();
        assert_eq!(read_buffer(&bridge, reader.objects()), expected(5000));

        let (mut writer, mut reader) = Exchange::latest_render_first(&bridge, &LatestInfo::default(), spec()).unwrap();
        let memory = reader.kernel_memory("sevens", &[7u32; LEN]).unwrap();
        let frame = writer.begin().unwrap();
        bridge.submit([], frame).unwrap().wait(crate::support::LIMIT).unwrap();
        let mut turn = reader.newest().unwrap().unwrap();
        assert!(compute(turn.work(), &kernels, 0, &foreign).is_err());
        compute(turn.work(), &kernels, 0, &memory).unwrap();
        turn.finish().unwrap();
    }
    assert_eq!(validation_messages(), [""; 0]);
}
