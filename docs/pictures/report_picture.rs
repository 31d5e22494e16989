//! Makes a picture of a real report: runs a command and draws what it prints as two SVG images, for light and for dark pages.
//!
//! ```text
//! cargo build --bin prejoin
//! cargo run --example report-picture -- docs/pictures/report \
//!     target/debug/prejoin check examples/broken/east.json examples/broken/west.json --probe none
//! ```
//!
//! writes `docs/pictures/report-light.svg` and `docs/pictures/report-dark.svg`. The command is run with `--color always` and a fixed width.

use std::error::Error;
use std::fmt::Write as _;
use std::process::Command;
use std::{env, fs};

use unicode_width::UnicodeWidthChar;

/// Columns of the picture: as wide as a page of GitHub shows it without shrinking.
const COLUMNS: usize = 92;
/// Pixels per column, per line, of the font, and around the text.
const COLUMN: f64 = 8.4;
const LINE: f64 = 19.0;
const FONT: f64 = 14.0;
const MARGIN: f64 = 18.0;

/// The colours of one page: background, border, text, strong, faint, pass, warn, unknown, fail.
struct Theme {
    name: &'static str,
    back: &'static str,
    border: &'static str,
    plain: &'static str,
    faint: &'static str,
    red: &'static str,
    green: &'static str,
    yellow: &'static str,
    magenta: &'static str,
}

const THEMES: [Theme; 2] = [
    Theme {
        name: "light",
        back: "#ffffff",
        border: "#d0d7de",
        plain: "#1f2328",
        faint: "#59636e",
        red: "#cf222e",
        green: "#1a7f37",
        yellow: "#9a6700",
        magenta: "#8250df",
    },
    Theme {
        name: "dark",
        back: "#0d1117",
        border: "#30363d",
        plain: "#e6edf3",
        faint: "#9198a1",
        red: "#ff7b72",
        green: "#3fb950",
        yellow: "#d29922",
        magenta: "#d2a8ff",
    },
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let (Some(target), Some(program)) = (args.next(), args.next()) else {
        return Err("usage: report-picture TARGET PROGRAM [ARGUMENT...]".into());
    };
    let arguments: Vec<String> = args.collect();
    let output = Command::new(&program)
        .args(&arguments)
        .args(["--color", "always", "--width", &COLUMNS.to_string()])
        .output()
        .map_err(|error| format!("{program} cannot be run: {error}"))?;
    if output.stdout.is_empty() {
        return Err(format!("{program} printed nothing: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let name = program.rsplit('/').next().unwrap_or(&program);
    let typed = format!("$ {name} {}", arguments.join(" "));
    let text = String::from_utf8(output.stdout)?;
    let mut lines = wrapped(&typed);
    lines.push(Vec::new());
    lines.extend(text.lines().map(runs));
    for theme in &THEMES {
        let path = format!("{target}-{}.svg", theme.name);
        fs::write(&path, picture(&lines, &typed, theme))
            .map_err(|error| format!("{path} cannot be written: {error}"))?;
    }
    Ok(())
}

/// Text in one style, and the column it starts at.
struct Run {
    column: usize,
    text: String,
    classes: Vec<&'static str>,
}

/// The command as typed, broken between words as a shell would take it.
fn wrapped(command: &str) -> Vec<Vec<Run>> {
    let mut lines = vec![String::new()];
    for word in command.split(' ') {
        let last = lines.len() - 1;
        if lines[last].chars().count() + word.chars().count() + 3 > COLUMNS {
            lines[last].push_str(" \\");
            lines.push(format!("    {word}"));
        } else {
            if !lines[last].is_empty() {
                lines[last].push(' ');
            }
            lines[last].push_str(word);
        }
    }
    let run = |text: String| Run {
        column: 0,
        text,
        classes: vec!["faint"],
    };
    lines.into_iter().map(|line| vec![run(line)]).collect()
}

/// Splits a line at the escapes that change its colour.
fn runs(line: &str) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut classes: Vec<&'static str> = Vec::new();
    let mut column = 0;
    for (place, part) in line.split("\u{1b}[").enumerate() {
        let text = match part.split_once('m') {
            Some((code, text)) if place > 0 => {
                style(code, &mut classes);
                text
            }
            _ => part,
        };
        let width: usize = text.chars().filter_map(UnicodeWidthChar::width).sum();
        if !text.trim().is_empty() {
            let indent = text.len() - text.trim_start_matches(' ').len();
            runs.push(Run {
                column: column + indent,
                text: text.trim_matches(' ').to_owned(),
                classes: classes.clone(),
            });
        }
        column += width;
    }
    runs
}

fn style(code: &str, classes: &mut Vec<&'static str>) {
    match code {
        "1" => classes.push("strong"),
        "2" => classes.push("faint"),
        "31" => classes.push("red"),
        "32" => classes.push("green"),
        "33" => classes.push("yellow"),
        "35" => classes.push("magenta"),
        _ => classes.clear(),
    }
}

fn picture(lines: &[Vec<Run>], title: &str, theme: &Theme) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a picture has few lines and columns")]
    let (columns, rows) = (COLUMNS as f64, lines.len() as f64);
    let (width, height) = (columns * COLUMN + 2.0 * MARGIN, rows * LINE + 2.0 * MARGIN);
    let mut svg = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0}" height="{height:.0}" viewBox="0 0 {width:.0} {height:.0}" role="img">
<title>{}</title>
<style>
text {{ font: {FONT}px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: {}; white-space: pre }}
.strong {{ font-weight: 600 }} .faint {{ fill: {} }} .red {{ fill: {} }} .green {{ fill: {} }} .yellow {{ fill: {} }} .magenta {{ fill: {} }}
</style>
<rect x="0.5" y="0.5" width="{:.0}" height="{:.0}" rx="8" fill="{}" stroke="{}"/>
"#,
        escaped(title),
        theme.plain,
        theme.faint,
        theme.red,
        theme.green,
        theme.yellow,
        theme.magenta,
        width - 1.0,
        height - 1.0,
        theme.back,
        theme.border,
    );
    for (row, line) in lines.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "a picture has few lines and columns")]
        let y = MARGIN + (row as f64) * LINE + FONT;
        for run in line {
            let width: usize = run.text.chars().filter_map(UnicodeWidthChar::width).sum();
            #[expect(clippy::cast_precision_loss, reason = "a picture has few lines and columns")]
            let (x, length) = (MARGIN + run.column as f64 * COLUMN, width as f64 * COLUMN);
            // The length holds the columns in place whatever font there is.
            let _ = writeln!(
                svg,
                r#"<text x="{x:.1}" y="{y:.1}" textLength="{length:.1}" lengthAdjust="spacingAndGlyphs" class="{}">{}</text>"#,
                run.classes.join(" "),
                escaped(&run.text)
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
