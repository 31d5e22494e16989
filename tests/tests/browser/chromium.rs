//! A real browser, driven over its DevTools protocol.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// Makes a missing browser, or a missing scan, a failure.
pub(crate) const REQUIRE: &str = "PREJOIN_REQUIRE_BROWSER";
/// A browser of one's own.
const BROWSER: &str = "PREJOIN_BROWSER";
/// How long one command may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The browser's program, if there is one.
pub(crate) fn program() -> Option<PathBuf> {
    if let Some(own) = std::env::var_os(BROWSER) {
        return Some(own.into());
    }
    let names = [
        "chromium",
        "chromium-browser",
        "google-chrome-stable",
        "google-chrome",
        "chrome",
    ];
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
    places.find(|place| place.is_file())
}

/// Whether what is missing must fail.
pub(crate) fn is_required() -> bool {
    std::env::var_os(REQUIRE).is_some_and(|value| value == "1")
}

/// A browser with one tab. Ends with this value.
pub(crate) struct Browser {
    process: Child,
    socket: WebSocketStream<TcpStream>,
    session: String,
    next: AtomicU64,
    /// Events that came while an answer was awaited.
    events: Vec<Value>,
    /// Its profile; gone with this value.
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one.
    pub(crate) async fn start() -> Result<Self> {
        let program = program().context("no browser")?;
        let profile = tempfile::tempdir()?;
        let mut process = Command::new(&program)
            .args([
                "--headless=new",
                "--remote-debugging-port=0",
                "--no-first-run",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--hide-scrollbars",
            ])
            // The pages are our own, and a test may run as root or where there are no user namespaces.
            .args([
                "--no-sandbox",
                "--font-render-hinting=none",
                "--force-color-profile=srgb",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let stderr = process.stderr.take().context("its standard error")?;
        let mut lines = BufReader::new(stderr).lines();
        let said = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(address) = line.strip_prefix("DevTools listening on ") {
                    return Ok(address.to_owned());
                }
            }
            bail!("the browser ended without a word about DevTools")
        };
        let address = tokio::time::timeout(PATIENCE, said)
            .await
            .context("the browser did not start")??;
        // Read on, or a full pipe would stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let place = address
            .strip_prefix("ws://")
            .and_then(|rest| rest.split('/').next())
            .context("its address")?;
        let stream = TcpStream::connect(place).await?;
        let config = tokio_tungstenite::tungstenite::protocol::WebSocketConfig::default()
            .max_message_size(Some(256 << 20))
            .max_frame_size(Some(256 << 20));
        let (socket, _) = tokio_tungstenite::client_async_with_config(&address, stream, Some(config)).await?;
        let mut browser = Self {
            process,
            socket,
            session: String::new(),
            next: AtomicU64::new(1),
            events: Vec::new(),
            _profile: profile,
        };
        let target = browser
            .call("Target.createTarget", json!({ "url": "about:blank" }))
            .await?;
        let attached = browser
            .call(
                "Target.attachToTarget",
                json!({ "targetId": target["targetId"], "flatten": true }),
            )
            .await?;
        browser.session = attached["sessionId"].as_str().context("a session")?.to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable", "Network.enable"] {
            browser.call(domain, json!({})).await?;
        }
        Ok(browser)
    }

    /// Ends it.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.process.kill().await?;
        Ok(())
    }

    /// Sends a command and gives its result.
    pub(crate) async fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut command = json!({ "id": id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        self.socket.send(Message::text(command.to_string())).await?;
        let answer = tokio::time::timeout(PATIENCE, self.answer(id))
            .await
            .with_context(|| format!("{method} took too long"))??;
        if let Some(error) = answer.get("error") {
            bail!("{method}: {error}");
        }
        Ok(answer["result"].clone())
    }

    async fn answer(&mut self, id: u64) -> Result<Value> {
        loop {
            let message = self.message().await?;
            if message["id"] == json!(id) {
                return Ok(message);
            }
            self.events.push(message);
        }
    }

    async fn message(&mut self) -> Result<Value> {
        loop {
            let message = self.socket.next().await.context("the browser hung up")??;
            if let Message::Text(text) = message {
                return Ok(serde_json::from_str(text.as_str())?);
            }
        }
    }

    /// Waits for an event and gives its parameters.
    pub(crate) async fn event(&mut self, name: &str) -> Result<Value> {
        let wait = async {
            loop {
                if let Some(place) = self.events.iter().position(|event| event["method"] == json!(name)) {
                    return Ok(self.events.remove(place)["params"].clone());
                }
                let message = self.message().await?;
                self.events.push(message);
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .with_context(|| format!("no {name}"))?
    }

    /// Takes what the pages complained of since last time: errors of scripts, what the policy refused, what did not load.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        let complaints = self.events.iter().filter_map(|event| {
            let parameters = &event["params"];
            match event["method"].as_str()? {
                "Runtime.exceptionThrown" => Some(parameters["exceptionDetails"].to_string()),
                "Log.entryAdded" if parameters["entry"]["level"] == "error" => Some(parameters["entry"].to_string()),
                "Network.loadingFailed" if parameters["canceled"] != json!(true) => Some(parameters.to_string()),
                _ => None,
            }
        });
        let complaints = complaints.collect();
        self.events.clear();
        complaints
    }

    /// Sets the size of the window in CSS pixels, and whether it prefers a dark page.
    pub(crate) async fn look(&mut self, width: u32, height: u32, dark: bool) -> Result<()> {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size).await?;
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", media).await?;
        Ok(())
    }

    /// Lets pages run scripts, or not.
    pub(crate) async fn scripts(&mut self, allowed: bool) -> Result<()> {
        self.call("Emulation.setScriptExecutionDisabled", json!({ "value": !allowed }))
            .await?;
        Ok(())
    }

    /// Opens a page and waits until it is loaded.
    pub(crate) async fn open(&mut self, address: &str) -> Result<()> {
        self.events.retain(|event| event["method"] != "Page.loadEventFired");
        let opened = self.call("Page.navigate", json!({ "url": address })).await?;
        ensure!(opened.get("errorText").is_none(), "{address}: {opened}");
        self.event("Page.loadEventFired").await?;
        Ok(())
    }

    /// Evaluates an expression in the page and gives its value.
    pub(crate) async fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let question = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", question).await?;
        if let Some(error) = answer.get("exceptionDetails") {
            bail!("{error}");
        }
        Ok(answer["result"]["value"].clone())
    }

    /// Presses a key.
    pub(crate) async fn press(&mut self, key: &str) -> Result<()> {
        let (code, number, text) = match key {
            "Tab" => ("Tab", 9, ""),
            "Enter" => ("Enter", 13, "\r"),
            " " => ("Space", 32, " "),
            other => bail!("key {other} is not known here"),
        };
        let mut down = json!({ "type": "keyDown", "key": key, "code": code, "windowsVirtualKeyCode": number });
        if !text.is_empty() {
            down["text"] = json!(text);
        }
        self.call("Input.dispatchKeyEvent", down).await?;
        let up = json!({ "type": "keyUp", "key": key, "code": code, "windowsVirtualKeyCode": number });
        self.call("Input.dispatchKeyEvent", up).await?;
        Ok(())
    }

    /// A picture of the window, or of the whole page, as PNG.
    pub(crate) async fn picture(&mut self, whole: bool) -> Result<Vec<u8>> {
        self.capture(json!({ "format": "png", "captureBeyondViewport": whole }))
            .await
    }

    /// A small picture of the window, as WebP.
    pub(crate) async fn small_picture(&mut self) -> Result<Vec<u8>> {
        self.capture(json!({ "format": "webp", "quality": 80 })).await
    }

    async fn capture(&mut self, how: Value) -> Result<Vec<u8>> {
        let picture = self.call("Page.captureScreenshot", how).await?;
        base64(picture["data"].as_str().context("a picture")?)
    }
}

/// RFC 4648, section 4.
fn base64(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut number) = (0_u32, 0_u32);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => bail!("no base64"),
        };
        number = number << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(number >> bits & 0xff)?);
        }
    }
    Ok(bytes)
}
