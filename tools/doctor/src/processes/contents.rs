//! Contents of the frames.

use super::problem::{Problem, Stopped};

/// Number of words in a frame, the maximum that `vkCmdUpdateBuffer` can write.
pub(super) const WORDS: usize = 16 << 10;
pub(super) const BYTES: u64 = (WORDS * size_of::<u32>()) as u64;

/// Number of frames per direction, so that every slot is used several times.
pub(super) const FRAMES: u32 = 8;

/// Number of bits for the index of a word; the other bits are the frame number.
const PLACE: u32 = WORDS.trailing_zeros();

/// Returns the words of a frame. Frames differ in every word, and no word is zero.
pub(super) fn contents(frame: u32) -> Vec<u32> {
    (0..).take(WORDS).map(|place: u32| (frame + 1) << PLACE | place).collect()
}

/// Returns the number of the frame with these words, and checks that it is newer than `last`.
pub(super) fn frame_of(words: &[u32], last: Option<u32>) -> Result<u32, Stopped> {
    let wrong = |error: String| Stopped::new(Problem::Contents, error);
    let first = words.first().copied().unwrap_or(0);
    let Some(frame) = (first >> PLACE).checked_sub(1) else {
        return Err(wrong(format!("the first word of a frame is {first:#010x}, which is of no frame")));
    };
    let expected = contents(frame);
    if words.len() != expected.len() {
        return Err(wrong(format!("frame {frame} has {} words, and {WORDS} were written", words.len())));
    }
    let mut differing = words.iter().zip(&expected).enumerate().filter(|(_, (found, expected))| found != expected);
    if let Some((place, (found, expected))) = differing.next() {
        let count = differing.count() + 1;
        return Err(wrong(format!(
            "{count} of {WORDS} words of frame {frame} are wrong, the first at {place}: {found:#010x} instead of \
             {expected:#010x}; memory or order between the two processes is broken"
        )));
    }
    match last {
        Some(last) if frame <= last => Err(wrong(format!("frame {frame} came as a newer one after frame {last}"))),
        _ => Ok(frame),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_recognized_by_its_words() {
        for frame in [0, 1, 7, 1000] {
            assert_eq!(frame_of(&contents(frame), frame.checked_sub(1)), Ok(frame));
        }
    }

    #[test]
    fn torn_stale_and_empty_frames_are_distinguished() {
        let told = |words: &[u32], last| frame_of(words, last).unwrap_err().error;
        let mut torn = contents(3);
        torn[17..20].copy_from_slice(&contents(2)[17..20]);
        assert!(told(&torn, None).starts_with("3 of 16384 words of frame 3 are wrong, the first at 17"));
        assert!(told(&contents(3), Some(3)).contains("after frame 3"));
        assert!(told(&vec![0; WORDS], None).contains("of no frame"));
        assert!(told(&contents(3)[1..], None).contains("has 16383 words"));
    }
}
