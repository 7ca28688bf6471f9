//! Tests that need a driver. Without one each test is skipped (`test_support::skip`).
//!
//! Contains unsafe code because of the imports and the raw copies.
#![allow(unsafe_code, clippy::unwrap_used)]
#![cfg(target_os = "linux")]

mod common;

use std::io::{PipeWriter, Write};
use std::os::fd::OwnedFd;

use common::latch::Latch;
use common::{LEN, device, import, map};
use cuda_import::cudarc::driver::{CudaStream, LaunchConfig, PushKernelArg, result};
use cuda_import::cudarc::nvrtc::Ptx;
use cuda_import::{
    BufferMappingInfo, CudaDevice, Error, ImportedMemory, ImportedSemaphore, MappedBuffer, MemoryImportInfo,
    SemaphoreKind, query, report,
};
use test_support::open_descriptors;

/// `to[i] = from[i] + 1`
const COPY_PLUS_ONE: &str = "
.version 6.0
.target sm_50
.address_size 64
.visible .entry copy_plus_one(.param .u64 to, .param .u64 from) {
    .reg .u32 %r<5>;
    .reg .u64 %a<4>;
    ld.param.u64 %a1, [to];
    ld.param.u64 %a2, [from];
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %ntid.x;
    mov.u32 %r3, %tid.x;
    mad.lo.u32 %r1, %r1, %r2, %r3;
    mul.wide.u32 %a3, %r1, 4;
    add.u64 %a1, %a1, %a3;
    add.u64 %a2, %a2, %a3;
    ld.global.u32 %r4, [%a2];
    add.u32 %r4, %r4, 1;
    st.global.u32 [%a1], %r4;
    ret;
}
";
/// Reads the buffer on `stream` without ordering.
fn peek(buffer: &MappedBuffer<u32>, stream: &CudaStream) -> Vec<u32> {
    let mut host = vec![0; LEN];
    stream.context().bind_to_thread().unwrap();
    // SAFETY: the pointer is a mapping with as many elements, and `host` outlives the copy.
    unsafe { result::memcpy_dtoh_async(&mut host, buffer.as_raw(), stream.cu_stream()) }.unwrap();
    stream.synchronize().unwrap();
    host
}

/// Returns a descriptor that the driver rejects, and the other end of the pipe, with which the test
/// checks whether it is open.
fn pipe() -> (OwnedFd, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    (OwnedFd::from(reader), writer)
}

fn is_open(mut writer: &PipeWriter) -> bool {
    writer.write(b"x").is_ok()
}

#[test]
fn device_is_found_by_uuid_only() {
    let Some((device, _alone)) = device() else { return };
    let report = report().unwrap();
    assert_eq!(device.uuid(), report.devices[0].uuid);
    assert_eq!(device.name(), report.devices[0].name);
    let stranger = uuid::Uuid::from_u128(1);
    let text = CudaDevice::by_uuid(stranger).unwrap_err().to_string();
    assert!(text.contains(&stranger.to_string()) && text.contains(device.name()), "{text}");
}

#[test]
fn refused_descriptors_are_closed_and_reported() {
    let Some((device, _alone)) = device() else { return };
    // The driver opens a descriptor of its own at the first import and keeps it.
    refuse(&device);
    let descriptors = open_descriptors();
    for _ in 0..20 {
        refuse(&device);
    }
    assert_eq!(open_descriptors(), descriptors);
}

fn refuse(device: &CudaDevice) {
    let (fd, other_end) = pipe();
    let info = MemoryImportInfo { name: "no memory", allocation_size: 65536, dedicated: false };
    // SAFETY: a pipe is not memory, and the driver is expected to return an error.
    let error = unsafe { ImportedMemory::import(device, fd, &info) }.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("cuImportExternalMemory failed: CUDA_ERROR_"), "{text}");
    assert!(text.contains("\"no memory\"") && text.contains(device.name()), "{text}");
    assert!(!is_open(&other_end));

    for kind in [SemaphoreKind::Binary, SemaphoreKind::Timeline] {
        let (fd, other_end) = pipe();
        // SAFETY: a pipe is not a semaphore, and the driver is expected to return an error.
        let error = unsafe { ImportedSemaphore::import(device, fd, kind, "no semaphore") }.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("cuImportExternalSemaphore failed: CUDA_ERROR_"), "{text}");
        assert!(text.contains("\"no semaphore\""), "{text}");
        assert!(!is_open(&other_end));
    }

    let (fd, other_end) = pipe();
    // SAFETY: rejected before a driver call.
    let error = unsafe { ImportedMemory::import(device, fd, &MemoryImportInfo::default()) }.unwrap_err();
    assert!(matches!(error, Error::Zero { what: "allocation size", .. }), "{error}");
    assert!(!is_open(&other_end));
}

#[test]
fn written_contents_are_read_back() {
    let Some((device, _alone)) = device() else { return };
    let stream = device.new_stream().unwrap();
    let mut buffer = map(&import(&device), &stream);
    let written: Vec<u32> = (0..LEN as u32).collect();
    stream.memcpy_htod(&written, &mut buffer.view_mut()).unwrap();
    assert_eq!(stream.clone_dtoh(&buffer.view()).unwrap(), written);

    let mut view = buffer.view_mut();
    let (mut first, mut second) = view.split_at_mut(LEN / 2).unwrap();
    stream.memcpy_htod(&[7u8; 4], &mut first.slice_mut(1..2).unwrap().bytes_mut()).unwrap();
    stream.memcpy_htod(&[9u32], &mut second.slice_mut(..1).unwrap()).unwrap();
    let read = stream.clone_dtoh(&buffer.view()).unwrap();
    assert_eq!(&read[..3], &[0, 0x0707_0707, 2]);
    assert_eq!(read[LEN / 2], 9);
    assert_eq!(read[LEN / 2 + 1], LEN as u32 / 2 + 1);
    assert!(query(&stream).unwrap());
}

#[test]
fn views_are_kernel_arguments() {
    let Some((device, _alone)) = device() else { return };
    let stream = device.new_stream().unwrap();
    let module = device.context().load_module(Ptx::from_src(COPY_PLUS_ONE)).unwrap();
    let kernel = module.load_function("copy_plus_one").unwrap();
    let (mut source, mut sink) = (map(&import(&device), &stream), map(&import(&device), &stream));
    let written: Vec<u32> = (0..LEN as u32).collect();
    let foreign_stream = device.new_stream().unwrap();
    let written_by_foreign_stream = foreign_stream.clone_htod(&vec![41; LEN]).unwrap();
    foreign_stream.synchronize().unwrap();
    for ordered_by_foreign_stream in [false, true] {
        let latch = Latch::default();
        let mut source = source.view_mut();
        if ordered_by_foreign_stream {
            latch.hold(&foreign_stream);
            foreign_stream.memcpy_dtod(&written_by_foreign_stream, &mut source).unwrap();
        } else {
            stream.memcpy_htod(&written, &mut source).unwrap();
        }
        let (from, mut to) = (source.as_view(), sink.view_mut());
        let mut launch = stream.launch_builder(&kernel);
        launch.arg(&mut to).arg(&from);
        // SAFETY: the kernel takes two pointers to LEN elements, and LEN is a multiple of 256.
        unsafe {
            launch.launch(LaunchConfig {
                grid_dim: (LEN as u32 / 256, 1, 1),
                block_dim: (256, 1, 1),
                shared_mem_bytes: 0,
            })
        }
        .unwrap();
        let sink = sink.view();
        let read = || stream.clone_dtoh(&sink).unwrap();
        let read = if ordered_by_foreign_stream { latch.opened_during(read) } else { read() };
        let expected = if ordered_by_foreign_stream { vec![42; LEN] } else { (1..=LEN as u32).collect() };
        assert!(read == expected, "foreign stream: {ordered_by_foreign_stream}, first {}", read[0]);
    }
}

#[test]
fn bad_mappings_are_refused() {
    let Some((device, _alone)) = device() else { return };
    let stream = device.new_stream().unwrap();
    let memory = import(&device);
    let size = memory.allocation_size();
    let map = |offset, len| MappedBuffer::<u32>::map(&memory, &BufferMappingInfo { offset, len }, &stream);
    assert!(matches!(map(0, 0), Err(Error::Zero { .. })));
    assert!(matches!(map(2, 1), Err(Error::Misaligned { align: 4, .. })));
    assert!(matches!(map(size, 1), Err(Error::OutOfRange { .. })));
    assert!(matches!(map(0, usize::MAX), Err(Error::SizeOverflow { .. })));
    let first = map(0, 1024).unwrap();
    assert!(matches!(map(4092, 1), Err(Error::Overlap { .. })));
    let second = map(4096, 1).unwrap();
    assert_eq!((second.offset(), second.size(), second.len()), (4096, 4, 1));
    first.close().unwrap();
    map(0, 1024).unwrap().close().unwrap();

    let per_thread = device.context().per_thread_stream();
    let info = BufferMappingInfo { offset: 0, len: 1 };
    let refused = MappedBuffer::<u32>::map(&memory, &info, &per_thread);
    assert!(matches!(refused, Err(Error::PerThreadStream { .. })));
}

#[test]
fn foreign_stream_reads_earlier_writes_of_the_home_stream() {
    let Some((device, _alone)) = device() else { return };
    let (home, foreign_stream) = (device.new_stream().unwrap(), device.new_stream().unwrap());
    let ones = home.clone_htod(&vec![1u32; LEN]).unwrap();
    for ordered in [true, false] {
        let mut buffer = map(&import(&device), &home);
        home.memset_zeros(&mut buffer.view_mut()).unwrap();
        home.synchronize().unwrap();
        let latch = Latch::default();
        latch.hold(&home);
        home.memcpy_dtod(&ones, &mut buffer.view_mut()).unwrap();
        if ordered {
            let seen = latch.opened_during(|| foreign_stream.clone_dtoh(&buffer.view()).unwrap());
            assert!(seen == vec![1; LEN], "the foreign stream did not wait for home");
        } else {
            // Negative control.
            assert!(
                peek(&buffer, &foreign_stream) == vec![0; LEN],
                "without order the foreign stream has to read what was there before"
            );
            latch.open();
            home.synchronize().unwrap();
        }
    }
}

#[test]
fn home_stream_reads_earlier_writes_of_foreign_streams() {
    let Some((device, _alone)) = device() else { return };
    let (home, foreign_stream) = (device.new_stream().unwrap(), device.new_stream().unwrap());
    let ones = home.clone_htod(&vec![1u32; LEN]).unwrap();
    home.synchronize().unwrap();
    for joined in [true, false] {
        let mut buffer = map(&import(&device), &home);
        home.memset_zeros(&mut buffer.view_mut()).unwrap();
        home.synchronize().unwrap();
        let latch = Latch::default();
        latch.hold(&foreign_stream);
        foreign_stream.memcpy_dtod(&ones, &mut buffer.view_mut()).unwrap();
        if joined {
            buffer.join_foreign_work().unwrap();
            assert!(
                latch.opened_during(|| peek(&buffer, &home)) == vec![1; LEN],
                "home did not wait for the foreign stream"
            );
        } else {
            // Negative control.
            assert!(peek(&buffer, &home) == vec![0; LEN], "without the join home has to read what was there before");
            latch.open();
            foreign_stream.synchronize().unwrap();
        }
    }
}

#[test]
fn many_foreign_streams_stay_in_order() {
    let Some((device, _alone)) = device() else { return };
    let home = device.new_stream().unwrap();
    let mut buffer = map(&import(&device), &home);
    let foreign_streams: Vec<_> =
        (0..12u32).map(|i| (device.new_stream().unwrap(), home.clone_htod(&vec![i; LEN]).unwrap())).collect();
    home.synchronize().unwrap();
    let latch = Latch::default();
    // Only the first foreign stream is held: each of the others waits for the one before.
    latch.hold(&foreign_streams[0].0);
    for (foreign_stream, values) in &foreign_streams {
        foreign_stream.memcpy_dtod(values, &mut buffer.view_mut()).unwrap();
    }
    buffer.join_foreign_work().unwrap();
    assert_eq!(latch.opened_during(|| peek(&buffer, &home)), vec![11; LEN]);
}

#[test]
fn dropping_waits_for_pending_work_with_a_limit() {
    let Some((device, _alone)) = device() else { return };
    let (home, foreign_stream) = (device.new_stream().unwrap(), device.new_stream().unwrap());
    let zeros = home.alloc_zeros::<u32>(LEN).unwrap();
    home.synchronize().unwrap();

    let mut buffer = map(&import(&device), &home);
    let latch = Latch::default();
    latch.hold(&foreign_stream);
    foreign_stream.memcpy_dtod(&zeros, &mut buffer.view_mut()).unwrap();
    latch.opened_during(|| buffer.close()).unwrap();

    let buffer = map(&import(&device), &home);
    let latch = Latch::default();
    latch.hold(&home);
    // `close` gives up after its limit: the latch stays closed.
    let error = buffer.close().unwrap_err();
    assert!(matches!(error, Error::StillInUse { .. }), "{error}");
    latch.open();
    home.synchronize().unwrap();
}

#[test]
fn nothing_is_leaked() {
    let Some((device, _alone)) = device() else { return };
    let stream = device.new_stream().unwrap();
    drop(map(&import(&device), &stream));
    let descriptors = open_descriptors();
    let free = || device.context().mem_get_info().unwrap().0;
    let round = |_| {
        let before = free();
        for _ in 0..200 {
            drop(map(&import(&device), &stream));
        }
        assert_eq!(open_descriptors(), descriptors);
        before.saturating_sub(free())
    };
    // Other programs may allocate memory as well, but not in every round.
    let gone = (0..5).map(round).min().unwrap();
    assert!(gone < 64 << 20, "{gone} bytes are gone");
}
