//! A second process of this program, as a worker.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bridge::{AcceptInfo, Listener, Remote};

use crate::gpu::Gpu;
use crate::harness::LIMIT;

/// A socket in a temporary folder.
pub(super) struct Endpoint {
    pub(super) listener: Listener,
    _folder: tempfile::TempDir,
}

impl Endpoint {
    pub(super) fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        Ok(Self { listener: Listener::bind(folder.path().join("renderer"))?, _folder: folder })
    }
}

/// A worker process, which writes frames on request.
pub(super) struct WorkerProcess {
    child: Child,
    // `None` after the worker was asked to end.
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl WorkerProcess {
    /// Starts a worker, which has started CUDA by the time it connects. It accepts what it is
    /// offered; `trust` allows exchanges in step.
    pub(super) fn start(gpu: &Gpu, place: &Endpoint, trust: bool) -> Result<(Self, Remote)> {
        let other = Self::spawn(gpu, &["--worker".as_ref(), place.listener.path().as_os_str()])?;
        let info = AcceptInfo { timeout: LIMIT, trust };
        let remote = place.listener.accept_with(&gpu.device, &info)?.context("no worker has come")?;
        Ok((other, remote))
    }

    /// Starts a process that writes to its own memory, independently of this process.
    pub(super) fn start_alone(gpu: &Gpu) -> Result<Self> {
        Self::spawn(gpu, &["--alone".as_ref(), gpu.device.uuid().to_string().as_ref()])
    }

    fn spawn(gpu: &Gpu, part: &[&OsStr]) -> Result<Self> {
        let program = std::env::current_exe().context("this program does not know its file")?;
        let mut command = Command::new(program);
        command.args(part).args(["--backend", &gpu.compute.backend().to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = Some(child.stdin.take().context("no input")?);
        let stdout = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self { child, stdin, stdout })
    }

    /// Requests frames, each written `kernels` times.
    pub(super) fn ask(&mut self, frames: usize, kernels: usize) -> Result<()> {
        let stdin = self.stdin.as_mut().context("the worker is to end")?;
        writeln!(stdin, "{frames} {kernels}").context("the worker has ended")
    }

    /// Waits until the frames are written; returns the time that the worker took.
    pub(super) fn took(&mut self) -> Result<Duration> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(Duration::from_nanos(line.trim().parse().context("the worker has ended")?))
    }

    pub(super) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends the worker after its exchange.
    pub(super) fn end(mut self) -> Result<()> {
        // The worker exits at the end of its input.
        self.stdin = None;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the worker failed: {status}");
        }
        Ok(())
    }
}

impl Drop for WorkerProcess {
    /// Kills the worker after an error; has no effect if it has already ended.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
