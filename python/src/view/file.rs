//! Writing of picture files, with the exceptions of Python's own functions.

use std::path::{Path, PathBuf};

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

/// Rejects file names whose extension is not that of PNG.
pub(super) fn check_name(path: &Path) -> PyResult<()> {
    if path.extension().is_none_or(|extension| extension.eq_ignore_ascii_case("png")) {
        return Ok(());
    }
    let reason = "pictures are written as PNG: the file's name ends in .png, or has no extension";
    Err(PyValueError::new_err(format!("{}: {reason}", path.display())))
}

pub(super) fn write(py: Python<'_>, path: PathBuf, bytes: &[u8]) -> PyResult<()> {
    let Err(error) = py.detach(|| std::fs::write(&path, bytes)) else { return Ok(()) };
    let Some(number) = error.raw_os_error() else { return Err(error.into()) };
    let reason = py.import("os")?.call_method1("strerror", (number,))?.unbind();
    Err(PyOSError::new_err((number, reason, path.into_os_string())))
}
