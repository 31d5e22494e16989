//! A line per cluster while it is read, on a terminal; nothing elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use prejoin_agent::cluster::{Progress as Step, ProgressFn};
use prejoin_checks::facts::ClusterFacts;

use crate::text;

/// The lines of all clusters. Gone from the terminal when dropped.
pub(super) struct Progress {
    all: MultiProgress,
    lines: HashMap<String, ProgressBar>,
}

/// The line of one cluster.
pub(super) struct Line(Option<ProgressBar>);

impl Progress {
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        if !std::io::stderr().is_terminal() {
            return Self {
                all,
                lines: HashMap::new(),
            };
        }
        let style = ProgressStyle::with_template("{spinner} {prefix}  {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let names: Vec<&str> = names.collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let lines = names.into_iter().map(|name| {
            let bar = all.add(ProgressBar::new_spinner().with_style(style.clone()));
            bar.set_prefix(format!("{:width$}", text::sanitise(name)));
            bar.set_message("connecting");
            bar.enable_steady_tick(Duration::from_millis(200));
            (name.to_owned(), bar)
        });
        Self {
            lines: lines.collect(),
            all: all.clone(),
        }
    }

    pub(super) fn line(&self, name: &str) -> Line {
        Line(self.lines.get(name).cloned())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        for bar in self.lines.values() {
            bar.finish_and_clear();
        }
        // Nothing depends on whether the terminal could be cleared.
        let _ = self.all.clear();
    }
}

impl Line {
    /// What to tell about every answer.
    pub(super) fn listener(&self) -> Option<ProgressFn> {
        let bar = self.0.clone()?;
        Some(Arc::new(move |step: Step<'_>| {
            let request = text::sanitise(step.request);
            match step.objects {
                0 => bar.set_message(request.into_owned()),
                objects => bar.set_message(format!("{request}: {objects}")),
            }
        }))
    }

    /// The cluster is read, or is not going to be.
    pub(super) fn finish(&self, facts: &ClusterFacts) {
        let Some(bar) = &self.0 else { return };
        let failures = facts.reads.iter().filter(|read| read.failure.is_some()).count();
        bar.finish_with_message(match facts.reads.len() {
            0 => "not reached".to_owned(),
            reads => format!("read: {} of {reads} requests answered", reads - failures),
        });
    }
}
