//! The report as YAML: the same document as the JSON one.

use std::io;

use prejoin_checks::report::Report;

pub(super) fn render(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let text = serde_saphyr::to_string(report).map_err(io::Error::other)?;
    out.write_all(text.as_bytes())
}
