//! `prejoin --collector URL audit|status|diff`: the command line over the API of a collector.

use std::path::Path;
use std::time::Duration;

use prejoin_checks::report::{Report, Verdict};
use reqwest::{Certificate, Method, StatusCode, Url};
use serde::de::DeserializeOwned;

use super::answer::Problem;
use super::ask::Wanted;
use crate::cli::{self, Color, Remote};
use crate::error::{Error, exit_code};
use crate::report::RenderOptions;
use crate::serve::view::audit::AuditState;
use crate::serve::view::drift::{DriftView, Effect};
use crate::serve::view::freshness::Currency;
use crate::serve::view::{AuditView, Fleet};
use crate::{output, report, text};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// A running audit is looked at so often.
const LOOK: Duration = Duration::from_secs(1);
/// The largest answer that is read.
const MAX_BYTES: usize = 256 << 20;

/// A collector, as its API shows it.
struct Client {
    http: reqwest::Client,
    url: Url,
    token: Option<String>,
}

impl Client {
    fn new(remote: &Remote) -> Result<Self, Error> {
        let given = remote.collector.as_deref().unwrap_or_default();
        let usage = |why: String| Error::Usage(format!("--collector {given}: {why}"));
        let mut url = Url::parse(given).map_err(|error| usage(format!("this is no URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(usage("a collector is reached by https".to_owned()));
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let mut http = reqwest::Client::builder().timeout(PATIENCE);
        if let Some(path) = &remote.collector_ca {
            let pem = read(path)?;
            let certificates = Certificate::from_pem_bundle(pem.as_bytes());
            let certificates = certificates.map_err(|error| usage(format!("{}: {error}", path.display())))?;
            for certificate in certificates {
                http = http.add_root_certificate(certificate);
            }
        }
        let token = match &remote.token_file {
            Some(path) => Some(read(path)?.trim().to_owned()),
            None => std::env::var("PREJOIN_TOKEN").ok().filter(|token| !token.is_empty()),
        };
        Ok(Self {
            http: http.build().map_err(|error| Error::Internal(error.to_string()))?,
            url,
            token,
        })
    }

    /// Asks; `path` is below `/api/v1/`, each part as it is.
    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &[&str]) -> Result<T, Error> {
        let mut url = self.url.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let failed = |why: String| Error::Internal(format!("the collector: {why}"));
        let mut answer = request.send().await.map_err(|error| failed(causes(&error)))?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| failed(causes(&error)))? {
            if body.len() + piece.len() > MAX_BYTES {
                return Err(failed("its answer is too large".to_owned()));
            }
            body.extend_from_slice(&piece);
        }
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|error| failed(format!("its answer is not understood: {error}")));
        }
        let why =
            serde_json::from_slice::<Problem>(&body).map_or_else(|_| status.to_string(), |problem| problem.detail);
        let refused = matches!(
            status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST
        );
        Err(if refused {
            Error::Usage(format!("the collector: {why}"))
        } else {
            failed(why)
        })
    }
}

/// An error of the client with what caused it.
fn causes(error: &reqwest::Error) -> String {
    let mut said = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        said = format!("{said}: {cause}");
        source = cause.source();
    }
    said
}

fn read(path: &Path) -> Result<String, Error> {
    Ok(crate::load::read(path, 1 << 20)?)
}

fn block_on<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::Internal(format!("cannot start: {error}")))?;
    runtime.block_on(work)
}

/// Lets the collector audit a group now, waits, and shows the report.
pub fn audit(remote: &Remote, args: &cli::Audit, color: Color) -> Result<u8, Error> {
    let Some(group) = &args.group else {
        return Err(Error::Usage("name the collector's group: --group NAME".to_owned()));
    };
    let client = Client::new(remote)?;
    let report = block_on(async {
        let wanted: Wanted = client.ask(Method::POST, &["groups", group, "audits"]).await?;
        output::say(&format!("prejoin: {group}: audit {}", wanted.audit));
        loop {
            let audit: AuditView = client.ask(Method::GET, &["audits", &wanted.audit]).await?;
            match audit.line.state {
                AuditState::Done => break,
                AuditState::Failed => {
                    let why = audit.line.failure.unwrap_or_default();
                    return Err(Error::Internal(format!("the audit gave no report: {why}")));
                }
                AuditState::Waiting | AuditState::Running => tokio::time::sleep(LOOK).await,
            }
        }
        client
            .ask::<Report>(Method::GET, &["audits", &wanted.audit, "report"])
            .await
    })?;
    let options = RenderOptions {
        format: args.judging.output.unwrap_or_default(),
        width: output::width(args.judging.width),
        color: output::colors(color),
        verbose: args.judging.verbose,
        fail_on_warn: report.exit_code == 4,
        command: None,
    };
    output::stdout(|out| report::render(&report, &options, out))?;
    Ok(report.exit_code)
}

/// Shows what the collector knows of all groups.
pub fn status(remote: &Remote) -> Result<u8, Error> {
    let client = Client::new(remote)?;
    let fleet: Fleet = block_on(client.ask(Method::GET, &["fleet"]))?;
    let mut code = exit_code::PASS;
    output::stdout(|out| {
        for group in &fleet.groups {
            let age = match (group.freshness.currency(), group.freshness.as_of) {
                (Currency::Never, _) | (_, None) => "never audited".to_owned(),
                (Currency::Current, Some(at)) => format!("as of {at}"),
                (Currency::Old, Some(at)) => format!("as of {at}, and a newer audit is overdue"),
            };
            let shown = match group.freshness.currency() {
                Currency::Current => group.verdict,
                Currency::Old | Currency::Never => Verdict::Unknown,
            };
            code = code.max(match shown {
                Verdict::Fail => 3,
                Verdict::Unknown => exit_code::INCOMPLETE,
                _ => exit_code::PASS,
            });
            let name = text::sanitise(&group.name);
            writeln!(out, "{name}  {shown}  {}  ({age})", text::sanitise(&group.headline))?;
            if let Some(failure) = &group.last_failure {
                writeln!(out, "  the last audit gave no report: {}", text::sanitise(&failure.why))?;
            }
            if group.agents.heard < group.agents.expected {
                writeln!(
                    out,
                    "  agents: heard {} of {}",
                    group.agents.heard, group.agents.expected
                )?;
            }
        }
        Ok(())
    })?;
    // A failure outweighs what is not known, whatever the numbers.
    let fails = fleet
        .groups
        .iter()
        .any(|group| group.verdict == Verdict::Fail && group.freshness.currency() == Currency::Current);
    Ok(if fails { 3 } else { code })
}

/// Shows what changed in a group against its baseline.
pub fn diff(remote: &Remote, args: &cli::Diff) -> Result<u8, Error> {
    let Some(group) = &args.group else {
        return Err(Error::Usage("name the collector's group: --group NAME".to_owned()));
    };
    let client = Client::new(remote)?;
    let drift: DriftView = block_on(client.ask(Method::GET, &["groups", group, "drift"]))?;
    if args.output == cli::ListFormat::Json {
        output::stdout(|out| text::write_json(&drift, out))?;
    } else {
        output::stdout(|out| {
            let Some(baseline) = &drift.baseline else {
                return writeln!(
                    out,
                    "nothing was accepted yet, so nothing is known to have changed or not"
                );
            };
            for line in &drift.lines {
                let values = match (&line.old, &line.new) {
                    (Some(old), Some(new)) => format!(": {old} -> {new}"),
                    (Some(only), None) | (None, Some(only)) => format!(": {only}"),
                    (None, None) => String::new(),
                };
                let effect = match line.effect {
                    Effect::Breaks => "  breaks ",
                    Effect::Weakens => "  weakens ",
                    Effect::Mends => "  mends ",
                    Effect::Neutral => "",
                };
                let whole = format!("{} {}{values}{effect}{}", line.path, line.cluster, line.codes.join(" "));
                writeln!(out, "{} {}", line.change.sign(), text::sanitise(&whole))?;
            }
            writeln!(out, "{} changed since {}", drift.lines.len(), baseline.as_of)
        })?;
    }
    Ok(match (&drift.baseline, drift.lines.is_empty()) {
        (None, _) => exit_code::INCOMPLETE,
        (Some(_), true) => exit_code::PASS,
        (Some(_), false) => exit_code::DRIFT,
    })
}
