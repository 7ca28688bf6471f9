//! `cargo xtask wheel`: the wheel of the Python package for publishing.
//!
//! A library linked on a machine may need the glibc of that machine. Here, zig links against the
//! symbols of glibc 2.28, and a tool other than the builder inspects the wheel.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::licenses;
use crate::python;
use crate::shell;

/// The oldest supported glibc: that of RHEL 8, Debian 10 and Ubuntu 18.10.
const POLICY: &str = "manylinux_2_28";

/// The linker, which contains the symbols of old glibc versions; about 100 MB, so CI does not use
/// it.
const LINKER: &str = "ziglang==0.17.1";
/// The tool that inspects the wheel.
const INSPECTOR: &str = "auditwheel>=6,<7";

/// Builds the wheel into `target/wheel/dist`, inspects it, and tests it.
pub(crate) fn run(profile: &str) -> Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("wheels for publishing are built on Linux");
    }
    let arch = std::env::consts::ARCH;
    let folder = shell::target_dir().join("wheel");
    let (builder, fresh, dist) = (folder.join("build"), folder.join("fresh"), folder.join("dist"));
    let python = python::python_with_venv()?;
    python::create_environment(&python, &builder, &[python::BUILDER, LINKER, INSPECTOR])?;
    python::remove_folder(&dist)?;
    licenses::write_linked(&shell::root().join("python"))?;

    let mut build = Command::new(builder.join("bin/maturin"));
    build.args(["build", "--locked", "--profile", profile, "--zig", "--compatibility", POLICY]);
    build.args(["--auditwheel", "check", "--target", &format!("{arch}-unknown-linux-gnu"), "--out"]).arg(&dist);
    // The Python of the environment finds zig.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([builder.join("bin")].into_iter().chain(std::env::split_paths(&path)));
    build.env("PATH", path.context("PATH cannot be extended")?);
    shell::run(build.arg("--interpreter").arg(&python).current_dir(shell::root().join("python")))?;

    let wheel = python::only_file(&dist)?;
    let mut inspect = Command::new(builder.join("bin/python"));
    let said = inspect.args(["-m", "auditwheel", "show"]).arg(&wheel).stderr(Stdio::inherit()).output();
    let said = String::from_utf8_lossy(&said.context("cannot start auditwheel")?.stdout).into_owned();
    crate::console::line(format_args!("{said}"))?;
    if !is_for(&said, &format!("{POLICY}_{arch}")) {
        bail!("{} is not for {POLICY}; auditwheel says above what it needs", wheel.display());
    }
    licenses::check_wheel(&python, &wheel)?;
    python::test(&python, &fresh, &wheel)?;
    crate::console::line(format_args!("wheel: {}", wheel.display()))?;
    Ok(())
}

/// Returns `true` if auditwheel, whose output is wrapped, reports that the wheel is consistent with
/// `tag`.
fn is_for(said: &str, tag: &str) -> bool {
    let words: Vec<&str> = said.split_whitespace().collect();
    words.join(" ").contains(&format!("is consistent with the following platform tag: \"{tag}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_read_from_wrapped_lines() {
        let said = "\nvkview-0.1.0-cp310-abi3-manylinux_2_28_x86_64.whl is consistent with\nthe following platform \
                    tag: \"manylinux_2_34_x86_64\".\n\nThe wheel references";
        assert!(is_for(said, "manylinux_2_34_x86_64"));
        // The tag in the file name does not count.
        assert!(!is_for(said, "manylinux_2_28_x86_64"));
        assert!(!is_for("", "manylinux_2_28_x86_64"));
    }
}
