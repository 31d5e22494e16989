//! The report as JSON: the whole document, indented, in the stable order of its type. `prejoin schema report` describes it.

use std::io;

use prejoin_checks::report::Report;

use crate::text;

pub(super) fn render(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    text::write_json(report, out)
}
