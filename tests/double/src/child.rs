//! Runs a test again in its own process, with the double or another library as its CUDA driver.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Environment variable of the child: the name of the test.
const CHILD_VARIABLE: &str = "DRIVER_DOUBLE_CHILD";

/// Environment variable of the double with the number of queues of each family.
#[cfg(target_os = "linux")]
const QUEUES: &str = "DRIVER_DOUBLE_QUEUES";

/// The library that the loader finds under the driver's name.
pub(crate) enum Library<'a> {
    Double,
    /// The double, also as the system's Vulkan driver, with these numbers of queues of its
    /// families, or with those of the software driver.
    #[cfg(target_os = "linux")]
    DoubleWithVulkan(Option<&'a str>),
    File(&'a Path),
}

/// Returns `true` in the child, and `false` in the parent once the child has passed.
///
/// # Panics
///
/// If the child fails.
pub(crate) fn enter(test: &str, library: &Library<'_>) -> bool {
    if std::env::var(CHILD_VARIABLE).is_ok_and(|name| name == test) {
        return true;
    }
    let file = match library {
        Library::Double => double(),
        #[cfg(target_os = "linux")]
        Library::DoubleWithVulkan(_) => double(),
        Library::File(file) => file.to_path_buf(),
    };
    let folder = tempfile::tempdir().expect("a folder for the library");
    let mut command = command_with_driver(&file, folder.path());
    #[cfg(target_os = "linux")]
    if let Library::DoubleWithVulkan(queues) = library {
        let manifest = folder.path().join("double_icd.json");
        std::fs::write(&manifest, manifest_of(&file)).expect("a manifest of the driver");
        command.env("VK_DRIVER_FILES", &manifest).env("VK_ICD_FILENAMES", &manifest);
        queues.map(|queues| command.env(QUEUES, queues));
    }
    command.args([test, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"]).env(CHILD_VARIABLE, test);
    let output = output_with_retry(&mut command).expect("this program runs again");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{test}: {} in its own process:\n{said}", output.status);
    assert!(said.contains("1 passed"), "no test is called {test}:\n{said}");
    // Visible if the parent runs with `--nocapture`.
    print!("{said}");
    false
}

/// Runs a command. Under Wine, starting a process occasionally fails with `ERROR_INTERNAL_ERROR`; a
/// command that did not start is started again.
fn output_with_retry(command: &mut Command) -> std::io::Result<Output> {
    const INTERNAL_ERROR: i32 = 1359;
    for _ in 0..3 {
        match command.output() {
            Err(error) if cfg!(windows) && error.raw_os_error() == Some(INTERNAL_ERROR) => {}
            output => return output,
        }
    }
    command.output()
}

/// Returns the manifest that the Vulkan loader reads to find a driver.
#[cfg(target_os = "linux")]
fn manifest_of(file: &Path) -> String {
    let icd = format!("{{ \"library_path\": {:?}, \"api_version\": \"1.3.0\" }}", file.display().to_string());
    format!("{{ \"file_format_version\": \"1.0.0\", \"ICD\": {icd} }}")
}

/// Returns a command that runs this program with `file` as its driver, found through the library
/// path.
#[cfg(target_os = "linux")]
fn command_with_driver(file: &Path, folder: &Path) -> Command {
    for name in ["libcuda.so", "libcuda.so.1"] {
        std::os::unix::fs::symlink(file, folder.join(name)).expect("a link to the library");
    }
    let path = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let path = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&path));
    let mut command = Command::new(std::env::current_exe().expect("this program's path"));
    command.env("LD_LIBRARY_PATH", std::env::join_paths(path).expect("a library path"));
    command
}

/// Returns a command that runs a copy of this program with `file` next to it as its driver. This is
/// the only folder that Windows searches before its own, which may contain a real driver.
#[cfg(windows)]
fn command_with_driver(file: &Path, folder: &Path) -> Command {
    let program = folder.join("test.exe");
    std::fs::copy(std::env::current_exe().expect("this program's path"), &program).expect("a copy of this program");
    std::fs::copy(file, folder.join("nvcuda.dll")).expect("a copy of the library");
    Command::new(program)
}

/// Returns the path of the double. Cargo puts it next to the test programs, or one folder above.
fn double() -> PathBuf {
    let program = std::env::current_exe().expect("this program's path");
    let name = format!("{}driver_double{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let found = program.ancestors().skip(1).take(2).map(|folder| folder.join(&name)).find(|file| file.exists());
    found.unwrap_or_else(|| panic!("{name} is not beside {}: build the package driver-double", program.display()))
}
