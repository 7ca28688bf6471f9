//! Command line options of the particle demo.

use std::path::PathBuf;

use clap::Parser;

use crate::options::{EXIT_STATUS, RunOptions};

/// The maximum number of particles: their states and slots fit 32-bit indices and one allocation.
pub const MAX_PARTICLES: u32 = 1 << 28;

const EXAMPLES: &str = "\
Examples:
  particles                             two galaxies, 120 frames to out/particles
  particles --image photo.png           your picture leaves, and comes home
  particles --window                    the same, live
  particles --gpus 2                    half of them computed on each of two GPUs
  particles --particles 4000000 --size 3840x2160 --every 0
  particles --backend host --frames 24  without CUDA, even where there is some";

/// Particles computed in memory that Vulkan drew from a moment later.
///
/// A CUDA kernel (or, without CUDA, the processor) moves particles in a buffer that it shares with
/// Vulkan, a render pass draws them, and timeline semaphores keep the two in order without the host
/// waiting. At the end the run checks its own picture.
#[derive(Clone, Debug, Parser)]
#[command(name = "particles", version, after_help = format!("{EXAMPLES}\n\n{EXIT_STATUS}"), max_term_width = 100)]
pub struct Options {
    /// Take this PNG apart: every pixel becomes a particle [default: two galaxies]
    #[arg(long, value_name = "FILE.png", help_heading = "Scene")]
    pub image: Option<PathBuf>,

    /// How many particles; with --image the most [default: 1000000 on CUDA, 150000 on the host]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PARTICLES)), help_heading = "Scene")]
    pub particles: Option<u32>,

    /// On how many GPUs CUDA computes: the one that draws, and others that reach its memory
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16), help_heading = "Machine")]
    pub gpus: u32,

    /// Frames, output and machine.
    #[command(flatten)]
    pub run: RunOptions,
}

impl AsRef<RunOptions> for Options {
    fn as_ref(&self) -> &RunOptions {
        &self.run
    }
}

impl Options {
    /// Returns the number of particles to aim for.
    pub fn particles_on(&self, cuda: bool) -> u32 {
        self.particles.unwrap_or(match (cuda, &self.image) {
            (true, _) => 1_000_000,
            (false, None) => 150_000,
            // A quarter of a frame of 1280 x 720.
            (false, Some(_)) => 230_400,
        })
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
    fn invalid_options_are_refused_by_name_with_the_limits() {
        for arguments in [["--particles", "0"], ["--particles", "4000000000"], ["--frames", "0"]] {
            let message = parse(&arguments).unwrap_err();
            assert!(message.contains(arguments[0]), "{message}");
        }
    }

    #[test]
    fn defaults_follow_the_backend_and_the_scene() {
        let options = parse(&[]).unwrap();
        assert_eq!((options.particles_on(true), options.particles_on(false)), (1_000_000, 150_000));
        assert_eq!(parse(&["--image", "a.png"]).unwrap().particles_on(false), 230_400);
    }
}
