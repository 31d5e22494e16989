//! Where results and remarks go: results to standard output or a file, remarks to standard error.

use std::fs;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use crate::cli::Color;
use crate::error::Error;
use crate::text;

/// Columns to write in where there is no terminal.
const DEFAULT_WIDTH: usize = 80;

/// Writes a result to standard output. That nobody reads it any more is no error: `prejoin checks | head` ends quietly.
pub fn stdout(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            // What is still buffered has no reader either.
            let _ = out.into_parts();
            Ok(())
        }
        written => written.map_err(|source| Error::Write {
            to: "standard output".to_owned(),
            source,
        }),
    }
}

/// Writes a result to a file, whole or not at all: what was there before stays until the new file is complete.
pub fn file(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
    write_whole(path, write).map_err(|source| Error::Write {
        to: path.display().to_string(),
        source,
    })
}

fn write_whole(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let into = |file: fs::File| -> io::Result<fs::File> {
        let mut out = BufWriter::new(file);
        write(&mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)
    };
    // A link is written through, and a pipe or device cannot be replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(&target).is_ok_and(|found| !found.is_file()) {
        return into(fs::File::create(&target)?).map(drop);
    }
    let mut partial = target.clone().into_os_string();
    partial.push(format!(".{}.partial", std::process::id()));
    let written = into(fs::File::create_new(&partial)?)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&partial, &target));
    if written.is_err() {
        // The first error is the one that matters.
        let _ = fs::remove_file(&partial);
    }
    written
}

/// Says something on standard error, line by line and free of anything that a terminal would obey.
pub fn say(message: &str) {
    let mut err = io::stderr().lock();
    for line in message.lines() {
        // There is no one left to tell that standard error cannot be written.
        let _ = writeln!(err, "{}", text::sanitise(line));
    }
}

/// The columns to write in: as asked for, else the terminal's, else 80.
pub fn width(asked: Option<usize>) -> usize {
    asked
        .or_else(|| terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0)))
        .unwrap_or(DEFAULT_WIDTH)
}

/// Whether to use colours on standard output.
pub fn colors(when: Color) -> bool {
    match when {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            io::stdout().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    }
}
