//! Files of the kernel and of the node, as text, within limits of size and time.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use prejoin_checks::facts::provenance::{Reason, Unknown};

/// The largest file that is read as a whole; kernel configurations are the largest of them.
const FILE_BYTES: u64 = 4 << 20;
/// The longest line of a file that is read by lines; `modules.dep` has the longest.
const LINE_BYTES: usize = 64 << 10;
/// After how many lines the clock is looked at.
const LINES_BETWEEN_LOOKS: u32 = 4096;

/// The files below a root. Paths are given as they stand on a node, with a slash at the front.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    root: PathBuf,
    deadline: Instant,
}

impl Tree {
    pub(super) fn new(root: &Path, deadline: Instant) -> Self {
        Self {
            root: root.to_owned(),
            deadline,
        }
    }

    /// The same for files of the node that a container has mounted under `/host`.
    pub(super) fn host(&self) -> Self {
        Self {
            root: self.root.join("host"),
            deadline: self.deadline,
        }
    }

    /// Whether this is the whole file system of the process, and no directory of it.
    pub(super) fn is_whole(&self) -> bool {
        self.root == Path::new("/")
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A small file as a whole.
    pub(super) fn bytes(&self, path: &str) -> Result<Vec<u8>, Unknown> {
        self.in_time(path)?;
        let read = || {
            let mut bytes = Vec::new();
            File::open(self.path(path))?
                .take(FILE_BYTES + 1)
                .read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|error| unread(path, &error))?;
        if bytes.len() as u64 > FILE_BYTES {
            return Err(Unknown::new(
                Reason::Unparsable,
                format!("{path} has more than {FILE_BYTES} bytes"),
            ));
        }
        Ok(bytes)
    }

    /// A small file as text. Bytes that are no UTF-8, as an interface's name may have them, are replaced.
    pub(super) fn text(&self, path: &str) -> Result<String, Unknown> {
        Ok(String::from_utf8_lossy(&self.bytes(path)?).into_owned())
    }

    /// A file of any length, line by line.
    pub(super) fn lines(&self, path: &str, mut each: impl FnMut(&str)) -> Result<(), Unknown> {
        self.in_time(path)?;
        let mut file = BufReader::with_capacity(
            LINE_BYTES,
            File::open(self.path(path)).map_err(|error| unread(path, &error))?,
        );
        let mut line = Vec::new();
        for count in 1_u32.. {
            line.clear();
            let length = (&mut file)
                .take(LINE_BYTES as u64)
                .read_until(b'\n', &mut line)
                .map_err(|error| unread(path, &error))?;
            if length == 0 {
                break;
            }
            if length == LINE_BYTES && line.last() != Some(&b'\n') {
                return Err(Unknown::new(
                    Reason::Unparsable,
                    format!("{path} has a line of more than {LINE_BYTES} bytes"),
                ));
            }
            each(String::from_utf8_lossy(&line).trim_end_matches('\n'));
            if count % LINES_BETWEEN_LOOKS == 0 {
                self.in_time(path)?;
            }
        }
        Ok(())
    }

    /// What a symbolic link says.
    pub(super) fn link(&self, path: &str) -> Result<String, Unknown> {
        let target = fs::read_link(self.path(path)).map_err(|error| unread(path, &error))?;
        Ok(target.to_string_lossy().into_owned())
    }

    /// The names in a directory.
    pub(super) fn names(&self, path: &str) -> Result<Vec<OsString>, Unknown> {
        self.in_time(path)?;
        let entries = fs::read_dir(self.path(path)).map_err(|error| unread(path, &error))?;
        let mut names = entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<Vec<_>>>()
            .map_err(|error| unread(path, &error))?;
        names.sort_unstable();
        Ok(names)
    }

    /// An error once the time is over.
    pub(super) fn in_time(&self, what: &str) -> Result<(), Unknown> {
        in_time(self.deadline, what)
    }
}

/// An error once the time is over.
pub(super) fn in_time(deadline: Instant, what: &str) -> Result<(), Unknown> {
    if Instant::now() < deadline {
        return Ok(());
    }
    Err(Unknown::new(
        Reason::Unreachable,
        format!("{what}: the time for reading the node was over"),
    ))
}

/// Why a file could not be read.
pub(super) fn unread(path: &str, error: &io::Error) -> Unknown {
    Unknown::new(reason(error), format!("read {path}: {error}"))
}

/// The kind of reason that an error of the system stands for.
pub(super) fn reason(error: &io::Error) -> Reason {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Reason::Forbidden,
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Reason::NotFound,
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Reason::Unreachable,
        _ => Reason::ServerError,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn tree() -> (tempfile::TempDir, Tree) {
        let directory = tempfile::tempdir().expect("a directory");
        let tree = Tree::new(directory.path(), Instant::now() + Duration::from_secs(60));
        (directory, tree)
    }

    #[test]
    fn a_file_that_is_not_there_is_not_found_and_named() {
        let (_directory, tree) = tree();
        let unknown = tree.text("/proc/modules").unwrap_err();
        assert_eq!(unknown.reason, Reason::NotFound);
        assert!(unknown.detail.contains("/proc/modules"), "{unknown}");
    }

    #[test]
    fn the_longest_line_has_a_limit() {
        let (directory, tree) = tree();
        fs::write(directory.path().join("long"), vec![b'a'; 1 << 20]).expect("written");
        let mut seen = 0;
        let unknown = tree.lines("/long", |_| seen += 1).unwrap_err();
        assert_eq!((unknown.reason, seen), (Reason::Unparsable, 0));
    }

    #[test]
    fn lines_come_without_their_ends_and_the_last_needs_none() {
        let (directory, tree) = tree();
        fs::write(directory.path().join("lines"), b"a\n\nb\xff").expect("written");
        let mut seen = Vec::new();
        tree.lines("/lines", |line| seen.push(line.to_owned())).expect("read");
        assert_eq!(seen[..2], ["a", ""]);
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn after_the_deadline_nothing_is_read() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("file"), "x").expect("written");
        let tree = Tree::new(directory.path(), Instant::now());
        assert_eq!(tree.text("/file").unwrap_err().reason, Reason::Unreachable);
    }
}
