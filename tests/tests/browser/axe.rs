//! The accessibility scan: axe-core, brought by npm and kept beside what cargo builds.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::chromium::{Browser, is_required};

const VERSION: &str = "4.14.1";

/// The scan's script; `None`, said aloud, where it cannot be had.
pub(crate) fn script() -> Option<&'static str> {
    static SCRIPT: OnceLock<Option<String>> = OnceLock::new();
    SCRIPT
        .get_or_init(|| match bring() {
            Ok(script) => Some(script),
            Err(error) => {
                assert!(!is_required(), "no accessibility scan: {error:#}");
                eprintln!("SKIPPED: no accessibility scan, axe-core cannot be had: {error:#}");
                None
            }
        })
        .as_deref()
}

fn bring() -> Result<String> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("axe-core-{VERSION}"));
    let script = folder.join("node_modules/axe-core/axe.min.js");
    if !script.exists() {
        std::fs::create_dir_all(&folder)?;
        let npm = Command::new("npm")
            .args([
                "install",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--no-save",
                "--prefix",
            ])
            .arg(&folder)
            .arg(format!("axe-core@{VERSION}"))
            .output()
            .context("npm")?;
        ensure!(
            npm.status.success(),
            "npm: {}",
            String::from_utf8_lossy(&npm.stderr).trim()
        );
    }
    std::fs::read_to_string(&script).with_context(|| script.display().to_string())
}

/// What the scan finds on the open page, by WCAG 2.2 A and AA and by what is good practice: one line for each.
pub(crate) async fn scan(browser: &mut Browser, script: &str) -> Result<Vec<String>> {
    browser.evaluate(script).await?;
    let found = browser
        .evaluate(
            "axe.run(document, { resultTypes: ['violations'] }).then((result) => JSON.stringify(result.violations))",
        )
        .await?;
    let violations: Vec<Value> = serde_json::from_str(found.as_str().context("what the scan found")?)?;
    let lines = violations.iter().flat_map(|violation| {
        let nodes = violation["nodes"].as_array().cloned().unwrap_or_default();
        let count = nodes.len();
        nodes.into_iter().take(3).map(move |node| {
            format!(
                "{} ({}, {count} places): {}\n  {}",
                violation["id"], violation["impact"], node["html"], node["failureSummary"]
            )
        })
    });
    Ok(lines.collect())
}
