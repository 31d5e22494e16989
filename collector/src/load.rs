//! Reading facts files and reports that may come from anyone: bounded, checked, and with a position in every error.
//!
//! A document is looked over once before it is understood: which kind it is, and whether any text in it could act on a
//! terminal. `prejoin facts` never writes such text (see [`harmless`]), so a file that holds some was not made by it.

mod baseline;
mod bundle;
mod document;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use prejoin_checks::facts::{ClusterFacts, FACTS_SCHEMA};
use prejoin_checks::report::Report;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::text;
pub use baseline::{Accepted, BASELINE_SCHEMA, Baseline, accepted_state};
pub use bundle::{Asked, Bundle};
pub(crate) use document::is_harmless_json;
use document::{Head, Kind};

/// The version of the format that holds several clusters' facts: `{"schema": ..., "clusters": [...]}`.
pub const BUNDLE_SCHEMA: &str = "prejoin.dev/bundle/v1alpha1";

/// The largest document that is read. The facts of 5,000 nodes take about 10 MiB.
pub const MAX_BYTES: u64 = 256 << 20;

/// Why a document cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{file}{position}: {message}")]
pub struct LoadError {
    /// The file, as the user named it.
    pub file: String,
    /// Where in the file, if that can be told.
    pub position: Position,
    /// What is wrong.
    pub message: String,
}

/// A place in a file, as `:LINE:COLUMN`; empty if it is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position(pub Option<(u64, u64)>);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((line, column)) => write!(f, ":{line}:{column}"),
            None => Ok(()),
        }
    }
}

/// What a document holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// Facts of one cluster, or of several.
    Facts(Vec<ClusterFacts>),
    /// What an audit's report was made of.
    Audit(Box<Bundle>),
    /// What an audit found.
    Report(Box<Report>),
    /// A state that someone accepted.
    Baseline(Box<Baseline>),
}

/// Reads the facts of one or several clusters. `-` is standard input.
pub fn facts(path: &Path) -> Result<Vec<ClusterFacts>, LoadError> {
    bundle(path).map(|bundle| bundle.clusters)
}

/// Reads facts, with what an audit saw if it is an audit's bundle. `-` is standard input.
pub fn bundle(path: &Path) -> Result<Bundle, LoadError> {
    match document(path)? {
        Document::Facts(facts) => Ok(Bundle::of_facts(facts)),
        Document::Audit(bundle) => Ok(*bundle),
        Document::Baseline(baseline) => Ok(baseline.bundle),
        Document::Report(_) => Err(at_file(
            path,
            "this is a report, not facts: name the facts files that it was made from (two reports: `prejoin diff`)",
        )),
    }
}

/// Reads facts or a report. `-` is standard input.
pub fn document(path: &Path) -> Result<Document, LoadError> {
    parse(path, &read(path, MAX_BYTES)?)
}

/// Whether a character may stand in facts: line breaks and tabs may, what else acts on a terminal or hides may not.
pub(crate) fn is_harmless(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\t') || !text::is_hidden(c)
}

/// Facts in which every text is harmless; what was not is made visible, so that the file can be read by anyone.
///
/// # Panics
/// Never: facts can be written as JSON and read back.
pub fn harmless(facts: ClusterFacts) -> ClusterFacts {
    let written = serde_json::to_vec(&facts).expect("facts are JSON");
    if is_harmless_json(&written) {
        return facts;
    }
    let cleaned = serde_json::to_value(&facts).map(clean).and_then(serde_json::from_value);
    cleaned.expect("facts are JSON, and cleaning changes no keys, numbers or shapes that their types know")
}

/// A JSON value in which every text is harmless.
pub(crate) fn clean(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(clean_text(text)),
        Value::Array(items) => items.into_iter().map(clean).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (clean_text(name), clean(value)))
            .collect(),
        other => other,
    }
}

fn clean_text(text: String) -> String {
    if text.chars().all(is_harmless) {
        return text;
    }
    let mut visible = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_harmless(c) {
            visible.push(c);
        } else {
            visible.push_str(&text::sanitise(c.encode_utf8(&mut [0; 4])));
        }
    }
    visible
}

fn at_file(path: &Path, message: impl Into<String>) -> LoadError {
    LoadError {
        file: shown(path),
        position: Position::default(),
        message: message.into(),
    }
}

/// The path as it is shown.
pub(crate) fn shown(path: &Path) -> String {
    if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

/// Reads at most `limit` bytes; a regular file that is larger is refused without reading it.
pub(crate) fn read(path: &Path, limit: u64) -> Result<String, LoadError> {
    let failed = |error: io::Error| at_file(path, format!("cannot be read: {error}"));
    let too_large = || {
        at_file(
            path,
            format!("is larger than {} MiB, the most that is read", limit >> 20),
        )
    };
    let mut bytes = Vec::new();
    let mut source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(at_file(path, "is a directory"));
        }
        if metadata.len() > limit {
            return Err(too_large());
        }
        bytes.reserve_exact(usize::try_from(metadata.len()).unwrap_or(0).saturating_add(1));
        Box::new(file)
    };
    source
        .by_ref()
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(too_large());
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.split(|byte| *byte == b'\n').count() as u64;
        let column = 1 + good.iter().rev().take_while(|byte| **byte != b'\n').count() as u64;
        LoadError {
            position: Position(Some((line, column))),
            ..at_file(path, "is not UTF-8 text")
        }
    })
}

/// Facts or a report from their text; errors name them by the path.
pub fn parse(path: &Path, text: &str) -> Result<Document, LoadError> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim().is_empty() {
        return Err(at_file(path, "is empty"));
    }
    let head: Head = read_as(path, text)?;
    match head.kind {
        Kind::Facts => Ok(Document::Facts(vec![read_as(path, text)?])),
        Kind::Bundle => {
            let bundle: Bundle = read_as(path, text)?;
            all_facts(path, &bundle.clusters)?;
            Ok(if bundle.audit.is_none() && bundle.observations.is_none() {
                Document::Facts(bundle.clusters)
            } else {
                Document::Audit(Box::new(bundle))
            })
        }
        Kind::List => {
            let clusters: Vec<ClusterFacts> = read_as(path, text)?;
            all_facts(path, &clusters)?;
            Ok(Document::Facts(clusters))
        }
        Kind::Report => Ok(Document::Report(Box::new(read_as(path, text)?))),
        Kind::Baseline => {
            let baseline: Baseline = read_as(path, text)?;
            all_facts(path, &baseline.bundle.clusters)?;
            Ok(Document::Baseline(Box::new(baseline)))
        }
    }
}

/// Facts from inside another document, whose own schema is still to be looked at.
fn all_facts(path: &Path, clusters: &[ClusterFacts]) -> Result<(), LoadError> {
    if clusters.is_empty() {
        return Err(at_file(path, "holds no cluster"));
    }
    match clusters.iter().find(|facts| facts.schema != FACTS_SCHEMA) {
        Some(other) => Err(at_file(
            path,
            format!(
                "cluster {}: schema is `{}`, and this prejoin reads {FACTS_SCHEMA}",
                other.name, other.schema
            ),
        )),
        None => Ok(()),
    }
}

/// JSON if it begins like JSON, YAML otherwise.
fn read_as<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, LoadError> {
    if text.trim_start().starts_with(['{', '[']) {
        return serde_json::from_str(text).map_err(|error| json_error(path, &error));
    }
    serde_saphyr::from_str_with_options(text, yaml_options()).map_err(|error| yaml_error(&shown(path), &error))
}

fn json_error(path: &Path, error: &serde_json::Error) -> LoadError {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    LoadError {
        file: shown(path),
        position: Position((error.line() > 0).then_some((error.line() as u64, error.column() as u64))),
        message: message.strip_suffix(&place).unwrap_or(&message).to_owned(),
    }
}

pub(crate) fn yaml_error(file: &str, error: &serde_saphyr::Error) -> LoadError {
    let plain = serde_saphyr::render_options! { snippets: serde_saphyr::SnippetMode::Off };
    let message = error.render_with_options(plain);
    // What is wrong as a whole is wrong from the start.
    let location = error
        .location()
        .map_or((1, 1), |location| (location.line(), location.column()));
    let place = format!(" at line {}, column {}", location.0, location.1);
    LoadError {
        file: file.to_owned(),
        position: Position(Some(location)),
        message: message.replace(&place, ""),
    }
}

/// Room for the facts of a large cluster; depth and aliases stay as tight as they come.
fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_events: 40_000_000,
            max_nodes: 20_000_000,
            max_total_scalar_bytes: 256 << 20,
        },
    }
}

#[cfg(test)]
mod tests;
