//! [`Lines`]: lines of limited length out of a stream, without losing what was read when the reading is given up.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Read at once.
const PIECE_BYTES: usize = 64 << 10;

/// Why there is no line.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoLine {
    /// The stream is at its end, or broke.
    #[error("the stream ended")]
    Ended,
    /// The line is longer than it may be.
    #[error("a line of more than {0} bytes")]
    TooLong(usize),
}

/// What was read of a stream and not yet used.
#[derive(Default)]
pub(super) struct Lines {
    buffer: Vec<u8>,
    /// So much of the buffer holds no line break.
    searched: usize,
}

impl Lines {
    /// The next line without its line break. Dropping this future loses nothing.
    pub(super) async fn next(&mut self, reader: &mut (impl AsyncRead + Unpin), limit: usize) -> Result<Vec<u8>, NoLine> {
        loop {
            let found = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
            if let Some(at) = found.map(|at| self.searched + at).filter(|at| *at <= limit) {
                let rest = self.buffer.split_off(at + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                self.searched = 0;
                return Ok(line);
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > limit {
                return Err(NoLine::TooLong(limit));
            }
            self.buffer.reserve(PIECE_BYTES);
            match reader.read_buf(&mut self.buffer).await {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A line that is cut off is no line.
                Ok(0) | Err(_) => return Err(NoLine::Ended),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn lines_come_one_by_one_however_they_were_cut_into_pieces() {
        let mut stream = stream_of(&[b"one\ntw", b"o\n", b"\nfour", b"\ncut"]).await;
        let mut lines = Lines::default();
        for expected in ["one", "two", "", "four"] {
            assert_eq!(lines.next(&mut stream, 99).await.unwrap(), expected.as_bytes());
        }
        assert!(matches!(lines.next(&mut stream, 99).await, Err(NoLine::Ended)));
    }

    #[tokio::test]
    async fn a_line_of_the_limit_is_read_and_a_longer_one_is_not() {
        let mut stream = stream_of(&[b"12345\n123456\n"]).await;
        let mut lines = Lines::default();
        assert_eq!(lines.next(&mut stream, 5).await.unwrap(), b"12345");
        assert!(matches!(lines.next(&mut stream, 5).await, Err(NoLine::TooLong(5))));
    }

    #[tokio::test]
    async fn giving_up_on_half_a_line_loses_nothing() {
        let (mut near, mut far) = tokio::io::duplex(64);
        let mut lines = Lines::default();
        far.write_all(b"ha").await.unwrap();
        assert!(lines.next(&mut near, 9).now_or_never().is_none());
        far.write_all(b"lf\n").await.unwrap();
        assert_eq!(lines.next(&mut near, 9).await.unwrap(), b"half");
    }

    /// A stream of these pieces that then ends.
    async fn stream_of(pieces: &[&[u8]]) -> tokio::io::DuplexStream {
        let (near, mut far) = tokio::io::duplex(1024);
        for piece in pieces {
            far.write_all(piece).await.unwrap();
        }
        near
    }
}
