//! One pinned release of NVIDIA's runtime compiler (NVRTC), usable without a toolkit or a GPU.
//!
//! The release determines the PTX: 12.0 writes ISA 8.0, which drivers from 525 on accept.

// The compiler is a C library that is loaded at run time.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, ptr};

use anyhow::{Context, Result, bail};
use libloading::Library;

use crate::setup::consent::Consent;
use crate::setup::install;
use crate::setup::packages::Need;
use crate::{digest, shell};

const PACKAGE: &str = "nvidia-cuda-nvrtc-cu12";
const VERSION: &str = "12.0.140";
/// Digest of the wheel for x86-64 Linux, so that only the intended code is loaded.
const SHA256: &str = "8e94e991d85c422de4da87bdc7472fdc1364367bd4aace7000b559cd33122071";
const LIBRARY: &str = "nvidia/cuda_nvrtc/lib/libnvrtc.so.12";
/// The loaded files of the wheel: the compiler, and the file next to it that the compiler opens
/// itself.
const LOADED: &[(&str, &str)] = &[
    (LIBRARY, "f26e5a4f98c9417a96694539096bd8e2fe69bce3b0ee522b62cc4ca8c647c79a"),
    (
        "nvidia/cuda_nvrtc/lib/libnvrtc-builtins.so.12.0",
        "8cb4db2d2806cd3b85e60023f5988811584d7f0fef51d1a4d380faf4e6432c74",
    ),
];

type Program = *mut c_void;
type Status = c_int;
/// Type of `nvrtcGetPTX` and `nvrtcGetProgramLog`.
type GetText = unsafe extern "C" fn(Program, *mut c_char) -> Status;
/// Type of `nvrtcGetPTXSize` and `nvrtcGetProgramLogSize`: bytes, including the terminating NUL.
type GetSize = unsafe extern "C" fn(Program, *mut usize) -> Status;
type CreateProgram = unsafe extern "C" fn(
    *mut Program,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> Status;

/// The functions of nvrtc.h in use, and the library that contains them.
pub(crate) struct Nvrtc {
    create: CreateProgram,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Status,
    destroy: unsafe extern "C" fn(*mut Program) -> Status,
    ptx_size: GetSize,
    ptx: GetText,
    log_size: GetSize,
    log: GetText,
    error_string: unsafe extern "C" fn(Status) -> *const c_char,
    // Declared last, so dropped last: the functions above point into the library.
    _library: Library,
}

/// Returns why the compiler is not available on this machine; `None` if it is.
pub(crate) fn unavailable() -> Option<String> {
    let here = cfg!(all(target_os = "linux", target_arch = "x86_64"));
    (!here).then(|| format!("{PACKAGE} {VERSION} is fetched for x86-64 Linux only"))
}

impl Nvrtc {
    /// Opens the compiler. The first call downloads it from the Python package index into the
    /// target folder.
    pub(crate) fn open() -> Result<Self> {
        if let Some(reason) = unavailable() {
            bail!("{reason}: regenerate the PTX on such a machine");
        }
        let path = fetch(&shell::target_dir().join("nvrtc"))?;
        // SAFETY: libloading requires that the library's initializers are sound to run. `fetch` has
        // just compared this file, and the one it opens, with the digests of NVIDIA's build, whose
        // initializers only set up its own state.
        let library = unsafe { Library::new(&path) }
            .with_context(|| format!("cannot load {}; delete target/nvrtc and try again", path.display()))?;
        Ok(Self {
            create: symbol(&library, c"nvrtcCreateProgram")?,
            compile: symbol(&library, c"nvrtcCompileProgram")?,
            destroy: symbol(&library, c"nvrtcDestroyProgram")?,
            ptx_size: symbol(&library, c"nvrtcGetPTXSize")?,
            ptx: symbol(&library, c"nvrtcGetPTX")?,
            log_size: symbol(&library, c"nvrtcGetProgramLogSize")?,
            log: symbol(&library, c"nvrtcGetProgramLog")?,
            error_string: symbol(&library, c"nvrtcGetErrorString")?,
            _library: library,
        })
    }

    /// Compiles `source` to PTX. `name` is the file name in the compiler's messages.
    pub(crate) fn compile(&self, name: &str, source: &str, options: &[&str]) -> Result<String> {
        let source = CString::new(source).with_context(|| format!("{name} holds a NUL byte"))?;
        let c_name = CString::new(name)?;
        let options = options.iter().map(|text| CString::new(*text)).collect::<Result<Vec<_>, _>>()?;
        let options: Vec<_> = options.iter().map(|text| text.as_ptr()).collect();

        let mut program: Program = ptr::null_mut();
        let status =
            // SAFETY: nvrtcCreateProgram takes two NUL-terminated strings and, for 0 headers, no
            // arrays.
            unsafe { (self.create)(&mut program, source.as_ptr(), c_name.as_ptr(), 0, ptr::null(), ptr::null()) };
        self.check("nvrtcCreateProgram", status)?;
        let program = Guard { nvrtc: self, program };

        let count = c_int::try_from(options.len())?;
        // SAFETY: nvrtcCompileProgram takes a live program and `count` strings, which `options`
        // keeps alive.
        let status = unsafe { (self.compile)(program.program, count, options.as_ptr()) };
        let log = self.text(&program, "nvrtcGetProgramLog", self.log_size, self.log)?;
        if !log.trim().is_empty() {
            eprintln!("{}", log.trim());
        }
        self.check("nvrtcCompileProgram", status).with_context(|| format!("{name} does not compile"))?;
        self.text(&program, "nvrtcGetPTX", self.ptx_size, self.ptx)
    }

    fn text(&self, program: &Guard<'_>, call: &str, size: GetSize, get: GetText) -> Result<String> {
        let mut bytes = 0;
        // SAFETY: nvrtcGet*Size takes a live program and a pointer to one size_t.
        self.check(call, unsafe { size(program.program, &mut bytes) })?;
        let mut buffer = vec![0_u8; bytes];
        // SAFETY: nvrtcGet* writes the number of bytes that its Size call returned, which is the
        // buffer's length.
        self.check(call, unsafe { get(program.program, buffer.as_mut_ptr().cast()) })?;
        buffer.truncate(buffer.iter().position(|&byte| byte == 0).unwrap_or(bytes));
        String::from_utf8(buffer).with_context(|| format!("{call} gave text that is not UTF-8"))
    }

    fn check(&self, call: &str, status: Status) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: nvrtcGetErrorString takes any value and returns a static string.
        let text = unsafe { (self.error_string)(status) };
        // SAFETY: the returned string is NUL-terminated and static.
        let text = unsafe { CStr::from_ptr(text) };
        bail!("{call} failed: {} ({status})", text.to_string_lossy());
    }
}

/// A program that is destroyed on drop.
struct Guard<'a> {
    nvrtc: &'a Nvrtc,
    program: Program,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // SAFETY: nvrtcDestroyProgram takes a live program, and nothing uses it afterward.
        unsafe { (self.nvrtc.destroy)(&mut self.program) };
    }
}

/// Looks up a function; `T` is its function pointer type in nvrtc.h.
fn symbol<T: Copy>(library: &Library, name: &CStr) -> Result<T> {
    // SAFETY: libloading requires that the type matches the symbol. Each caller assigns to the
    // field of that C name, whose type is the declaration in nvrtc.h.
    let found = unsafe { library.get::<T>(name) };
    Ok(*found.with_context(|| format!("{} not found in NVRTC", name.to_string_lossy()))?)
}

/// Returns the library's path under `folder`; downloads and unpacks the library first if it is
/// missing or its digest differs.
fn fetch(folder: &Path) -> Result<PathBuf> {
    let unpacked = folder.join(VERSION);
    let library = unpacked.join(LIBRARY);
    if is_genuine(&unpacked, LOADED) {
        return Ok(library);
    }
    remove_wrong(&unpacked)?;
    let python = python_with_pip()?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let work = tempfile::tempdir_in(folder)?;

    let requirements = work.path().join("requirements.txt");
    fs::write(&requirements, format!("{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n"))?;
    eprintln!("fetching {PACKAGE} {VERSION} (23 MB)");
    shell::run(
        Command::new(&python)
            .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check"])
            .args(["--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement"])
            .arg(&requirements)
            .arg("--dest")
            .arg(work.path()),
    )
    .with_context(|| format!("cannot download {PACKAGE} {VERSION}: is the network reachable?"))?;

    let wheel = fs::read_dir(work.path())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .with_context(|| format!("pip left no wheel of {PACKAGE}"))?;
    let fresh = work.path().join("unpacked");
    shell::run(Command::new(&python).args(["-m", "zipfile", "--extract"]).arg(&wheel).arg(&fresh))?;

    if !is_genuine(&fresh, LOADED) {
        bail!("{PACKAGE} {VERSION} holds other files than those that were known; nothing of it is loaded");
    }

    // The rename makes the folder appear as a whole. If another run was faster, its folder is used.
    if let Err(error) = fs::rename(&fresh, &unpacked)
        && !is_genuine(&unpacked, LOADED)
    {
        return Err(error).with_context(|| format!("cannot make {}", unpacked.display()));
    }
    Ok(library)
}

/// Returns `true` if every file exists under `folder` and has its digest.
fn is_genuine(folder: &Path, files: &[(&str, &str)]) -> bool {
    files.iter().all(|(file, sha256)| digest::matches(&folder.join(file), sha256))
}

/// Removes a folder whose files have other digests, to make room for a new copy.
fn remove_wrong(unpacked: &Path) -> Result<()> {
    if !unpacked.exists() {
        return Ok(());
    }
    eprintln!("{} is not what was fetched (its SHA-256 differs); it is removed and fetched again", unpacked.display());
    fs::remove_dir_all(unpacked).with_context(|| format!("cannot remove {}", unpacked.display()))
}

/// Returns a Python that has pip; installs it if allowed.
fn python_with_pip() -> Result<PathBuf> {
    let find = || {
        shell::on_path("python3")
            .filter(|python| shell::succeeds(Command::new(python).args(["-m", "pip", "--version"])))
    };
    if let Some(python) = find() {
        return Ok(python);
    }
    install::install(&[Need::Pip], &[], Consent::from_environment())?;
    find().context("python3 with pip is still missing; install it and try again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loaded_file_with_a_changed_byte_is_detected_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let unpacked = folder.path().join(VERSION);
        fs::create_dir(&unpacked).unwrap();
        // The digests of "abc" and of the empty file.
        let files = [
            ("compiler", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            ("builtins", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ];
        let write = |compiler: &str, builtins: &str| {
            fs::write(unpacked.join("compiler"), compiler).unwrap();
            fs::write(unpacked.join("builtins"), builtins).unwrap();
        };
        write("abc", "");
        assert!(is_genuine(&unpacked, &files));
        write("abd", "");
        assert!(!is_genuine(&unpacked, &files));
        write("abc", "x");
        assert!(!is_genuine(&unpacked, &files));
        remove_wrong(&unpacked).unwrap();
        assert!(!unpacked.exists());
        remove_wrong(&unpacked).unwrap();
    }
}
