//! CUDA on an existing stream of the program.

use std::sync::Arc;

use bridge::Compute;
use bridge::cudarc::driver::CudaStream;

use super::Bridge;
use crate::error::Result;

impl Bridge {
    /// Returns the same wgpu device, with CUDA on an existing stream, such as that of a library.
    /// Exchanges of the new `Bridge` order their frames on that stream: earlier work on it runs
    /// before a frame's work, and no event or wait of another stream is needed.
    ///
    /// Any `Bridge` of the device can be used, with any backend; with
    /// [`Backend::Host`](crate::Backend) no other stream is created. Frames of both may be
    /// [submitted](Self::submit) together. The two sides of
    /// [`Exchange::latest`](crate::Exchange::latest) run at independent rates, so its compute side
    /// uses a separate stream in the same context.
    ///
    /// ```no_run
    /// use bridge_wgpu::bridge::CudaDevice;
    /// use bridge_wgpu::{Backend, Bridge, wgpu};
    ///
    /// # use std::error::Error;
    /// # fn own(adapter: &wgpu::Adapter) -> Result<Bridge, Box<dyn Error>> {
    /// let descriptor = wgpu::DeviceDescriptor::default();
    /// let bridge = Bridge::request_device(adapter, &descriptor, Backend::Host)?;
    /// // wgpu's GPU, which is not always CUDA's device 0.
    /// let cuda = CudaDevice::by_uuid(bridge.uuid())?;
    /// // Or `wrap_borrowed_stream` with a `CUstream` of another library.
    /// let stream = cuda.context().new_stream()?;
    /// let bridge = bridge.on_stream(stream)?;
    /// assert_eq!(bridge.backend(), Backend::Cuda);
    /// # Ok(bridge)
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`bridge::Error::DifferentDevices`] with both devices if the stream is of another GPU, and
    /// the errors of [`Compute::on_stream`]. The stream is then dropped; this `Bridge` is
    /// unchanged.
    pub fn on_stream(&self, stream: Arc<CudaStream>) -> Result<Self> {
        Ok(self.beside(Compute::on_stream(self.compute().device(), stream)?))
    }
}
