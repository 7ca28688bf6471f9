//! The report as text for a terminal.

use super::{Advice, Cuda, Direction, KernelTrial, Pair, ProcessTrial, Side, System, Trial, Unpaired, Verdict, Vulkan};

/// Line width in columns. Lines with long words, such as paths, may exceed it.
const WIDTH: usize = 100;
const INDENT: &str = "  ";
const DEEPER: &str = "      ";

pub(super) fn heading(title: &str) -> String {
    format!("\n{title}\n")
}

pub(super) fn system(system: &System) -> String {
    let mut text = "System\n".to_owned();
    let kernel = system.kernel.as_ref().map(|release| format!(", kernel {release}")).unwrap_or_default();
    line(&mut text, INDENT, &format!("{}{kernel}, {}", system.os, system.architecture));
    if let Some(container) = &system.container {
        line(&mut text, INDENT, &format!("in a container ({container})"));
    }
    if system.wsl {
        line(&mut text, INDENT, "in the Windows Subsystem for Linux");
    }
    if !system.windows {
        let module = match &system.nvidia_module {
            Some(version) => format!("NVIDIA kernel module {version}"),
            None => "no NVIDIA kernel module seen".to_owned(),
        };
        line(&mut text, INDENT, &format!("{module}; NVIDIA GPUs on the PCI bus: {}", system.nvidia_gpus_on_bus));
        let files: Vec<_> = system.device_files.iter().map(ToString::to_string).collect();
        line(&mut text, INDENT, &format!("device files: {}", or_none(&files.join(", "))));
    }
    for xid in &system.xids {
        line(&mut text, INDENT, &format!("kernel log: Xid {}, {} times, last: {}", xid.number, xid.times, xid.last));
    }
    for (name, value) in &system.variables {
        line(&mut text, INDENT, &format!("{name}={value}"));
    }
    text
}

pub(super) fn vulkan(vulkan: &Vulkan) -> String {
    let mut text = heading(&match &vulkan.loader {
        Some(version) => format!("Vulkan (loader {version})"),
        None => "Vulkan".to_owned(),
    });
    for problem in &vulkan.problems {
        line(&mut text, INDENT, problem);
    }
    let layers: Vec<_> = vulkan.layers.iter().map(|layer| format!("{} {}", layer.name, layer.version)).collect();
    line(&mut text, INDENT, &format!("layers: {}", or_none(&layers.join(", "))));
    if !cfg!(windows) {
        let loading = vulkan.drivers.iter().filter(|driver| driver.problem.is_none());
        let loading: Vec<_> = loading.map(|driver| driver.manifest.as_str()).collect();
        line(&mut text, INDENT, &format!("drivers that load: {}", or_none(&loading.join(", "))));
    }
    for driver in &vulkan.drivers {
        if let Some(why) = &driver.problem {
            line(&mut text, INDENT, &format!("driver {} does NOT load: {why}", driver.manifest));
        }
    }
    for device in &vulkan.devices {
        line(&mut text, INDENT, &format!("[{}] {}", device.index, device.name));
        line(
            &mut text,
            DEEPER,
            &format!("{} ({}), Vulkan {}, driver {}", device.kind, device.vendor, device.api_version, device.driver),
        );
        line(&mut text, DEEPER, &identity(&device.uuid, device.adapter.as_deref()));
        line(
            &mut text,
            DEEPER,
            &format!(
                "exports buffers: {}, timelines: {}, binary semaphores: {}",
                device
                    .buffer_handle
                    .map_or_else(|| yes(device.exports_buffers).to_owned(), |handle| format!("as {handle}")),
                yes(device.exports_timelines),
                yes(device.exports_binaries)
            ),
        );
        line(&mut text, DEEPER, &format!("CUDA kernels in its own queue: {}", yes(device.cuda_kernels)));
        let (base, export) = (&device.missing_requirements, &device.missing_for_export);
        for (gaps, purpose) in [(base, "to be used at all"), (export, "to export")] {
            if !gaps.is_empty() {
                line(&mut text, DEEPER, &format!("lacks, {purpose}: {}", gaps.join("; ")));
            }
        }
    }
    if vulkan.devices.is_empty() {
        line(&mut text, INDENT, "no device");
    }
    text
}

/// Returns the identity of a GPU: its UUID, and its adapter on Windows.
fn identity(uuid: &str, adapter: Option<&str>) -> String {
    format!("UUID {uuid}{}", adapter.map(|adapter| format!(", {adapter}")).unwrap_or_default())
}

pub(super) fn cuda(cuda: &Cuda) -> String {
    let mut text = heading(&match &cuda.version {
        Some(version) => format!("CUDA (driver for {version})"),
        None => "CUDA".to_owned(),
    });
    if let Some(problem) = &cuda.problem {
        line(&mut text, INDENT, &problem.text);
    }
    for device in &cuda.devices {
        let memory = device.total_memory as f64 / f64::from(1 << 30);
        line(&mut text, INDENT, &format!("[{}] {}", device.ordinal, device.name));
        line(&mut text, DEEPER, &format!("compute capability {}, {memory:.1} GiB", device.compute_capability));
        line(&mut text, DEEPER, &identity(&device.uuid, device.adapter.as_deref()));
        line(&mut text, DEEPER, &format!("imports timelines: {}", yes(device.timeline_semaphores)));
        for obstacle in &device.obstacles {
            line(&mut text, DEEPER, &format!("cannot share: {obstacle}"));
        }
    }
    text
}

pub(super) fn pairs(pairs: &[Pair], unpaired: &[Unpaired], vulkan: &Vulkan, cuda: &Cuda) -> String {
    let mut text = heading("Pairs by UUID");
    for pair in pairs {
        let vulkan = vulkan.devices.iter().find(|device| device.index == pair.vulkan).map_or("", |d| d.name.as_str());
        let cuda = cuda.devices.iter().find(|device| device.ordinal == pair.cuda).map_or("", |d| d.name.as_str());
        line(&mut text, INDENT, &format!("Vulkan [{}] {vulkan} = CUDA [{}] {cuda}", pair.vulkan, pair.cuda));
    }
    if pairs.is_empty() {
        line(&mut text, INDENT, "none");
    }
    for device in unpaired {
        let side = match device.side {
            Side::Vulkan => "Vulkan",
            Side::Cuda => "CUDA",
        };
        line(
            &mut text,
            INDENT,
            &format!("{side} [{}] {} has no counterpart: {}", device.index, device.name, device.reason),
        );
    }
    text
}

pub(super) fn trial(trial: &Trial) -> String {
    let mut text = String::new();
    let way = match (&trial.peer, trial.backend.as_str()) {
        (Some(peer), _) => format!("CUDA on another GPU, {peer},"),
        (None, "cuda") => "CUDA".to_owned(),
        _ => "the CPU".to_owned(),
    };
    let outcome = match &trial.failure {
        None => {
            line(&mut text, INDENT, &format!("ok: {way} and Vulkan on {}", trial.device));
            format!("{} frames of {} KiB arrived intact", trial.frames, trial.bytes >> 10)
        }
        Some(failure) => {
            line(&mut text, INDENT, &format!("FAILED: {way} and Vulkan on {}", trial.device));
            format!("while {}, after {} good frames: {}", failure.step, trial.frames, failure.error)
        }
    };
    line(&mut text, DEEPER, &outcome);
    let times = &trial.times;
    let times = [
        ("device", times.device_ms),
        ("compute side", times.compute_ms),
        ("sharing", times.share_ms),
        ("first frame", times.first_frame_ms),
        ("a frame with its read-back", times.frame_ms),
    ];
    let times: Vec<_> = times.iter().filter_map(|(what, time)| Some(format!("{what} {:.2} ms", (*time)?))).collect();
    if !times.is_empty() {
        line(&mut text, DEEPER, &times.join(", "));
    }
    text
}

pub(super) fn kernel(trial: &KernelTrial) -> String {
    let mut text = String::new();
    match &trial.failure {
        None => line(&mut text, INDENT, &format!("ok: a CUDA kernel in Vulkan's own queue on {}", trial.device)),
        Some(failure) => {
            line(&mut text, INDENT, &format!("FAILED: a CUDA kernel in Vulkan's own queue on {}", trial.device));
            line(&mut text, DEEPER, &format!("while {}: {}", failure.step, failure.error));
        }
    }
    let times = [("loading it", trial.load_ms), ("running it", trial.run_ms)];
    let times: Vec<_> = times.iter().filter_map(|(what, time)| Some(format!("{what} {:.2} ms", (*time)?))).collect();
    if !times.is_empty() {
        line(&mut text, DEEPER, &times.join(", "));
    }
    text
}

pub(super) fn no_trials() -> String {
    let mut text = String::new();
    line(&mut text, INDENT, "none: there is no Vulkan device to try");
    text
}

pub(super) fn process(trial: &ProcessTrial) -> String {
    let mut text = String::new();
    let backend = if trial.backend == "cuda" { "with CUDA" } else { "on the CPU" };
    let way = match trial.direction {
        Direction::WorkerWrites => format!("a worker {backend} writes, Vulkan on {} reads", trial.device),
        Direction::WorkerReads => format!("Vulkan on {} writes, a worker {backend} reads", trial.device),
    };
    match &trial.failure {
        None => {
            let crossed = format!("{} frames of {} KiB arrived intact", trial.frames, trial.bytes >> 10);
            line(&mut text, INDENT, &format!("ok: {way}: {crossed}"));
        }
        Some(failure) => {
            line(&mut text, INDENT, &format!("FAILED: {way}"));
            let outcome = format!("while {}, after {} good frames: {}", failure.step, trial.frames, failure.error);
            line(&mut text, DEEPER, &outcome);
        }
    }
    text
}

/// Returns the line that explains why there were no trials with two processes.
pub(super) fn no_processes() -> String {
    let mut text = String::new();
    let why = match cfg!(target_os = "linux") {
        true => "none: no frames crossed within one process",
        false => "none: two processes are written for Linux only",
    };
    line(&mut text, INDENT, why);
    text
}

pub(super) fn advice(advice: &[Advice]) -> String {
    if advice.is_empty() {
        return String::new();
    }
    let mut text = heading("What to do");
    for (advice, number) in advice.iter().zip(1..) {
        line(&mut text, INDENT, &format!("{number}. {}", advice.problem));
        line(&mut text, "     ", &format!("-> {}", advice.action));
    }
    text
}

pub(super) fn verdict(verdict: &Verdict) -> String {
    let mut text = "\n".to_owned();
    line(&mut text, "", &format!("Verdict: {} (exit code {})", verdict.text, verdict.exit_code));
    text
}

fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

/// Appends an indented paragraph, wrapped to [`WIDTH`] if the words allow it. Later lines are
/// indented further.
fn line(text: &mut String, indent: &str, paragraph: &str) {
    let mut column = 0;
    for word in paragraph.split_whitespace() {
        let length = word.chars().count();
        if column == 0 {
            text.push_str(indent);
            column = indent.len();
        } else if column + 1 + length > WIDTH {
            text.push('\n');
            text.push_str(indent);
            text.push_str(INDENT);
            column = indent.len() + INDENT.len();
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_folded_between_words_and_keep_every_word() {
        let paragraph = "word ".repeat(60) + &"x".repeat(150);
        let mut text = String::new();
        line(&mut text, INDENT, &paragraph);
        assert!(text.lines().filter(|line| !line.contains('x')).all(|line| line.len() <= WIDTH), "{text}");
        assert_eq!(text.split_whitespace().count(), 61);
        assert!(text.ends_with("x\n"));
    }

    #[test]
    fn a_peer_is_named_next_to_the_drawing_gpu() {
        let failure = crate::Failure { step: "opening the compute side", error: "no way between them".to_owned() };
        let mut trial = Trial {
            backend: "peer".to_owned(),
            peer: Some("GPU B [1]".to_owned()),
            device: "GPU A".to_owned(),
            uuid: None,
            frames: 8,
            bytes: 4096,
            failure: None,
            times: crate::Times::default(),
        };
        assert!(super::trial(&trial).contains("ok: CUDA on another GPU, GPU B [1], and Vulkan on GPU A"));
        trial.failure = Some(failure);
        let text = super::trial(&trial);
        assert!(text.contains("FAILED: CUDA on another GPU, GPU B [1], and Vulkan on GPU A"), "{text}");
        assert!(text.contains("no way between them"), "{text}");
    }

    #[test]
    fn each_direction_of_two_processes_is_a_line() {
        let mut trial = ProcessTrial {
            backend: "host".to_owned(),
            direction: Direction::WorkerWrites,
            device: "GPU A".to_owned(),
            frames: 8,
            bytes: 65536,
            failure: None,
            start_ms: None,
            frames_ms: None,
        };
        let text = process(&trial);
        assert!(text.contains("ok: a worker on the CPU writes, Vulkan on GPU A reads: 8 frames"), "{text}");
        (trial.backend, trial.direction) = ("cuda".to_owned(), Direction::WorkerReads);
        trial.failure = Some(crate::ProcessFailure {
            problem: crate::Problem::Timeout,
            step: "drawing",
            error: "nobody came".to_owned(),
        });
        let text = process(&trial);
        assert!(text.contains("FAILED: Vulkan on GPU A writes, a worker with CUDA reads"), "{text}");
        assert!(text.contains("nobody came"), "{text}");
    }

    #[test]
    fn missing_devices_and_files_are_reported() {
        let vulkan = Vulkan::default();
        assert!(super::vulkan(&vulkan).contains("no device"));
        assert!(super::system(&System::default()).contains("device files: none"));
        assert_eq!(advice(&[]), "");
    }
}
