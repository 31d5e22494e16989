//! `prejoin diff`: what changed between two documents.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use prejoin_checks::diff::{self, Change, DIFF_SCHEMA, Difference};
use serde::Serialize;
use serde_json::Value;

use crate::cli::{self, Color, ListFormat};
use crate::error::{Error, exit_code};
use crate::load::{self, Document};
use crate::{output, text};

/// A value longer than this is shortened for the terminal; `-o json` has it whole.
const SHOWN: usize = 160;

/// The differences, as `-o json` gives them.
#[derive(Serialize)]
struct Differences<'a> {
    schema: &'static str,
    differences: &'a [Difference],
}

/// Shows what changed.
pub fn diff(args: &cli::Diff, color: Color) -> Result<u8, Error> {
    let (Some(old_path), Some(new_path)) = (&args.old, &args.new) else {
        return Err(Error::Usage("name the earlier and the later document".to_owned()));
    };
    let (old, new) = (load::document(old_path)?, load::document(new_path)?);
    let differences = match (of_facts(old), of_facts(new)) {
        (Document::Facts(old), Document::Facts(new)) => {
            diff::facts(&old, &new).map_err(|error| Error::Usage(error.to_string()))?
        }
        (Document::Report(old), Document::Report(new)) => diff::reports(&old, &new),
        _ => {
            return Err(Error::Usage(format!(
                "one of {} and {} is a report and the other is not: a diff is of two facts files or of two reports",
                load::shown(old_path),
                load::shown(new_path)
            )));
        }
    };
    match args.output {
        ListFormat::Json => {
            let document = Differences {
                schema: DIFF_SCHEMA,
                differences: &differences,
            };
            output::stdout(|out| text::write_json(&document, out))?;
        }
        ListFormat::Table => {
            let color = output::colors(color);
            output::stdout(|out| lines(&differences, color, out))?;
        }
    }
    Ok(if differences.is_empty() {
        exit_code::PASS
    } else {
        exit_code::DRIFT
    })
}

/// Of an audit's bundle, its facts.
fn of_facts(document: Document) -> Document {
    match document {
        Document::Audit(bundle) => Document::Facts(bundle.clusters),
        Document::Baseline(baseline) => Document::Facts(baseline.bundle.clusters),
        other => other,
    }
}

fn lines(differences: &[Difference], color: bool, out: &mut dyn Write) -> io::Result<()> {
    for difference in differences {
        let style = Style::new().fg_color(color.then_some(match difference.change {
            Change::Added => AnsiColor::Green.into(),
            Change::Removed => AnsiColor::Red.into(),
            Change::Changed => AnsiColor::Yellow.into(),
        }));
        let path = text::sanitise(&difference.path);
        let values = match (&difference.old, &difference.new) {
            (Some(old), Some(new)) => format!(": {} -> {}", shown(old), shown(new)),
            (Some(only), None) | (None, Some(only)) => format!(": {}", shown(only)),
            (None, None) => String::new(),
        };
        writeln!(out, "{style}{}{style:#} {path}{values}", difference.change.sign())?;
    }
    let count = |change| {
        differences
            .iter()
            .filter(|difference| difference.change == change)
            .count()
    };
    if differences.is_empty() {
        writeln!(out, "no differences")
    } else {
        writeln!(
            out,
            "\n{} added, {} changed, {} removed",
            count(Change::Added),
            count(Change::Changed),
            count(Change::Removed)
        )
    }
}

/// A value in one line.
pub(crate) fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) if !text.is_empty() => text::sanitise(text).into_owned(),
        other => text::sanitise(&other.to_string()).into_owned(),
    };
    if text.chars().count() <= SHOWN {
        return text;
    }
    let start: String = text.chars().take(SHOWN - 1).collect();
    format!("{start}…")
}
