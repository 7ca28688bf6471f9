//! Queries of the devices that are visible to the driver.

use cudarc::driver::sys as cu;

use super::{CallResult, Driver, check_call};

impl Driver {
    pub(crate) fn device_count(self) -> CallResult<i32> {
        let mut count = 0;
        // SAFETY: `count` receives the result; before cuInit the call returns an error.
        check_call("cuDeviceGetCount", unsafe { (self.table.cuDeviceGetCount)(&mut count) })?;
        Ok(count)
    }

    pub(crate) fn device(self, ordinal: i32) -> CallResult<cu::CUdevice> {
        let mut device = 0;
        // SAFETY: `device` receives the result; an ordinal out of range is an error, not undefined
        // behavior.
        check_call("cuDeviceGet", unsafe { (self.table.cuDeviceGet)(&mut device, ordinal) })?;
        Ok(device)
    }

    pub(crate) fn device_name(self, device: cu::CUdevice) -> CallResult<String> {
        let mut name = [0u8; 256];
        // SAFETY: the array has the 256 bytes of the length argument; the result is
        // null-terminated.
        let code = unsafe { (self.table.cuDeviceGetName)(name.as_mut_ptr().cast(), 256, device) };
        check_call("cuDeviceGetName", code)?;
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        Ok(String::from_utf8_lossy(&name[..end]).into_owned())
    }

    /// Returns the UUID of the device, or of the MIG instance: the v2 function distinguishes
    /// instances.
    pub(crate) fn device_uuid(self, device: cu::CUdevice) -> CallResult<[u8; 16]> {
        let mut uuid = cu::CUuuid { bytes: [0; 16] };
        // SAFETY: `uuid` receives the 16 bytes of the result.
        check_call("cuDeviceGetUuid_v2", unsafe { (self.table.cuDeviceGetUuid_v2)(&mut uuid, device) })?;
        Ok(uuid.bytes.map(|byte| u8::from_ne_bytes(byte.to_ne_bytes())))
    }

    /// Returns the adapter's locally unique ID and the device's bit in it.
    #[cfg(windows)]
    pub(crate) fn device_luid(self, device: cu::CUdevice) -> CallResult<([u8; 8], u32)> {
        let (mut luid, mut node_mask) = ([0u8; 8], 0);
        // SAFETY: a LUID has 8 bytes (cuda.h, cuDeviceGetLuid), which the array holds; `node_mask`
        // receives the mask.
        let code = unsafe { (self.table.cuDeviceGetLuid)(luid.as_mut_ptr().cast(), &mut node_mask, device) };
        check_call("cuDeviceGetLuid", code)?;
        Ok((luid, node_mask))
    }

    /// Returns an attribute. Drivers return `CUDA_ERROR_INVALID_VALUE` for attributes that they do
    /// not know.
    pub(crate) fn attribute(self, attribute: cu::CUdevice_attribute, device: cu::CUdevice) -> CallResult<i32> {
        let mut value = 0;
        // SAFETY: `value` receives the result; the driver checks the other arguments.
        let code = unsafe { (self.table.cuDeviceGetAttribute)(&mut value, attribute, device) };
        check_call("cuDeviceGetAttribute", code)?;
        Ok(value)
    }

    pub(crate) fn total_memory(self, device: cu::CUdevice) -> CallResult<u64> {
        let mut bytes = 0usize;
        // SAFETY: `bytes` receives the result.
        check_call("cuDeviceTotalMem_v2", unsafe { (self.table.cuDeviceTotalMem_v2)(&mut bytes, device) })?;
        Ok(bytes as u64)
    }
}
