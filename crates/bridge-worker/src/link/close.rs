//! The end of an exchange, or of the connection, by this side.

use std::time::Duration;

use bridge_ipc::{Code, ExchangePhase, Message};
use bridge_trace::log_warn;

use super::Link;
use super::state::quoted;

impl Link {
    /// Ends this side's part in an exchange.
    pub(crate) fn close(&self, exchange: u32) {
        if self.is_forked() {
            return;
        }
        let mut state = self.state();
        state.inboxes.remove(&exchange);
        if state.connection.session().exchange(exchange).is_some() {
            // Best effort: a renderer that has ended needs no message.
            let _ = state.connection.send(&Message::Close { exchange }, None, Duration::from_millis(100));
        }
    }

    /// Notifies the renderer that an exchange is not used, and why.
    pub(crate) fn refuse(&self, exchange: u32, code: Code, text: &str) {
        if self.is_forked() {
            return;
        }
        let mut state = self.state();
        state.inboxes.remove(&exchange);
        // If the renderer has closed it meanwhile, only a Close is allowed.
        let refused = match state.connection.session().exchange(exchange) {
            Some(ExchangePhase::Closing) => Message::Close { exchange },
            _ => Message::Refused { exchange: Some(exchange), code, text: text.to_owned() },
        };
        let sent = state.connection.send(&refused, None, Duration::from_millis(100));
        // The program's logger may take any lock.
        drop(state);
        if let Err(error) = sent {
            log_warn!("could not notify the renderer that exchange {exchange} is refused: {error}");
        }
    }

    /// Ends the connection with a Bye. If the worker has requested exchanges in vain, offers that
    /// it has not requested are refused before, with the requested names as the reason.
    pub(crate) fn bye(&self) {
        if self.is_forked() {
            return;
        }
        let (asked, untaken) = {
            let state = self.state();
            let is_over = state.missing_offers.is_empty() || state.connection.has_ended();
            (quoted(&state.missing_offers), if is_over { Vec::new() } else { state.unclaimed() })
        };
        for (exchange, name) in untaken {
            let text = format!("the worker requested {asked}, not \"{name}\"");
            self.refuse(exchange, Code::Resource, &text);
        }
        self.state().connection.close(Code::Done, "the worker has ended");
    }
}
