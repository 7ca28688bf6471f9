//! Containers that did not get all of the driver, or not the GPU.

use super::*;

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

/// Its /proc shows the host's kernel module.
#[test]
fn a_container_that_sees_the_hosts_module_but_no_gpu_is_told_to_ask_for_it() {
    let system = in_container(System { device_files: Vec::new(), ..server() });
    for vulkan in [lavapipe(), with_manifest(None), Vulkan::default()] {
        let text = said(&system, &vulkan, &no_cuda(CudaProblemKind::NoDriver, None));
        assert!(text.contains("--gpus all -e NVIDIA_DRIVER_CAPABILITIES=all"), "{text}");
        assert!(!text.contains("manifest") && !text.contains("CUDA does not run"), "{text}");
    }
    // On the machine itself the driver makes that file when it is first used.
    let text = said(&System { container: None, ..system }, &lavapipe(), &cuda("13.0"));
    assert!(text.contains("manifest") && !text.contains("--gpus"), "{text}");
}

#[test]
fn a_container_that_asks_for_all_is_not_told_to_ask_for_all() {
    for value in ["all", "compute,graphics"] {
        let system = with(in_container(server()), "NVIDIA_DRIVER_CAPABILITIES", value);
        let nothing = no_cuda(CudaProblemKind::NoDriver, None);
        for vulkan in [lavapipe(), with_manifest(Some("libGLdispatch.so.0: cannot open"))] {
            let text = said(&system, &vulkan, &nothing);
            assert!(text.contains("nvidia-ctk cdi generate") && !text.contains("CAPABILITIES=all"), "{text}");
        }
    }
}
