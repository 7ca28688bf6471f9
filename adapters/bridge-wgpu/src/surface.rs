//! Configuration of surfaces, and the wait that keeps calls of wgpu from hanging.

use std::time::Duration;

use crate::device::Bridge;
use crate::error::Result;

impl Bridge {
    /// Configures a surface, after [`wait_for_signals`](Self::wait_for_signals):
    /// [`wgpu::Surface::configure`] alone hangs if a CUDA kernel has faulted.
    ///
    /// # Errors
    /// Those of [`wait_for_signals`](Self::wait_for_signals), after which the surface is as before,
    /// and [`Error::Refused`] with wgpu's error, after which the surface may have no configuration,
    /// for example if one of its textures is still alive: configure it again before its next use.
    ///
    /// [`Error::Refused`]: crate::Error::Refused
    pub fn configure_surface(
        &self,
        surface: &wgpu::Surface<'_>,
        config: &wgpu::SurfaceConfiguration,
        timeout: Duration,
    ) -> Result<()> {
        self.wait_for_signals(timeout)?;
        self.capture("Surface::configure", "surface", || surface.configure(self.device(), config))
    }

    /// Waits until CUDA has made the signals of all frames to date, for at most `timeout`, so that
    /// no frame in wgpu's queue waits for CUDA, as [`Compute::wait_for_signals`] does. With the CPU
    /// backend it returns at once.
    ///
    /// wgpu waits for its queue [without a limit](Self#waits-without-a-limit), for example when a
    /// configured surface is dropped. If a CUDA kernel has faulted, the queue waits for a signal
    /// that never comes, and such a call hangs. Call this function first: it notices the fault, and
    /// makes the signal from the host. It then returns `Ok`, and the next `begin` or
    /// [`newest`](crate::LatestReader::newest) returns the fault. Frames that other threads submit
    /// afterwards are not covered.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use bridge_wgpu::{Bridge, wgpu};
    /// # fn end(
    /// #     bridge: &Bridge,
    /// #     surface: wgpu::Surface<'_>,
    /// # ) -> bridge_wgpu::Result<()> {
    /// bridge.wait_for_signals(Duration::from_secs(5))?;
    /// drop(surface);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Compute::wait_for_signals`]: [`bridge::Error::Timeout`], which names an exchange,
    /// if kernels have not ended within the timeout, or the error of the failed driver call. After
    /// any error, calls that wait without a limit may hang.
    ///
    /// [`Compute::wait_for_signals`]: bridge::Compute::wait_for_signals
    pub fn wait_for_signals(&self, timeout: Duration) -> Result<()> {
        Ok(self.compute().wait_for_signals(timeout)?)
    }
}
