use prejoin_checks::samples::{cilium, cilium_mut, set_cilium_key, value_mut};

use super::*;

/// What would clear the screen, ring, turn the writing, or not show.
const HOSTILE: &str = "a\u{1b}[2J\u{7}\u{202e}\u{200b}\u{9b}";

#[test]
fn harmless_facts_stay_as_they_are() {
    let facts = cilium("east", 1);
    assert_eq!(harmless(facts.clone()), facts);
    let mut lines = facts;
    set_cilium_key(&mut lines, "custom", Some("one\n\ttwo\r\nthree"));
    assert_eq!(harmless(lines.clone()), lines);
}

#[test]
fn hostile_text_becomes_visible_in_values_and_in_keys() {
    let mut facts = cilium("east", 1);
    set_cilium_key(&mut facts, HOSTILE, Some(HOSTILE));
    value_mut(&mut facts.nodes)[0].zone = HOSTILE.to_owned();
    facts.name = HOSTILE.to_owned();
    let mut cleaned = harmless(facts);
    let visible = r"a\u{1b}[2J\u{7}\u{202e}\u{200b}\u{9b}";
    assert_eq!(cleaned.name, visible);
    assert_eq!(value_mut(&mut cleaned.nodes)[0].zone, visible);
    assert_eq!(value_mut(&mut cilium_mut(&mut cleaned).config)[visible], visible);
}

#[test]
fn what_was_made_harmless_can_be_loaded_again() {
    let mut facts = cilium("east", 1);
    set_cilium_key(&mut facts, HOSTILE, Some(HOSTILE));
    let path = Path::new("east.json");
    let written = |facts: &ClusterFacts| serde_json::to_string(facts).unwrap();
    parse(path, &written(&facts)).unwrap_err();
    let cleaned = harmless(facts);
    assert_eq!(parse(path, &written(&cleaned)).unwrap(), Document::Facts(vec![cleaned]));
}

#[test]
fn facts_read_the_same_from_json_and_from_yaml() {
    let facts = cilium("east", 1);
    let yaml = serde_saphyr::to_string(&facts).unwrap();
    assert_eq!(
        parse(Path::new("east.yaml"), &yaml).unwrap(),
        Document::Facts(vec![facts])
    );
}

#[test]
fn a_byte_order_mark_is_no_content() {
    let text = format!("\u{feff}{}", serde_json::to_string(&cilium("east", 1)).unwrap());
    assert!(parse(Path::new("east.json"), &text).is_ok());
}

#[test]
fn a_file_of_exactly_the_limit_is_read_and_a_larger_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, "12345").unwrap();
    assert_eq!(read(&path, 5).unwrap(), "12345");
    let error = read(&path, 4).unwrap_err();
    assert!(error.to_string().contains("is larger than"), "{error}");
}

#[test]
fn a_byte_that_is_no_text_is_named_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, b"one\ntwo \xff").unwrap();
    assert_eq!(read(&path, 99).unwrap_err().position, Position(Some((2, 5))));
}
