//! The demo ceremony: what three admins, a security officer and an importer would do by hand, with random secrets.
//!
//! Speaks to the supervisor over the control socket with the same proofs as people. What it made is written to
//! `DIR/demo.json` (mode 0600), which tests, SDK examples and the second start read.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use jingui_ipc::Channel;
use jingui_ipc::control::{NewAccount, NewUser, Private, Proof, Reply, Request, Role, SOCKET_NAME, SetUp};
use jingui_ipc::status::Status;
use jingui_trust::random;
use jingui_trust::totp::{STEPS_OFF_MAX, TotpSecret, step_at};
use serde::{Deserialize, Serialize};

/// Longest wait for one answer of the supervisor. An import of a large package sends progress in between.
const REPLY_DEADLINE: Duration = Duration::from_secs(120);
/// Longest time from making a code to its being judged.
const CODE_ARRIVES_WITHIN_SECONDS: u64 = 5;
const FIRST_KEY_LABEL: &str = "demo";

/// Contents of `demo.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Demo {
    /// Where the box serves, without a path.
    pub(crate) base_url: String,
    /// File with the device CA in PEM.
    pub(crate) ca_cert: PathBuf,
    /// A key for the inference API.
    pub(crate) api_key: String,
    /// The three admins and one ordinary user.
    pub(crate) accounts: Vec<Account>,
    /// Verifier key of the audit log, signed-note form.
    pub(crate) audit_vkey: String,
    /// File with the public key of the vendor that signed the model.
    pub(crate) vendor_key: PathBuf,
    /// Name of the serving model.
    pub(crate) model: String,
    /// Process ids at the time of writing.
    pub(crate) pids: Pids,
}

/// One person of the demo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    /// `system`, `security`, `audit` or `user`.
    pub(crate) role: Role,
    /// Name to sign in with.
    pub(crate) username: String,
    /// Password.
    pub(crate) password: String,
    /// Base32 secret of the one-time codes.
    pub(crate) totp_secret: String,
}

/// Process ids of the box.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pids {
    /// The supervisor.
    pub(crate) supervisor: u32,
    /// The gateway; 0 while it is down.
    pub(crate) gateway: u32,
    /// The engines that run.
    pub(crate) engines: Vec<u32>,
}

impl Pids {
    /// The processes that `status` lists.
    pub(crate) fn of(status: &Status) -> Self {
        let of_role = |role: &str| -> Vec<u32> {
            status
                .processes
                .iter()
                .filter(|it| it.role == role)
                .filter_map(|it| it.pid)
                .collect()
        };
        Self {
            supervisor: status.supervisor_pid,
            gateway: of_role("gateway").first().copied().unwrap_or_default(),
            engines: of_role("engine"),
        }
    }
}

impl Account {
    fn random(role: Role, username: &str) -> anyhow::Result<Self> {
        let secret = TotpSecret::generate()?;
        Ok(Self {
            role,
            username: username.to_owned(),
            password: random_password()?,
            totp_secret: secret.to_base32().expose().clone(),
        })
    }

    fn code_at(&self, step: u64) -> anyhow::Result<Private> {
        Ok(Private(TotpSecret::from_base32(&self.totp_secret)?.code_at(step)))
    }

    fn proof_at(&self, step: u64) -> anyhow::Result<Proof> {
        Ok(Proof {
            username: self.username.clone(),
            password: Private(self.password.clone()),
            code: self.code_at(step)?,
        })
    }
}

/// 20 characters of four classes; 116 bits.
fn random_password() -> anyhow::Result<String> {
    const CHARACTERS: &[u8; 64] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789-+_=%@#";
    let bytes = random::bytes::<20>()?;
    let body: String = bytes
        .iter()
        .filter_map(|it| CHARACTERS.get(usize::from(it & 63)))
        .map(|it| char::from(*it))
        .collect();
    // One of each class in front, so that the rules for passwords hold for every draw.
    Ok(format!("Jg7-{body}"))
}

/// Writes a file that only its owner may read, whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let _ = std::fs::remove_file(&unfinished);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path).with_context(|| format!("{} cannot be written", path.display()))
}

/// A conversation with the supervisor.
pub(crate) struct Control {
    channel: Channel,
}

impl Control {
    /// Connects to the supervisor of that state folder.
    pub(crate) fn connect(state: &Path) -> anyhow::Result<Self> {
        let socket = UnixStream::connect(state.join(SOCKET_NAME))?;
        socket.set_read_timeout(Some(REPLY_DEADLINE))?;
        Ok(Self {
            channel: Channel::new(socket),
        })
    }

    /// The box's status.
    pub(crate) fn status(&mut self) -> anyhow::Result<Status> {
        self.channel.send(&Request::Status)?;
        match self.reply()? {
            Reply::Status(status) => Ok(*status),
            other => bail!("the supervisor answered a status request with {other:?}"),
        }
    }

    /// Three admins, an ordinary user and a first key. Gives the accounts and the key.
    pub(crate) fn hold_ceremony(&mut self, setup_code: &str) -> anyhow::Result<(Vec<Account>, String)> {
        let accounts = vec![
            Account::random(Role::System, "system")?,
            Account::random(Role::Security, "security")?,
            Account::random(Role::Audit, "auditor")?,
        ];
        let user = Account::random(Role::User, "user")?;
        let step = step_at(unix_seconds()?);
        let new_accounts = accounts
            .iter()
            .map(|it| {
                Ok(NewAccount {
                    role: it.role,
                    username: it.username.clone(),
                    password: Private(it.password.clone()),
                    totp_secret: Private(it.totp_secret.clone()),
                    totp_code: it.code_at(step)?,
                })
            })
            .collect::<anyhow::Result<_>>()?;
        self.channel.send(&Request::SetUp(SetUp {
            setup_code: Private(setup_code.trim().to_owned()),
            accounts: new_accounts,
            first_user: Some(NewUser {
                username: user.username.clone(),
                password: Private(user.password.clone()),
                totp_secret: Private(user.totp_secret.clone()),
            }),
            first_key_label: Some(FIRST_KEY_LABEL.to_owned()),
        }))?;
        let Reply::SetUpDone(done) = self.reply()? else {
            bail!("the supervisor did not finish the ceremony")
        };
        let key = done.first_key.context("the ceremony made no key")?;
        Ok((accounts.into_iter().chain([user]).collect(), key.0.clone()))
    }

    /// Whether the box serves that model, or will once it is loaded.
    pub(crate) fn is_installed(&mut self, name: &str) -> anyhow::Result<bool> {
        self.channel.send(&Request::Models)?;
        match self.reply()? {
            Reply::Models(models) => Ok(models.iter().any(|it| it.name == name && it.state != "stored")),
            other => bail!("the supervisor answered a question for its models with {other:?}"),
        }
    }

    /// Imports the package in `folder` and serves it, approved by the demo's system and security admins.
    pub(crate) fn import(&mut self, folder: &Path, accounts: &[Account]) -> anyhow::Result<()> {
        // The earliest code that the box accepts leaves the later ones to the person who signs in next. Within the
        // last seconds of a step it would come too late.
        let now = unix_seconds()?;
        let first = step_at(now + CODE_ARRIVES_WITHIN_SECONDS).saturating_sub(STEPS_OFF_MAX);
        for step in first..=step_at(now) + STEPS_OFF_MAX {
            match self.import_at(step, folder, accounts)? {
                Reply::Imported { .. } => return Ok(()),
                Reply::Refused(fault) if fault.code == "auth.code.replayed" => {}
                Reply::Refused(fault) => bail!(
                    "{} was refused: {} {:?}",
                    folder.display(),
                    fault.code,
                    fault.facts
                ),
                other => bail!("the supervisor answered an import with {other:?}"),
            }
        }
        bail!("all one-time codes of this moment were used already; try again in half a minute")
    }

    fn import_at(&mut self, step: u64, folder: &Path, accounts: &[Account]) -> anyhow::Result<Reply> {
        let proofs = accounts
            .iter()
            .filter(|it| matches!(it.role, Role::System | Role::Security))
            .map(|it| it.proof_at(step))
            .collect::<anyhow::Result<Vec<_>>>()?;
        ensure!(proofs.len() == 2, "the demo has no system and security admin");
        let handle = File::open(folder).with_context(|| format!("{} cannot be opened", folder.display()))?;
        let request = Request::Import {
            folder_name: folder.display().to_string(),
            proofs,
            activate: true,
        };
        self.channel.send_with(&request, &[handle.as_fd()])?;
        loop {
            match self.reply()? {
                Reply::Progress { .. } => {}
                last => return Ok(last),
            }
        }
    }

    fn reply(&mut self) -> anyhow::Result<Reply> {
        match self.channel.receive().context("the supervisor gave no answer")? {
            Reply::Refused(fault)
                if !fault.code.starts_with("auth.code.") && !fault.code.starts_with("model.") =>
            {
                bail!("the supervisor refused: {} {:?}", fault.code, fault.facts)
            }
            reply => Ok(reply),
        }
    }
}

fn unix_seconds() -> anyhow::Result<u64> {
    Ok(SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("this machine's clock stands before 1970")?
        .as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demo_passwords_keep_the_rules() {
        for _ in 0..50 {
            jingui_trust::password::is_strong_enough(&random_password().unwrap()).unwrap();
        }
    }

    #[test]
    fn a_private_file_is_replaced_whole_and_stays_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.json");
        write_private(&path, "one").unwrap();
        write_private(&path, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
