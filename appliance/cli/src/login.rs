//! Who acts: proofs from a login file (a `demo.json` is one), or typed by the person without echo.
//!
//! A code opens once. From a file the code of the previous step is tried first, then the present and the next one,
//! so that three acts fit into one step; after that the next step is waited for.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use jingui_ipc::control::{Private, Proof, Reply, Role};
use jingui_trust::totp::{STEP_SECONDS, STEPS_OFF_MAX, TotpSecret, step_at};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use serde::Deserialize;

use crate::failure::{Exit, Failure};
use crate::files;
use crate::screen::{NO_FACTS, Screen};

/// Longest login file.
const LOGIN_BYTES_MAX: u64 = 1024 * 1024;
/// How often all codes of a moment may turn out used before we give up.
const WAITS_MAX: u32 = 2;
/// Seconds before the end of a step in which the code of the step before is not tried.
const MARGIN_SECONDS: u64 = 5;
const REPLAYED: &str = "auth.code.replayed";

/// A file with accounts.
#[derive(Debug, Deserialize)]
pub(crate) struct Login {
    /// The accounts; other members of the file are not looked at.
    pub(crate) accounts: Vec<Account>,
}

/// One account of a login file.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Account {
    /// Its role.
    pub(crate) role: Role,
    /// Its name.
    pub(crate) username: String,
    /// Its password.
    pub(crate) password: Private,
    /// Base32 secret of its codes.
    pub(crate) totp_secret: Private,
}

/// Does an act that needs one person of each of these roles.
pub(crate) fn prove(
    screen: &Screen,
    login: Option<&Path>,
    roles: &[Role],
    mut act: impl FnMut(Vec<Proof>) -> Result<Reply, Failure>,
) -> Result<Reply, Failure> {
    let Some(path) = login else {
        return act(roles
            .iter()
            .map(|role| ask_proof(screen, *role))
            .collect::<Result<_, _>>()?);
    };
    let accounts = accounts_of(&read(path)?, roles)?;
    let mut wait_count = 0;
    let mut step = first_step(unix_seconds());
    loop {
        match act(accounts
            .iter()
            .map(|account| account.proof(step))
            .collect::<Result<_, _>>()?)
        {
            Err(failure) if failure.code == REPLAYED && wait_count < WAITS_MAX => {}
            other => return other,
        }
        step += 1;
        if step > now_step() + STEPS_OFF_MAX {
            wait_count += 1;
            screen.remark("cli.login.waiting", NO_FACTS);
            wait_for_step(step.saturating_sub(STEPS_OFF_MAX));
        }
    }
}

/// Reads a login file.
pub(crate) fn read(path: &Path) -> Result<Login, Failure> {
    let bytes = files::read(path, LOGIN_BYTES_MAX)?;
    serde_json::from_slice(&bytes)
        .map_err(|_| Failure::new(Exit::Refused, "system.login.malformed").with("file", path.display()))
}

impl Account {
    /// The code of one step.
    pub(crate) fn code(&self, step: u64) -> Result<Private, Failure> {
        let secret = TotpSecret::from_base32(&self.totp_secret.0);
        let secret =
            secret.map_err(|bad| Failure::new(Exit::Refused, bad.code()).with("username", &self.username))?;
        Ok(Private(secret.code_at(step)))
    }

    fn proof(&self, step: u64) -> Result<Proof, Failure> {
        Ok(Proof {
            username: self.username.clone(),
            password: self.password.clone(),
            code: self.code(step)?,
        })
    }
}

/// The present step of one-time codes.
pub(crate) fn now_step() -> u64 {
    step_at(unix_seconds())
}

/// The oldest step whose code is still taken when it arrives. Near the end of a step, the code of the one before may
/// be too old by then, and a wrong try counts towards a lock.
const fn first_step(unix_seconds: u64) -> u64 {
    let is_near_end = unix_seconds % STEP_SECONDS + MARGIN_SECONDS >= STEP_SECONDS;
    let step = step_at(unix_seconds);
    if is_near_end {
        step
    } else {
        step.saturating_sub(STEPS_OFF_MAX)
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Asks a question and reads one line.
pub(crate) fn ask(question: &str) -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(Exit::Usage, "system.login.no-terminal"));
    }
    eprint!("{question} ");
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    match read {
        Ok(count) if count > 0 => Ok(line.trim_end_matches(['\r', '\n']).to_owned()),
        _ => Err(Failure::new(Exit::Usage, "system.login.no-terminal")),
    }
}

/// Asks for a secret: what is typed is not shown.
pub(crate) fn ask_secret(question: &str) -> Result<Private, Failure> {
    let stdin = std::io::stdin();
    let Ok(shown) = tcgetattr(&stdin) else {
        return Err(Failure::new(Exit::Usage, "system.login.no-terminal"));
    };
    let mut hidden = shown.clone();
    hidden.local_flags.remove(LocalFlags::ECHO);
    hidden.local_flags.insert(LocalFlags::ECHONL);
    if tcsetattr(&stdin, SetArg::TCSAFLUSH, &hidden).is_err() {
        return Err(Failure::new(Exit::Usage, "system.login.no-terminal"));
    }
    let answer = ask(question);
    let _ = tcsetattr(&stdin, SetArg::TCSAFLUSH, &shown);
    answer.map(Private)
}

/// Name of a role in the caller's language.
pub(crate) fn role_name(screen: &Screen, role: Role) -> String {
    screen.words(&format!("cli.role.{}", role_word(role)), NO_FACTS)
}

/// Name of a role in files and facts.
pub(crate) const fn role_word(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::Security => "security",
        Role::Audit => "audit",
        Role::User => "user",
    }
}

fn accounts_of(login: &Login, roles: &[Role]) -> Result<Vec<Account>, Failure> {
    let find = |role: &Role| {
        login
            .accounts
            .iter()
            .find(|account| account.role == *role)
            .cloned()
    };
    roles
        .iter()
        .map(|role| {
            let missing =
                || Failure::new(Exit::NotAllowed, "system.login.role-missing").with("role", role_word(*role));
            find(role).ok_or_else(missing)
        })
        .collect()
}

fn ask_proof(screen: &Screen, role: Role) -> Result<Proof, Failure> {
    eprintln!("{}", role_name(screen, role));
    Ok(Proof {
        username: ask(&screen.words("cli.ask.username", NO_FACTS))?,
        password: ask_secret(&screen.words("cli.ask.password", NO_FACTS))?,
        code: Private(ask(&screen.words("cli.ask.code", NO_FACTS))?),
    })
}

fn wait_for_step(step: u64) {
    while now_step() < step {
        let left = STEP_SECONDS - unix_seconds() % STEP_SECONDS;
        thread::sleep(Duration::from_secs(left));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login_file() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.json");
        let accounts: Vec<_> = ["system", "security", "audit"]
            .map(|role| {
                serde_json::json!({
                    "role": role, "username": role, "password": "p", "totp_secret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
                })
            })
            .into();
        let text = serde_json::json!({ "base_url": "https://127.0.0.1:1", "accounts": accounts }).to_string();
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn screen() -> Screen {
        Screen::new(true, Some("en"))
    }

    #[test]
    fn the_accounts_with_the_needed_roles_are_picked() {
        let (_folder, path) = login_file();
        let roles = [Role::System, Role::Security];
        prove(&screen(), Some(&path), &roles, |proofs| {
            let names: Vec<&str> = proofs.iter().map(|proof| proof.username.as_str()).collect();
            assert_eq!(names, ["system", "security"]);
            Ok(Reply::Done { leaf_index: 1 })
        })
        .unwrap();
        let missing = prove(&screen(), Some(&path), &[Role::User], |_| {
            Ok(Reply::Done { leaf_index: 1 })
        });
        assert_eq!(missing.unwrap_err().code, "system.login.role-missing");
    }

    #[test]
    fn the_code_before_is_tried_only_while_it_cannot_be_late() {
        let step = 1_000;
        let start = step * STEP_SECONDS;
        assert_eq!(first_step(start), step - 1);
        assert_eq!(first_step(start + STEP_SECONDS - MARGIN_SECONDS - 1), step - 1);
        assert_eq!(first_step(start + STEP_SECONDS - MARGIN_SECONDS), step);
        assert_eq!(first_step(start + STEP_SECONDS - 1), step);
    }

    #[test]
    fn a_used_code_leads_to_the_next_one_and_other_refusals_to_the_end() {
        let (_folder, path) = login_file();
        let mut codes = Vec::new();
        prove(&screen(), Some(&path), &[Role::Audit], |proofs| {
            codes.push(proofs[0].code.0.clone());
            if codes.len() < 2 {
                Err(Failure::new(Exit::NotAllowed, REPLAYED))
            } else {
                Ok(Reply::Done { leaf_index: 1 })
            }
        })
        .unwrap();
        let distinct: std::collections::BTreeSet<_> = codes.iter().collect();
        assert_eq!(distinct.len(), 2);
        let mut count = 0;
        let wrong = prove(&screen(), Some(&path), &[Role::Audit], |_| {
            count += 1;
            Err(Failure::new(Exit::NotAllowed, "auth.proof.wrong"))
        });
        assert_eq!((wrong.unwrap_err().code.as_str(), count), ("auth.proof.wrong", 1));
    }
}
