//! A virtual X server, for window tests on a machine without a screen.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

/// A running Xvfb, which is killed on drop.
pub(crate) struct VirtualScreen {
    server: Child,
    display: String,
}

impl VirtualScreen {
    /// Starts Xvfb on the first free display.
    pub(crate) fn start() -> Result<Self> {
        // With `-displayfd`, the server chooses the display number and prints it once it accepts
        // clients. Without `-noreset`, it resets when its last client disconnects, and refuses
        // clients that connect meanwhile.
        let server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp", "-noreset"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start Xvfb")?;
        let mut screen = Self { server, display: String::new() };
        let mut number = String::new();
        if let Some(output) = screen.server.stdout.take() {
            BufReader::new(output).read_line(&mut number)?;
        }
        if number.trim().is_empty() {
            bail!("Xvfb ended before it was ready; is /tmp/.X11-unix writable?");
        }
        screen.display = format!(":{}", number.trim());
        Ok(screen)
    }

    /// Returns the value for `DISPLAY`.
    pub(crate) fn display(&self) -> &str {
        &self.display
    }
}

impl Drop for VirtualScreen {
    fn drop(&mut self) {
        // Both calls fail only if the server has already exited.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::net::UnixStream;

    use test_support::{Need, skip};

    use super::*;
    use crate::shell;

    #[test]
    fn a_screen_accepts_clients_until_it_is_dropped() {
        if shell::on_path("Xvfb").is_none() {
            return skip(Need::Other, "there is no Xvfb");
        }
        let screen = VirtualScreen::start().unwrap();
        let socket = format!("/tmp/.X11-unix/X{}", screen.display().trim_start_matches(':'));
        UnixStream::connect(&socket).unwrap();
        drop(screen);
        assert!(UnixStream::connect(&socket).is_err());
    }
}
