//! Slack's incoming webhooks: one message for each audit that has something to tell.

use std::fmt::Write as _;

use prejoin_checks::history::life::State;
use serde_json::{Value, json};

use super::notice::{Alert, Notice};
use crate::report::change;

/// Slack takes 50 blocks; two are the head and the foot.
const MOST_ALERTS: usize = 40;
/// So many changes are told.
const MOST_CHANGES: usize = 10;
/// Slack takes 3,000 characters in a text.
const MOST_CHARACTERS: usize = 2_900;

/// The body of the request.
pub fn body(notice: &Notice) -> Value {
    let head = head(notice);
    let mut blocks = vec![json!({
        "type": "header",
        // A header takes 150 characters, and no markup.
        "text": { "type": "plain_text", "text": shortened(&head, 140), "emoji": false },
    })];
    blocks.extend(notice.alerts.iter().take(MOST_ALERTS).map(|alert| {
        json!({
            "type": "section",
            "text": { "type": "mrkdwn", "text": section(alert), "verbatim": true },
        })
    }));
    if !notice.changes.is_empty() {
        blocks.push(json!({
            "type": "section",
            "text": { "type": "mrkdwn", "text": changes(notice), "verbatim": true },
        }));
    }
    let mut foot = format!("audit of {} at {}", escaped(&notice.group), notice.at);
    if let Some(link) = &notice.link {
        let _ = write!(foot, " · <{}|report>", escaped(link));
    }
    if let Some(more) = notice.alerts.len().checked_sub(MOST_ALERTS).filter(|more| *more > 0) {
        let _ = write!(foot, " · and {more} more");
    }
    blocks.push(json!({
        "type": "context",
        "elements": [{ "type": "mrkdwn", "text": foot, "verbatim": true }],
    }));
    // The text is what notifications show, and those that know no blocks.
    json!({ "text": escaped(&head), "blocks": blocks })
}

/// What changed in the clusters, a line each.
fn changes(notice: &Notice) -> String {
    let mut text = "*changed against what was accepted*".to_owned();
    for line in notice.changes.iter().take(MOST_CHANGES) {
        let what = format!("{} {}", line.change.sign(), change::what(line));
        let _ = write!(text, "\n{} {} {}", line.effect, escaped(&what), line.codes.join(" "));
    }
    if let Some(more) = notice.changes.len().checked_sub(MOST_CHANGES).filter(|more| *more > 0) {
        let _ = write!(text, "\nand {more} more");
    }
    shortened(&text, MOST_CHARACTERS)
}

/// `prod: 2 fail, 1 unknown, 1 resolved`.
fn head(notice: &Notice) -> String {
    let count = |wanted: fn(State) -> bool| notice.alerts.iter().filter(|alert| wanted(alert.state)).count();
    let counts = [
        (count(|state| state == State::Fail), "fail"),
        (count(|state| state == State::Unknown), "unknown"),
        (count(|state| state == State::Warn), "warn"),
        (count(|state| state == State::Waived), "waived"),
        (count(|state| state == State::Good), "resolved"),
    ];
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    if counts.is_empty() {
        return format!("{}: drift", notice.group);
    }
    format!("{}: {}", notice.group, counts.join(", "))
}

fn section(alert: &Alert) -> String {
    let mut text = format!(
        "*{}* {} {}",
        alert.headline(),
        escaped(&alert.code),
        escaped(&alert.title)
    );
    if let Some(link) = &alert.link {
        let _ = write!(text, " (<{}|details>)", escaped(link));
    }
    let _ = write!(text, "\n{}", escaped(&alert.clusters.join(", ")));
    if !alert.nodes.is_empty() {
        let _ = write!(text, ": {}", escaped(&alert.nodes.join(", ")));
    }
    if !alert.found.is_empty() {
        let _ = write!(text, "\n{}", escaped(&alert.found));
    }
    if alert.state.matters() && !alert.remedy.is_empty() {
        let _ = write!(text, "\n→ {}", escaped(&alert.remedy));
    }
    shortened(&text, MOST_CHARACTERS)
}

/// Text as Slack shows it and does not obey it: links, mentions and channels begin with `<`.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// At most so many characters, without half an entity at the end.
fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut start: String = text.chars().take(most - 1).collect();
    if let Some(entity) = start.rfind('&').filter(|place| !start[*place..].contains(';')) {
        start.truncate(entity);
    }
    start.push('…');
    start
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::super::target::TargetKind;
    use super::*;

    #[test]
    fn what_happened_is_told_in_one_message() {
        insta::assert_json_snapshot!(body(&samples::notice(TargetKind::Slack)));
    }

    #[test]
    fn nothing_in_a_finding_is_obeyed() {
        let mut notice = samples::notice(TargetKind::Slack);
        notice.group = "<!everyone>".to_owned();
        notice.alerts[0].clusters = vec!["<https://evil.example|east>".to_owned()];
        let mut message = body(&notice);
        // The header is plain text, in which there is nothing to obey.
        let header = message["blocks"].as_array_mut().unwrap().remove(0);
        assert_eq!(header["text"]["type"], "plain_text");
        let text = message.to_string();
        assert!(!text.contains("<!") && !text.contains("<https://evil"), "{text}");
    }

    #[test]
    fn a_message_stays_within_what_slack_takes() {
        let mut notice = samples::notice(TargetKind::Slack);
        notice.alerts[0].found = "&<".repeat(5_000);
        let like = notice.alerts[0].clone();
        notice.alerts.extend(vec![like; 100]);
        let message = body(&notice);
        let blocks = message["blocks"].as_array().unwrap();
        assert!(blocks.len() <= 50);
        for block in blocks {
            let text = block["text"]["text"].as_str().unwrap_or_default();
            assert!(text.chars().count() <= 3_000);
            assert!(!text.ends_with("&l…") && !text.ends_with("&…"), "half an entity");
        }
        let foot = blocks.last().unwrap()["elements"][0]["text"].as_str().unwrap();
        assert!(foot.ends_with("and 63 more"), "{foot}");
    }
}
