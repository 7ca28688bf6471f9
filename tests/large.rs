//! Buffers of more than 4 GiB, whose last byte is handed over in both directions. A size that is
//! truncated to 32 bits anywhere, in a descriptor, a mapping, a view or a copy, would address
//! another byte or none.
#![allow(unsafe_code, clippy::unwrap_used)] // Recorded commands.

use bridge::ash::vk;
use bridge::vk_export::{Buffer, BufferInfo, ExportDevice, Placement};
use bridge::{Backend, BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, LiveObjects, RenderBuffer, Work};
use bridge_tests::{Need, Rig, case_on, skip_case, to_host};
use vk_local::{LocalBuffer, MemoryLocation};

const GIB: u64 = 1 << 30;
/// Memory that is left for other users and for growth.
const SPARE: u64 = 2 * GIB;

type Bytes = BufferSpec<u8>;

/// A single test, because two at a time would not fit in memory.
#[test]
fn the_last_byte_crosses() {
    let rig = Rig::open();
    // This test exceeds `maxMemoryAllocationSize` on purpose. The layer warns about it; the
    // specification does not forbid it.
    rig.allow(&["UNASSIGNED-vkAllocateMemory-maxMemoryAllocationSize"]);
    for backend in [Backend::Host, Backend::Cuda] {
        // The same with a small size, so that everything but the size is known to be correct.
        if let Some(compute) = case_on(rig.device(), backend, "1 MiB") {
            assert_crosses(rig.device(), &compute, 1 << 20);
        }
        for gib in [5, 17] {
            let case = format!("{gib} GiB");
            let Some(compute) = case_on(rig.device(), backend, &case) else { continue };
            // The second buffer is larger by 1 GiB.
            match has_room(rig.device(), &compute, gib * GIB, (gib + 1) * GIB) {
                Ok(()) => assert_crosses(rig.device(), &compute, gib * GIB),
                Err(reason) => skip_case(Need::Other, &format!("{case} on {backend}"), &reason),
            }
        }
    }
    if let Some(compute) = case_on(rig.device(), Backend::Cuda, "a full card") {
        grows_on_a_full_card(rig.device(), &compute);
    }
}

/// Allocates buffers of 30 GiB until memory is full: the next one is an error without leaks, and an
/// exchange that cannot grow to this size remains usable.
fn grows_on_a_full_card(device: &ExportDevice, compute: &Compute) {
    const SIZE: u64 = 30 * GIB;
    let most = device.physical().max_buffer_size.unwrap_or(u64::MAX);
    if most < SIZE {
        return skip_case(Need::Other, "a full card", &format!("it has buffers of at most {most} bytes"));
    }
    let before = LiveObjects::now();
    let info = ExchangeInfo { name: "small", slots: 1, timeout: Rig::LONG, ..Default::default() };
    let mut exchange = Exchange::new(compute, &info, Bytes::new(1 << 20, BufferAccess::TRANSFER_READ)).unwrap();
    let large = |number: usize| {
        let name = format!("large {number}");
        let info = BufferInfo {
            name: &name,
            size: SIZE,
            usage: vk::BufferUsageFlags::TRANSFER_DST,
            placement: Placement::Exportable,
        };
        Buffer::new(device, &info)
    };
    let mut all = Vec::new();
    let error = loop {
        match large(all.len()) {
            Ok(buffer) => all.push(buffer),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("OUT_OF_DEVICE_MEMORY") && error.contains(&format!("large {}", all.len())), "{error}");
    let full = LiveObjects::now();
    let refused = exchange.grow(usize::try_from(SIZE).unwrap()).unwrap_err().to_string();
    assert!(refused.contains("OUT_OF_DEVICE_MEMORY") && refused.contains("small"), "{refused}");
    assert_eq!(LiveObjects::now(), full, "what was made before the failure is gone");
    for byte in [1, 2] {
        let mut turn = exchange.begin().unwrap();
        write(turn.work(), (1 << 20) - 1, byte);
        assert_eq!(read(turn.work(), (1 << 20) - 1), byte);
        turn.skip().unwrap();
        // The exchange can grow once there is memory again.
        all.clear();
        exchange.grow(2 << 20).unwrap();
    }
    exchange.close().unwrap();
    assert_eq!(LiveObjects::now(), before);
}

/// Checks that there is memory for two buffers, the second being the larger one.
fn has_room(device: &ExportDevice, compute: &Compute, first: u64, second: u64) -> Result<(), String> {
    let (physical, all) = (device.physical(), first + second);
    let most = physical.max_buffer_size.unwrap_or(u64::MAX);
    if second > most {
        return Err(format!("{} has buffers of at most {most} bytes", physical.name));
    }
    use vk::MemoryPropertyFlags as Flags;
    let wanted = match compute.cuda() {
        Some(_) => Flags::DEVICE_LOCAL,
        None => Flags::HOST_VISIBLE | Flags::HOST_COHERENT,
    };
    let heap = physical.memory_type(!0, wanted, Flags::empty()).and_then(|kind| physical.heap_size(kind)).unwrap_or(0);
    if all + SPARE > heap {
        return Err(format!("{} has a heap of {heap} bytes for it, and this takes {all}", physical.name));
    }
    match (compute.cuda(), free_on_host()) {
        (None, Some(free)) if all + SPARE > free => Err(format!("{free} bytes of this machine's memory are free")),
        _ => Ok(()),
    }
}

/// Returns the memory that Linux reports as available.
fn free_on_host() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}

fn assert_crosses(device: &ExportDevice, compute: &Compute, size: u64) {
    let before = LiveObjects::now();
    let accesses = BufferAccess::TRANSFER_READ | BufferAccess::TRANSFER_WRITE;
    let info = ExchangeInfo { name: "large", slots: 1, timeout: Rig::LONG, ..Default::default() };
    let len = usize::try_from(size).unwrap();
    let mut exchange = Exchange::new(compute, &info, Bytes::new(len, accesses)).unwrap();
    let tail =
        LocalBuffer::new(device, "tail", 4, vk::BufferUsageFlags::TRANSFER_DST, MemoryLocation::GpuToCpu).unwrap();

    // The compute side writes the last byte and the bytes at the 32-bit boundary; Vulkan reads the
    // last byte and writes another.
    const WORD: usize = 1 << 32;
    let others = [(len % WORD, 0xa5), (WORD - 1, 0x11), (WORD, 0x22)].into_iter().filter(|(at, _)| *at < len);
    let mut turn = exchange.begin().unwrap();
    write(turn.work(), len - 1, 0x5a);
    others.clone().for_each(|(at, byte)| write(turn.work(), at, byte));
    let turn = turn.finish().unwrap();
    assert_eq!((turn.resources().len(), turn.resources().size()), (len, size));
    let record = |commands: vk::CommandBuffer, buffer: RenderBuffer<'_, u8>| {
        let region = [vk::BufferCopy::default().src_offset(size - 4).size(4)];
        // SAFETY: recording; the last four bytes of the buffer, and all of `tail`.
        unsafe { device.as_raw().cmd_copy_buffer(commands, buffer.as_raw(), tail.as_raw(), &region) };
        to_host(device, commands);
        let after = [vk::MemoryBarrier2::default()
            .src_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)
            .src_access_mask(vk::AccessFlags2::TRANSFER_READ)
            .dst_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)
            .dst_access_mask(vk::AccessFlags2::TRANSFER_WRITE)];
        let dependency = vk::DependencyInfo::default().memory_barriers(&after);
        // SAFETY: recording.
        unsafe { device.cmd_pipeline_barrier2(commands, &dependency) };
        // SAFETY: VUID-vkCmdFillBuffer-dstOffset-00024, -size-00026: the last four bytes; the size
        // is a multiple of 4.
        unsafe { device.as_raw().cmd_fill_buffer(commands, buffer.as_raw(), size - 4, 4, 0x6b6b_6b6b) };
    };
    // SAFETY: the recorded commands keep their Valid Usage; `tail` lives until they have run.
    unsafe { turn.run_once(Rig::LONG, record) }.unwrap();
    // SAFETY: the frame has run, with a barrier to the host.
    assert_eq!(unsafe { tail.bytes() }.unwrap()[3], 0x5a, "Vulkan sees another last byte");

    // Growing the buffer keeps the contents that Vulkan wrote, and the bytes around 4 GiB.
    exchange.grow(len + len.min(1 << 30)).unwrap();
    let mut turn = exchange.begin().unwrap();
    for (at, byte) in others.chain([(len - 1, 0x6b)]) {
        assert_eq!(read(turn.work(), at), byte, "byte {at}");
    }
    turn.skip().unwrap();
    exchange.close().unwrap();
    assert_eq!(LiveObjects::now(), before);
}

fn write(work: Work<'_, Bytes>, at: usize, byte: u8) {
    match work {
        Work::Host(host) => host.run(move |bytes| bytes[at] = byte).unwrap(),
        Work::Cuda(mut cuda) => {
            let mut one = cuda.resources.slice_mut(at..=at).unwrap();
            cuda.stream.memcpy_htod(&[byte], &mut one).unwrap();
        }
        _ => unreachable!("no other backend is opened here"),
    }
}

fn read(work: Work<'_, Bytes>, at: usize) -> u8 {
    match work {
        Work::Host(host) => {
            let (sender, receiver) = std::sync::mpsc::channel();
            host.run(move |bytes| sender.send(bytes[at]).unwrap()).unwrap();
            receiver.recv().unwrap()
        }
        Work::Cuda(cuda) => cuda.stream.clone_dtoh(&cuda.resources.slice(at..=at).unwrap()).unwrap()[0],
        _ => unreachable!("no other backend is opened here"),
    }
}
