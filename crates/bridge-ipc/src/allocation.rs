//! Allocating the pages of a memory file.

use rustix::io::Errno;

/// The size of the pieces. Kernels before Linux 6.10 give up a piece for any signal that arrives
/// meanwhile, also one that the process handles without noticing, and free what they have allocated
/// of it: it has to be small enough to be allocated between two signals of a profiler.
const CHUNK: u64 = 16 << 20;

/// Allocates `bytes` bytes by calls with a start and a length, which a signal may interrupt.
pub(crate) fn allocate(
    bytes: u64,
    mut piece: impl FnMut(u64, u64) -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    let mut start = 0;
    while start < bytes {
        let len = CHUNK.min(bytes - start);
        match piece(start, len) {
            Ok(()) => start += len,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupted_allocation_retries_only_one_piece() {
        let bytes = 2 * CHUNK + 3;
        let (mut calls, mut all) = (0, Vec::new());
        let allocated = allocate(bytes, |start, len| {
            calls += 1;
            // A signal in each of them.
            if calls % 2 == 1 {
                return Err(Errno::INTR);
            }
            all.push((start, len));
            Ok(())
        });
        assert_eq!(allocated, Ok(()));
        assert_eq!((calls, all), (6, vec![(0, CHUNK), (CHUNK, CHUNK), (2 * CHUNK, 3)]));
    }

    #[test]
    fn other_errors_end_the_allocation() {
        let mut calls = 0;
        let allocated = allocate(2 * CHUNK, |_, _| {
            calls += 1;
            Err(Errno::NOSPC)
        });
        assert_eq!((allocated, calls), (Err(Errno::NOSPC), 1));
    }
}
