//! Text from elsewhere made fit to show: nothing hidden, nothing that a terminal would obey.
//!
//! Names, values and error messages come from API servers and facts files that others control. A terminal escape in a
//! node's name must not move the cursor, and a right-to-left override must not turn a `fail` into something else.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt::Write as _;
use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, PrettyFormatter};

/// Shows what would otherwise act or hide: control characters, line breaks, changes of writing direction and characters
/// without width become visible escapes as `\n` or `\u{1b}`. What it returns is one line.
pub fn sanitise(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut visible = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => visible.push_str("\\n"),
            '\r' => visible.push_str("\\r"),
            '\t' => visible.push_str("\\t"),
            c if is_hidden(c) => {
                // Writing to a String cannot fail.
                let _ = write!(visible, "\\u{{{:x}}}", u32::from(c));
            }
            c => visible.push(c),
        }
    }
    Cow::Owned(visible)
}

/// [`sanitise`], and cut to so many characters.
pub fn short(text: &str, chars: usize) -> String {
    let start: String = text.chars().take(chars).collect();
    let mut visible = sanitise(&start).into_owned();
    if start.len() < text.len() {
        visible.push('…');
    }
    visible
}

/// Whether a character acts on what is around it, or does not show, so that it must not be printed as it is.
pub fn is_hidden(c: char) -> bool {
    // Most text is ASCII, and there is much of it.
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control()
        || matches!(c,
            '\u{ad}'                                             // soft hyphen
            | '\u{34f}' | '\u{61c}'                              // grapheme joiner, Arabic letter mark
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}'  // Hangul fillers
            | '\u{17b4}' | '\u{17b5}'                            // Khmer inherent vowels
            | '\u{180b}'..='\u{180f}'                            // Mongolian selectors
            | '\u{200b}'..='\u{200f}'                            // zero width, direction marks
            | '\u{2028}'..='\u{202e}'                            // line and paragraph separators, direction overrides
            | '\u{2060}'..='\u{206f}'                            // word joiner, direction isolates
            | '\u{fe00}'..='\u{fe0f}'                            // variation selectors
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}'               // byte order mark, annotations
            | '\u{1d173}'..='\u{1d17a}'                          // musical controls
            | '\u{e0000}'..='\u{e0fff}') // tags, further selectors
}

/// Writes a value as indented JSON with a line break at its end. What [`sanitise`] would replace stands as a JSON escape, so that
/// a reader gets the exact text and a terminal gets nothing to obey.
pub fn write_json(value: &impl Serialize, out: &mut dyn io::Write) -> io::Result<()> {
    let formatter = Escaping {
        inner: PrettyFormatter::new(),
        found: &Cell::new(false),
    };
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut *out, formatter))?;
    out.write_all(b"\n")
}

/// Whether no text anywhere in a value holds what [`sanitise`] would replace.
pub fn is_clean(value: &impl Serialize) -> bool {
    let found = Cell::new(false);
    let formatter = Escaping {
        inner: CompactFormatter,
        found: &found,
    };
    let written = value.serialize(&mut serde_json::Serializer::with_formatter(io::sink(), formatter));
    written.is_ok() && !found.get()
}

/// [`sanitise`] for every text in a JSON value, names of fields included.
pub fn sanitise_json(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(text) => Value::String(sanitise(&text).into_owned()),
        Value::Array(items) => items.into_iter().map(sanitise_json).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (sanitise(&name).into_owned(), sanitise_json(value)))
            .collect(),
        other => other,
    }
}

/// A JSON formatter that escapes every hidden character and remembers whether it met one.
struct Escaping<'a, F> {
    inner: F,
    found: &'a Cell<bool>,
}

impl<F: Formatter> Formatter for Escaping<'_, F> {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_hidden) {
            self.found.set(true);
            let (before, hidden) = rest.split_at(at);
            out.write_all(before.as_bytes())?;
            let mut after = hidden.chars();
            if let Some(c) = after.next() {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
            rest = after.as_str();
        }
        out.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(&mut self, out: &mut W, escape: CharEscape) -> io::Result<()> {
        if !matches!(
            escape,
            CharEscape::Quote | CharEscape::ReverseSolidus | CharEscape::Solidus
        ) {
            self.found.set(true);
        }
        self.inner.write_char_escape(out, escape)
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.inner.begin_array(out)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.inner.end_array(out)
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.inner.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.inner.end_array_value(out)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.inner.begin_object(out)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.inner.end_object(out)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.inner.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.inner.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.inner.end_object_value(out)
    }
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}[2Jb\nc\u{9b}31m\u{202e}d\u{200b}\u{e0041}\u{7f}";

    #[test]
    fn ordinary_text_of_any_language_is_left_alone() {
        for text in ["10.0.0.0/8", "Zürich", "東京-1", "кластер", "עברית", "ส"] {
            assert!(matches!(sanitise(text), Cow::Borrowed(same) if same == text));
            assert!(is_clean(&text));
        }
    }

    #[test]
    fn what_acts_or_hides_becomes_visible() {
        let visible = sanitise(HOSTILE);
        assert_eq!(visible, r"a\u{1b}[2Jb\nc\u{9b}31m\u{202e}d\u{200b}\u{e0041}\u{7f}");
        assert!(!visible.contains(is_hidden));
        assert!(!is_clean(&HOSTILE));
        assert!(!is_clean(&"one\nline"));
    }

    #[test]
    fn json_keeps_the_exact_text_and_prints_nothing_hidden() {
        let value = serde_json::json!({ "name": HOSTILE, "empty": [], "list": [1, "two \"\\"] });
        let mut out = Vec::new();
        write_json(&value, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.replace('\n', "").contains(is_hidden), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        // Laid out as the plain pretty printer does it.
        let plain = serde_json::json!({ "empty": [], "list": [1, { "a": "ü" }] });
        let mut out = Vec::new();
        write_json(&plain, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!("{}\n", serde_json::to_string_pretty(&plain).unwrap())
        );
    }

    #[test]
    fn names_of_fields_are_made_visible_too() {
        let mut fields = serde_json::Map::new();
        fields.insert(HOSTILE.to_owned(), serde_json::json!([HOSTILE, 1]));
        assert!(is_clean(&sanitise_json(fields.into())));
    }

    #[test]
    fn words_are_quoted_as_a_shell_takes_them() {
        for (word, written) in [
            ("--context=admin@east", "--context=admin@east"),
            ("arn:aws:eks:eu-1:1:cluster/x", "arn:aws:eks:eu-1:1:cluster/x"),
            ("two words", "'two words'"),
            ("it's", r"'it'\''s'"),
            ("$(rm)", "'$(rm)'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), written);
        }
    }
}
