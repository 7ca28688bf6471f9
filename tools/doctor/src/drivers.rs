//! The Vulkan drivers that the loader is configured to use, and whether their libraries load.
//!
//! The loader silently skips a driver that does not load, but the user needs the reason.
#![allow(unsafe_code)] // Drivers are C libraries, opened at run time.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use bridge::ash;
use serde::Serialize;

/// The manifest of a driver.
#[derive(Debug, Clone, Serialize)]
pub struct DriverManifest {
    /// The path of the manifest.
    pub manifest: String,
    /// The library that it names; empty if the manifest cannot be read.
    pub library: String,
    /// Why the library cannot be loaded, if so.
    pub problem: Option<String>,
}

impl DriverManifest {
    /// Returns `true` if this is NVIDIA's own driver.
    pub fn is_nvidia(&self) -> bool {
        self.library.contains("_nvidia") || self.manifest.contains("nvidia_icd")
    }
}

/// Returns the manifests in the loader's search paths on Linux. Opens and closes each library.
pub(super) fn find() -> Vec<DriverManifest> {
    if !cfg!(target_os = "linux") {
        return Vec::new();
    }
    let mut files: Vec<PathBuf> = Vec::new();
    for place in search_paths(|name| env::var_os(name)) {
        for file in manifests_at(&place) {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    files.iter().filter_map(|file| read(file)).collect()
}

/// Returns the files and folders that the loader searches, in its order (LoaderDriverInterface.md,
/// "Driver Discovery on Linux").
fn search_paths(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let paths = |name: &str| {
        let value = variable(name).filter(|value| !value.is_empty());
        value.map(|value| env::split_paths(&value).collect::<Vec<_>>())
    };
    if let Some(only) = paths("VK_DRIVER_FILES").or_else(|| paths("VK_ICD_FILENAMES")) {
        return only;
    }
    let home = variable("HOME").map(PathBuf::from);
    let in_home = |folder: &str| home.iter().map(|home| home.join(folder)).collect::<Vec<_>>();
    let mut folders = paths("XDG_CONFIG_HOME").unwrap_or_else(|| in_home(".config"));
    folders.extend(paths("XDG_CONFIG_DIRS").unwrap_or_else(|| vec!["/etc/xdg".into()]));
    folders.push("/etc".into());
    folders.extend(paths("XDG_DATA_HOME").unwrap_or_else(|| in_home(".local/share")));
    folders.extend(paths("XDG_DATA_DIRS").unwrap_or_else(|| vec!["/usr/local/share".into(), "/usr/share".into()]));
    let mut places = paths("VK_ADD_DRIVER_FILES").unwrap_or_default();
    places.extend(folders.iter().map(|folder| folder.join("vulkan/icd.d")));
    places
}

/// Returns the place itself, or the manifests in it if it is a folder.
fn manifests_at(place: &Path) -> Vec<PathBuf> {
    if !place.is_dir() {
        // A missing file that was named explicitly is reported; a missing folder is not.
        let is_named = place.extension().is_some_and(|extension| extension == "json") || place.is_file();
        return if is_named { vec![place.to_owned()] } else { Vec::new() };
    }
    let entries = fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    files.sort();
    files
}

/// Reads a manifest and tries to load its library. Returns `None` for a driver of a different
/// pointer width.
fn read(file: &Path) -> Option<DriverManifest> {
    let manifest = file.to_string_lossy().into_owned();
    let (library, width) = match fs::read_to_string(file).map_err(|error| error.to_string()).and_then(|t| parse(&t)) {
        Ok(parsed) => parsed,
        Err(problem) => return Some(DriverManifest { manifest, library: String::new(), problem: Some(problem) }),
    };
    let own_width = usize::BITS.to_string();
    if width.is_some_and(|width| width != own_width) {
        return None;
    }
    let problem = open(&resolve(file, &library)).err();
    // Older manifests do not contain the pointer width, but the dynamic linker reports it.
    let foreign = problem.as_ref().is_some_and(|problem| problem.contains("wrong ELF class"));
    (!foreign).then_some(DriverManifest { manifest, library, problem })
}

/// Returns the library and, if given, its pointer width.
fn parse(text: &str) -> Result<(String, Option<String>), String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let field = |name: &str| value.get("ICD").and_then(|icd| icd.get(name)).and_then(|f| f.as_str()).map(str::to_owned);
    Ok((field("library_path").ok_or("it names no ICD.library_path")?, field("library_arch")))
}

/// Resolves the library path. The dynamic linker finds a bare name; a path is relative to the
/// manifest.
fn resolve(manifest: &Path, library: &str) -> PathBuf {
    match manifest.parent() {
        Some(folder) if library.contains('/') => folder.join(library),
        _ => library.into(),
    }
}

/// Returns the libraries of driver version `version` that `libGLX_nvidia.so.0` loads itself and
/// that are missing. A driver without one of them loads, but then finds no GPU.
pub(super) fn missing_helpers(version: &str) -> Vec<String> {
    if !cfg!(target_os = "linux") {
        return Vec::new();
    }
    let names = helpers(version).into_iter();
    // Some libraries cannot be loaded on their own; only missing files count.
    names.filter(|name| open(name.as_ref()).is_err_and(|why| why.contains("cannot open shared object file"))).collect()
}

fn helpers(version: &str) -> Vec<String> {
    /// The first driver version that always includes `libnvidia-gpucomp`.
    const GPUCOMP: u32 = 550;
    let mut names = vec!["glcore", "glvkspirv"];
    if super::system::major(version).is_some_and(|major| major >= GPUCOMP) {
        names.push("gpucomp");
    }
    names.into_iter().map(|name| format!("libnvidia-{name}.so.{version}")).collect()
}

fn open(library: &Path) -> Result<(), String> {
    // SAFETY: loading runs the library's initializers, as every Vulkan program does with its
    // drivers; no function of the library is called.
    match unsafe { ash::Entry::load_from(library) } {
        Err(ash::LoadingError::LibraryLoadFailure(error)) => Err(error.to_string()),
        // The library loads. A driver need not have the entry point that ash looks for.
        Err(ash::LoadingError::MissingEntryPoint(_)) | Ok(_) => Ok(()),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn one_variable_replaces_the_folders_and_another_adds_to_them() {
        let only = search_paths(|name| (name == "VK_ICD_FILENAMES").then(|| "/a.json:/b".into()));
        assert_eq!(only, [PathBuf::from("/a.json"), PathBuf::from("/b")]);
        let more = search_paths(|name| match name {
            "VK_ADD_DRIVER_FILES" => Some("/x.json".into()),
            "HOME" => Some("/home/u".into()),
            _ => None,
        });
        assert_eq!(more[0], PathBuf::from("/x.json"));
        assert!(more.contains(&"/home/u/.local/share/vulkan/icd.d".into()), "{more:?}");
        assert!(more.contains(&"/usr/share/vulkan/icd.d".into()), "{more:?}");
    }

    #[test]
    fn a_manifest_names_its_library_and_a_broken_one_the_problem() {
        let text = r#"{"ICD": {"api_version": "1.4.312", "library_path": "libGLX_nvidia.so.0"}, "file_format_version": "1.0.0"}"#;
        assert_eq!(parse(text).unwrap(), ("libGLX_nvidia.so.0".to_owned(), None));
        assert!(parse("{").unwrap_err().contains("not JSON"));
        assert!(parse("{}").unwrap_err().contains("library_path"));
    }

    #[test]
    fn helper_libraries_are_of_the_modules_version() {
        assert_eq!(helpers("535.1.2"), ["libnvidia-glcore.so.535.1.2", "libnvidia-glvkspirv.so.535.1.2"]);
        assert_eq!(helpers("580.95")[2], "libnvidia-gpucomp.so.580.95");
        assert_eq!(missing_helpers("999.no-such-driver").len(), 3);
    }

    #[test]
    fn libraries_are_searched_like_the_loader_does() {
        let manifest = Path::new("/usr/share/vulkan/icd.d/x.json");
        assert_eq!(resolve(manifest, "libx.so"), Path::new("libx.so"));
        assert_eq!(resolve(manifest, "../libx.so"), Path::new("/usr/share/vulkan/icd.d/../libx.so"));
        assert_eq!(resolve(manifest, "/opt/libx.so"), Path::new("/opt/libx.so"));
    }

    #[test]
    fn a_library_that_does_not_load_reports_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nvidia_icd.json");
        fs::write(&file, r#"{"ICD": {"library_path": "./libno-such-driver.so"}}"#).unwrap();
        let found = read(&file).unwrap();
        assert!(found.is_nvidia() && found.problem.is_some_and(|problem| problem.contains("libno-such-driver.so")));
        fs::write(&file, r#"{"ICD": {"library_path": "./x.so", "library_arch": "16"}}"#).unwrap();
        assert!(read(&file).is_none());
    }
}
