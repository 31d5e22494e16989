//! The pages of the collector in a real browser: every page, wide and narrow, light and dark, with two clusters and with a hundred.
//!
//! `PREJOIN_PICTURES=folder` keeps what was seen there. `PREJOIN_UPDATE_DOCS=1` takes the pictures of the documentation anew.

#[path = "browser/axe.rs"]
mod axe;
#[path = "browser/chromium.rs"]
mod chromium;
#[path = "browser/sample.rs"]
mod sample;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use axum::extract::Request;
use axum::middleware::{self, Next};
use jiff::SignedDuration;
use prejoin_collector::serve::access::{Role, Visitor};
use prejoin_collector::serve::pages;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use chromium::{Browser, REQUIRE, is_required};
use sample::{AUDIT, GROUP, RUNNING, Sample};

/// Desktop and phone, in CSS pixels.
const SIZES: [(&str, u32, u32); 2] = [("desktop", 1280, 900), ("phone", 360, 740)];

/// The pictures in `docs/pictures`: sample, page, size, and whether it is dark.
const DOCUMENTED: [(&str, &str, &str, bool); 5] = [
    ("hundred", "fleet", "desktop", true),
    ("hundred", "fleet", "phone", false),
    ("two", "finding", "desktop", false),
    ("two", "addresses", "desktop", false),
    ("two", "paths", "desktop", true),
];

/// Pages served on loopback, and a browser to look at them.
struct Watch {
    sample: Arc<Sample>,
    place: SocketAddr,
    browser: Browser,
    server: tokio::task::JoinHandle<()>,
}

impl Watch {
    /// Serves a sample to an operator; `None`, said aloud, where there is no browser.
    async fn start(sample: Arc<Sample>) -> Result<Option<Self>> {
        if chromium::program().is_none() {
            ensure!(!is_required(), "there is no browser to look at the pages with");
            eprintln!("SKIPPED: there is no browser to look at the pages with; set {REQUIRE}=1 to make that a failure");
            return Ok(None);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let place = listener.local_addr()?;
        let operator = Visitor {
            name: "kim".to_owned(),
            role: Role::Operator,
            csrf: Some("c5".to_owned()),
        };
        let router =
            pages::router(sample.clone()).layer(middleware::from_fn(move |mut request: Request, next: Next| {
                request.extensions_mut().insert(operator.clone());
                next.run(request)
            }));
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("loopback stays up");
        });
        Ok(Some(Self {
            sample,
            place,
            browser: Browser::start().await?,
            server,
        }))
    }

    async fn open(&mut self, page: &str) -> Result<()> {
        let address = format!("http://{}{page}", self.place);
        self.browser.open(&address).await.with_context(|| address)
    }

    async fn text(&mut self) -> Result<String> {
        let text = self.browser.evaluate("document.body.innerText").await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    async fn end(self) -> Result<()> {
        self.browser.end().await?;
        self.server.abort();
        Ok(())
    }
}

/// A segment of an address, escaped.
fn segment(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || byte == b'-' {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// Every page, by what it is called.
fn every_page(sample: &Sample) -> Vec<(&'static str, String)> {
    let names: Vec<String> = sample.clusters().iter().map(|name| segment(name)).collect();
    let group = format!("/groups/{GROUP}");
    let mut pages = vec![
        ("fleet", "/".to_owned()),
        ("group", group.clone()),
        ("matrix", format!("{group}?rows=all")),
        ("cluster", format!("{group}/clusters/{}", names[1])),
        ("pair", format!("{group}/pairs/{}/{}", names[0], names[1])),
        ("findings", format!("{group}/findings")),
        ("finding", format!("{group}/findings/{}", segment(&sample.failing()))),
        ("addresses", format!("{group}/addresses")),
        ("zoomed", format!("{group}/addresses?in=10.0.0.0%2F12")),
        ("paths", format!("{group}/paths?from={}&to={}", names[0], names[1])),
        ("drift", format!("{group}/drift")),
        ("audits", format!("{group}/audits")),
        ("audit", format!("/audits/{AUDIT}")),
        ("running", format!("/audits/{RUNNING}")),
        ("missing", "/groups/none".to_owned()),
    ];
    pages.push(("all-audits", "/audits".to_owned()));
    pages
}

/// Where pictures are kept, if they are.
fn pictures() -> Option<PathBuf> {
    std::env::var_os("PREJOIN_PICTURES").map(PathBuf::from)
}

/// Looks at every page in every way: it is whole, fits, complains of nothing, and the scan finds nothing.
async fn look_at_everything(name: &str, sample: Arc<Sample>) -> Result<()> {
    let Some(mut watch) = Watch::start(sample).await? else {
        return Ok(());
    };
    let mut wrong = Vec::new();
    for (page, address) in every_page(&watch.sample) {
        for (size, width, height) in SIZES {
            watch.browser.look(width, height, false).await?;
            watch.open(&address).await?;
            for dark in [false, true] {
                watch.browser.look(width, height, dark).await?;
                let place = format!("{name} {page} {size} {}", if dark { "dark" } else { "light" });
                let found = look(&mut watch, page).await?;
                wrong.extend(found.into_iter().map(|what| format!("{place}: {what}")));
                let documented = DOCUMENTED.contains(&(name, page, size, dark));
                if documented && std::env::var_os("PREJOIN_UPDATE_DOCS").is_some() {
                    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/pictures"));
                    let picture = watch.browser.small_picture().await?;
                    std::fs::write(folder.join(format!("page-{page}-{size}.webp")), picture)?;
                }
                if let Some(folder) = pictures() {
                    std::fs::create_dir_all(&folder)?;
                    let picture = watch.browser.picture(size == "desktop").await?;
                    std::fs::write(folder.join(place.replace(' ', "-") + ".png"), picture)?;
                }
            }
        }
    }
    watch.end().await?;
    assert!(
        wrong.is_empty(),
        "{} things are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    Ok(())
}

/// What is wrong with the open page.
async fn look(watch: &mut Watch, page: &str) -> Result<Vec<String>> {
    let mut wrong: Vec<String> = watch
        .browser
        .complaints()
        .into_iter()
        // A page that says that there is none is an error to the browser.
        .filter(|complaint| !(page == "missing" && complaint.contains("404")))
        .collect();
    let widths = watch
        .browser
        .evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        .await?;
    if widths[0].as_u64() > widths[1].as_u64() {
        wrong.push(format!("it is wider than the window: {widths}"));
    }
    let elsewhere = watch
        .browser
        .evaluate("performance.getEntriesByType('resource').map((entry) => entry.name).filter((name) => !name.startsWith(location.origin))")
        .await?;
    if elsewhere != json!([]) {
        wrong.push(format!("it loads from elsewhere: {elsewhere}"));
    }
    if page != "missing" {
        let dated = watch
            .browser
            .evaluate("document.querySelector('footer time') !== null")
            .await?;
        if dated != json!(true) {
            wrong.push("it does not say of when it is".to_owned());
        }
    }
    if let Some(script) = axe::script() {
        wrong.extend(axe::scan(&mut watch.browser, script).await?);
    }
    Ok(wrong)
}

#[tokio::test]
async fn every_page_of_two_clusters_is_sound() -> Result<()> {
    look_at_everything("two", sample::two()).await
}

#[tokio::test]
async fn every_page_of_a_hundred_clusters_is_sound() -> Result<()> {
    look_at_everything("hundred", sample::hundred()).await
}

#[tokio::test]
async fn hostile_names_are_text() -> Result<()> {
    let sample = sample::hostile();
    let Some(mut watch) = Watch::start(sample).await? else {
        return Ok(());
    };
    for (page, address) in every_page(&watch.sample) {
        watch.open(&address).await?;
        let title = watch.browser.evaluate("document.title").await?;
        assert!(
            title.as_str().is_some_and(|title| title.ends_with("prejoin")),
            "{page}: {title}"
        );
        let made = watch
            .browser
            .evaluate("document.querySelectorAll('main script, main img').length")
            .await?;
        assert_eq!(made, json!(0), "{page}");
        let text = watch.text().await?;
        assert!(
            !text.contains('\u{202e}'),
            "{page}: what turns text around is not shown as it is"
        );
        assert_eq!(
            watch
                .browser
                .complaints()
                .iter()
                .filter(|what| !what.contains("404"))
                .count(),
            0,
            "{page}"
        );
    }
    watch.open("/").await?;
    let text = watch.text().await?;
    assert!(
        text.contains("<script>document.title='owned'</script>") && text.contains("\\u{202e}"),
        "{text}"
    );
    watch.end().await
}

#[tokio::test]
async fn from_the_fleet_to_the_evidence_by_keyboard_alone() -> Result<()> {
    let Some(mut watch) = Watch::start(sample::two()).await? else {
        return Ok(());
    };
    watch.browser.look(1280, 900, false).await?;
    watch.open("/").await?;
    // The first stop leads past the navigation.
    watch.browser.press("Tab").await?;
    assert_eq!(
        watch.browser.evaluate("document.activeElement.textContent").await?,
        json!("Skip to content")
    );
    watch.browser.press("Enter").await?;
    assert_eq!(watch.browser.evaluate("location.hash").await?, json!("#content"));
    // Whatever has the focus shows that it has.
    let focus = "(() => { const e = document.activeElement, s = getComputedStyle(e); return [e.getAttribute('href') ?? e.tagName, s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2] })()";
    for step in 0..60 {
        watch.browser.press("Tab").await?;
        let focused = watch.browser.evaluate(focus).await?;
        assert_eq!(focused[1], json!(true), "step {step}: {focused} shows no focus");
        if focused[0].as_str().is_some_and(|href| href.contains("/findings/")) {
            watch.browser.press("Enter").await?;
            watch.browser.event("Page.loadEventFired").await?;
            watch.browser.event("Page.loadEventFired").await.ok();
            break;
        }
    }
    let text = watch.text().await?;
    for part in [
        "Expected",
        "Found",
        "How do you know",
        "What to change",
        "Ask just this again",
        "prejoin audit",
    ] {
        assert!(text.contains(part), "{part} is not on the page of a finding:\n{text}");
    }
    watch.end().await
}

#[tokio::test]
async fn without_script_every_page_is_complete() -> Result<()> {
    let Some(mut watch) = Watch::start(sample::two()).await? else {
        return Ok(());
    };
    let mut with = Vec::new();
    for (_, address) in every_page(&watch.sample) {
        watch.open(&address).await?;
        with.push(
            watch
                .browser
                .evaluate("document.querySelector('main').innerText")
                .await?,
        );
    }
    watch.browser.scripts(false).await?;
    for ((page, address), with) in every_page(&watch.sample).into_iter().zip(with) {
        watch.open(&address).await?;
        let without = watch
            .browser
            .evaluate("document.querySelector('main').innerText")
            .await?;
        assert_eq!(without, with, "{page}");
    }
    watch.end().await
}

#[tokio::test]
async fn an_open_page_is_read_again_when_something_changes() -> Result<()> {
    let Some(mut watch) = Watch::start(sample::two()).await? else {
        return Ok(());
    };
    watch.open(&format!("/audits/{RUNNING}")).await?;
    let live = "new Promise((done) => { const look = () => document.getElementById('live-state').textContent === 'live' ? done(true) : setTimeout(look, 20); look(); })";
    assert_eq!(watch.browser.evaluate(live).await?, json!(true));
    assert!(watch.sample.is_heard());
    watch
        .browser
        .evaluate("document.getElementById('audit').dataset.seen = 'before'")
        .await?;
    watch.sample.tell(Some(RUNNING));
    let replaced = "new Promise((done) => { const look = () => document.getElementById('audit').dataset.seen ? setTimeout(look, 20) : done(true); look(); })";
    assert_eq!(watch.browser.evaluate(replaced).await?, json!(true));
    // What the page showed is no longer known to be so once nobody tells it.
    watch.server.abort();
    let server = &mut watch.server;
    let _ = server.await;
    watch.end().await
}

#[tokio::test]
async fn an_old_result_is_called_old() -> Result<()> {
    let Some(mut watch) = Watch::start(sample::two().later(SignedDuration::from_hours(5))).await? else {
        return Ok(());
    };
    for (page, address) in every_page(&watch.sample) {
        if ["audits", "all-audits", "audit", "running", "missing"].contains(&page) {
            continue;
        }
        watch.open(&address).await?;
        let text = watch.text().await?;
        assert!(
            text.contains("OLD") && text.contains("5 h ago"),
            "{page} shows an old result as if it were current:\n{text}"
        );
    }
    watch.end().await
}

#[tokio::test]
async fn nothing_is_shown_to_whom_nobody_knows() -> Result<()> {
    let sample = sample::two();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let place = listener.local_addr()?;
    let router = pages::router(sample.clone());
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    for (page, address) in every_page(&sample) {
        let mut stream = TcpStream::connect(place).await?;
        let request = format!("GET {address} HTTP/1.1\r\nhost: {place}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        assert!(
            answer.starts_with("HTTP/1.1 303") && answer.contains("location: /login"),
            "{page}: {answer}"
        );
        assert!(
            !answer.contains("Tunnel protocols") && !answer.contains("10.10.0.0"),
            "{page}: {answer}"
        );
        assert!(
            answer.contains("content-security-policy: default-src 'none'"),
            "{page}: {answer}"
        );
    }
    server.abort();
    Ok(())
}
