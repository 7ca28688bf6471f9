//! Results of operations, and their verification.

use cuda_import::cudarc::driver::DriverError;
use cuda_import::{CaptureError, DriverCode, Error};
use driver_double::Call;

use crate::log_capture;
use crate::op::Op;
use crate::world::World;

/// Why an operation failed.
#[derive(Debug)]
pub(crate) enum Failure {
    Import(Error),
    Cudarc(DriverError),
    /// An error of a capture's closure.
    Record(&'static str),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Import(error)
    }
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        Self::Cudarc(error)
    }
}

impl<E: Into<Failure>> From<CaptureError<E>> for Failure {
    fn from(error: CaptureError<E>) -> Self {
        match error {
            CaptureError::Cuda(error) => Self::Import(error),
            CaptureError::Record(error) => error.into(),
            _ => unreachable!("there are two kinds"),
        }
    }
}

impl Failure {
    /// Returns the name of the variant.
    fn kind(&self) -> &'static str {
        match self {
            Self::Cudarc(_) | Self::Import(Error::Driver { .. }) => "Driver",
            Self::Record(kind) => kind,
            Self::Import(Error::Zero { .. }) => "Zero",
            Self::Import(Error::Misaligned { .. }) => "Misaligned",
            Self::Import(Error::OutOfRange { .. }) => "OutOfRange",
            Self::Import(Error::Overlap { .. }) => "Overlap",
            Self::Import(Error::ContextMismatch { .. }) => "ContextMismatch",
            Self::Import(Error::Graph { .. }) => "Graph",
            Self::Import(Error::Image { .. }) => "Image",
            Self::Import(Error::StreamCaptured { .. }) => "StreamCaptured",
            Self::Import(_) => "another",
        }
    }

    fn code(&self) -> Option<u32> {
        match self {
            Self::Import(error) => error.driver_code().map(|code| code.0),
            Self::Cudarc(error) => Some(error.0 as u32),
            Self::Record(_) => None,
        }
    }
}

/// The result of an operation.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) done: &'static str,
    pub(crate) error: Option<Failure>,
    /// The error that must be returned, if any.
    pub(crate) expected: Option<&'static str>,
    /// Arrays and images that a stream used under a guard, whose end may not have been recorded.
    pub(crate) arrays: Vec<usize>,
    pub(crate) images: Vec<usize>,
    /// `true` if only calls of `cuda-import` were made, which restore the current context.
    pub(crate) restores: bool,
}

impl Outcome {
    pub(crate) fn new<E: Into<Failure>>(done: &'static str, result: Result<(), E>) -> Self {
        let error = result.err().map(Into::into);
        Self { done, error, expected: None, arrays: Vec::new(), images: Vec::new(), restores: true }
    }

    pub(crate) fn ok(done: &'static str) -> Self {
        Self::new(done, Ok::<_, Error>(()))
    }

    pub(crate) fn must(self, expected: Option<&'static str>) -> Self {
        Self { expected, ..self }
    }

    /// Marks an operation whose calls were made by cudarc.
    pub(crate) fn by_cudarc(self) -> Self {
        Self { restores: false, ..self }
    }

    pub(crate) fn using(self, arrays: impl Into<Vec<usize>>, images: impl Into<Vec<usize>>) -> Self {
        Self { arrays: arrays.into(), images: images.into(), ..self }
    }
}

impl World<'_> {
    pub(crate) fn judge(&mut self, op: Op, hit: Option<Call>, outcome: Outcome) {
        if self.lost {
            return;
        }
        let Outcome { error, expected, arrays, images, .. } = outcome;
        let recorded = self.device.context().check_err().err();
        let said = log_capture::take();
        let suspect = arrays.iter().any(|&array| self.arrays[array].suspect)
            || images.iter().any(|&image| self.images[image].suspect);
        match (&error, expected, &hit) {
            (Some(error), Some(expected), _) if error.kind() == expected => self.counts.add("misuses refused"),
            (Some(error), _, Some(hit)) => {
                // If two calls fail, the later failure may be reported, such as that of a null
                // address.
                let right = error.code() == Some(hit.code) || suspect && error.kind() == "Driver";
                assert!(right, "{op:?}: {hit:?} failed, and the error is {error:?}; said: {said:#?}");
                self.counts.add("errors");
            }
            (Some(error), _, None) if suspect && error.kind() == "Driver" => self.counts.add("late errors"),
            (Some(error), _, None) => {
                let blocked = self.double.blocked_calls();
                panic!("{op:?}: {error:?}; expected: {expected:?}; blocked: {blocked:?}")
            }
            (None, Some(expected), _) => panic!("{op:?} is not refused, but should be: {expected}"),
            (None, None, Some(hit)) => {
                let code = DriverCode(hit.code).to_string();
                let reported = recorded.is_some_and(|error| error.0 as u32 == hit.code)
                    || said.iter().any(|line| line.contains(&code));
                if !reported && !is_harmless(hit) {
                    self.check_silence(op, hit, &arrays, &images);
                }
            }
            (None, None, None) => {
                assert!(recorded.is_none() || suspect, "{op:?} has left {recorded:?}");
            }
        }
        if hit.is_some() {
            // If the end of a use was not recorded, later operations report an error.
            arrays.iter().for_each(|&array| self.arrays[array].suspect = true);
            images.iter().for_each(|&image| self.images[image].suspect = true);
        }
    }

    /// Checks that a hand-over reports the failure if the end of a foreign stream's use was not
    /// recorded.
    fn check_silence(&mut self, op: Op, hit: &Call, arrays: &[usize], images: &[usize]) {
        let arrays = arrays.iter().filter_map(|&array| self.arrays[array].buffer.as_ref());
        let images = images.iter().filter_map(|&image| self.images[image].image.as_ref());
        let reported = arrays
            .map(|buffer| buffer.join_foreign_work())
            .chain(images.map(|image| image.join_foreign_work()))
            .filter_map(Result::err)
            .any(|error| error.driver_code().is_some_and(|code| code.0 == hit.code));
        assert!(reported, "{op:?}: {hit:?} failed, and it is not reported");
        self.counts.add("failures told by the hand-over");
    }
}

/// Returns `true` if the failure of the call is harmless: frees then use the default mode, which
/// ends captures of other threads, and a driver that does not know an attribute returns this code.
fn is_harmless(hit: &Call) -> bool {
    hit.name == "cuThreadExchangeStreamCaptureMode" || (hit.name == "cuDeviceGetAttribute" && hit.code == 1)
}
