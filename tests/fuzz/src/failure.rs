//! How a case fails, and whether another case fails in the same way.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use crate::ON_PURPOSE;

/// A failure of a case.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// Location and first line of the message without its numbers, which is equal for cases that
    /// only differ in frames, handles and words.
    pub(crate) key: String,
    pub(crate) text: String,
}

/// The first panic on any thread since the start of a case, except those on purpose.
static FIRST: Mutex<Option<Failure>> = Mutex::new(None);

/// Runs a case. Only one runs at a time, since its threads are not known.
pub(crate) fn of<R>(case: impl FnOnce() -> R) -> Result<R, Failure> {
    static SERIAL: Mutex<()> = Mutex::new(());
    let _one = SERIAL.lock().unwrap_or_else(PoisonError::into_inner);
    install_hook();
    *first() = None;
    panic::catch_unwind(AssertUnwindSafe(case)).map_err(|payload| {
        // `None` if a panic caught earlier is resumed.
        let first = first().take();
        first.unwrap_or_else(|| Failure::new("raised again", text_of(&*payload)))
    })
}

/// Runs a case, and returns the text of its first panic on any thread.
pub fn failure_of<R>(case: impl FnOnce() -> R) -> Option<String> {
    of(case).err().map(|failure| failure.text)
}

/// `true` if panics are not printed.
static SILENT: AtomicBool = AtomicBool::new(false);

/// Runs `cases`, whose expected panics are noted as usual but not printed. Panics of concurrent
/// cases are not printed either.
pub fn silently<R>(cases: impl FnOnce() -> R) -> R {
    /// Ends the silence, even if `cases` panics.
    struct Loud;
    impl Drop for Loud {
        fn drop(&mut self) {
            SILENT.store(false, Ordering::SeqCst);
        }
    }
    // The hook stays installed: replacing it and restoring it later could remove a hook that was
    // installed meanwhile.
    install_hook();
    SILENT.store(true, Ordering::SeqCst);
    let _loud = Loud;
    cases()
}

/// Notes panics from now on, and does not print those that are on purpose.
fn install_hook() {
    static HOOK_INSTALLED: Once = Once::new();
    HOOK_INSTALLED.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !text_of(info.payload()).contains(ON_PURPOSE) {
                first().get_or_insert_with(|| Failure::at(info));
                if !SILENT.load(Ordering::SeqCst) {
                    usual(info);
                }
            }
        }));
    });
}

fn first() -> MutexGuard<'static, Option<Failure>> {
    FIRST.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text_of(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without words")
}

impl Failure {
    fn new(place: &str, text: &str) -> Self {
        let line = text.lines().next().unwrap_or_default();
        Self { key: format!("{place}: {}", without_numbers(line)), text: text.to_owned() }
    }

    fn at(info: &PanicHookInfo<'_>) -> Self {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        Self::new(&place, text_of(info.payload()))
    }
}

/// Returns the text with `#` in place of each word that begins with a digit, each number at the end
/// of a word, and each list of numbers.
fn without_numbers(text: &str) -> String {
    let is_of_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut short = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| is_of_word(c) != is_of_word(first)).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        let name = piece.trim_end_matches(|c: char| c.is_ascii_digit());
        if first.is_ascii_digit() {
            short.push('#');
        } else if name.len() < piece.len() {
            short.extend([name, "#"]);
        } else {
            short.push_str(piece);
        }
        rest = after;
    }
    while short.contains("#, #") {
        short = short.replace("#, #", "#");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_ignore_numbers_but_not_words_and_places() {
        let fail = |numbers: &[u32], word: &str| {
            of(|| panic!("{numbers:?} at 0x{:x} of ring{} {word}\nand more", numbers[0], numbers[0])).unwrap_err()
        };
        let one = fail(&[7], "is stale");
        assert_eq!(one.key, fail(&[0xfffe, 2, 3], "is stale").key);
        assert_ne!(one.key, fail(&[7], "is torn").key);
        assert_ne!(one.key, of(|| panic!("[7] at 0x7 of ring7 is stale")).unwrap_err().key);
        assert!(one.key.ends_with(": [#] at # of ring# is stale"), "{}", one.key);
        assert!(one.text.ends_with("and more"), "{}", one.text);
    }

    /// Panics are noted during and after silence, whether cases or silence come first.
    #[test]
    fn panics_are_noted_during_and_after_silence() {
        let fails = || of(|| std::thread::spawn(|| panic!("why")).join().expect("the other thread")).unwrap_err();
        assert!(silently(fails).key.ends_with(": why"));
        assert!(fails().key.ends_with(": why") && !SILENT.load(Ordering::SeqCst));
    }

    #[test]
    fn the_first_panic_of_any_thread_is_the_failure() {
        let failure = of(|| {
            let _ = panic::catch_unwind(|| panic!("{ON_PURPOSE}"));
            std::thread::spawn(|| panic!("why")).join().expect("the other thread")
        });
        assert!(failure.unwrap_err().key.ends_with(": why"));
        assert!(of(|| ()).is_ok());
    }
}
