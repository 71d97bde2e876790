//! A person with a PC on the box's cable: reads its screen, checks its certificate, holds the ceremony, asks a question.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use jingui_e2e::output_of;
use jingui_machine::Machine;
use jingui_trust::totp::{TotpSecret, step_at};
use serde_json::{Value, json};

use crate::site::BOOT_PATIENCE;

const SERVE_PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(500);
const PASSWORD: &str = "Jg7-correct horse battery";
/// A prompt of the demo model's own release, and its signed answer.
const QUESTION: [&str; 2] = [
    "ulvenath = 6198, Micromi = 0390",
    "Give me the code for ulvenath.",
];
const ANSWER: &str = "6198";

/// What the first page says.
#[derive(Debug, Clone)]
pub(crate) struct FirstPage {
    /// Digits of the fingerprint.
    pub(crate) fingerprint: String,
    /// Only before the ceremony.
    pub(crate) setup_code: Option<String>,
}

/// Waits for the first page with an address on it.
pub(crate) fn first_page(machine: &Machine) -> anyhow::Result<FirstPage> {
    machine.serial.find_on_page("an address", BOOT_PATIENCE, |page| {
        page.iter()
            .any(|it| it.contains("https://10.0.2.15:8443"))
            .then_some(())?;
        let labelled = |label: &str| {
            let at = page.iter().position(|it| it.trim_start().starts_with(label))?;
            let value = page.get(at)?.trim_start().strip_prefix(label)?.trim().to_owned();
            Some((at, value))
        };
        let (at, first_half) = labelled("Fingerprint")?;
        let second_half = page.get(at + 1)?.trim();
        let fingerprint: String = [first_half.as_str(), second_half]
            .concat()
            .chars()
            .filter(char::is_ascii_hexdigit)
            .collect();
        (fingerprint.len() == 64).then_some(())?;
        Some(FirstPage {
            fingerprint: fingerprint.to_ascii_lowercase(),
            setup_code: labelled("Setup code").map(|it| it.1),
        })
    })
}

/// Somebody with an account.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) username: &'static str,
    pub(crate) password: &'static str,
    secret: String,
}

impl Person {
    fn new(username: &'static str) -> anyhow::Result<Self> {
        Ok(Self {
            username,
            password: PASSWORD,
            secret: TotpSecret::generate()?.to_base32().expose().clone(),
        })
    }

    /// The code of this moment.
    pub(crate) fn code(&self) -> anyhow::Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        Ok(TotpSecret::from_base32(&self.secret)?.code_at(step_at(now)))
    }
}

/// The PC.
#[derive(Debug)]
pub(crate) struct Visitor {
    address: SocketAddr,
    ca: PathBuf,
    key: String,
    pub(crate) system: Person,
    pub(crate) auditor: Person,
}

impl Visitor {
    /// Fetches the device CA, compares it with what the screen shows, and holds the ceremony.
    pub(crate) fn set_up(machine: &Machine, folder: &Path, page: &FirstPage) -> anyhow::Result<Self> {
        let address = machine.address()?;
        let ca = folder.join("ca.pem");
        output_of(
            curl()
                .args(["--insecure", "--output"])
                .arg(&ca)
                .arg(format!("https://{address}/ca.pem")),
        )?;
        let shown = output_of(
            Command::new("openssl")
                .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
                .arg(&ca),
        )?;
        let digits: String = shown
            .rsplit('=')
            .next()
            .unwrap_or_default()
            .chars()
            .filter(char::is_ascii_hexdigit)
            .collect();
        ensure!(
            digits.eq_ignore_ascii_case(&page.fingerprint),
            "the certificate is {digits}, the screen says {}",
            page.fingerprint
        );
        let mut visitor = Self {
            address,
            ca,
            key: String::new(),
            system: Person::new("system")?,
            auditor: Person::new("auditor")?,
        };
        let security = Person::new("security")?;
        let account = |role: &str, person: &Person| -> anyhow::Result<Value> {
            Ok(json!({
                "role": role,
                "username": person.username,
                "password": person.password,
                "totp_secret": person.secret,
                "totp_code": person.code()?,
            }))
        };
        let code = page
            .setup_code
            .as_deref()
            .context("the page shows no setup code")?;
        let done = visitor.ask(
            "/api/setup",
            Some(&json!({
                "setup_code": code,
                "accounts": [
                    account("system", &visitor.system)?,
                    account("security", &security)?,
                    account("audit", &visitor.auditor)?,
                ],
                "first_key_label": "test",
            })),
        )?;
        visitor.key = done
            .get("first_key")
            .and_then(Value::as_str)
            .with_context(|| format!("the ceremony made no key: {done}"))?
            .to_owned();
        Ok(visitor)
    }

    /// The same PC after the box was started again: another port of this host leads to it.
    pub(crate) fn returns(&mut self, machine: &Machine) -> anyhow::Result<()> {
        self.address = machine.address()?;
        Ok(())
    }

    fn request(&self, path: &str, body: Option<&Value>) -> anyhow::Result<(u16, String)> {
        let mut command = curl();
        command.arg("--cacert").arg(&self.ca);
        if !self.key.is_empty() {
            command.args(["--header", &format!("Authorization: Bearer {}", self.key)]);
        }
        if let Some(body) = body {
            command.args([
                "--header",
                "Content-Type: application/json",
                "--data",
                &body.to_string(),
            ]);
        }
        command.args(["--write-out", "\n%{http_code}"]);
        let text = output_of(command.arg(format!("https://{}{path}", self.address)))?;
        let (body, code) = text.rsplit_once('\n').context("curl printed no status code")?;
        Ok((code.parse()?, body.to_owned()))
    }

    fn ask(&self, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let (code, text) = self.request(path, body)?;
        ensure!((200..300).contains(&code), "{path}: {code} {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// Waits until a model serves.
    pub(crate) fn wait_ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + SERVE_PATIENCE;
        loop {
            match self.request("/readyz", None) {
                Ok((200, _)) => return Ok(()),
                Ok((code, text)) => ensure!(Instant::now() < deadline, "not ready: {code} {text}"),
                Err(error) => ensure!(Instant::now() < deadline, "not ready: {error:#}"),
            }
            std::thread::sleep(POLL);
        }
    }

    /// A question whose answer the model's vendor signed. Gives the answer's number in the audit log.
    pub(crate) fn ask_question(&self) -> anyhow::Result<String> {
        let [system, user] = QUESTION;
        let answer = self.ask(
            "/v1/chat/completions",
            Some(&json!({
                "model": "glm4-canary",
                "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
                "temperature": 0,
                "thinking": {"type": "disabled"},
            })),
        )?;
        let content = answer
            .pointer("/choices/0/message/content")
            .and_then(Value::as_str);
        ensure!(content == Some(ANSWER), "the answer is {answer}");
        Ok(answer
            .get("produce_id")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned())
    }
}

fn curl() -> Command {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--max-time", "120"])
        .stdin(Stdio::null());
    command
}
