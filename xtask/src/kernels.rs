//! `cargo xtask kernels`: compiles every `shaders/*.cu` to the `.ptx` next to it, or checks that
//! the `.ptx` is up to date.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::nvrtc::{self, Nvrtc};
use crate::shell;

/// The oldest architecture that NVRTC 12.0 accepts without a warning, and no fused multiply-add: a
/// kernel then rounds each operation like its Rust counterpart, so that the results are
/// bit-identical.
const OPTIONS: &[&str] = &["--gpu-architecture=compute_52", "--fmad=false"];

/// Writes the PTX of every kernel; with `check`, compares instead and fails if a file differs.
pub(crate) fn run(check: bool) -> Result<()> {
    let folder = shell::root().join("shaders");
    let sources = sources(&folder)?;
    if check && let Some(reason) = nvrtc::unavailable() {
        crate::console::line(format_args!("SKIP kernels: {reason}; whether the PTX is up to date is not checked"))?;
        return all_current(&[], &orphans(&folder, &sources)?);
    }
    let nvrtc = Nvrtc::open()?;
    let include = format!("--include-path={}", folder.display());
    let options: Vec<&str> = OPTIONS.iter().copied().chain([include.as_str()]).collect();
    let mut stale = Vec::new();
    for source in &sources {
        let name = format!("shaders/{}", file_name(source));
        let text = fs::read_to_string(source).with_context(|| format!("cannot read {name}"))?;
        let ptx = nvrtc.compile(&name, &text, &options)?;
        let output = source.with_extension("ptx");
        if !check {
            fs::write(&output, &ptx).with_context(|| format!("cannot write {}", output.display()))?;
            crate::console::line(format_args!(
                "kernels: {name} -> shaders/{} ({} bytes)",
                file_name(&output),
                ptx.len()
            ))?;
            continue;
        }
        match difference(&fs::read_to_string(&output).unwrap_or_default(), &ptx) {
            None => crate::console::line(format_args!("kernels: shaders/{} is up to date", file_name(&output)))?,
            Some(place) => {
                eprintln!("kernels: shaders/{} is not what {name} compiles to\n{place}", file_name(&output));
                stale.push(file_name(&output));
            }
        }
    }
    if check {
        all_current(&stale, &orphans(&folder, &sources)?)?;
    }
    Ok(())
}

/// Returns an error that names the files to recompile or delete, if any.
fn all_current(stale: &[String], orphans: &[String]) -> Result<()> {
    if stale.is_empty() && orphans.is_empty() {
        return Ok(());
    }
    bail!(
        "in shaders/, out of date: [{}], without a source: [{}]; run `cargo xtask kernels`, delete what has no source, \
         and commit",
        stale.join(", "),
        orphans.join(", ")
    );
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns the kernel sources in a folder, sorted by name. Fails if there is none: nothing would be
/// compiled or compared.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let sources = with_extension(folder, "cu")?;
    ensure!(!sources.is_empty(), "no kernel (*.cu) in {}; restore them with git", folder.display());
    Ok(sources)
}

/// Returns the PTX files without a source.
fn orphans(folder: &Path, sources: &[PathBuf]) -> Result<Vec<String>> {
    let files = with_extension(folder, "ptx")?;
    let orphans = files.iter().filter(|file| !sources.contains(&file.with_extension("cu")));
    Ok(orphans.map(|file| file_name(file)).collect())
}

/// Returns the files in a folder with this extension, sorted by name.
pub(crate) fn with_extension(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Describes the first line in which the two texts differ; `None` if they are equal.
pub(crate) fn difference(committed: &str, fresh: &str) -> Option<String> {
    if committed == fresh {
        return None;
    }
    if committed.is_empty() {
        return Some("  the committed file is missing or empty".to_owned());
    }
    let (mut old, mut new) = (committed.lines(), fresh.lines());
    for number in 1.. {
        let (old, new) = (old.next(), new.next());
        if old != new {
            let shown = |line: Option<&str>| line.unwrap_or("(end of file)").to_owned();
            return Some(format!("  line {number}\n  - {}\n  + {}", shown(old), shown(new)));
        }
        if old.is_none() {
            break;
        }
    }
    Some("  the line ends differ".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_reported() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(difference("a\nb\n", "a\nc\n").unwrap(), "  line 2\n  - b\n  + c");
        assert_eq!(difference("a\n", "a\nc\n").unwrap(), "  line 2\n  - (end of file)\n  + c");
        assert!(difference("", "a\n").unwrap().contains("missing or empty"));
        assert!(difference("a\r\n", "a\n").unwrap().contains("line ends"));
    }

    #[test]
    fn stale_and_orphaned_files_are_reported() {
        all_current(&[], &[]).unwrap();
        let error = all_current(&["a.ptx".to_owned()], &["b.ptx".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("out of date: [a.ptx], without a source: [b.ptx]"), "{error}");
    }

    #[test]
    fn sources_are_sorted_and_orphans_found() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.cu", "a.cu", "a.ptx", "old.ptx", "x.wgsl"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let sources = sources(folder.path()).unwrap();
        assert_eq!(sources.iter().map(|path| file_name(path)).collect::<Vec<_>>(), ["a.cu", "b.cu"]);
        assert_eq!(orphans(folder.path(), &sources).unwrap(), ["old.ptx"]);
    }

    #[test]
    fn a_folder_without_sources_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("old.ptx"), "").unwrap();
        let error = sources(folder.path()).unwrap_err().to_string();
        assert!(error.contains("no kernel (*.cu)"), "{error}");
    }
}
