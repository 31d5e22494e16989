//! What people get wrong, and what others may try: exit 2, the place named, nothing on standard output.

use std::io::Write;
use std::process::Stdio;

use prejoin_checks::samples::{cilium, report};

use super::command::{Outcome, Place, arg, outcome};

fn check(name: &str, content: impl AsRef<[u8]>) -> Outcome {
    let place = Place::new();
    place.write(name, content);
    place.run(&["check", name]).exits(2).prints_nothing()
}

fn facts() -> String {
    serde_json::to_string(&cilium("east", 1)).unwrap()
}

#[test]
fn a_truncated_file_is_named_with_the_place_where_it_ends() {
    let whole = serde_json::to_string_pretty(&cilium("east", 1)).unwrap();
    let lines: Vec<&str> = whole.lines().take(10).collect();
    check("east.json", lines.join("\n"))
        .says("prejoin: east.json:10:")
        .says("EOF while parsing");
    check("east.yaml", "schema: prejoin.dev/facts/v1alpha1\nname: \"ea").says("prejoin: east.yaml:2:");
    check("empty.json", "").says("empty.json: is empty");
    check("blank.json", " \n ").says("blank.json: is empty");
}

#[test]
fn another_version_of_the_format_is_refused_where_it_says_so() {
    let later = facts().replacen("facts/v1alpha1", "facts/v9", 1);
    check("east.json", &later)
        .says("east.json:1:")
        .says("schema is `prejoin.dev/facts/v9`, and this prejoin reads prejoin.dev/facts/v1alpha1");
    check("list.json", format!("[{later}]")).says("cluster east: schema is `prejoin.dev/facts/v9`");
}

#[test]
fn what_is_no_facts_file_is_refused() {
    check("pod.json", r#"{"apiVersion":"v1","kind":"Pod"}"#).says("there is no `schema` in it");
    check("list.json", "[]").says("list.json: holds no cluster");
    check("text.json", "hello").says("a facts file: an object with");
    check("number.json", "[1]").says("number.json:1:2: ");
    check("html.json", "<html>").says("html.json:1:1: ");
    check("binary.json", [b'{', 0xff, 0xfe]).says("binary.json:1:2: is not UTF-8 text");
    check("null.json", "{\"schema\":\"prejoin.dev/facts/v1alpha1\"}").says("missing field `name`");
}

#[test]
fn a_wrong_type_is_named_with_its_place() {
    let wrong = r#"{"schema":"prejoin.dev/facts/v1alpha1",
"name":"east",
"nodes":{"known":{"value":7,"source":{"object":"Nodes"}}}}"#;
    check("east.json", wrong).says("prejoin: east.json:3:27: invalid type: integer `7`, expected a sequence");
    check("east.yaml", "schema: prejoin.dev/facts/v1alpha1\nname: [east]\n").says("prejoin: east.yaml:2:7: ");
}

#[test]
fn a_report_is_not_taken_for_facts() {
    let report = report(prejoin_checks::profile::Profile::Clustermesh, &[cilium("east", 1)]);
    check("report.json", serde_json::to_string(&report).unwrap()).says("report.json: this is a report, not facts");
}

#[test]
fn the_same_cluster_twice_is_refused_and_both_are_named() {
    let place = Place::new();
    let mut again = cilium("again", 1);
    again.uid = cilium("east", 1).uid;
    place.write_facts("east.json", &cilium("east", 1));
    place.write_facts("again.json", &again);
    place
        .run(&["check", "east.json", "again.json"])
        .exits(2)
        .prints_nothing()
        .says("east (east.json) and again (again.json) are the same cluster: kube-system has UID 00000000-");
    place
        .run(&["check", "east.json", "east.json"])
        .exits(2)
        .says("two clusters are called east: east.json and east.json");
}

#[test]
fn a_billion_brackets_cost_neither_time_nor_memory() {
    let place = Place::new();
    let file = std::fs::File::create(place.path("brackets.json")).unwrap();
    // A hole of one gigabyte: refused by its size before a byte is read.
    file.set_len(1 << 30).unwrap();
    place
        .run(&["check", "brackets.json"])
        .exits(2)
        .prints_nothing()
        .says("brackets.json: is larger than 256 MiB, the most that is read");
    check("deep.json", "[".repeat(1 << 20))
        .says("deep.json:1:")
        .says("recursion limit exceeded");
    check("deep.yaml", format!("a: {}", "[".repeat(1 << 20))).says("deep.yaml:1:");
    check("deep.json", format!("{{\"schema\":{}", "{\"a\":".repeat(1 << 20))).says("deep.json:1:");
}

#[test]
fn endless_input_is_cut_off_with_bounded_memory() {
    let place = Place::new();
    let mut command = place.command(&["check", "-"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        let block = [b'['; 1 << 16];
        // Ends with a broken pipe as soon as prejoin has had enough.
        while input.write_all(&block).is_ok() {}
    });
    outcome(&child.wait_with_output().unwrap())
        .exits(2)
        .says("standard input: is larger than 256 MiB");
    writer.join().unwrap();
}

#[test]
fn aliases_do_not_grow_without_bound() {
    let mut bomb = vec!["a0: &a0 [x, x, x, x, x, x, x, x, x]".to_owned()];
    for n in 1..12 {
        let items = vec![format!("*a{}", n - 1); 9].join(", ");
        bomb.push(format!("a{n}: &a{n} [{items}]"));
    }
    let bomb = bomb.join("\n");
    check("bomb.yaml", bomb).says("bomb.yaml");
}

/// Texts that would clear the screen, set a title, hide or turn what stands beside them.
const HOSTILE: [&str; 6] = ["\u{1b}[2J", "\u{7}", "\u{9b}31m", "\u{202e}ssap", "\u{200b}", "\u{7f}"];

#[test]
fn hostile_text_is_refused_with_its_place_wherever_it_stands() {
    for hostile in HOSTILE {
        let units = hostile.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
        let escaped = units.collect::<Vec<_>>().concat();
        let name = facts().replacen("\"name\":\"east\"", &format!("\"name\":\"east{escaped}\""), 1);
        let key = facts().replacen("\"tunnel-protocol\"", &format!("\"tunnel{escaped}\""), 1);
        for (file, content) in [("name.json", name), ("key.json", key)] {
            let outcome = check(file, content)
                .says(&format!("{file}:1:"))
                .says("could act on a terminal");
            assert!(is_tame(&outcome.stderr), "{outcome:?}");
        }
    }
    check("name.yaml", "schema: prejoin.dev/facts/v1alpha1\nname: \"\\e[2J\"\n").says("name.yaml:2:7: ");
}

#[test]
fn hostile_text_in_errors_is_made_visible() {
    let place = Place::new();
    for hostile in HOSTILE {
        let name = format!("no{hostile}such.json");
        let outcome = place.run(&["check", &name]).exits(2).says("cannot be read");
        assert!(is_tame(&outcome.stderr), "{outcome:?}");
        place.write(
            "prejoin.yaml",
            format!("apiVersion: prejoin.dev/v1alpha1\n\"{hostile}\": 1\n"),
        );
        let outcome = place.run(&["check", "-f", "prejoin.yaml"]).exits(2);
        assert!(is_tame(&outcome.stderr), "{outcome:?}");
        let outcome = place.run(&["explain", hostile]).exits(2);
        assert!(is_tame(&outcome.stderr), "{outcome:?}");
    }
}

/// Nothing in a text is obeyed by a terminal or hidden from the eye.
fn is_tame(text: &str) -> bool {
    !text.replace('\n', "").contains(prejoin_collector::text::is_hidden)
}

#[test]
fn an_unknown_check_is_refused_with_a_suggestion() {
    let place = Place::new();
    place.write_facts("east.json", &cilium("east", 1));
    place
        .run(&["check", "east.json", "--only", "CM399"])
        .exits(2)
        .says("--only: there is no check `CM399`; did you mean CM3");
    place
        .run(&["check", "east.json", "--skip", "tunel-protocol"])
        .exits(2)
        .says("did you mean tunnel-protocol?");
    place.write(
        "prejoin.yaml",
        "apiVersion: prejoin.dev/v1alpha1\nwaivers: [{code: XY1, owner: a, reason: b, until: 2030-01-01}]\n",
    );
    place
        .run(&["check", "east.json", "-f", "prejoin.yaml"])
        .exits(2)
        .says("waivers: there is no check `XY1`");
}

#[test]
fn bad_usage_is_exit_2() {
    let place = Place::new();
    for args in [
        &["check"][..],
        &["nonsense"],
        &[],
        &["check", "east.json", "--profile", "istio"],
        &["check", "east.json", "-o", "pdf"],
        &["check", "missing.json"],
        &["check", "."],
        &["check", "-f", "missing.yaml"],
        &["audit", "--timeout", "soon"],
        &["diff", "one.json"],
    ] {
        place.run(args).exits(2).prints_nothing();
    }
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    let place = Place::new();
    let path = place.path("gone/east.json");
    place
        .run(&["check", arg(&path)])
        .exits(2)
        .says("gone/east.json: cannot be read: No such file or directory");
}
