//! Text of others in Markdown: shown as it is, never as a link, an image, a mention or HTML.

/// Text as code. GitHub looks for nothing inside it.
pub(super) fn code(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') {
        " "
    } else {
        ""
    };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// Text as code in a cell of a table, where a pipe would end the cell.
pub(super) fn cell(text: &str) -> String {
    if text.contains('|') {
        format!("<code>{}</code>", inert(text))
    } else {
        code(text)
    }
}

/// Every character that Markdown, HTML or GitHub could take for something as an entity, which stands for nothing but itself.
fn inert(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_ascii_punctuation() {
                format!("&#{};", u32::from(c))
            } else {
                c.to_string()
            }
        })
        .collect()
}

/// Text in HTML.
pub(super) fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A sentence that may hold names and values: a word that Markdown or GitHub would make something of stands as code.
pub(super) fn prose(text: &str) -> String {
    let words: Vec<String> = text.split(' ').map(word).collect();
    words.join(" ")
}

fn word(word: &str) -> String {
    let active = |c: char| "`*_[]<>&|\\~@#$^{}!".contains(c);
    if !word.contains(active) && !word.contains("://") && !word.starts_with("www.") {
        return word.to_owned();
    }
    let bare = word.trim_end_matches([',', '.', ';', ':', ')']);
    if bare.is_empty() {
        return word.to_owned();
    }
    format!("{}{}", code(bare), &word[bare.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_sentences_stay_as_they_are() {
        assert_eq!(
            prose("give west a pool of its own: 10.11.0.0/16"),
            "give west a pool of its own: 10.11.0.0/16"
        );
    }

    #[test]
    fn what_would_act_stands_as_code() {
        assert_eq!(prose("ask @everyone, now"), "ask `@everyone`, now");
        assert_eq!(prose("see https://example.com."), "see `https://example.com`.");
        assert_eq!(prose("<img src=x>"), "`<img` `src=x>`");
        assert_eq!(prose("[a](b)"), "`[a](b`)");
    }

    #[test]
    fn code_may_hold_backticks_and_cells_pipes() {
        assert_eq!(code("a``b"), "```a``b```");
        assert_eq!(code("`a"), "`` `a ``");
        assert_eq!(code(""), "");
        assert_eq!(cell("a|b"), "<code>a&#124;b</code>");
        assert_eq!(cell("a<b"), "`a<b`");
    }
}
