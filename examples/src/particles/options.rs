//! What the demo can be asked for.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, ValueEnum};

/// The largest width or height of a frame, in pixels.
pub const MAX_SIDE: u32 = 16_384;
/// The most particles: their states and slots stay below what 32-bit indices and one allocation hold.
pub const MAX_PARTICLES: u32 = 1 << 28;
/// The most frames of one run.
pub const MAX_FRAMES: u32 = 1_000_000;
/// The most frames in flight.
pub const MAX_SLOTS: u32 = 16;

const EXAMPLES: &str = "\
Examples:
  particles                             two galaxies, 120 frames to out/particles
  particles --image photo.png           your picture leaves, and comes home
  particles --window                    the same, live
  particles --particles 4000000 --size 3840x2160 --every 0
  particles --backend host --frames 24  without CUDA, even where there is some

Exit status: 0 when every check held, 1 after an error or when the picture is wrong,
2 for options that cannot be, 130 after Ctrl-C.";

/// Particles computed in memory that Vulkan drew from a moment later.
///
/// A CUDA kernel (or, without CUDA, the processor) moves particles in a buffer that it shares with Vulkan, a render
/// pass draws them, and timeline semaphores keep the two in order without the host waiting. At the end the run checks
/// its own picture.
#[derive(Clone, Debug, Parser)]
#[command(name = "particles", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Options {
    /// Take this PNG apart: every pixel becomes a particle [default: two galaxies]
    #[arg(long, value_name = "FILE.png", help_heading = "Scene")]
    pub image: Option<PathBuf>,

    /// How many particles; with --image the most [default: 1000000 on CUDA, 150000 on the host]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PARTICLES)), help_heading = "Scene")]
    pub particles: Option<u32>,

    /// In how many frames the story is told [default: 120; endless in a window]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_FRAMES)), help_heading = "Scene")]
    pub frames: Option<u32>,

    /// Everything random follows from this number
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Scene")]
    pub seed: u64,

    /// Width and height of a frame, in pixels
    #[arg(long, value_name = "WxH", default_value = "1280x720", help_heading = "Output")]
    pub size: Size,

    /// Folder for the frames, the animation and summary.json; made if need be
    #[arg(long, value_name = "DIR", default_value = "out/particles", help_heading = "Output")]
    pub out: PathBuf,

    /// Write every N-th frame as a PNG; 0: only the first and the last
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Output")]
    pub every: u32,

    /// Do not write animation.gif
    #[arg(long, help_heading = "Output")]
    pub no_animation: bool,

    /// Show the frames in a window instead of writing them
    #[arg(long, help_heading = "Output")]
    pub window: bool,

    /// Print the summary as JSON, and nothing else, on standard output
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// What computes
    #[arg(long, value_enum, default_value_t = Backend::Auto, help_heading = "Machine")]
    pub backend: Backend,

    /// Which Vulkan device: its number, a part of its name, or its UUID [default: the best]
    #[arg(long, value_name = "GPU", help_heading = "Machine")]
    pub gpu: Option<String>,

    /// Frames in flight between compute and rendering
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SLOTS)), help_heading = "Machine")]
    pub slots: u32,

    /// Let the Vulkan validation layer watch, and fail if it says a word
    #[arg(long, help_heading = "Machine")]
    pub validate: bool,
}

/// What computes the particles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// CUDA if it can share memory with the Vulkan device, else the host
    Auto,
    /// CUDA, or an error
    Cuda,
    /// The processor
    Host,
}

impl Options {
    /// The number of frames that the story takes: in a window it is told slowly.
    pub fn story(&self) -> u32 {
        self.frames.unwrap_or(if self.window { 900 } else { 120 })
    }

    /// The number of particles to aim for.
    pub fn particles_on(&self, cuda: bool) -> u32 {
        self.particles.unwrap_or(match (cuda, &self.image) {
            (true, _) => 1_000_000,
            (false, None) => 150_000,
            // A quarter of a frame of 1280 x 720.
            (false, Some(_)) => 230_400,
        })
    }

    /// Whether frame `frame` of `frames` becomes a file.
    pub fn keeps(&self, frame: u64, frames: u64) -> bool {
        let regular = self.every > 0 && frame.is_multiple_of(u64::from(self.every));
        regular || frame == 0 || frame + 1 == frames
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
    use clap::CommandFactory;

    fn parse(arguments: &[&str]) -> Result<Options, String> {
        let program = ["particles"].iter().chain(arguments);
        Options::try_parse_from(program).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_option_and_the_limits() {
        for arguments in [
            ["--frames", "0"],
            ["--particles", "0"],
            ["--slots", "0"],
            ["--slots", "17"],
            ["--size", "0x720"],
            ["--size", "1280"],
            ["--size", "99999x1"],
            ["--backend", "metal"],
            ["--particles", "4000000000"],
            ["--seed", "x"],
        ] {
            let message = parse(&arguments).unwrap_err();
            assert!(message.contains(arguments[0]), "{message}");
        }
    }

    #[test]
    fn defaults_follow_the_backend_and_the_scene() {
        let options = parse(&[]).unwrap();
        assert_eq!((options.particles_on(true), options.particles_on(false)), (1_000_000, 150_000));
        assert_eq!(options.story(), 120);
        assert_eq!(parse(&["--size", "64x48"]).unwrap().size, Size { width: 64, height: 48 });
        assert_eq!(parse(&["--image", "a.png"]).unwrap().particles_on(false), 230_400);
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
