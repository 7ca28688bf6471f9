//! The errors because of which frames are not presented, shared by the presenting side and the
//! writer.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::error::{Error, Result};

/// A step of a frame on its way to Bevy. Each step has its own error, which ends once that step
/// succeeds: the results of other steps, or a step that could not be tried, do not affect it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Bevy renders.
    Rendering,
    /// Bevy's device is the one for which the frames are made.
    Device,
    /// A frame can be copied into the asset.
    Asset,
    /// The copies are created.
    Memory,
    /// The newest frame is copied.
    Copy,
    /// wgpu accepts the commands that copy it into the asset.
    Submit,
}

/// The current errors of an image or a buffer whose frames cannot be presented: at most one for
/// each step, oldest first. The presenting side sets and clears them, and the writer returns the
/// first one.
#[derive(Debug)]
pub(crate) struct Fault {
    name: String,
    now: Mutex<Vec<Noted>>,
}

#[derive(Debug, Clone)]
struct Noted {
    step: Step,
    error: Arc<Error>,
    retried: bool,
}

impl Fault {
    pub(crate) fn new(name: &str) -> Arc<Self> {
        Arc::new(Self { name: name.to_owned(), now: Mutex::default() })
    }

    /// Returns the name of the image or buffer.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Records the result of a step that was tried.
    pub(crate) fn note<T>(&self, step: Step, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => {
                self.over(step);
                Some(value)
            }
            Err(error) => {
                self.failed(step, error);
                None
            }
        }
    }

    fn over(&self, step: Step) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let before = now.len();
        now.retain(|noted| noted.step != step);
        let ended = before > 0 && now.is_empty();
        drop(now);
        if ended {
            log::warn!("the frames of \"{}\" reach Bevy again", self.name);
        }
    }

    fn failed(&self, step: Step, error: Error) {
        let retried = !error.is_device_lost();
        let noted = Noted { step, error: Arc::new(error), retried };
        let text = noted.error.to_string();
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let known = now.iter_mut().find(|noted| noted.step == step);
        // An error that repeats in each of Bevy's frames is logged once.
        let is_new = known.as_ref().is_none_or(|last| last.error.to_string() != text);
        match known {
            Some(last) => *last = noted,
            None => now.push(noted),
        }
        drop(now);
        if is_new {
            let what = if retried {
                "keeps its last frame until a later frame of Bevy's succeeds"
            } else {
                "gets no more frames"
            };
            log::error!("\"{}\" {what}: {text}", self.name);
        }
    }

    /// Returns `true` if presenting cannot succeed in any later frame.
    pub(crate) fn is_lost(&self) -> bool {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|noted| !noted.retried)
    }

    /// Returns `true` if this step has failed and not succeeded since.
    pub(crate) fn has_failed(&self, step: Step) -> bool {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|noted| noted.step == step)
    }

    /// # Errors
    /// [`Error::NotPresented`] while frames do not reach Bevy.
    pub(crate) fn check(&self) -> Result<()> {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(first) = now.iter().find(|noted| !noted.retried).or(now.first()) else { return Ok(()) };
        Err(Error::NotPresented { object: self.name.clone(), retried: first.retried, source: Arc::clone(&first.error) })
    }
}

/// The receiving end of a writer's frames, as the writer sees it.
pub(crate) struct Receiver {
    /// Shared with the presenting side only.
    fault: Arc<Fault>,
    /// The program's image or buffer.
    object: Weak<()>,
}

impl Receiver {
    pub(crate) fn new(fault: Arc<Fault>, object: Weak<()>) -> Self {
        Self { fault, object }
    }

    /// # Errors
    /// [`Error::Dropped`] if the program has dropped its image or buffer, or if the presenting side
    /// was dropped without an error that ended it. Otherwise, the error of [`Fault::check`].
    pub(crate) fn check(&self) -> Result<()> {
        let abandoned = Arc::strong_count(&self.fault) == 1 && !self.fault.is_lost();
        if abandoned || self.object.strong_count() == 0 {
            return Err(Error::Dropped { object: self.fault.name().to_owned() });
        }
        self.fault.check()
    }
}

#[cfg(test)]
mod tests {
    use ash::vk;

    use super::*;

    fn failed(result: vk::Result) -> Result<()> {
        Err(Error::vulkan("picture", "vkAllocateMemory", result))
    }

    fn says(fault: &Fault, text: &str) -> bool {
        fault.check().is_err_and(|error| error.to_string().contains(text))
    }

    #[test]
    fn what_may_go_better_is_tried_again() {
        let fault = Fault::new("picture");
        assert!(fault.note(Step::Memory, Ok(())).is_some() && fault.check().is_ok());
        assert!(fault.note(Step::Memory, failed(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY)).is_none());
        let told = fault.check();
        assert!(matches!(told, Err(Error::NotPresented { retried: true, .. })), "{told:?}");
        assert!(!fault.is_lost());
        fault.note(Step::Memory, failed(vk::Result::ERROR_OUT_OF_HOST_MEMORY));
        assert!(says(&fault, "OUT_OF_HOST_MEMORY"), "the newest error of a step");
        assert!(fault.note(Step::Memory, Ok(())).is_some() && fault.check().is_ok());
    }

    /// An error ends once its own step succeeds, not another one.
    #[test]
    fn each_step_ends_its_own_error() {
        let fault = Fault::new("picture");
        fault.note(Step::Memory, failed(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY));
        fault.note::<()>(Step::Asset, Err(Error::invalid("picture", "its asset was replaced")));
        assert!(says(&fault, "OUT_OF_DEVICE_MEMORY"), "the oldest");
        fault.note(Step::Copy, Ok(()));
        assert!(says(&fault, "OUT_OF_DEVICE_MEMORY"));
        fault.note(Step::Memory, Ok(()));
        assert!(says(&fault, "was replaced"));
        fault.note(Step::Asset, Ok(()));
        assert!(fault.check().is_ok());
    }

    #[test]
    fn what_is_lost_is_given_up() {
        let fault = Fault::new("picture");
        fault.note::<()>(Step::Asset, Err(Error::invalid("picture", "its asset was replaced")));
        assert!(!fault.is_lost());
        fault.note(Step::Copy, failed(vk::Result::ERROR_DEVICE_LOST));
        assert!(fault.is_lost());
        for _ in 0..2 {
            let told = fault.check();
            assert!(matches!(told, Err(Error::NotPresented { retried: false, .. })), "{told:?}");
        }
        let fault = Fault::new("picture");
        fault.note::<()>(Step::Copy, Err(Error::Panicked { object: "picture".to_owned() }));
        assert!(fault.is_lost());
    }

    /// A writer ends when either its object or the presenting side is dropped, whichever errors
    /// there are that may end.
    #[test]
    fn a_writer_is_refused_if_nothing_shows_its_frames() {
        let (fault, object) = (Fault::new("picture"), Arc::new(()));
        let receiver = Receiver::new(Arc::clone(&fault), Arc::downgrade(&object));
        assert!(receiver.check().is_ok());
        fault.note(Step::Memory, failed(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY));
        assert!(matches!(receiver.check(), Err(Error::NotPresented { retried: true, .. })));
        let other = Receiver::new(Arc::clone(&fault), Weak::new());
        assert!(matches!(other.check(), Err(Error::Dropped { .. })));
        drop((other, fault));
        let told = receiver.check();
        assert!(matches!(&told, Err(Error::Dropped { object }) if object == "picture"), "{told:?}");
    }

    /// The presenting side of an object is dropped once it is lost: the loss is the reason.
    #[test]
    fn a_loss_outlives_the_presenting_side() {
        let (fault, object) = (Fault::new("picture"), Arc::new(()));
        let receiver = Receiver::new(Arc::clone(&fault), Arc::downgrade(&object));
        fault.note(Step::Copy, failed(vk::Result::ERROR_DEVICE_LOST));
        drop(fault);
        let told = receiver.check();
        assert!(matches!(told, Err(Error::NotPresented { retried: false, .. })), "{told:?}");
    }
}
