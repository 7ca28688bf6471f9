//! Processes that outlive a case and take part in the next one, so that most cases start only the
//! process that they end: with CUDA, the start takes longer than the rest of the case.

use std::io::Write;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, OnceLock, PoisonError};

use bridge_worker::bridge_ipc::Backend;
use bridge_worker::cuda_import::CudaDevice;

use crate::worker::Process;

/// The place of a process that is given its places one after another.
pub(crate) const STANDBY: &str = "standby";
/// Printed before each of them.
pub(crate) const BEGINS: &str = "@begins";

/// Calls `run` with the place that the environment variable has, or with one after another until
/// the program ends that gives them. The end of a connection must end `run`.
pub(crate) fn run_each(variable: &str, run: impl Fn(&str)) {
    let Ok(place) = std::env::var(variable) else { return };
    if place != STANDBY {
        return run(&place);
    }
    for place in std::io::stdin().lines() {
        println!("\n{BEGINS}");
        std::io::stdout().flush().unwrap();
        run(&place.unwrap());
    }
    // Nobody reads the result.
    std::process::exit(0);
}

/// Keeps the CUDA context until the end of this process, if it has more than one place.
pub(crate) fn keep_context(variable: &str, device: Option<&CudaDevice>) {
    static KEPT: OnceLock<CudaDevice> = OnceLock::new();
    if let Some(device) = device
        && std::env::var(variable).is_ok_and(|place| place == STANDBY)
    {
        KEPT.get_or_init(|| device.clone());
    }
}

/// A process that can take part in several cases.
pub(crate) trait Reusable: Sized + 'static {
    /// Returns the processes that wait for their next place, with their tests.
    fn idle() -> &'static Mutex<Vec<(&'static str, Self)>>;

    /// Starts `test` of this program as a process that waits for places.
    fn start(test: &'static str, variable: &str) -> Self;

    /// Gives the process its next place. Returns when it has begun there, after the end of its last
    /// connection.
    fn begin(&mut self, place: &str);
}

/// A process that takes part in this case. If it computes with CUDA, it waits for the next case when
/// this is dropped, and ends with this program.
pub(crate) struct Standby<T: Reusable> {
    test: &'static str,
    backend: Backend,
    process: Option<T>,
}

impl<T: Reusable> Standby<T> {
    /// Runs `test` at a place, in a process of an earlier case if one is idle.
    pub(crate) fn run(test: &'static str, variable: &str, backend: Backend, place: &str) -> Self {
        let idle = {
            let mut idle = T::idle().lock().unwrap_or_else(PoisonError::into_inner);
            let found = idle.iter().position(|(of, _)| *of == test);
            found.map(|index| idle.swap_remove(index).1)
        };
        let mut process = idle.unwrap_or_else(|| T::start(test, variable));
        process.begin(place);
        Self { test, backend, process: Some(process) }
    }

    /// Lets the process wait for the next case.
    pub(crate) fn reuse(&mut self) {
        if let Some(process) = self.process.take() {
            T::idle().lock().unwrap_or_else(PoisonError::into_inner).push((self.test, process));
        }
    }
}

impl<T: Reusable> Deref for Standby<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.process.as_ref().unwrap()
    }
}

impl<T: Reusable> DerefMut for Standby<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.process.as_mut().unwrap()
    }
}

impl<T: Reusable> Drop for Standby<T> {
    fn drop(&mut self) {
        // Without CUDA, a process starts in less time than a worker takes to end: it waits 100 ms
        // for the end of the renderer's process. After a failure, the process may not be where the
        // next case expects it.
        if self.backend == Backend::Cuda && !std::thread::panicking() {
            self.reuse();
        }
    }
}

impl Reusable for Process {
    fn idle() -> &'static Mutex<Vec<(&'static str, Self)>> {
        static IDLE: Mutex<Vec<(&str, Process)>> = Mutex::new(Vec::new());
        &IDLE
    }

    fn start(test: &'static str, variable: &str) -> Self {
        Self::start_with(test, variable, STANDBY, |program| program.stdin(std::process::Stdio::piped()))
    }

    fn begin(&mut self, place: &str) {
        self.write_line(place);
        self.wait_for_line(BEGINS);
    }
}
