//! Showing a report: one renderer per format. None adds a judgement of its own.

mod block;
pub(crate) mod change;
pub(crate) mod classes;
mod evidence;
mod headline;
mod json;
mod junit;
mod markdown;
#[cfg(test)]
mod samples;
mod table;
#[cfg(test)]
mod tests;
mod view;
mod yaml;

use std::borrow::Cow;
use std::io;

use clap::ValueEnum;
use prejoin_checks::report::Report;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::text;

/// How a report is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For a person at a terminal.
    #[default]
    Table,
    /// For programs: the whole report.
    Json,
    /// The same document as JSON.
    Yaml,
    /// For CI systems that show test results.
    Junit,
    /// For a comment on a pull request.
    Markdown,
}

/// What a renderer may know besides the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderOptions {
    /// The format.
    pub format: Format,
    /// Columns of the terminal, for the table.
    pub width: usize,
    /// Whether the table may use terminal colours.
    pub color: bool,
    /// Show everything, what passed included.
    pub verbose: bool,
    /// Warnings fail test cases, as `--fail-on warn` makes them fail the command.
    pub fail_on_warn: bool,
    /// The command that gave this report, as `prejoin check east.json west.json`, for hints how to ask again; `None` for no hints.
    pub command: Option<String>,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self {
            format: Format::default(),
            width: 80,
            color: false,
            verbose: false,
            fail_on_warn: false,
            command: None,
        }
    }
}

/// Writes a report. Whatever its texts hold, nothing that a terminal would obey is written, colours apart.
pub fn render(report: &Report, options: &RenderOptions, out: &mut dyn io::Write) -> io::Result<()> {
    match options.format {
        Format::Json => json::render(report, out),
        Format::Yaml => yaml::render(&*visible(report)?, out),
        Format::Table => table::render(&*visible(report)?, options, out),
        Format::Junit => junit::render(&*visible(report)?, options, out),
        Format::Markdown => markdown::render(&*visible(report)?, options, out),
    }
}

/// The verdict in words, as the first line of a report has it, without its first word: one sentence for each profile.
pub fn headlines(report: &Report) -> Vec<String> {
    view::View::all(report).iter().map(headline::sentence).collect()
}

/// The report with everything hidden in its texts made visible: see [`text::sanitise`].
fn visible(report: &Report) -> io::Result<Cow<'_, Report>> {
    if text::is_clean(report) {
        return Ok(Cow::Borrowed(report));
    }
    let document = serde_json::to_value(report)?;
    Ok(Cow::Owned(serde_json::from_value(text::sanitise_json(document))?))
}
