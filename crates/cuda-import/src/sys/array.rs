//! Mipmapped arrays in external memory, and copies to and from their levels.
//!
//! Contains unsafe code because it calls C. All functions need a current context; descriptors are
//! complete literals, never zeroed, because their formats have no zero value.
#![allow(unsafe_code)]

use std::ffi::{c_uint, c_void};

use cudarc::driver::{CudaStream, sys as cu};

use super::external::MemoryHandle;
use super::{CallResult, Driver, check_call};

pub(crate) type MipmappedArrayDesc = cu::CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC;
pub(crate) type ArrayCopy = cu::CUDA_MEMCPY3D;

/// A mipmapped array. Does not own it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MipmappedArrayHandle(pub(super) cu::CUmipmappedArray);

/// A level of a mipmapped array, which owns it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArrayHandle(pub(super) cu::CUarray);

// SAFETY: the driver API is thread-safe, and the handle is never dereferenced here.
unsafe impl Send for MipmappedArrayHandle {}
// SAFETY: as for Send; the calls that take a shared handle may run concurrently on any thread.
unsafe impl Sync for MipmappedArrayHandle {}
// SAFETY: as for MipmappedArrayHandle.
unsafe impl Send for ArrayHandle {}
// SAFETY: as for MipmappedArrayHandle.
unsafe impl Sync for ArrayHandle {}

/// The memory at the other end of a copy, with tightly packed rows and slices.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Linear {
    /// Host memory to read from.
    HostSource(*const c_void),
    /// Host memory to write to.
    HostSink(*mut c_void),
    /// Device memory to read from.
    DeviceSource(cu::CUdeviceptr),
    /// Device memory to write to.
    DeviceSink(cu::CUdeviceptr),
}

/// A mip level as one end of a copy.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ImageEnd {
    Array(ArrayHandle),
    /// The address of the first texel, with tightly packed rows and slices.
    Rows(cu::CUdeviceptr),
}

/// Returns a copy of a block of texels, which lies in the level `image` and starts at a slice, from
/// or to `linear`.
pub(crate) fn image_copy(
    image: ImageEnd,
    first_slice: u32,
    extent: [u32; 3],
    texel_size: usize,
    linear: Linear,
) -> ArrayCopy {
    use cu::CUmemorytype::{CU_MEMORYTYPE_ARRAY, CU_MEMORYTYPE_DEVICE, CU_MEMORYTYPE_HOST};
    let [width, height, depth] = extent.map(|size| size as usize);
    let (row_size, slice) = (width * texel_size, first_slice as usize);
    let nothing = ArrayCopy {
        srcXInBytes: 0,
        srcY: 0,
        srcZ: 0,
        srcLOD: 0,
        srcMemoryType: CU_MEMORYTYPE_ARRAY,
        srcHost: std::ptr::null(),
        srcDevice: 0,
        srcArray: std::ptr::null_mut(),
        reserved0: std::ptr::null_mut(),
        srcPitch: 0,
        srcHeight: 0,
        dstXInBytes: 0,
        dstY: 0,
        dstZ: 0,
        dstLOD: 0,
        dstMemoryType: CU_MEMORYTYPE_ARRAY,
        dstHost: std::ptr::null_mut(),
        dstDevice: 0,
        dstArray: std::ptr::null_mut(),
        reserved1: std::ptr::null_mut(),
        dstPitch: 0,
        dstHeight: 0,
        WidthInBytes: row_size,
        Height: height,
        Depth: depth,
    };
    let (into_image, out_of_image) = match image {
        ImageEnd::Array(ArrayHandle(array)) => (
            ArrayCopy { dstArray: array, dstZ: slice, ..nothing },
            ArrayCopy { srcArray: array, srcZ: slice, ..nothing },
        ),
        // Uses the address of the slice, which cannot overflow, because the region lies in the
        // mapping.
        ImageEnd::Rows(start) => {
            let first = start + (slice * height * row_size) as u64;
            let (pitch, memory) = (row_size, CU_MEMORYTYPE_DEVICE);
            (
                ArrayCopy { dstMemoryType: memory, dstDevice: first, dstPitch: pitch, dstHeight: height, ..nothing },
                ArrayCopy { srcMemoryType: memory, srcDevice: first, srcPitch: pitch, srcHeight: height, ..nothing },
            )
        }
    };
    let into_image = ArrayCopy { srcPitch: row_size, srcHeight: height, ..into_image };
    let out_of_image = ArrayCopy { dstPitch: row_size, dstHeight: height, ..out_of_image };
    match linear {
        Linear::HostSource(source) => ArrayCopy { srcMemoryType: CU_MEMORYTYPE_HOST, srcHost: source, ..into_image },
        Linear::DeviceSource(source) => {
            ArrayCopy { srcMemoryType: CU_MEMORYTYPE_DEVICE, srcDevice: source, ..into_image }
        }
        Linear::HostSink(sink) => ArrayCopy { dstMemoryType: CU_MEMORYTYPE_HOST, dstHost: sink, ..out_of_image },
        Linear::DeviceSink(sink) => ArrayCopy { dstMemoryType: CU_MEMORYTYPE_DEVICE, dstDevice: sink, ..out_of_image },
    }
}

impl Driver {
    /// # Safety
    /// `memory` is alive and contains, at the offset, an image of exactly this description. The
    /// array must be destroyed with [`destroy_array`](Self::destroy_array) before the memory is
    /// destroyed.
    pub(crate) unsafe fn map_array(
        self,
        memory: MemoryHandle,
        desc: &MipmappedArrayDesc,
    ) -> CallResult<MipmappedArrayHandle> {
        let mut array = std::ptr::null_mut();
        // SAFETY: the descriptor is complete; "the properties of the mipmapped array being mapped
        // must be described" in it: guaranteed by the caller.
        let code = unsafe { (self.table.cuExternalMemoryGetMappedMipmappedArray)(&mut array, memory.0, desc) };
        check_call("cuExternalMemoryGetMappedMipmappedArray", code)?;
        Ok(MipmappedArrayHandle(array))
    }

    /// Returns a level, which the array owns.
    ///
    /// # Safety
    /// `array` is alive, and the level is not used after the array is destroyed.
    pub(crate) unsafe fn array_level(self, array: MipmappedArrayHandle, level: u32) -> CallResult<ArrayHandle> {
        let mut of_level = std::ptr::null_mut();
        // SAFETY: `of_level` receives the result; a level out of range is an error; the caller
        // guarantees `array`.
        let code = unsafe { (self.table.cuMipmappedArrayGetLevel)(&mut of_level, array.0, c_uint::from(level)) };
        check_call("cuMipmappedArrayGetLevel", code)?;
        Ok(ArrayHandle(of_level))
    }

    /// # Safety
    /// `array` is alive, its texture and surface objects are destroyed, and no work that uses it is
    /// pending or will follow.
    pub(crate) unsafe fn destroy_array(self, array: MipmappedArrayHandle) -> CallResult<()> {
        // SAFETY: mapped arrays "must be freed using cuMipmappedArrayDestroy"; the caller
        // guarantees the array and that it is no longer used.
        check_call("cuMipmappedArrayDestroy", unsafe { (self.table.cuMipmappedArrayDestroy)(array.0) })
    }

    /// # Safety
    /// The array of `copy` is alive, and both ends of the copy lie within their objects, until the
    /// copy has ended.
    pub(crate) unsafe fn copy(self, copy: &ArrayCopy, stream: &CudaStream) -> CallResult<()> {
        // SAFETY: the descriptor is complete, the stream is borrowed; the caller guarantees both
        // ends.
        check_call("cuMemcpy3DAsync", unsafe { (self.table.cuMemcpy3DAsync_v2)(copy, stream.cu_stream()) })
    }

    /// Blocks until all work of the stream has ended. Its context must be current.
    pub(crate) fn synchronize(self, stream: &CudaStream) -> CallResult<()> {
        // SAFETY: the handle is live, because `stream` is borrowed for the call.
        check_call("cuStreamSynchronize", unsafe { (self.table.cuStreamSynchronize)(stream.cu_stream()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cu::CUmemorytype;

    #[test]
    fn copies_have_tight_rows() {
        let array = ArrayHandle(std::ptr::without_provenance_mut(0x40));
        let out = image_copy(ImageEnd::Array(array), 2, [5, 3, 4], 8, Linear::DeviceSink(0x1000));
        assert_eq!((out.WidthInBytes, out.Height, out.Depth), (40, 3, 4));
        assert_eq!((out.srcMemoryType, out.srcArray, out.srcZ), (CUmemorytype::CU_MEMORYTYPE_ARRAY, array.0, 2));
        assert_eq!((out.dstMemoryType, out.dstDevice, out.dstZ), (CUmemorytype::CU_MEMORYTYPE_DEVICE, 0x1000, 0));
        assert_eq!((out.dstPitch, out.dstHeight), (40, 3));
        let source = std::ptr::without_provenance(0x2000);
        let into = image_copy(ImageEnd::Array(array), 2, [5, 3, 4], 8, Linear::HostSource(source));
        assert_eq!((into.dstMemoryType, into.dstArray, into.dstZ), (CUmemorytype::CU_MEMORYTYPE_ARRAY, array.0, 2));
        assert_eq!((into.srcMemoryType, into.srcHost), (CUmemorytype::CU_MEMORYTYPE_HOST, source));
        assert_eq!((into.srcPitch, into.srcHeight, into.srcZ), (40, 3, 0));
    }

    #[test]
    fn copies_of_rows_begin_at_the_slice() {
        let (device, host) = (CUmemorytype::CU_MEMORYTYPE_DEVICE, CUmemorytype::CU_MEMORYTYPE_HOST);
        let rows = ImageEnd::Rows(0x1_0000);
        let first = 0x1_0000 + 2 * 3 * 40;
        let out = image_copy(rows, 2, [5, 3, 4], 8, Linear::DeviceSink(0x1000));
        assert_eq!(
            (out.srcMemoryType, out.srcDevice, out.srcPitch, out.srcHeight, out.srcZ),
            (device, first, 40, 3, 0)
        );
        assert_eq!((out.dstMemoryType, out.dstDevice, out.dstPitch, out.dstHeight), (device, 0x1000, 40, 3));
        let source = std::ptr::without_provenance(0x2000);
        let into = image_copy(rows, 2, [5, 3, 4], 8, Linear::HostSource(source));
        assert_eq!((into.dstMemoryType, into.dstDevice, into.dstPitch, into.dstHeight), (device, first, 40, 3));
        assert_eq!((into.srcMemoryType, into.srcHost, into.srcPitch, into.srcHeight), (host, source, 40, 3));
        assert_eq!((into.WidthInBytes, into.Height, into.Depth, into.dstZ), (40, 3, 4, 0));
    }
}
