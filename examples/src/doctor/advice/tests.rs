//! Machines that have been met, and what they are told.

use super::*;
use crate::doctor::vulkan::{NVIDIA, SOFTWARE};
use crate::doctor::{CudaDevice, CudaProblem, CudaProblemKind, DeviceFile, DriverManifest, pairs};

fn server() -> System {
    System {
        nvidia_module: Some("580.159.04".to_owned()),
        nvidia_gpus_on_bus: 1,
        device_files: vec![DeviceFile { path: "/dev/nvidiactl".to_owned(), closed: false }],
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

fn said(system: &System, vulkan: &Vulkan, cuda: &Cuda) -> String {
    let (_, unpaired) = pairs::find(system, vulkan, cuda);
    let all = advise(system, vulkan, cuda, &unpaired, &[]);
    all.iter().map(|advice| format!("{} -> {}\n", advice.problem, advice.action)).collect()
}

#[test]
fn a_whole_machine_needs_no_advice() {
    assert_eq!(said(&server(), &nvidia(), &cuda("13.0")), "");
}

#[test]
fn a_headless_server_is_told_of_libxext() {
    let why = "libXext.so.6: cannot open shared object file: No such file or directory";
    let text = said(&server(), &with_manifest(Some(why)), &cuda("13.0"));
    assert!(text.contains("apt install libxext6"), "{text}");
    let mut system = server();
    system.variables.insert("VK_DRIVER_FILES".to_owned(), "/etc/vulkan/icd.d/nvidia_icd.json".to_owned());
    let text = said(&system, &with_manifest(Some(why)), &cuda("13.0"));
    assert!(text.contains("libxext6"), "the variable was blamed: {text}");
}

#[test]
fn a_container_is_told_of_its_capabilities() {
    let mut system = in_container(server());
    system.variables.insert("NVIDIA_DRIVER_CAPABILITIES".to_owned(), "compute,utility".to_owned());
    let text = said(&system, &lavapipe(), &cuda("13.0"));
    assert!(text.contains("is \"compute,utility\"") && text.contains("CAPABILITIES=all"), "{text}");
    let text = said(&system, &nvidia(), &no_cuda(CudaProblemKind::NoDriver, None));
    assert!(text.contains("`compute` brings libcuda"), "{text}");
}

#[test]
fn a_container_without_its_gpu_is_told_so_once() {
    let system = in_container(System { nvidia_gpus_on_bus: 1, ..System::default() });
    let text = said(&system, &lavapipe(), &no_cuda(CudaProblemKind::NoDriver, None));
    assert!(text.contains("--gpus all"), "{text}");
    assert!(!text.contains("CUDA does not run"), "{text}");
}

#[test]
fn a_driver_that_finds_no_gpu_is_told_from_one_that_does_not_load() {
    let text = said(&server(), &with_manifest(None), &cuda("13.0"));
    assert!(text.contains("finds no GPU; not here: /dev/nvidia0, /dev/nvidia-modeset"), "{text}");
    let text = said(&server(), &with_manifest(Some("libGLdispatch.so.0: cannot open")), &cuda("13.0"));
    assert!(text.contains("libGLdispatch"), "{text}");
}

#[test]
fn variables_that_hide_devices_are_named() {
    let mut system = server();
    system.variables.insert("VK_ICD_FILENAMES".to_owned(), "/x/lvp.json".to_owned());
    let text = said(&system, &lavapipe(), &cuda("13.0"));
    assert!(text.contains("limited by VK_ICD_FILENAMES=/x/lvp.json"), "{text}");
    let mut system = server();
    system.variables.insert("CUDA_VISIBLE_DEVICES".to_owned(), "-1".to_owned());
    let text = said(&system, &nvidia(), &no_cuda(CudaProblemKind::DoesNotStart, Some(100)));
    assert!(text.contains("CUDA_VISIBLE_DEVICES is \"-1\": unset it"), "{text}");
    let mut other = cuda("13.0");
    other.devices[0].uuid = "b".to_owned();
    let text = said(&system, &nvidia(), &other);
    assert!(text.contains("see different GPUs"), "{text}");
}

#[test]
fn wsl_is_told_that_there_is_no_way() {
    let system = System { wsl: true, ..System::default() };
    let text = said(&system, &lavapipe(), &cuda("12.4"));
    assert!(text.starts_with("WSL has no way"), "{text}");
    assert!(!text.contains("does not list it"), "{text}");
}

#[test]
fn old_drivers_and_split_gpus_are_named_with_what_is_needed() {
    let mut system = server();
    system.nvidia_module = Some("470.1".to_owned());
    let text = said(&system, &nvidia(), &cuda("11.4"));
    assert!(text.contains("CUDA 11.4, driver 470.1") && text.contains("525"), "{text}");
    let mut split = cuda("13.0");
    split.devices[0].mig = true;
    assert!(said(&server(), &nvidia(), &split).contains("-mig 0"));
}

#[test]
fn a_machine_without_anything_is_told_where_to_begin() {
    let nothing = no_cuda(CudaProblemKind::NoDriver, None);
    assert!(said(&System::default(), &Vulkan::default(), &nothing).starts_with("there is no Vulkan loader"));
    let bare = Vulkan { devices: Vec::new(), ..lavapipe() };
    assert!(said(&System::default(), &bare, &nothing).contains("no driver is installed"));
    let text = said(&System::default(), &lavapipe(), &nothing);
    assert!(text.contains("no NVIDIA GPU is to be seen") && text.contains("software driver"), "{text}");
}

#[test]
fn windows_is_told_what_windows_needs() {
    let windows = || System { windows: true, ..System::default() };
    let none = Vulkan::default();
    let text = said(&windows(), &none, &no_cuda(CudaProblemKind::NoDriver, None));
    assert!(text.contains("vulkan-1.dll") && text.contains("no NVIDIA GPU is to be seen"), "{text}");
    let text = said(&windows(), &nvidia(), &no_cuda(CudaProblemKind::NoDriver, None));
    assert!(text.contains("CUDA does not run: it does not") && text.contains("nvcuda.dll"), "{text}");
    let text = said(&windows(), &lavapipe(), &cuda("13.0"));
    assert!(text.contains("Vulkan does not list it") && text.contains("remote desktop"), "{text}");
    assert_eq!(said(&windows(), &nvidia(), &cuda("13.0")), "");
    for (vulkan, cuda) in [(none, no_cuda(CudaProblemKind::TooOld, None)), (lavapipe(), cuda("13.0"))] {
        let text = said(&windows(), &vulkan, &cuda);
        let of_linux = ["apt", "dnf", "modprobe", "/dev/", "libcuda", "container", "cargo xtask setup"];
        assert!(of_linux.iter().all(|word| !text.contains(word)), "{text}");
    }
}
