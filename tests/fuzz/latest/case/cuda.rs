//! The compute side's part of a frame on a CUDA stream.

use std::sync::Arc;

use bridge::cudarc::driver::{CudaSlice, CudaStream};
use bridge::{BufferSpec, CudaWork};

use super::{LEN, whole};

type Words = BufferSpec<u32>;

/// Enqueues a frame, in two halves.
pub(crate) fn write(mut cuda: CudaWork<'_, Words>, word: u32) {
    let half = [word; LEN / 2];
    for range in [0..LEN / 2, LEN / 2..LEN] {
        cuda.stream.memcpy_htod(&half, &mut cuda.resources.slice_mut(range).unwrap()).unwrap();
    }
}

/// Copies of the frames that were read, which are looked at in the end.
#[derive(Default)]
pub(crate) struct Looks {
    stream: Option<Arc<CudaStream>>,
    copies: Vec<(CudaSlice<u32>, u64)>,
}

impl Looks {
    /// Enqueues a copy of a frame.
    pub(crate) fn take(&mut self, cuda: CudaWork<'_, Words>, frame: u64) {
        let mut copy = cuda.stream.alloc_zeros(LEN).unwrap();
        cuda.stream.memcpy_dtod(&cuda.resources.as_view(), &mut copy).unwrap();
        self.stream = Some(Arc::clone(cuda.stream));
        self.copies.push((copy, frame));
    }

    /// Checks all copies.
    pub(crate) fn end(self) {
        let Some(stream) = self.stream else { return };
        for (copy, frame) in self.copies {
            assert_eq!(whole(&stream.clone_dtoh(&copy).unwrap(), frame), Ok(()));
        }
    }
}
