//! Lines in and out: one JSON object each, never more of it in memory than the limit allows.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};

use super::limits;

/// Why the other end's next line could not be had. After any of these the stream is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The stream broke.
    #[error("the stream broke: {0}")]
    Stream(#[from] io::Error),
    /// The line is longer than allowed.
    #[error("a line longer than {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The stream ended inside a line.
    #[error("the stream ended inside a line")]
    CutOff,
    /// The line is no UTF-8.
    #[error("a line that is not UTF-8")]
    NotUtf8,
    /// Objects and lists lie too deep in each other.
    #[error("a line with more than {limit} objects or lists inside each other")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// The line is not what is spoken here.
    #[error("a line that is not of this protocol: {0}")]
    Unintelligible(#[from] serde_json::Error),
}

/// Reads lines from the other end.
#[derive(Debug)]
pub struct LineReader<R> {
    input: BufReader<R>,
    line: Vec<u8>,
    limit: usize,
    /// Whether `line` was handed out, so that the next call begins a new one.
    handed_out: bool,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Reads lines of at most `limit` bytes, the line's end not counted.
    pub fn new(input: R, limit: usize) -> Self {
        Self {
            input: BufReader::new(input),
            line: Vec::new(),
            limit,
            handed_out: false,
        }
    }

    /// The next line without its end; `None` when the stream ended after a whole line.
    ///
    /// Nothing is lost if the future is dropped: the next call goes on where it stopped.
    pub async fn next_line(&mut self) -> Result<Option<&[u8]>, LineError> {
        /// A line as long as this is rare: its memory is given back.
        const KEPT_BYTES: usize = 64 << 10;
        if self.handed_out {
            self.line.clear();
            self.line.shrink_to(KEPT_BYTES);
            self.handed_out = false;
        }
        loop {
            let piece = self.input.fill_buf().await?;
            if piece.is_empty() {
                return if self.line.is_empty() {
                    Ok(None)
                } else {
                    Err(LineError::CutOff)
                };
            }
            let end = piece.iter().position(|&byte| byte == b'\n');
            let kept = end.unwrap_or(piece.len());
            if self.line.len() + kept > self.limit {
                return Err(LineError::TooLong { limit: self.limit });
            }
            self.line.extend_from_slice(&piece[..kept]);
            self.input.consume(end.map_or(kept, |end| end + 1));
            if end.is_some() {
                self.handed_out = true;
                return Ok(Some(&self.line));
            }
        }
    }

    /// From now on lines may be so long.
    pub fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes;
    }

    /// What comes after the lines that were read, for another reader.
    pub fn into_rest(self) -> BufReader<R> {
        self.input
    }

    /// The next line as a value; `None` when the stream ended after a whole line. Can be dropped like [`LineReader::next_line`].
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, LineError> {
        self.next_line().await?.map(decode).transpose()
    }
}

/// What one line says.
pub fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, LineError> {
    let text = std::str::from_utf8(line).map_err(|_| LineError::NotUtf8)?;
    if nesting(text) > limits::NESTING {
        return Err(LineError::TooDeep { limit: limits::NESTING });
    }
    Ok(serde_json::from_str(text)?)
}

/// One line that says this, with its end.
pub fn encode<T: Serialize>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut line = Vec::new();
    append(value, &mut line)?;
    Ok(line)
}

/// Appends one line that says this, with its end.
pub fn append<T: Serialize>(value: &T, lines: &mut Vec<u8>) -> serde_json::Result<()> {
    serde_json::to_writer(&mut *lines, value)?;
    lines.push(b'\n');
    Ok(())
}

/// Writes one line and flushes it.
pub async fn write<T: Serialize>(value: &T, output: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    output.write_all(&encode(value)?).await?;
    output.flush().await
}

/// How deep objects and lists lie in each other. Counts brackets outside strings, so that it holds for any text.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    async fn lines(input: &[u8], limit: usize) -> (Vec<String>, Result<(), LineError>) {
        let mut reader = LineReader::new(input, limit);
        let mut lines = Vec::new();
        loop {
            match reader.next_line().await {
                Ok(Some(line)) => lines.push(String::from_utf8(line.to_vec()).unwrap()),
                Ok(None) => return (lines, Ok(())),
                Err(error) => return (lines, Err(error)),
            }
        }
    }

    #[tokio::test]
    async fn lines_come_one_by_one() {
        let (lines, end) = lines(b"{}\n\n[1]\n", 8).await;
        assert_eq!(lines, ["{}", "", "[1]"]);
        assert!(end.is_ok());
    }

    #[tokio::test]
    async fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        let (whole, end) = lines(b"12345678\n", 8).await;
        assert_eq!(whole, ["12345678"]);
        assert!(end.is_ok());
        let (none, end) = lines(b"123456789\n", 8).await;
        assert!(none.is_empty());
        assert!(matches!(end, Err(LineError::TooLong { limit: 8 })), "{end:?}");
    }

    #[tokio::test]
    async fn an_endless_line_is_refused_before_it_ends() {
        let mut reader = LineReader::new(tokio::io::repeat(b'x'), 1 << 20);
        let end = reader.next_line().await;
        assert!(matches!(end, Err(LineError::TooLong { .. })), "{end:?}");
        assert!(reader.line.capacity() <= 2 << 20, "{}", reader.line.capacity());
    }

    #[tokio::test]
    async fn half_a_line_is_never_taken_for_a_whole_one() {
        let (lines, end) = lines(b"{}\n{\"id\":1", 64).await;
        assert_eq!(lines, ["{}"]);
        assert!(matches!(end, Err(LineError::CutOff)), "{end:?}");
    }

    #[tokio::test]
    async fn a_dropped_read_loses_nothing() {
        let (ours, theirs) = tokio::io::duplex(64);
        let mut reader = LineReader::new(ours, 64);
        let (_, mut theirs) = tokio::io::split(theirs);
        theirs.write_all(b"{\"half\":").await.unwrap();
        // Nothing more comes: the read is given up once it has taken the first half.
        tokio::select! {
            biased;
            line = reader.next_line() => panic!("{line:?}"),
            () = tokio::task::yield_now() => {}
        }
        theirs.write_all(b"true}\n").await.unwrap();
        assert_eq!(reader.next::<Value>().await.unwrap(), Some(json!({ "half": true })));
    }

    #[test]
    fn nesting_is_counted_outside_strings() {
        assert_eq!(nesting(""), 0);
        assert_eq!(nesting(r#"{"a":[1,{"b":[]}],"c":{}}"#), 4);
        assert_eq!(nesting(r#"{"a":"[[[\"[[["}"#), 1);
        assert_eq!(nesting("]]]][["), 2);
    }

    #[test]
    fn deep_nesting_is_refused_before_it_is_parsed() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
        assert!(decode::<Value>(&deep(limits::NESTING)).is_ok());
        let error = decode::<Value>(&deep(limits::NESTING + 1));
        assert!(matches!(error, Err(LineError::TooDeep { .. })), "{error:?}");
        let error = decode::<Value>(&deep(1 << 20));
        assert!(matches!(error, Err(LineError::TooDeep { .. })), "{error:?}");
    }

    #[test]
    fn what_is_not_utf_8_or_not_json_is_refused() {
        assert!(matches!(decode::<Value>(b"\"\xff\""), Err(LineError::NotUtf8)));
        assert!(matches!(decode::<Value>(b"{\"a\":"), Err(LineError::Unintelligible(_))));
        assert!(matches!(decode::<Value>(b"{} {}"), Err(LineError::Unintelligible(_))));
    }

    #[test]
    fn what_is_written_is_one_line() {
        assert_eq!(encode(&json!({ "a": "b\nc" })).unwrap(), b"{\"a\":\"b\\nc\"}\n");
    }
}
