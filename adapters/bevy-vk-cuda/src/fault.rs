//! The error for which frames are not presented, shared by the presenting side and the writer.

use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};

/// The current error of an image or a buffer, if its frames cannot be presented. The presenting side
/// sets and clears it; the writer returns it.
#[derive(Debug)]
pub(crate) struct Fault {
    name: String,
    now: Mutex<Option<Noted>>,
}

#[derive(Debug, Clone)]
struct Noted {
    error: Arc<Error>,
    retried: bool,
}

impl Fault {
    pub(crate) fn new(name: &str) -> Arc<Self> {
        Arc::new(Self { name: name.to_owned(), now: Mutex::default() })
    }

    /// Notes what became of a frame of Bevy's. Returns `false` where no later one can go better.
    pub(crate) fn note(&self, presented: Result<()>) -> bool {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let error = match presented {
            Ok(()) => {
                if now.take().is_some() {
                    log::warn!("the frames of \"{}\" reach Bevy again", self.name);
                }
                return true;
            }
            Err(error) => error,
        };
        let retried = !error.is_device_lost();
        // The same in each frame of Bevy's is logged once.
        if now.as_ref().is_none_or(|last| last.error.to_string() != error.to_string()) {
            let until = if retried { "until a later frame goes better" } else { "from now on" };
            log::error!("\"{}\" stays as it is {until}: {error}", self.name);
        }
        *now = Some(Noted { error: Arc::new(error), retried });
        retried
    }

    /// # Errors
    /// [`Error::NotPresented`] while frames do not reach Bevy.
    pub(crate) fn check(&self) -> Result<()> {
        match self.now.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            None => Ok(()),
            Some(Noted { error, retried }) => {
                Err(Error::NotPresented { object: self.name.clone(), retried, source: error })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ash::vk;

    use super::*;

    fn failed(result: vk::Result) -> Result<()> {
        Err(Error::vulkan("picture", "vkAllocateMemory", result))
    }

    #[test]
    fn what_may_go_better_is_tried_again() {
        let fault = Fault::new("picture");
        assert!(fault.note(Ok(())) && fault.check().is_ok());
        assert!(fault.note(failed(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY)));
        let told = fault.check();
        assert!(matches!(told, Err(Error::NotPresented { retried: true, .. })), "{told:?}");
        assert!(fault.note(Err(Error::invalid("picture", "its asset was replaced"))));
        assert!(fault.check().is_err_and(|error| error.to_string().contains("was replaced")));
        assert!(fault.note(Ok(())) && fault.check().is_ok());
    }

    #[test]
    fn what_is_lost_is_given_up() {
        let fault = Fault::new("picture");
        assert!(!fault.note(failed(vk::Result::ERROR_DEVICE_LOST)));
        for _ in 0..2 {
            let told = fault.check();
            assert!(matches!(told, Err(Error::NotPresented { retried: false, .. })), "{told:?}");
        }
        assert!(!fault.note(Err(Error::Panicked { object: "picture".to_owned() })));
    }
}
