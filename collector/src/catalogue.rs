//! `prejoin checks` and `prejoin explain`: what there is to know about checks without a cluster.

pub(crate) mod page;

use std::io::{self, Write};

use prejoin_checks::catalog;
use prejoin_checks::check::Check;
use prejoin_checks::profile::Profile;
use serde::Serialize;

use crate::cli::{self, Color, ListFormat};
use crate::error::{Error, exit_code};
use crate::settings::no_such_check;
use crate::{output, text};

/// Before what belongs to the check above.
const INDENT: &str = "        ";

/// One check, as `-o json` gives it.
#[derive(Debug, Serialize)]
struct Entry {
    code: &'static str,
    slug: &'static str,
    title: &'static str,
    severity: prejoin_checks::report::Severity,
    scope: &'static str,
    profiles: &'static [Profile],
    since: &'static str,
    why: &'static str,
    rules: &'static [&'static str],
    /// The page that `explain` shows, in Markdown.
    #[serde(skip_serializing_if = "Option::is_none")]
    documentation: Option<String>,
}

impl From<&'static Check> for Entry {
    fn from(check: &'static Check) -> Self {
        Self {
            code: check.code,
            slug: check.slug,
            title: check.title,
            severity: check.severity,
            scope: check.run.scope(),
            profiles: check.profiles,
            since: check.since,
            why: check.why,
            rules: check.rules,
            documentation: None,
        }
    }
}

/// Lists all checks.
pub fn list(args: &cli::List) -> Result<u8, Error> {
    let checks: Vec<&'static Check> = catalog::checks()
        .filter(|check| args.profile.is_none_or(|profile| check.profiles.contains(&profile)))
        .collect();
    match args.output {
        ListFormat::Json => {
            let entries: Vec<Entry> = checks.into_iter().map(Entry::from).collect();
            output::stdout(|out| text::write_json(&entries, out))?;
        }
        ListFormat::Table => output::stdout(|out| table(&checks, output::width(args.width), out))?,
    }
    Ok(exit_code::PASS)
}

fn table(checks: &[&Check], width: usize, out: &mut dyn Write) -> io::Result<()> {
    let head = [
        "code",
        "severity",
        "scope",
        "profiles",
        "slug",
        "what is wrong if it is broken",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(checks.iter().map(|check| {
        let profiles: Vec<&str> = check.profiles.iter().map(|profile| profile.name()).collect();
        [
            check.code.to_owned(),
            check.severity.to_string(),
            check.run.scope().to_owned(),
            profiles.join(","),
            check.slug.to_owned(),
            check.title.to_owned(),
        ]
    }));
    let columns: Vec<usize> = (0..head.len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    let cells = |row: &[String], columns: &[usize]| {
        let cells: Vec<String> = row
            .iter()
            .zip(columns)
            .map(|(cell, column)| format!("{cell:column$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    let fits = columns.iter().sum::<usize>() + 2 * (columns.len() - 1) <= width;
    for row in rows {
        if fits {
            writeln!(out, "{}", cells(&row, &columns))?;
        } else {
            // Names and titles go below what classifies a check.
            let (class, name) = row.split_at(4);
            writeln!(out, "{}", cells(class, &columns))?;
            page::fill(&name.join(": "), [INDENT, INDENT], width, out)?;
        }
    }
    Ok(())
}

/// Shows the page of one check.
pub fn explain(args: &cli::Explain, color: Color) -> Result<u8, Error> {
    let check = catalog::find(&args.check).ok_or_else(|| no_such_check("explain", &args.check))?;
    match args.output {
        ListFormat::Json => {
            let entry = Entry {
                documentation: Some(check.documentation.to_owned()),
                ..Entry::from(check)
            };
            output::stdout(|out| text::write_json(&entry, out))?;
        }
        ListFormat::Table => {
            let page = page::Page {
                width: output::width(args.width),
                color: output::colors(color),
            };
            output::stdout(|out| page.write(check, out))?;
        }
    }
    Ok(exit_code::PASS)
}
