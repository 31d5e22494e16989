//! The page of a check as a terminal shows it: the little Markdown that doc comments of checks use.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use prejoin_checks::check::Check;

/// Longer lines are hard to read, however wide the terminal is.
const MAX_WIDTH: usize = 100;

/// How a page is set.
pub(super) struct Page {
    /// Columns of the terminal.
    pub(super) width: usize,
    /// Whether colours may be used.
    pub(super) color: bool,
}

/// A piece of Markdown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// A heading.
    Heading(String),
    /// A paragraph in one line.
    Paragraph(String),
    /// An item of a list, with its mark.
    Item(String, String),
    /// A line that is kept as it is.
    Verbatim(String),
}

impl Page {
    /// Writes the page of a check.
    pub(super) fn write(&self, check: &Check, out: &mut dyn Write) -> io::Result<()> {
        let profiles: Vec<&str> = check.profiles.iter().map(|profile| profile.name()).collect();
        let code = Style::new().bold().fg_color(Some(AnsiColor::Cyan.into()));
        self.styled(code, check.code, out)?;
        writeln!(out, "  {}", check.title)?;
        fill(
            &format!(
                "{}; {}; {}; {}; since {}",
                check.slug,
                check.severity,
                check.run.scope(),
                profiles.join(", "),
                check.since
            ),
            ["  ", "  "],
            self.width(),
            out,
        )?;
        self.body(check.documentation, out)
    }

    fn body(&self, documentation: &str, out: &mut dyn Write) -> io::Result<()> {
        let mut before: Option<Block> = None;
        for block in blocks(documentation) {
            let joined = matches!(
                (&before, &block),
                (Some(Block::Heading(_)), _)
                    | (Some(Block::Item(..)), Block::Item(..))
                    | (Some(Block::Verbatim(_)), Block::Verbatim(_))
            );
            if !joined {
                writeln!(out)?;
            }
            match &block {
                Block::Heading(text) => {
                    self.styled(Style::new().bold(), text, out)?;
                    writeln!(out)?;
                }
                Block::Paragraph(text) => fill(text, ["  ", "  "], self.width(), out)?,
                Block::Item(mark, text) => {
                    let indent = " ".repeat(mark.chars().count() + 3);
                    fill(text, [&format!("  {mark} "), &indent], self.width(), out)?;
                }
                Block::Verbatim(line) => writeln!(out, "{}", format!("    {line}").trim_end())?,
            }
            before = Some(block);
        }
        Ok(())
    }

    fn width(&self) -> usize {
        self.width.min(MAX_WIDTH)
    }

    fn styled(&self, style: Style, text: &str, out: &mut dyn Write) -> io::Result<()> {
        if self.color {
            write!(out, "{style}{text}{style:#}")
        } else {
            out.write_all(text.as_bytes())
        }
    }
}

/// Fills lines of `width` columns with words; the first line begins with the first indent, all others with the second.
pub(super) fn fill(text: &str, indents: [&str; 2], width: usize, out: &mut dyn Write) -> io::Result<()> {
    let [first, others] = indents;
    let mut line = first.to_owned();
    let mut used = first.chars().count();
    let mut empty = true;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if !empty && used + 1 + length > width {
            writeln!(out, "{line}")?;
            others.clone_into(&mut line);
            used = others.chars().count();
            empty = true;
        }
        if !empty {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += length;
        empty = false;
    }
    writeln!(out, "{line}")
}

/// The documentation of a check in pieces.
pub(crate) fn blocks(documentation: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut fenced = false;
    // Whether a line of text goes on with the block before it.
    let mut open = false;
    for line in documentation.lines() {
        // Doc comments put a space before every line.
        let line = line.strip_prefix(' ').unwrap_or(line);
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            open = false;
        } else if fenced {
            blocks.push(Block::Verbatim(line.to_owned()));
        } else if line.trim().is_empty() {
            open = false;
        } else if let Some(heading) = line.strip_prefix('#') {
            blocks.push(Block::Heading(heading.trim_start_matches('#').trim().to_owned()));
            open = false;
        } else if line.trim_start().starts_with('|') {
            blocks.push(Block::Verbatim(line.trim().to_owned()));
            open = false;
        } else if let Some((mark, text)) = item(line) {
            blocks.push(Block::Item(mark.to_owned(), text.to_owned()));
            open = true;
        } else {
            match blocks.last_mut() {
                Some(Block::Paragraph(text) | Block::Item(_, text)) if open => {
                    text.push(' ');
                    text.push_str(line.trim());
                }
                _ => blocks.push(Block::Paragraph(line.trim().to_owned())),
            }
            open = true;
        }
    }
    blocks
}

/// `* text`, `- text` or `1. text`.
fn item(line: &str) -> Option<(&str, &str)> {
    let (mark, text) = line.trim_start().split_once(' ')?;
    let numbered = mark
        .strip_suffix('.')
        .is_some_and(|number| !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()));
    (matches!(mark, "*" | "-") || numbered).then_some((mark, text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(width: usize, color: bool, documentation: &str) -> String {
        let mut out = Vec::new();
        Page { width, color }.body(documentation, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    const SOURCE: &str = " ## How to fix\n One two three four\n five.\n\n * first item with words\n   going on\n 2. second\n \n ```yaml\n a:\n   b: 1\n ```\n | a | b |\n";

    #[test]
    fn text_is_filled_to_the_width() {
        let expected = "\nHow to fix\n  One two three\n  four five.\n\n  * first item\n    with words\n    going on\n  2. second\n\n    a:\n      b: 1\n    | a | b |\n";
        assert_eq!(page(17, false, SOURCE), expected);
        assert!(page(200, false, SOURCE).contains("  One two three four five.\n"));
    }

    #[test]
    fn headings_are_bold_only_with_colours() {
        assert!(page(80, true, SOURCE).contains("\u{1b}[1mHow to fix\u{1b}[0m"));
        assert!(!page(80, false, SOURCE).contains('\u{1b}'));
    }
}
