//! The results of a run: one line of text, and `summary.json`.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::console::count;
use crate::files::{AtomicFile, cannot_write};
use crate::psnr::IDENTICAL;

/// All figures of one run; `figures` are those specific to its program.
#[derive(Clone, Debug, Serialize)]
pub struct Summary<F> {
    /// The program's name, by which a later run recognizes the outputs of an earlier one.
    pub program: &'static str,
    /// Version of the program.
    pub version: &'static str,
    /// `complete`, `interrupted` or `failed`.
    pub state: State,
    /// Name of the Vulkan device.
    pub device: String,
    /// `cuda` or `host`.
    pub backend: String,
    /// Why this backend was chosen.
    pub backend_reason: String,
    /// Slots of the exchange.
    pub slots: u32,
    /// Width and height of a frame, in pixels.
    pub size: [u32; 2],
    /// The random seed.
    pub seed: u64,
    /// The number of frames that were drawn.
    pub frames: u64,
    /// The number of frames that were requested; `None` for an endless run.
    pub frames_asked: Option<u64>,
    /// Seconds from the first to the last frame, checks not included.
    pub seconds: f64,
    /// Mean time per frame in milliseconds, including waits for the writing of files.
    pub ms_per_frame: f64,
    /// The program's own figures.
    #[serde(flatten)]
    pub figures: F,
    /// The checks, in their order.
    pub checks: Vec<Check>,
    /// The folder of the frames; `None` for a window.
    pub out: Option<PathBuf>,
    /// The number of frames that were written as files.
    pub pictures: u64,
    /// `true` if `animation.gif` was written.
    pub animation: bool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// All frames were drawn and every check passed.
    Complete,
    /// The user ended the run early; the existing frames are complete.
    Interrupted,
    /// A check failed.
    Failed,
}

/// One check of one frame.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// The frame.
    pub frame: u64,
    /// `data`: bits of the shared data; `scene`, `picture`: drawn by the CPU; `reference`: known in
    /// advance.
    pub kind: &'static str,
    /// The number of compared elements, for `data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<usize>,
    /// Similarity in decibels, for pictures; 120 if they are identical.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psnr: Option<f64>,
    /// Description of the problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Check {
    /// Creates the check of a comparison of bits: the number of elements, or the difference.
    pub fn data(frame: u64, result: Result<usize>) -> Self {
        let (compared, error) = match result {
            Ok(count) => (Some(count), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        Self { frame, kind: "data", compared, psnr: None, error }
    }

    /// Creates the check of a comparison of pictures of kind `kind`: the similarity in decibels,
    /// and an error if it is too low.
    pub fn likeness(frame: u64, kind: &'static str, (psnr, result): (f64, Result<()>)) -> Self {
        Self { frame, kind, compared: None, psnr: Some(psnr), error: result.err().map(|error| format!("{error:#}")) }
    }
}

impl<F: Serialize> Summary<F> {
    /// Returns the first error of the checks.
    pub fn error(&self) -> Option<&str> {
        self.checks.iter().find_map(|check| check.error.as_deref())
    }

    /// Returns the summary as JSON, on several lines.
    pub fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).context("cannot write the summary as JSON")
    }

    /// Writes `summary.json`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join("summary.json");
        let mut file = AtomicFile::create(&path)?;
        writeln!(file, "{}", self.json()?).map_err(|error| cannot_write(&path, error))?;
        file.commit()
    }
}

impl<F> Summary<F> {
    fn checked(&self) -> String {
        let failed = self.checks.iter().filter(|check| check.error.is_some()).count();
        let likeness = self.likeness();
        match (self.checks.len(), failed) {
            (0, _) => "not checked".into(),
            (all, 0) => format!("{} passed{likeness}", count(all as u64, "check")),
            (all, failed) => format!("{failed} of {} FAILED{likeness}", count(all as u64, "check")),
        }
    }

    /// Returns the lowest similarity: of the frames to the expected picture, or, if a picture was
    /// taken apart, of the first and the last frame to that picture.
    fn likeness(&self) -> String {
        let least = |kind: &str| {
            let of_kind = self.checks.iter().filter(|check| check.kind == kind);
            of_kind.filter_map(|check| check.psnr).reduce(f64::min)
        };
        match (least("reference"), least("picture")) {
            (Some(psnr), _) if psnr >= IDENTICAL => ", first and last frame identical to the picture".into(),
            (Some(psnr), _) => format!(", first and last frame PSNR {psnr:.1} dB"),
            (None, Some(psnr)) if psnr.is_finite() => format!(", PSNR {psnr:.1} dB"),
            (None, _) => String::new(),
        }
    }
}

/// Writes the summary as one line.
impl<F: fmt::Display> fmt::Display for Summary<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.state == State::Interrupted {
            write!(f, "interrupted after {} | ", count(self.frames, "frame"))?;
        }
        write!(
            f,
            "{} | {} | {} | {:.2} ms/frame | {} | {}",
            self.device,
            self.backend,
            count(self.frames, "frame"),
            self.ms_per_frame,
            self.figures,
            self.checked(),
        )?;
        self.out.as_ref().map_or(Ok(()), |out| write!(f, " | {}", out.display()))
    }
}

/// Formats a number with three digits and the letter of its thousands.
pub fn short(number: f64) -> String {
    let scaled = [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")].into_iter().find(|(unit, _)| number >= *unit);
    let (unit, letter) = scaled.unwrap_or((1.0, ""));
    let digits = match number / unit {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{:.digits$}{letter}", number / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Figures {
        stars: u32,
    }

    impl fmt::Display for Figures {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} stars", short(f64::from(self.stars)))
        }
    }

    fn summary() -> Summary<Figures> {
        Summary {
            program: "stars",
            version: "0",
            state: State::Complete,
            device: "A GPU".into(),
            backend: "cuda".into(),
            backend_reason: "it is there".into(),
            slots: 3,
            size: [4, 2],
            seed: 1,
            frames: 100,
            frames_asked: Some(100),
            seconds: 0.2,
            ms_per_frame: 2.0,
            figures: Figures { stars: 1_500_000 },
            checks: vec![],
            out: Some("out".into()),
            pictures: 100,
            animation: true,
        }
    }

    #[test]
    fn the_summary_is_one_line() {
        let mut summary = summary();
        summary.checks.push(Check::likeness(99, "picture", (51.26, Ok(()))));
        let line = "A GPU | cuda | 100 frames | 2.00 ms/frame | 1.50 M stars | 1 check passed, PSNR 51.3 dB | out";
        assert_eq!(summary.to_string(), line);
        let home = |psnr| Check::likeness(0, "reference", (psnr, Ok(())));
        summary.checks.push(home(IDENTICAL));
        assert!(summary.to_string().contains("2 checks passed, first and last frame identical to the picture"));
        summary.checks.push(home(61.0));
        assert!(summary.to_string().contains("3 checks passed, first and last frame PSNR 61.0 dB"));
        summary.checks.truncate(1);
        summary.checks[0].error = Some("wrong".into());
        assert!(summary.to_string().contains("1 of 1 check FAILED"));
        assert_eq!(summary.error(), Some("wrong"));
        summary.state = State::Interrupted;
        assert!(summary.to_string().starts_with("interrupted after 100 frames | "));
    }

    #[test]
    fn json_has_no_infinities_and_names_its_program() {
        let json: serde_json::Value = serde_json::from_str(&summary().json().unwrap()).unwrap();
        assert_eq!((&json["program"], &json["stars"]), (&"stars".into(), &1_500_000.into()));
        assert_eq!(json["state"], "complete");
        assert_eq!(json["ms_per_frame"], 2.0);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 12.3, 4567.0, 1.5e9, 2e13].map(short), ["0.00", "12.3", "4.57 k", "1.50 G", "20.0 T"]);
    }
}
