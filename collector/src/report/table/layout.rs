//! Laying out text in columns: nothing is cut off, what does not fit is wrapped inside its column.

use anstyle::{AnsiColor, Style};
use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::style::Style as Borders;
use tabled::settings::{Alignment, Padding, Width};
use unicode_width::UnicodeWidthChar;

/// How a piece of text is meant; the colours only strengthen what the words say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    Strong,
    Faint,
    Pass,
    Warn,
    Unknown,
    Fail,
}

impl Tone {
    fn style(self) -> Style {
        let bold = |color: AnsiColor| color.on_default().bold();
        match self {
            Self::Plain => Style::new(),
            Self::Strong => Style::new().bold(),
            Self::Faint => Style::new().dimmed(),
            Self::Pass => AnsiColor::Green.on_default(),
            Self::Warn => AnsiColor::Yellow.on_default(),
            Self::Unknown => bold(AnsiColor::Magenta),
            Self::Fail => bold(AnsiColor::Red),
        }
    }
}

/// One piece of text in one column.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// Whether there is no text.
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

/// Text in this tone.
pub(super) fn cell(text: impl Into<String>, tone: Tone) -> Cell {
    Cell {
        text: text.into(),
        tone,
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        cell(text, Tone::Plain)
    }
}

/// Rows of cells that share their columns.
#[derive(Debug, Default)]
pub(super) struct Grid {
    indent: usize,
    first: usize,
    right: Vec<usize>,
    rows: Vec<Vec<Cell>>,
}

/// A space at which no line is broken.
pub(super) const NO_BREAK: char = '\u{a0}';
/// Columns of space between two columns.
const GAP: usize = 2;

impl Grid {
    /// An empty grid that starts this far from the left.
    pub(super) fn new(indent: usize) -> Self {
        Self {
            indent,
            ..Self::default()
        }
    }

    /// Makes the first column at least this wide, so that it lines up with that of other grids.
    pub(super) fn first(mut self, width: usize) -> Self {
        self.first = width;
        self
    }

    /// Aligns these columns to the right.
    pub(super) fn right(mut self, columns: impl IntoIterator<Item = usize>) -> Self {
        self.right = columns.into_iter().collect();
        self
    }

    /// Adds a row.
    pub(super) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    /// Adds a row of any number of cells.
    pub(super) fn push(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Whether it fits without wrapping.
    pub(super) fn fits(&self, width: usize) -> bool {
        let natural = self.columns(text_width);
        self.indent + natural.iter().sum::<usize>() + gaps(&natural) <= width
    }

    /// The most that a measure gives for each column.
    fn columns(&self, measure: impl Fn(&str) -> usize) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widest = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(at));
            cells.map(|cell| measure(&cell.text)).max().unwrap_or(0)
        };
        let mut columns: Vec<usize> = (0..columns).map(widest).collect();
        if let Some(first) = columns.first_mut().filter(|first| **first > 0) {
            *first = self.first.max(*first);
        }
        columns
    }

    /// The width of each column such that a line is at most `width` wide.
    fn widths(&self, width: usize) -> Vec<usize> {
        let natural = self.columns(text_width);
        let room = width.saturating_sub(self.indent + gaps(&natural));
        // Whole words first; only where that is not enough are words broken.
        let words = self.columns(|text| text.split(' ').map(text_width).max().unwrap_or(0));
        let narrowest = vec![2; natural.len()];
        shrink(shrink(natural, &words, room), &narrowest, room)
    }
}

fn gaps(widths: &[usize]) -> usize {
    widths.iter().filter(|width| **width > 0).count().saturating_sub(1) * GAP
}

/// Takes from the widest columns, never below their floor, until they fit.
fn shrink(widths: Vec<usize>, floors: &[usize], room: usize) -> Vec<usize> {
    // Values can be very long; no column can be wider than the page.
    let mut widths: Vec<usize> = widths.into_iter().map(|width| width.min(room)).collect();
    let mut excess = widths.iter().sum::<usize>().saturating_sub(room);
    while excess > 0 {
        let above = |at: &usize| widths[*at] > floors[*at];
        let Some(widest) = (0..widths.len()).filter(above).max_by_key(|at| widths[*at]) else {
            break;
        };
        widths[widest] -= 1;
        excess -= 1;
    }
    widths
}

/// A page that is written from top to bottom.
#[derive(Debug)]
pub(super) struct Page {
    width: usize,
    color: bool,
    text: String,
}

impl Page {
    /// An empty page.
    pub(super) fn new(width: usize, color: bool) -> Self {
        Self {
            width,
            color,
            text: String::new(),
        }
    }

    /// The columns there are.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// What was written.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// An empty line, unless there is one already.
    pub(super) fn blank(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    /// A row of its own: all but the last cell are as wide as they need, the last is wrapped beside them.
    pub(super) fn line<const N: usize>(&mut self, indent: usize, cells: [Cell; N]) {
        let mut grid = Grid::new(indent);
        grid.row(cells);
        self.grid(&grid);
    }

    /// A title with a note behind it, or under it if there is no room beside it.
    pub(super) fn title(&mut self, mark: Cell, title: Cell, note: Cell) {
        let mut grid = Grid::new(0);
        grid.row([mark.clone(), title.clone(), note.clone()]);
        if grid.fits(self.width) {
            self.grid(&grid);
        } else {
            self.line(0, [mark, title]);
            self.line(4, [note]);
        }
    }

    /// A grid.
    pub(super) fn grid(&mut self, grid: &Grid) {
        let widths = grid.widths(self.width);
        let shown: Vec<usize> = (0..widths.len()).filter(|column| widths[*column] > 0).collect();
        let mut rows = Builder::with_capacity(grid.rows.len(), shown.len());
        for row in &grid.rows {
            rows.push_record(shown.iter().map(|&column| match row.get(column) {
                Some(cell) => self.painted(cell, widths[column]),
                None => String::new(),
            }));
        }
        let mut table = rows.build();
        table.with(Borders::empty()).with(Padding::new(0, GAP, 0, 0));
        table.modify(Columns::first(), Padding::new(grid.indent, GAP, 0, 0));
        for (at, column) in shown.iter().enumerate() {
            if grid.right.contains(column) {
                table.modify(Columns::one(at), Alignment::right());
            } else {
                table.modify(Columns::one(at), Width::increase(widths[*column]));
            }
        }
        // A page ends no line in space.
        for line in table.to_string().lines() {
            self.text.push_str(line.trim_end_matches(' '));
            self.text.push('\n');
        }
    }

    /// A cell's text, wrapped; colour surrounds the text of each line and no space.
    fn painted(&self, cell: &Cell, width: usize) -> String {
        let style = cell.tone.style();
        let plain = !self.color || style == Style::new();
        let lines = wrap(&cell.text, width).into_iter().map(|line| {
            let line = line.replace(NO_BREAK, " ");
            if plain || line.is_empty() {
                line
            } else {
                format!("{style}{line}{style:#}")
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// The columns a text takes.
pub(super) fn text_width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// Breaks a text into lines of at most `width` columns: between words, and within a word that is too long by itself after the last
/// `/`, `,`, `.` and the like that fits.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let mut word = word;
        let space = usize::from(used > 0);
        if used + space + text_width(word) <= width {
            let line = lines.last_mut().expect("there is always a line");
            line.extend(std::iter::repeat_n(' ', space));
            line.push_str(word);
            used += space + text_width(word);
            continue;
        }
        if used > 0 {
            lines.push(String::new());
        }
        while text_width(word) > width {
            let (head, tail) = word.split_at(break_at(word, width));
            lines.last_mut().expect("there is always a line").push_str(head);
            lines.push(String::new());
            word = tail;
        }
        lines.last_mut().expect("there is always a line").push_str(word);
        used = text_width(word);
    }
    for line in &mut lines {
        line.truncate(line.trim_end_matches(' ').len());
    }
    lines
}

/// The byte at which to break a word that is wider than `width`; at least one character in.
fn break_at(word: &str, width: usize) -> usize {
    let mut used = 0;
    let mut fits = 0;
    let mut nice = 0;
    for (at, c) in word.char_indices() {
        used += char_width(c);
        if used > width {
            break;
        }
        fits = at + c.len_utf8();
        if matches!(c, '/' | ',' | '.' | ';' | ':' | '-' | '_' | '=' | '|') {
            nice = fits;
        }
    }
    let first = word.chars().next().map_or(0, char::len_utf8);
    // A break that leaves most of the line empty is no nicer than one in the middle of a word.
    if nice * 3 > fits { nice } else { fits.max(first) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(grid: &Grid, width: usize) -> Vec<String> {
        let mut page = Page::new(width, false);
        page.grid(grid);
        page.into_text().lines().map(str::to_owned).collect()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut grid = Grid::new(2).right([1]);
        grid.row(["east".into(), "1".into(), "Cilium".into()]);
        grid.row(["w".into(), "12".into(), "".into()]);
        assert_eq!(written(&grid, 80), ["  east   1  Cilium", "  w     12"]);
    }

    #[test]
    fn empty_columns_take_no_space() {
        let mut grid = Grid::new(0);
        grid.row(["a".into(), "".into(), "b".into()]);
        assert_eq!(written(&grid, 80), ["a  b"]);
    }

    #[test]
    fn the_widest_column_is_wrapped_between_words() {
        let mut grid = Grid::new(0);
        grid.row(["east".into(), "choose one for all clusters".into()]);
        assert_eq!(written(&grid, 20), ["east  choose one for", "      all clusters"]);
    }

    #[test]
    fn a_long_word_is_broken_where_it_reads_best() {
        assert_eq!(wrap("kube-system/cilium-config", 14), ["kube-system/", "cilium-config"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("東京東京", 5), ["東京", "東京"]);
        assert_eq!(wrap("", 5), [""]);
    }

    #[test]
    fn colour_surrounds_text_and_not_space() {
        let mut page = Page::new(80, true);
        page.line(1, [cell("a", Tone::Fail), "b".into()]);
        let red = Tone::Fail.style();
        assert_eq!(page.into_text(), format!(" {red}a{red:#}  b\n"));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_line_is_too_wide(
            rows in proptest::collection::vec(proptest::collection::vec("[a-z東/ ,.]{0,60}", 4), 1..5),
            width in 40_usize..120,
        ) {
            let mut grid = Grid::new(2);
            for row in &rows {
                grid.push(row.iter().map(|text| text.as_str().into()).collect());
            }
            let lines = written(&grid, width);
            let visible = |texts: &mut dyn Iterator<Item = char>| -> Vec<char> {
                let mut all: Vec<char> = texts.filter(|c| *c != ' ').collect();
                all.sort_unstable();
                all
            };
            prop_assert_eq!(
                visible(&mut lines.iter().flat_map(|line| line.chars())),
                visible(&mut rows.iter().flatten().flat_map(|text| text.chars()))
            );
            for line in lines {
                prop_assert!(text_width(&line) <= width, "{:?}", line);
                prop_assert!(!line.ends_with(' '));
            }
        }
    }
}
