//! One line on a terminal while agents are at work: how far, what is waited for, and why; nothing elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::text;

/// So many of those waited for are named.
const NAMED: usize = 3;

/// The line. Gone from the terminal when dropped.
pub struct Progress {
    bar: Option<ProgressBar>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Who is waited for, and why.
    waiting: BTreeMap<String, String>,
    finished: usize,
    probes: usize,
}

impl Progress {
    /// A line on standard error, if that is a terminal.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {wide_msg}");
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10))
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self {
            bar,
            state: Mutex::default(),
        }
    }

    /// From now on `who` is waited for, and this is why.
    pub(super) fn waits(&self, who: &str, why: impl Into<String>) {
        self.change(|state| {
            state.waiting.insert(who.to_owned(), why.into());
        });
    }

    /// `who` is not waited for any more.
    pub(super) fn done(&self, who: &str) {
        self.change(|state| {
            state.waiting.remove(who);
        });
    }

    /// So many probes are to be sent.
    pub(super) fn probes(&self, probes: usize) {
        self.change(|state| state.probes = probes);
    }

    /// A probe is finished.
    pub(super) fn finished(&self) {
        self.change(|state| state.finished += 1);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        if let Some(bar) = &self.bar {
            bar.set_message(state.line());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl State {
    fn line(&self) -> String {
        let mut parts = Vec::new();
        if self.probes > 0 {
            parts.push(format!("{} of {} probes finished", self.finished, self.probes));
        }
        if !self.waiting.is_empty() {
            let named = self.waiting.iter().take(NAMED);
            let mut names: Vec<String> = named.map(|(who, why)| format!("{who} ({why})")).collect();
            if self.waiting.len() > NAMED {
                names.push(format!("{} more", self.waiting.len() - NAMED));
            }
            parts.push(format!("waiting for {}", names.join(", ")));
        }
        text::sanitise(&parts.join(", ")).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_it_is_and_who_is_waited_for_and_why() {
        let mut state = State::default();
        assert_eq!(state.line(), "");
        for node in ["e1", "e2", "e3", "e\u{1b}4", "e5"] {
            state.waiting.insert(format!("east/{node}"), "ssh".to_owned());
        }
        assert_eq!(
            state.line(),
            r"waiting for east/e\u{1b}4 (ssh), east/e1 (ssh), east/e2 (ssh), 2 more"
        );
        state.probes = 40;
        state.finished = 7;
        state.waiting.clear();
        assert_eq!(state.line(), "7 of 40 probes finished");
    }
}
