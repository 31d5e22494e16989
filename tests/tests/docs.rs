//! The pages made of the catalogue: `docs/checks.md` and `docs/rules.md` say what the checks say of themselves. The JSON Schemas in
//! `docs/schema` are those of the types.
//!
//! `PREJOIN_UPDATE_DOCS=1 cargo test -p prejoin-tests --test docs` rewrites them.

#![expect(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prejoin_checks::catalog::checks;
use prejoin_checks::check::Check;
use prejoin_collector::cli::SchemaOf;
use prejoin_collector::schema;
use prejoin_collector::text::write_json;

/// Where the code is whose tests may be named after an issue.
const SOURCES: [&str; 4] = ["checks/src", "agent", "collector", "tests/tests"];

/// How tests name the tracker of the issue they replay: `issue_38406_…`, `s_1559_…`. Others go by their last word.
const TRACKERS: [(&str, &str); 8] = [
    ("cilium/cilium", "issue"),
    ("cilium/cilium-cli", "cli"),
    ("submariner-io/submariner", "s"),
    ("submariner-io/submariner-operator", "o"),
    ("submariner-io/subctl", "c"),
    ("submariner-io/lighthouse", "l"),
    ("submariner-io/submariner-website", "w"),
    ("submariner-io/submariner-charts", "h"),
];

#[test]
fn the_page_of_checks_is_fresh() {
    expect_page("docs/checks.md", &checks_page());
}

#[test]
fn the_page_of_rules_is_fresh() {
    expect_page("docs/rules.md", &rules_page());
}

#[test]
fn the_schemas_are_fresh() {
    for (name, document) in [
        ("report", SchemaOf::Report),
        ("facts", SchemaOf::Facts),
        ("config", SchemaOf::Config),
        ("alert", SchemaOf::Alert),
        ("server-config", SchemaOf::ServerConfig),
        ("protocol-request", SchemaOf::ProtocolRequest),
        ("protocol-answer", SchemaOf::ProtocolAnswer),
    ] {
        let mut made = Vec::new();
        write_json(&schema(document), &mut made).unwrap();
        expect_page(&format!("docs/schema/{name}.json"), std::str::from_utf8(&made).unwrap());
    }
}

#[test]
fn the_description_of_the_api_is_fresh() {
    let mut made = Vec::new();
    write_json(&prejoin_collector::serve::api::description(), &mut made).unwrap();
    expect_page("docs/schema/openapi.json", std::str::from_utf8(&made).unwrap());
}

#[test]
fn every_rule_has_a_check_or_says_what_it_needs() {
    let claims = claims();
    let open: Vec<_> = rules()
        .into_iter()
        .filter(|rule| !claims.contains_key(&rule.key()) && rule.note.is_empty())
        .map(|rule| rule.key())
        .collect();
    assert!(
        open.is_empty(),
        "neither a check nor a note in tests/fixtures/rules.tsv: {open:?}"
    );
}

#[test]
fn checks_claim_only_rules_that_exist() {
    let known: BTreeSet<_> = rules().iter().map(Rule::key).collect();
    for (rule, checks) in claims() {
        assert!(
            known.contains(&rule),
            "`{rule}`, claimed by {}, is not in tests/fixtures/rules.tsv",
            codes(&checks)
        );
    }
}

#[test]
fn every_rule_is_listed_once_and_described() {
    let mut seen = BTreeSet::new();
    for rule in rules() {
        assert!(seen.insert(rule.key()), "`{}` is listed twice", rule.key());
        assert!(!rule.about.is_empty(), "`{}` is not described", rule.key());
    }
}

#[test]
fn every_case_follows_from_rules_or_says_why_not() {
    let known: BTreeSet<_> = rules().iter().map(Rule::key).collect();
    let mut last: BTreeMap<String, u32> = BTreeMap::new();
    for case in cases() {
        let place = format!("{} {}", case.reference, case.row);
        assert!(!case.issues.is_empty(), "{place} names no issue");
        assert!(!case.rules.is_empty() || !case.note.is_empty(), "{place} says nothing");
        for rule in &case.rules {
            assert!(known.contains(rule), "{place} names `{rule}`, which is no rule");
        }
        if let Some(before) = last.insert(case.reference, case.row) {
            assert_eq!(case.row, before + 1, "{place}: cases are numbered without gaps");
        }
    }
}

/// One rule of a product, from `tests/fixtures/rules.tsv`.
struct Rule {
    /// `clustermesh` or `submariner`.
    reference: String,
    /// Its id there.
    id: String,
    /// What it is about, in a few words.
    about: String,
    /// Why there is no check, or what one would need. Empty if there is one.
    note: String,
}

impl Rule {
    /// What checks call it: `clustermesh DP-2`.
    fn key(&self) -> String {
        format!("{} {}", self.reference, self.id)
    }
}

/// Something that users ran into, from `tests/fixtures/cases.tsv`.
struct Case {
    reference: String,
    row: u32,
    issues: Vec<Issue>,
    /// The rules that cover it, as checks call them.
    rules: Vec<String>,
    /// What the rules alone do not say.
    note: String,
}

/// An issue or a pull request: `cilium/cilium#38406`.
struct Issue {
    repository: String,
    number: u32,
}

impl Issue {
    fn link(&self) -> String {
        let Self { repository, number } = self;
        format!("[{repository}#{number}](https://github.com/{repository}/issues/{number})")
    }

    /// The word with which tests of this tracker begin.
    fn tracker(&self) -> &str {
        TRACKERS
            .into_iter()
            .find(|(repository, _)| *repository == self.repository)
            .map_or_else(
                || self.repository.rsplit(['/', '-']).next().unwrap(),
                |(_, tracker)| tracker,
            )
    }
}

fn rules() -> Vec<Rule> {
    rows("rules.tsv")
        .map(|[reference, id, about, note]| Rule {
            reference,
            id,
            about,
            note,
        })
        .collect()
}

fn cases() -> Vec<Case> {
    rows("cases.tsv")
        .map(|[reference, row, issues, rules, note]| Case {
            row: row.parse().unwrap(),
            issues: issues.split_whitespace().map(issue).collect(),
            rules: list(&rules).map(|id| format!("{reference} {id}")).collect(),
            reference,
            note,
        })
        .collect()
}

fn issue(text: &str) -> Issue {
    let (repository, number) = text.split_once('#').unwrap();
    Issue {
        repository: repository.to_owned(),
        number: number.parse().unwrap(),
    }
}

/// What is between commas.
fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// The rows of a table of fixtures, without its heading.
fn rows<const COLUMNS: usize>(file: &str) -> impl Iterator<Item = [String; COLUMNS]> {
    let text = fs::read_to_string(root().join("tests/fixtures").join(file)).unwrap();
    let rows: Vec<_> = text.lines().skip(1).map(|line| columns(file, line)).collect();
    rows.into_iter()
}

fn columns<const COLUMNS: usize>(file: &str, line: &str) -> [String; COLUMNS] {
    let columns: Vec<_> = line.split('\t').map(|column| column.trim().to_owned()).collect();
    assert_eq!(columns.len(), COLUMNS, "{file} has {COLUMNS} columns, not so: {line}");
    columns.try_into().unwrap()
}

/// Which checks claim which rule.
fn claims() -> BTreeMap<String, Vec<&'static Check>> {
    let mut claims: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for check in by_code() {
        for rule in check.rules {
            claims.entry((*rule).to_owned()).or_default().push(check);
        }
    }
    claims
}

fn by_code() -> Vec<&'static Check> {
    let mut all: Vec<_> = checks().collect();
    all.sort_by_key(|check| check.code);
    all
}

/// Links to the sections of these checks, with a mark at those that no API can settle.
fn codes(checks: &[&Check]) -> String {
    let codes: Vec<_> = checks
        .iter()
        .map(|check| {
            let mark = if needs_packet(check) { "†" } else { "" };
            format!("{}{mark}", link(check, "checks.md"))
        })
        .collect();
    codes.join(", ")
}

/// Whether the check is about a flow (`CM5xx`, `SM5xx`): nothing but a packet settles it.
fn needs_packet(check: &Check) -> bool {
    ["CM5", "SM5"].iter().any(|flows| check.code.starts_with(flows))
}

fn link(check: &Check, page: &str) -> String {
    format!("[{}]({page}#{})", check.code, check.code.to_ascii_lowercase())
}

fn checks_page() -> String {
    let all = by_code();
    let mut out = String::from(
        "# Checks\n\n\
         <!-- Made of the catalogue by tests/tests/docs.rs: PREJOIN_UPDATE_DOCS=1 cargo test -p prejoin-tests --test docs -->\n\n\
         Every check there is. `prejoin explain CODE` shows the same pages; [rules.md](rules.md) lists what each rule of the\n\
         products became. Severity is what breaking the rule means unless the finding says otherwise; scope is what is looked\n\
         at: each cluster by itself, clusters against each other, or the set as a whole, even of one.\n\n\
         | code | broken, it means | severity | scope | profiles |\n|---|---|---|---|---|\n",
    );
    for check in &all {
        writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            link(check, ""),
            cell(check.title),
            check.severity,
            check.run.scope(),
            profiles(check)
        )
        .unwrap();
    }
    for check in all {
        section(check, &mut out);
    }
    out
}

fn section(check: &Check, out: &mut String) {
    writeln!(
        out,
        "\n## {}\n\n**{}** · `{}` · {} · {} · {} · since {}\n\nWhy: {}.",
        check.code,
        check.title,
        check.slug,
        check.severity,
        check.run.scope(),
        profiles(check),
        check.since,
        check.why
    )
    .unwrap();
    if !check.rules.is_empty() {
        writeln!(out, "\nRules: {}.", check.rules.join(", ")).unwrap();
    }
    out.push('\n');
    for line in check.documentation.trim_end().lines() {
        let line = line.strip_prefix(' ').unwrap_or(line).trim_end();
        // One level below the section's own heading; a heading stands alone.
        if line.starts_with("## ") {
            writeln!(out, "#{line}\n").unwrap();
        } else {
            writeln!(out, "{line}").unwrap();
        }
    }
}

fn profiles(check: &Check) -> String {
    let names: Vec<_> = check.profiles.iter().map(|profile| profile.name()).collect();
    names.join(", ")
}

fn rules_page() -> String {
    let (rules, cases, claims, scenarios) = (rules(), cases(), claims(), scenarios());
    let checked = rules.iter().filter(|rule| claims.contains_key(&rule.key())).count();
    let of_flows = rules
        .iter()
        .filter_map(|rule| claims.get(&rule.key()))
        .filter(|checks| checks.iter().all(|check| needs_packet(check)))
        .count();
    let mut out = format!(
        "# Rules\n\n\
         <!-- Made by tests/tests/docs.rs: PREJOIN_UPDATE_DOCS=1 cargo test -p prejoin-tests --test docs -->\n\n\
         What Cilium ClusterMesh and Submariner ask of clusters that are to be joined, and which check looks at it. The rules\n\
         come from the products' documentation, sources and issue trackers; each check's page names its own. Of {} rules,\n\
         {checked} have a check; the others say what one would need.\n\n\
         † is a check of a flow, the only kind of check that {of_flows} of the rules have: it says what must pass and between\n\
         whom, and stays `unknown` until an agent has sent a packet. The cluster's API cannot show more.\n\n\
         The second half lists what users ran into, the checks that look at it, and the tests that replay it.\n",
        rules.len()
    );
    for reference in references(&rules) {
        write!(
            out,
            "\n## Rules of {reference}\n\n| rule | about | checks |\n|---|---|---|\n"
        )
        .unwrap();
        for rule in rules.iter().filter(|rule| rule.reference == reference) {
            let checks = claims
                .get(&rule.key())
                .map_or_else(|| format!("none: {}", cell(&rule.note)), |checks| codes(checks));
            writeln!(out, "| {} | {} | {checks} |", cell(&rule.id), cell(&rule.about)).unwrap();
        }
    }
    for reference in references(&rules) {
        write!(
            out,
            "\n## Cases of {reference}\n\n| # | reported as | rules | checks | scenario |\n|---:|---|---|---|---|\n"
        )
        .unwrap();
        for case in cases.iter().filter(|case| case.reference == reference) {
            case_row(case, &rules, &claims, &scenarios, &mut out);
        }
    }
    out
}

fn references(rules: &[Rule]) -> Vec<&str> {
    let mut references: Vec<_> = rules.iter().map(|rule| rule.reference.as_str()).collect();
    references.dedup();
    references
}

fn case_row(
    case: &Case,
    rules: &[Rule],
    claims: &BTreeMap<String, Vec<&'static Check>>,
    scenarios: &BTreeSet<String>,
    out: &mut String,
) {
    let mut checks: Vec<&Check> = Vec::new();
    let mut open = Vec::new();
    for key in &case.rules {
        match claims.get(key) {
            Some(claiming) => checks.extend(claiming),
            None => open.extend(
                rules
                    .iter()
                    .filter(|rule| rule.key() == *key)
                    .map(|rule| format!("{}: {}", rule.id, rule.note)),
            ),
        }
    }
    checks.sort_by_key(|check| check.code);
    checks.dedup_by_key(|check| check.code);
    let mut answers: Vec<_> = [codes(&checks), case.note.clone()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    answers.extend(open);
    let ids: Vec<_> = case
        .rules
        .iter()
        .filter_map(|key| key.split_once(' ').map(|(_, id)| id))
        .collect();
    let issues: Vec<_> = case.issues.iter().map(Issue::link).collect();
    let tests: Vec<_> = scenarios
        .iter()
        .filter(|name| case.issues.iter().any(|issue| replays(name, issue)))
        .map(|name| format!("`{name}`"))
        .collect();
    writeln!(
        out,
        "| {} | {} | {} | {} | {} |",
        case.row,
        issues.join(", "),
        ids.join(", "),
        cell(&answers.join("; ")),
        tests.join(", ")
    )
    .unwrap();
}

/// Whether a test of this name replays this issue: its tracker, then numbers, then words.
fn replays(name: &str, issue: &Issue) -> bool {
    let mut words = name.split('_');
    words.next() == Some(issue.tracker())
        && words
            .map_while(|word| word.parse::<u32>().ok())
            .any(|number| number == issue.number)
}

/// The names of all tests.
fn scenarios() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for directory in SOURCES {
        tests_in(&root().join(directory), &mut names);
    }
    names
}

fn tests_in(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_in(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim_start) {
                is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
                let signature = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
                if let Some((name, _)) = signature.and_then(|rest| rest.split_once('('))
                    && std::mem::take(&mut is_test)
                {
                    names.insert(name.to_owned());
                }
            }
        }
    }
}

/// A text inside a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The page is what was made just now, or is written if that is asked for.
fn expect_page(path: &str, made: &str) {
    let file = root().join(path);
    if env::var_os("PREJOIN_UPDATE_DOCS").is_some() {
        fs::write(&file, made).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    let differs = kept.lines().zip(made.lines()).position(|(kept, made)| kept != made);
    assert!(
        kept == made,
        "{path} is stale from line {} on: PREJOIN_UPDATE_DOCS=1 cargo test -p prejoin-tests --test docs",
        differs.unwrap_or_else(|| kept.lines().count().min(made.lines().count())) + 1
    );
}
