//! Tests of memory that is sent with a message, and of access to it.

use super::*;

#[test]
fn memory_crosses_with_its_message() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let (mut renderer, mut worker) = greeted(&listener);
    renderer.send(&offer(), None, LIMIT).unwrap();
    let memory = SharedMemory::new("m", 64).unwrap();
    renderer.send(&resource(64), Some(memory.handle().as_fd()), LIMIT).unwrap();
    assert_eq!(worker.receive(LIMIT).unwrap().message, offer());
    let received = worker.receive(LIMIT).unwrap();
    let theirs = SharedMemory::from_peer("m", received.descriptor.unwrap(), 64).unwrap().map().unwrap();
    let mine = memory.map().unwrap();
    let bytes: Vec<u8> = (0..50).collect();
    assert!(theirs.write(3, &bytes));
    let mut read = vec![0; 50];
    assert!(mine.read(3, &mut read));
    assert_eq!(read, bytes);
    assert!(!mine.read(15, &mut read) && !mine.write(usize::MAX, &bytes), "outside");
    worker.send(&Message::Ready { exchange: 1 }, None, LIMIT).unwrap();
    assert_eq!(renderer.receive(LIMIT).unwrap().message, Message::Ready { exchange: 1 });
}

#[test]
fn memory_that_could_shrink_is_refused() {
    let _alone = alone();
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    let refused = |handle: OwnedFd, bytes| match SharedMemory::from_peer("m", handle, bytes).unwrap_err() {
        Error::Memory { problem, .. } => problem,
        other => panic!("{other}"),
    };
    let unsealed = memfd_create("m", MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&unsealed, 64).unwrap();
    assert_eq!(refused(unsealed, 64), MemoryProblem::NotSealed);
    let (reader, _writer) = std::io::pipe().unwrap();
    assert_eq!(refused(reader.into(), 64), MemoryProblem::NotMemory);
    let sealed = || SharedMemory::new("m", 64).unwrap().handle().try_clone().unwrap();
    assert_eq!(refused(sealed(), 65), MemoryProblem::WrongSize { expected: 65, got: 64 });
    assert_eq!(refused(sealed(), u64::MAX), MemoryProblem::Size(u64::MAX));
    assert!(ftruncate(sealed(), 0).is_err(), "the control: a sealed file does not shrink");
}

/// Memory files are sealed against execution, since the system may refuse to create others
/// (`vm.memfd_noexec=2`). A peer accepts that seal.
#[test]
fn memory_is_not_executable() {
    let _alone = alone();
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_get_seals, memfd_create};
    // Linux 6.3 or later.
    let is_known = memfd_create("m", MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL).is_ok();
    let (read, _ours) = SharedMemory::new_read_only("m", 64).unwrap();
    for memory in [SharedMemory::new("m", 64).unwrap(), read] {
        let seals = fcntl_get_seals(memory.handle()).unwrap();
        assert_eq!(seals.contains(SealFlags::EXEC), is_known, "{seals:?}");
        SharedMemory::from_peer("m", memory.handle().try_clone().unwrap(), 64).unwrap();
    }
}

/// A peer that may only read memory cannot write it, discard its pages, or delay writers.
#[test]
fn read_only_memory_is_written_by_its_creator_only() {
    let _alone = alone();
    use rustix::fs::{FallocateFlags, fallocate};
    let (memory, ours) = SharedMemory::new_read_only("m", 64).unwrap();
    let handle = memory.handle().try_clone().unwrap();
    let theirs = SharedMemory::from_peer("m", handle.try_clone().unwrap(), 64).unwrap();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    assert_eq!(rustix::io::pwrite(&handle, &[1; 8], 0), Err(rustix::io::Errno::PERM));
    assert_eq!(fallocate(&handle, punch, 0, 64), Err(rustix::io::Errno::PERM));
    assert!(theirs.map().is_err(), "it is mapped for writing");
    let theirs = theirs.map_read_only().unwrap();
    assert!(!theirs.write(0, &[1; 8]), "it is written to, which faults");
    assert!(ours.write(8, &[7; 8]));
    let mut read = [0; 16];
    assert!(theirs.read(0, &mut read));
    assert_eq!(read, [0, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7]);
}

#[test]
fn bytes_are_stored_at_their_offsets_in_words() {
    let memory = {
        // Other tests count the open descriptors.
        let _alone = alone();
        SharedMemory::new("m", 61).unwrap().map().unwrap()
    };
    let mut model = [0u8; 61];
    for offset in 0..=61 {
        for len in 0..=61 - offset {
            let bytes: Vec<u8> = (0..len).map(|at| (offset * 31 + len * 7 + at) as u8).collect();
            assert!(memory.write(offset, &bytes), "{len} at {offset}");
            model[offset..offset + len].copy_from_slice(&bytes);
            let mut read = vec![0; len];
            assert!(memory.read(offset, &mut read), "{len} at {offset}");
            assert_eq!(read, bytes, "{len} at {offset}");
            let mut all = [0; 61];
            assert!(memory.read(0, &mut all));
            assert_eq!(all, model, "{len} at {offset}: nothing beside it has changed");
        }
    }
    assert!(!memory.write(60, &[1, 2]) && !memory.read(usize::MAX, &mut [0]), "outside");
}

/// Two threads can write the two halves of one word without overwriting each other's bytes.
#[test]
fn parts_of_a_word_are_written_by_two_threads() {
    let memory = {
        // Other tests count the open descriptors.
        let _alone = alone();
        SharedMemory::new("m", 8).unwrap().map().unwrap()
    };
    let write = |offset: usize| {
        for round in 0..20_000u32 {
            assert!(memory.write(offset, &round.to_ne_bytes()));
            let mut read = [0; 4];
            assert!(memory.read(offset, &mut read));
            assert_eq!(u32::from_ne_bytes(read), round, "at {offset}");
        }
    };
    std::thread::scope(|scope| {
        [0, 4].map(|offset| scope.spawn(move || write(offset))).map(|thread| thread.join().unwrap())
    });
}
