//! The exceptions of the package. Their classes are defined in Python (`vkview/_errors.py`), where
//! a class can have two bases.

use std::fmt;

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// The exception class of a [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tensor,
    DType,
    Shape,
    Layout,
    Device,
    Unavailable,
    Closed,
    Usage,
    Driver,
}

impl Kind {
    fn class(self) -> &'static str {
        match self {
            Self::Tensor => "TensorError",
            Self::DType => "DTypeError",
            Self::Shape => "ShapeError",
            Self::Layout => "LayoutError",
            Self::Device => "DeviceMismatchError",
            Self::Unavailable => "UnavailableError",
            Self::Closed => "ClosedError",
            Self::Usage => "UsageError",
            Self::Driver => "DriverError",
        }
    }
}

/// An error that becomes a Python exception. It can be created without the interpreter, since
/// driver calls run detached from it.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    kind: Kind,
    message: String,
}

impl Fault {
    pub(crate) fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string() }
    }

    /// Returns the error of a call that would enqueue work on a stream that is being captured.
    pub(crate) fn captured(stream: impl fmt::Display) -> Self {
        let reason = "is being captured into a CUDA graph, and a view cannot take part in that";
        Self::new(Kind::Usage, format!("{stream} {reason}: make this call after the capture has ended"))
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Returns the exception with `cause` as its `__cause__`. An interrupt is returned unchanged.
    pub(crate) fn caused_by(self, py: Python<'_>, cause: PyErr) -> PyErr {
        if is_interrupt(py, &cause) {
            return cause;
        }
        let error = PyErr::from(self);
        error.set_cause(py, Some(cause));
        error
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Fault> for PyErr {
    fn from(fault: Fault) -> Self {
        Python::attach(|py| match class(py, fault.kind) {
            Ok(class) => PyErr::from_type(class, fault.message),
            Err(error) => error,
        })
    }
}

/// Returns `true` for an exception that requests the end or interruption of the program:
/// `KeyboardInterrupt`, `SystemExit`. It is not an error of the call, and is never suppressed.
pub(crate) fn is_interrupt(py: Python<'_>, error: &PyErr) -> bool {
    !error.is_instance_of::<PyException>(py)
}

/// Returns the result of `__exit__` after its own work has `ended`. If the block has raised an
/// exception, that one is propagated, and an error of the work is only reported.
pub(crate) fn leave(py: Python<'_>, raised: bool, ended: PyResult<()>) -> PyResult<bool> {
    match ended {
        Err(error) if raised && !is_interrupt(py, &error) => error.write_unraisable(py, None),
        ended => ended?,
    }
    Ok(false)
}

fn class<'py>(py: Python<'py>, kind: Kind) -> PyResult<Bound<'py, PyType>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || Ok::<_, PyErr>(py.import("vkview._errors")?.unbind()))?;
    Ok(module.bind(py).getattr(kind.class())?.cast_into::<PyType>()?)
}
