//! Runs steps in parallel: while one waits for a device, a download or a single-threaded linker,
//! another one compiles.
//!
//! The steps of the first lane run in this process, with its output. Each step of the other lane is
//! a separate process of this program, whose log is printed after the step has ended, between two
//! steps of the first lane.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{INSTALLS, LAST_SERIAL, Step, Times};
use crate::setup::consent::Consent;
use crate::shell;

/// Set for a parallel step: the step ends when its standard input is closed.
const PARALLEL: &str = "XTASK_CI_BESIDE";

/// Runs the steps in two lanes; stops both at the first failure.
pub(super) fn run(steps: &[Step], times: &mut Times) -> Result<()> {
    if !cfg!(unix) {
        return super::run_in_order(steps, times);
    }
    let (serial, mut parallel): (Vec<Step>, Vec<Step>) = steps.iter().partition(|step| !step.parallel);
    let alone = serial.iter().position(|step| step.name == LAST_SERIAL).map_or(0, |last| last + 1);
    super::run_in_order(&serial[..alone], times)?;
    if Consent::from_environment() == Consent::Ask {
        // This step asks before it installs, which a step that writes to a log cannot do.
        let installs = parallel.extract_if(.., |step| step.name == INSTALLS).collect::<Vec<_>>();
        super::run_in_order(&installs, times)?;
    }

    let program = shell::own_copy()?;
    let mut lane = Lane::start(parallel, shell::target_dir().join("ci/logs"), move |step| {
        let mut command = Command::new(&program);
        command.args(["ci", "--step", step.name]);
        command
    })?;
    for step in &serial[alone..] {
        super::run_in_this_process(step, times)?;
        lane.show_ended_steps(times)?;
    }
    while let Some(step) = lane.queue.next() {
        super::run_in_this_process(&step, times)?;
        lane.show_ended_steps(times)?;
    }
    lane.join(times)
}

/// The steps that neither lane has started.
#[derive(Clone)]
struct Queue(Arc<Mutex<VecDeque<Step>>>);

impl Queue {
    fn next(&self) -> Option<Step> {
        lock(&self.0).pop_front()
    }
}

/// The lane of child processes.
struct Lane {
    queue: Queue,
    ended: Receiver<Ended>,
    running: Arc<Mutex<Running>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// The state of the lane's current child process.
enum Running {
    /// The child's standard input: the child ends when it is closed. `None` between two steps.
    Held(Option<ChildStdin>),
    /// No further step may run.
    Stopped,
}

/// A step that has ended.
struct Ended {
    step: Step,
    log: PathBuf,
    time: Duration,
    result: Result<()>,
}

impl Lane {
    /// Starts a thread that runs the command of each step.
    fn start(steps: Vec<Step>, logs: PathBuf, command: impl Fn(&Step) -> Command + Send + 'static) -> Result<Self> {
        fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
        let queue = Queue(Arc::new(Mutex::new(steps.into())));
        let running = Arc::new(Mutex::new(Running::Held(None)));
        let (tell, ended) = mpsc::channel();
        let thread = {
            let (queue, running) = (queue.clone(), Arc::clone(&running));
            thread::spawn(move || run_queue(&queue, &running, &command, &logs, &tell))
        };
        Ok(Self { queue, ended, running, thread: Some(thread) })
    }

    fn show_ended_steps(&self, times: &mut Times) -> Result<()> {
        while let Ok(ended) = self.ended.try_recv() {
            show(ended, times)?;
        }
        Ok(())
    }

    /// Waits for the running step to end.
    fn join(&mut self, times: &mut Times) -> Result<()> {
        while let Ok(ended) = self.ended.recv() {
            show(ended, times)?;
        }
        Ok(())
    }
}

impl Drop for Lane {
    /// Ends the running step, and starts no other.
    fn drop(&mut self) {
        lock(&self.queue.0).clear();
        *lock(&self.running) = Running::Stopped;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs one step after another until one fails.
fn run_queue(
    queue: &Queue,
    running: &Mutex<Running>,
    command: &dyn Fn(&Step) -> Command,
    logs: &Path,
    tell: &Sender<Ended>,
) {
    while let Some(step) = queue.next() {
        let log = logs.join(format!("{}.log", step.name));
        let start = Instant::now();
        let result = run_child(command(&step), &log, running);
        let failed = result.is_err();
        if tell.send(Ended { step, log, time: start.elapsed(), result }).is_err() || failed {
            return;
        }
    }
}

fn run_child(mut command: Command, log: &Path, running: &Mutex<Running>) -> Result<()> {
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command.env(PARALLEL, "1").stdin(Stdio::piped()).stdout(file.try_clone()?).stderr(file);
    // A separate process group, so that the step can end all of its processes.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child: Child =
        command.spawn().with_context(|| format!("cannot start `{}`", shell::command_line(&command)))?;
    let input = child.stdin.take();
    match &mut *lock(running) {
        Running::Held(held) => *held = input,
        // The process reads the end of its input and exits.
        Running::Stopped => drop(input),
    }
    let status = child.wait()?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// Prints the step's output and records its time.
fn show(ended: Ended, times: &mut Times) -> Result<()> {
    let Ended { step, log, time, result } = ended;
    times.add(step.name, time, true);
    crate::console::line(format_args!("== {} (it ran in parallel)", step.name))?;
    let text = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
    io::stdout().write_all(&text)?;
    result.with_context(|| super::failure_message(step.name, Some(&log)))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For a parallel step: ends this process and everything that it started when the parent closes the
/// pipe or exits.
pub(crate) fn end_with_parent() {
    if std::env::var_os(PARALLEL).is_none() {
        return;
    }
    thread::spawn(|| {
        let mut nothing = [0; 1];
        // Nothing is ever written: the read returns when the other end is closed.
        let _ = io::stdin().read(&mut nothing);
        #[cfg(unix)]
        let _ = rustix::process::kill_current_process_group(rustix::process::Signal::TERM);
        std::process::exit(1);
    });
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::ci::parallel;

    /// Returns a lane of the steps `one` and `two`, each of which runs `script`.
    fn lane(folder: &Path, script: &'static str) -> Result<Lane> {
        let steps = ["one", "two"].map(|name| parallel(name, || unreachable!()));
        Lane::start(steps.to_vec(), folder.join("logs"), move |step| {
            let mut command = Command::new("sh");
            command.args(["-c", script, "sh", step.name]);
            command
        })
    }

    #[test]
    fn each_step_is_a_process_with_a_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut times = Times::new();
        lane(folder.path(), "echo it is $1").unwrap().join(&mut times).unwrap();
        assert_eq!(times.steps.iter().map(|step| step.0).collect::<Vec<_>>(), ["one", "two"]);
        let log = fs::read_to_string(folder.path().join("logs/two.log")).unwrap();
        assert_eq!(log, "it is two\n");
    }

    #[test]
    fn a_failed_step_is_the_last_and_its_log_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut times = Times::new();
        let error = lane(folder.path(), "exit 3").unwrap().join(&mut times).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("step `one` failed") && text.contains("one.log") && text.contains('3'), "{text}");
        assert!(!folder.path().join("logs/two.log").exists());
    }

    /// The script exits by itself at the end of its input, unlike this program.
    #[test]
    fn a_step_is_ended_with_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let lane = lane(folder.path(), "cat").unwrap();
        while !folder.path().join("logs/one.log").exists() {
            thread::yield_now();
        }
        drop(lane);
        assert!(!folder.path().join("logs/two.log").exists());
    }
}
