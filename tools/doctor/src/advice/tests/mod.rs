//! Tests of the advice for machines that occurred in practice.

mod containers;

use super::*;
use crate::vulkan::{NVIDIA, SOFTWARE};
use crate::{
    CudaDevice, CudaProblem, CudaProblemKind, DeviceFile, DriverManifest, FailedCall, Failure, Times, Xid, pairs,
};

fn server() -> System {
    System {
        nvidia_module: Some("580.159.04".to_owned()),
        nvidia_gpus_on_bus: 1,
        device_files: vec![DeviceFile { path: "/dev/nvidiactl".to_owned(), ..DeviceFile::default() }],
        ..System::default()
    }
}

fn in_container(mut system: System) -> System {
    system.container = Some("Docker".to_owned());
    system
}

fn lavapipe() -> Vulkan {
    let device = VulkanDevice { kind: SOFTWARE, vendor: "Mesa".to_owned(), ..VulkanDevice::default() };
    Vulkan { loader: Some("1.3.239".to_owned()), devices: vec![device], ..Vulkan::default() }
}

fn nvidia() -> Vulkan {
    let device = VulkanDevice {
        uuid: "a".to_owned(),
        vendor: NVIDIA.to_owned(),
        driver: "NVIDIA 580.159.04".to_owned(),
        exports_buffers: true,
        exports_timelines: true,
        ..VulkanDevice::default()
    };
    Vulkan { devices: vec![device], ..lavapipe() }
}

fn with_manifest(problem: Option<&str>) -> Vulkan {
    let driver = DriverManifest {
        manifest: "/etc/vulkan/icd.d/nvidia_icd.json".to_owned(),
        library: "libGLX_nvidia.so.0".to_owned(),
        problem: problem.map(str::to_owned),
    };
    Vulkan { drivers: vec![driver], ..lavapipe() }
}

fn cuda(version: &str) -> Cuda {
    let device = CudaDevice { uuid: "a".to_owned(), timeline_semaphores: true, ..CudaDevice::default() };
    Cuda { version: Some(version.to_owned()), problem: None, devices: vec![device] }
}

fn no_cuda(kind: CudaProblemKind, code: Option<u32>) -> Cuda {
    let problem = CudaProblem { kind, code, text: "it does not. And so on".to_owned() };
    Cuda { problem: Some(problem), ..Cuda::default() }
}

fn advice_text(system: &System, vulkan: &Vulkan, cuda: &Cuda) -> String {
    let (_, unpaired) = pairs::find(system, vulkan, cuda);
    let all = advise(system, vulkan, cuda, &unpaired, &[]);
    all.iter().map(|advice| format!("{} -> {}\n", advice.problem, advice.action)).collect()
}

#[test]
fn a_complete_machine_needs_no_advice() {
    assert_eq!(advice_text(&server(), &nvidia(), &cuda("13.0")), "");
}

#[test]
fn a_headless_server_is_advised_about_libxext() {
    let why = "libXext.so.6: cannot open shared object file: No such file or directory";
    let text = advice_text(&server(), &with_manifest(Some(why)), &cuda("13.0"));
    assert!(text.contains("apt install libxext6"), "{text}");
    let mut system = server();
    system.variables.insert("VK_DRIVER_FILES".to_owned(), "/etc/vulkan/icd.d/nvidia_icd.json".to_owned());
    let text = advice_text(&system, &with_manifest(Some(why)), &cuda("13.0"));
    assert!(text.contains("libxext6"), "the variable was blamed: {text}");
}

#[test]
fn a_driver_without_a_gpu_is_distinguished_from_one_that_does_not_load() {
    let text = advice_text(&server(), &with_manifest(None), &cuda("13.0"));
    assert!(text.contains("finds no GPU; not here: /dev/nvidia0, /dev/nvidia-modeset"), "{text}");
    let text = advice_text(&server(), &with_manifest(Some("libGLdispatch.so.0: cannot open")), &cuda("13.0"));
    assert!(text.contains("libGLdispatch"), "{text}");
}

#[test]
fn variables_that_hide_devices_are_reported() {
    let mut system = server();
    system.variables.insert("VK_ICD_FILENAMES".to_owned(), "/x/lvp.json".to_owned());
    let text = advice_text(&system, &lavapipe(), &cuda("13.0"));
    assert!(text.contains("limited by VK_ICD_FILENAMES=/x/lvp.json"), "{text}");
    let mut system = server();
    system.variables.insert("CUDA_VISIBLE_DEVICES".to_owned(), "-1".to_owned());
    let text = advice_text(&system, &nvidia(), &no_cuda(CudaProblemKind::DoesNotStart, Some(100)));
    assert!(text.contains("CUDA_VISIBLE_DEVICES is \"-1\": unset it"), "{text}");
    let mut other = cuda("13.0");
    other.devices[0].uuid = "b".to_owned();
    let text = advice_text(&system, &nvidia(), &other);
    assert!(text.contains("see different GPUs"), "{text}");
}

#[test]
fn wsl_is_reported_as_unsupported() {
    let system = System { wsl: true, ..System::default() };
    let text = advice_text(&system, &lavapipe(), &cuda("12.4"));
    assert!(text.starts_with("WSL cannot share"), "{text}");
    assert!(!text.contains("does not list it"), "{text}");
}

#[test]
fn old_drivers_and_split_gpus_are_reported_with_requirements() {
    let mut system = server();
    system.nvidia_module = Some("470.1".to_owned());
    let text = advice_text(&system, &nvidia(), &cuda("11.4"));
    assert!(text.contains("CUDA 11.4, driver 470.1") && text.contains("525"), "{text}");
    let mut split = cuda("13.0");
    split.devices[0].mig = true;
    assert!(advice_text(&server(), &nvidia(), &split).contains("-mig 0"));
    // Of two GPUs, one is whole.
    assert!(advise(&server(), &nvidia(), &split, &[], &[passed_trial()]).is_empty());
}

#[test]
fn a_new_kernel_module_gets_no_upgrade_advice() {
    let gaps = || {
        let mut vulkan = nvidia();
        vulkan.devices[0].exports_timelines = false;
        vulkan
    };
    let too_old = || no_cuda(CudaProblemKind::TooOld, None);
    for (module, asked) in [("580.159.04", false), ("470.1", true)] {
        let system = System { nvidia_module: Some(module.to_owned()), ..server() };
        for (vulkan, cuda) in [(gaps(), cuda("13.0")), (nvidia(), too_old()), (nvidia(), cuda("11.4"))] {
            let text = advice_text(&system, &vulkan, &cuda);
            assert!(!text.is_empty() && text.contains("525 or newer") == asked, "{text}");
            assert!(text.contains(&format!("{module}, is new enough")) != asked, "{text}");
        }
    }
}

fn closed(closed: bool) -> System {
    let file = DeviceFile { path: "/dev/nvidia0".to_owned(), closed, withheld: !closed };
    System { device_files: vec![file], ..server() }
}

#[test]
fn withheld_and_closed_files_get_different_advice() {
    let text = advice_text(&closed(true), &nvidia(), &cuda("13.0"));
    assert!(text.contains("usermod") && !text.contains("job"), "{text}");
    let text = advice_text(&closed(false), &nvidia(), &cuda("13.0"));
    assert!(text.contains("/dev/nvidia0 is not given to this job") && !text.contains("usermod"), "{text}");
    // A GPU of another job, or of another user.
    for of_others in [true, false] {
        assert!(advise(&closed(of_others), &nvidia(), &cuda("13.0"), &[], &[passed_trial()]).is_empty());
    }
}

#[test]
fn an_empty_machine_gets_the_first_steps() {
    let nothing = no_cuda(CudaProblemKind::NoDriver, None);
    assert!(advice_text(&System::default(), &Vulkan::default(), &nothing).starts_with("there is no Vulkan loader"));
    let bare = Vulkan { devices: Vec::new(), ..lavapipe() };
    assert!(advice_text(&System::default(), &bare, &nothing).contains("no driver is installed"));
    let text = advice_text(&System::default(), &lavapipe(), &nothing);
    assert!(text.contains("no NVIDIA GPU is visible") && text.contains("software driver"), "{text}");
}

#[test]
fn windows_gets_its_own_advice() {
    let windows = || System { windows: true, ..System::default() };
    let none = Vulkan::default();
    let text = advice_text(&windows(), &none, &no_cuda(CudaProblemKind::NoDriver, None));
    assert!(text.contains("vulkan-1.dll") && text.contains("no NVIDIA GPU is visible"), "{text}");
    let text = advice_text(&windows(), &nvidia(), &no_cuda(CudaProblemKind::NoDriver, None));
    assert!(text.contains("CUDA does not run: it does not") && text.contains("nvcuda.dll"), "{text}");
    let text = advice_text(&windows(), &lavapipe(), &cuda("13.0"));
    assert!(text.contains("Vulkan does not list it") && text.contains("remote desktop"), "{text}");
    assert_eq!(advice_text(&windows(), &nvidia(), &cuda("13.0")), "");
    for (vulkan, cuda) in [(none, no_cuda(CudaProblemKind::TooOld, None)), (lavapipe(), cuda("13.0"))] {
        let text = advice_text(&windows(), &vulkan, &cuda);
        let of_linux = ["apt", "dnf", "modprobe", "/dev/", "libcuda", "container", "cargo xtask setup"];
        assert!(of_linux.iter().all(|word| !text.contains(word)), "{text}");
    }
}

#[test]
fn a_forked_process_is_reported() {
    let text = advice_text(&server(), &nvidia(), &no_cuda(CudaProblemKind::DoesNotStart, Some(3)));
    assert!(text.contains("fork") && text.contains("spawn") && !text.contains("code suggests"), "{text}");
}

fn with(mut system: System, name: &str, value: &str) -> System {
    system.variables.insert(name.to_owned(), value.to_owned());
    system
}

#[test]
fn helper_libraries_that_do_not_load_are_reported() {
    let helper = "libnvidia-glvkspirv.so.580.159.04";
    let vulkan = Vulkan { missing_helpers: vec![helper.to_owned()], ..with_manifest(None) };
    let text = advice_text(&server(), &vulkan, &cuda("13.0"));
    assert!(text.contains(helper) && text.contains("driver again"), "{text}");
    let system = with(in_container(server()), "NVIDIA_DRIVER_CAPABILITIES", "all");
    assert!(advice_text(&system, &vulkan, &cuda("13.0")).contains("cdi generate"));
    let text = advice_text(&in_container(server()), &vulkan, &cuda("13.0"));
    assert!(text.contains("CAPABILITIES=all"), "{text}");
}

#[test]
fn a_screen_is_suspected_and_the_failed_call_is_reported() {
    let vulkan = |call| Vulkan {
        failed_calls: vec![FailedCall { call, code: "ERROR_INITIALIZATION_FAILED".to_owned() }],
        ..with_manifest(None)
    };
    let on_screen = with(server(), "DISPLAY", ":99");
    let text = advice_text(&on_screen, &vulkan("vkEnumeratePhysicalDevices"), &cuda("13.0"));
    assert!(text.contains("DISPLAY=:99") && text.contains("libEGL_nvidia.so.0"), "{text}");
    let texts = ["vkCreateInstance", "vkEnumeratePhysicalDevices", "vkCreateDevice"]
        .map(|call| advice_text(&server(), &vulkan(call), &cuda("13.0")));
    assert!(texts.iter().all(|text| !text.contains("DISPLAY") && !text.contains("libXext")), "{texts:?}");
    assert!(texts[0] != texts[1] && texts[1] != texts[2] && texts[0].contains("vkCreateInstance"), "{texts:?}");
}

#[test]
fn flatpak_and_snap_get_their_own_advice() {
    let sandbox = |kind: &str| System { container: Some(kind.to_owned()), ..server() };
    for vulkan in [lavapipe(), with_manifest(None), with_manifest(Some("libGLdispatch.so.0: cannot open"))] {
        let nothing = no_cuda(CudaProblemKind::NoDriver, None);
        let text = advice_text(&sandbox("Flatpak"), &vulkan, &nothing);
        assert!(text.contains("org.freedesktop.Platform.GL.nvidia-580-159-04"), "{text}");
        assert!(!text.contains("NVIDIA_DRIVER_CAPABILITIES") && !text.contains("--gpus"), "{text}");
        let text = advice_text(&sandbox("Snap"), &vulkan, &nothing);
        assert!(text.contains("snap connect") && !text.contains("NVIDIA_DRIVER_CAPABILITIES"), "{text}");
    }
}

#[test]
fn a_zero_uuid_pairs_with_nothing_and_is_reported() {
    let zero = "00000000-0000-0000-0000-000000000000";
    let (mut vulkan, mut cuda) = (nvidia(), cuda("13.0"));
    vulkan.devices[0].uuid = zero.to_owned();
    let text = advice_text(&server(), &vulkan, &cuda);
    assert!(text.contains("all zeros") && text.contains("layer") && text.contains("LD_PRELOAD"), "{text}");
    cuda.devices[0].uuid = zero.to_owned();
    assert!(pairs::find(&server(), &vulkan, &cuda).0.is_empty());
}

#[test]
fn a_context_switch_timeout_is_recognized() {
    let xid = |number| Xid { number, times: 2, last: "NVRM: Xid (PCI:0000:01:00): 109".to_owned() };
    let text = advice_text(&System { xids: vec![xid(109)], ..server() }, &nvidia(), &cuda("13.0"));
    assert!(
        text.contains("Xid 109") && text.contains("2 times (driver 580.159.04)") && text.contains("branch"),
        "{text}"
    );
    assert_eq!(advice_text(&System { xids: vec![xid(13)], ..server() }, &nvidia(), &cuda("13.0")), "");
    assert!(text.contains("-> reset the GPU"), "{text}");
    // It was reset since.
    let system = System { xids: vec![xid(109)], ..server() };
    let now = &advise(&system, &nvidia(), &cuda("13.0"), &[], &[passed_trial()])[0];
    assert!(now.problem.contains("Xid 109") && now.action.starts_with("nothing: CUDA works now"), "{now:?}");
    assert!(now.action.contains("if it returns, reset the GPU"), "{now:?}");
}

fn passed_trial() -> Trial {
    Trial { failure: None, ..failed_trial("") }
}

fn failed_trial(call: &str) -> Trial {
    Trial {
        peer: None,
        backend: "cuda".to_owned(),
        device: "NVIDIA H100".to_owned(),
        uuid: None,
        frames: 0,
        bytes: 0,
        failure: Some(Failure {
            step: "opening the Vulkan device",
            error: format!("{call} failed with ERROR_INITIALIZATION_FAILED"),
        }),
        times: Times::default(),
    }
}

#[test]
fn a_trial_that_cannot_open_its_device_names_the_call() {
    let told = |system: &System, call| failed_trials(system, &[failed_trial(call)])[0].action.clone();
    let device = told(&with(server(), "DISPLAY", ":99"), "vkCreateDevice");
    assert!(device.contains("could not be opened") && device.contains("unset DISPLAY"), "{device}");
    let instance = told(&server(), "vkCreateInstance");
    assert!(instance.contains("gave up before") && !instance.contains("DISPLAY"), "{instance}");
    assert!(told(&server(), "vkQueueSubmit2").starts_with("the message above"));
}

#[test]
fn each_kind_of_failure_between_two_processes_is_reported_once() {
    use crate::{Direction, Problem, ProcessFailure, ProcessTrial};
    let trial = |problem: Option<Problem>| ProcessTrial {
        backend: "host".to_owned(),
        direction: Direction::WorkerWrites,
        device: String::new(),
        frames: 0,
        bytes: 4,
        failure: problem.map(|problem| ProcessFailure { problem, step: "closing", error: String::new() }),
        start_ms: None,
        frames_ms: None,
    };
    let told = |system: &System, problems: &[Option<Problem>]| {
        let trials: Vec<_> = problems.iter().map(|problem| trial(*problem)).collect();
        of_processes(system, &trials)
    };
    assert_eq!(told(&server(), &[None, None]), []);
    let twice = told(&server(), &[Some(Problem::Memory), None, Some(Problem::Memory), Some(Problem::Folder)]);
    assert_eq!(twice.len(), 2, "{twice:?}");
    assert!(twice[0].action.contains("memfd_create") && twice[1].action.contains("TMPDIR"), "{twice:?}");
    let hidden = told(&with(server(), "CUDA_VISIBLE_DEVICES", "1"), &[Some(Problem::HiddenGpu)]);
    assert!(hidden[0].action.contains("CUDA_VISIBLE_DEVICES (now 1)"), "{hidden:?}");
    assert!(told(&server(), &[Some(Problem::Timeout)])[0].problem.contains("nothing happened in time"));
}
