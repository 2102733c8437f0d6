//! A browser that a test leads: Chromium without a window, by the DevTools protocol over two pipes.
//!
//! The protocol has commands and events as JSON, each behind the other with a NUL between. The pipes are named ones that
//! a shell opens as the descriptors 3 and 4, where Chromium expects them.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::site::{DEADLINE, Daemon, Host};
use crate::support::Folder;

/// A browser with one page.
pub(super) struct Browser {
    process: Daemon,
    commands: File,
    answers: Receiver<Value>,
    last_id: u64,
    session: Option<String>,
    /// Events that no command waited for.
    events: Vec<Value>,
}

impl Browser {
    /// Starts one in `host`, with an empty page.
    #[track_caller]
    pub(super) fn start(host: &Host, folder: &Folder) -> Self {
        let home = format!("/run/{}", host.name);
        std::fs::create_dir(&home).expect("a folder of the sandbox");
        let (commands, answers) = (folder.fifo("commands"), folder.fifo("answers"));
        let open = |path: &str| {
            // For reading, too: to open it waits for nobody.
            let opened = File::options().read(true).write(true).open(path);
            opened.expect("the pipe was made")
        };
        let (to, from) = (open(&commands), open(&answers));
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" 3<>\"$COMMANDS\" 4<>\"$ANSWERS\"", "sh"]);
        command.args(["chromium", "--headless=new", "--no-sandbox"]);
        command.args(["--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"]);
        command.args([
            "--disable-background-networking",
            "--disable-component-update",
        ]);
        command.args(["--hide-scrollbars", "--remote-debugging-pipe"]);
        command.arg(format!("--user-data-dir={home}"));
        command.arg("about:blank");
        command.env("COMMANDS", &commands).env("ANSWERS", &answers);
        command.env("HOME", &home).env("TMPDIR", &home);
        let log = folder.path("chromium.log");
        let process = Daemon::start(host, "chromium", log, &mut command);
        let mut browser = Self {
            process,
            commands: to,
            answers: read(from),
            last_id: 0,
            session: None,
            events: Vec::new(),
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach);
        let session = attached["sessionId"].as_str().expect("a session");
        browser.session = Some(session.to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Gives a command, and returns its result.
    #[track_caller]
    pub(super) fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let mut command = json!({ "id": self.last_id, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        self.commands.write_all(&bytes).expect("a pipe");
        let start = Instant::now();
        loop {
            let left = (2 * DEADLINE).saturating_sub(start.elapsed());
            let answer = match self.answers.recv_timeout(left) {
                Ok(answer) => answer,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no answer to {method}: {}", self.process.log())
                }
            };
            if answer["id"] == self.last_id {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    /// Opens `url`, and waits until it is loaded.
    #[track_caller]
    pub(super) fn open(&mut self, url: &str) {
        self.events.clear();
        let opened = self.call("Page.navigate", json!({ "url": url }));
        assert!(opened["errorText"].is_null(), "{url}: {opened}");
        self.wait_for_event("Page.loadEventFired");
    }

    #[track_caller]
    fn wait_for_event(&mut self, method: &str) {
        let start = Instant::now();
        while !self.events.iter().any(|it| it["method"] == method) {
            let left = DEADLINE.saturating_sub(start.elapsed());
            match self.answers.recv_timeout(left) {
                Ok(event) => self.events.push(event),
                Err(_) => panic!("no {method}: {}", self.process.log()),
            }
        }
    }

    /// Returns the value of an expression, after the promise that it may be. The policy of the page does not apply to it.
    #[track_caller]
    pub(super) fn evaluate(&mut self, expression: &str) -> Value {
        let parameters =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let result = self.call("Runtime.evaluate", parameters);
        assert!(result["exceptionDetails"].is_null(), "{result:#}");
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub(super) fn wait_for(&mut self, expression: &str) {
        let start = Instant::now();
        while self.evaluate(expression) != true {
            if start.elapsed() > DEADLINE {
                let text = self.evaluate("document.body.innerText");
                panic!("never: {expression}\n{}", text.as_str().unwrap_or_default());
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Presses and releases a key.
    pub(super) fn press(&mut self, key: &str, code: u32) {
        for kind in ["keyDown", "keyUp"] {
            let event = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code,
            });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Sets the width of the window, and the colors that the reader prefers.
    pub(super) fn look(&mut self, width: u32, scheme: &str) {
        let metrics =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        let media = json!({ "media": "", "features": [feature] });
        self.call("Emulation.setEmulatedMedia", media);
    }

    /// Returns what the browser has complained about since the page was opened: errors of the script, violations of the page's
    /// policy, answers with errors.
    pub(super) fn complaints(&self) -> Vec<String> {
        let is_complaint = |event: &&Value| {
            let method = event["method"].as_str().unwrap_or_default();
            let level = &event["params"]["entry"]["level"];
            method == "Runtime.exceptionThrown"
                || (method == "Log.entryAdded" && (level == "error" || level == "warning"))
        };
        let complaints = self.events.iter().filter(is_complaint);
        complaints.map(ToString::to_string).collect()
    }

    /// Returns the addresses of what was requested since the page was opened.
    pub(super) fn requests(&self) -> Vec<String> {
        let requests = self
            .events
            .iter()
            .filter(|event| event["method"] == "Network.requestWillBeSent");
        let url = |event: &Value| {
            event["params"]["request"]["url"]
                .as_str()
                .map(str::to_owned)
        };
        requests.filter_map(url).collect()
    }

    /// Writes a picture of the whole page, and the page as it is printed, to the folder in `OFFRAMP_SCREENSHOTS`, if it is set.
    pub(super) fn picture(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("OFFRAMP_SCREENSHOTS") else {
            return;
        };
        let folder = folder.to_string_lossy().into_owned();
        let whole = json!({ "captureBeyondViewport": true });
        let picture = self.call("Page.captureScreenshot", whole);
        let printed = self.call("Page.printToPDF", json!({ "printBackground": false }));
        for (data, extension) in [(picture, "png"), (printed, "pdf")] {
            let encoded = data["data"].as_str().expect("base64");
            let path = format!("{folder}/{name}.{extension}");
            std::fs::write(format!("{path}.base64"), encoded).expect("a folder");
            let decode = format!("base64 -d '{path}.base64' > '{path}' && rm '{path}.base64'");
            crate::support::run(Command::new("sh").args(["-c", &decode])).success();
        }
    }
}

/// Reads answers and events on a thread of its own, which ends with the test.
fn read(from: File) -> Receiver<Value> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let messages = BufReader::new(from).split(0);
        for message in messages.map_while(Result::ok) {
            let Ok(message) = serde_json::from_slice(&message) else {
                return;
            };
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    receiver
}
