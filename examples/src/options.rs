//! Command line options that all programs of the examples share.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use crate::gpu::output::Copies;

/// The largest width or height of a frame, in pixels.
pub const MAX_SIDE: u32 = 16_384;
/// The most frames of one run.
pub const MAX_FRAMES: u32 = 1_000_000;
/// The most frames in flight.
pub const MAX_SLOTS: u32 = 16;

/// The text at the end of every `--help`.
pub const EXIT_STATUS: &str = "\
Exit status: 0 when every check held, 1 after an error or when the picture is wrong,
2 for options that cannot be, 130 after Ctrl-C.";

/// Options for frames, output and machine, common to all programs.
#[derive(Clone, Debug, Args)]
pub struct RunOptions {
    /// In how many frames the story is told [default: 120; endless in a window]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_FRAMES)), help_heading = "Scene")]
    pub frames: Option<u32>,

    /// Everything random follows from this number
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Scene")]
    pub seed: u64,

    /// Width and height of a frame, in pixels
    #[arg(long, value_name = "WxH", default_value = "1280x720", help_heading = "Output")]
    pub size: Size,

    /// Folder for the frames, the animation and summary.json; created if missing [default:
    /// out/PROGRAM]
    #[arg(long, value_name = "DIR", conflicts_with = "window", help_heading = "Output")]
    out: Option<PathBuf>,

    /// Write every N-th frame as a PNG; 0: only the first and the last
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "window", help_heading = "Output")]
    pub every: u32,

    /// Do not write animation.gif
    #[arg(long, conflicts_with = "window", help_heading = "Output")]
    pub no_animation: bool,

    /// Show the frames in a window instead of writing them
    #[arg(long, help_heading = "Output")]
    pub window: bool,

    /// Print the summary as JSON, and nothing else, on standard output
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Compute backend
    #[arg(long, value_enum, default_value_t = Backend::Auto, help_heading = "Machine")]
    pub backend: Backend,

    /// Vulkan device: its number, a part of its name, or its UUID [default: the best]
    #[arg(long, value_name = "GPU", help_heading = "Machine")]
    pub gpu: Option<String>,

    /// Frames in flight between compute and rendering
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SLOTS)), help_heading = "Machine")]
    pub slots: u32,

    /// How finished pictures are copied to the host
    #[arg(long, value_enum, value_name = "WAY", default_value_t = Copies::Auto, conflicts_with = "window", help_heading = "Machine")]
    copy: Copies,

    /// Enable the Vulkan validation layer, and fail if it reports anything
    #[arg(long, help_heading = "Machine")]
    pub validate: bool,
}

/// The backend that computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// CUDA if it can share memory with the Vulkan device, else the host
    Auto,
    /// CUDA, or an error
    Cuda,
    /// The processor
    Host,
    /// CUDA kernels inside the Vulkan queue (NVIDIA's VK_NVX_binary_import), or an error
    Inline,
}

impl From<Backend> for bridge::Backend {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::Auto => Self::Auto,
            Backend::Cuda => Self::Cuda,
            Backend::Host => Self::Host,
            Backend::Inline => Self::Inline,
        }
    }
}

impl RunOptions {
    /// Returns the number of frames of the whole story, which is longer in a window.
    pub fn story(&self) -> u32 {
        self.frames.unwrap_or(if self.window { 900 } else { 120 })
    }

    /// Returns `true` if frame `frame` of `frames` is written to a file.
    pub fn keeps(&self, frame: u64, frames: u64) -> bool {
        let regular = self.every > 0 && frame.is_multiple_of(u64::from(self.every));
        regular || frame == 0 || frame + 1 == frames
    }

    /// Returns the output folder of `program`.
    pub fn out(&self, program: &str) -> PathBuf {
        self.out.clone().unwrap_or_else(|| PathBuf::from("out").join(program))
    }

    /// Returns how finished pictures are copied to the host. A window needs no copies.
    pub fn copies(&self) -> Copies {
        if self.window { Copies::Frame } else { self.copy }
    }

    /// Returns the width and height of a frame, in pixels.
    pub fn extent(&self) -> [u32; 2] {
        [self.size.width, self.size.height]
    }
}

/// Width and height, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let side = |text: &str| text.trim().parse::<u32>().ok();
        let size = text.split_once(['x', 'X', '×']).and_then(|(w, h)| side(w).zip(side(h)));
        let (width, height) = size.ok_or("expected WIDTHxHEIGHT, such as 1280x720")?;
        let range = 1..=MAX_SIDE;
        if !range.contains(&width) || !range.contains(&height) {
            return Err(format!("width and height must be between 1 and {MAX_SIDE}"));
        }
        Ok(Self { width, height })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Only {
        #[command(flatten)]
        run: RunOptions,
    }

    fn parse(arguments: &[&str]) -> Result<RunOptions, String> {
        let program = ["program"].iter().chain(arguments);
        Only::try_parse_from(program).map(|only| only.run).map_err(|error| error.to_string())
    }

    #[test]
    fn invalid_options_are_refused_by_name_with_the_limits() {
        for arguments in [
            ["--frames", "0"],
            ["--slots", "0"],
            ["--slots", "17"],
            ["--size", "0x720"],
            ["--size", "1280"],
            ["--size", "99999x1"],
            ["--backend", "metal"],
            ["--seed", "x"],
        ] {
            let message = parse(&arguments).unwrap_err();
            assert!(message.contains(arguments[0]), "{message}");
        }
    }

    #[test]
    fn what_a_window_cannot_do_is_refused() {
        for arguments in
            [&["--window", "--out", "x"][..], &["--every", "2", "--window"], &["--window", "--no-animation"]]
        {
            let message = parse(arguments).unwrap_err();
            assert!(message.contains("--window") && message.contains("cannot be used with"), "{message}");
        }
        assert!(parse(&["--window"]).unwrap().window);
    }

    #[test]
    fn defaults_are_those_of_the_help() {
        let options = parse(&[]).unwrap();
        assert_eq!((options.story(), options.extent(), options.slots), (120, [1280, 720], 3));
        assert_eq!(options.out("particles"), PathBuf::from("out/particles"));
        assert_eq!(parse(&["--out", "here"]).unwrap().out("particles"), PathBuf::from("here"));
    }

    #[test]
    fn first_and_last_frame_are_always_kept() {
        let kept = |every: &str| {
            let options = parse(&["--every", every]).unwrap();
            (0..10).filter(|&frame| options.keeps(frame, 10)).collect::<Vec<_>>()
        };
        assert_eq!(kept("0"), [0, 9]);
        assert_eq!(kept("4"), [0, 4, 8, 9]);
        assert_eq!(kept("1").len(), 10);
    }
}
