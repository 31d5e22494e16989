//! `prejoin diff`: what changed between two documents.
use crate::cli::{self, Color};
use crate::error::Error;

/// Shows what changed.
pub fn diff(_args: &cli::Diff, _color: Color) -> Result<u8, Error> {
    Err(Error::Internal("not there yet".to_owned()))
}
