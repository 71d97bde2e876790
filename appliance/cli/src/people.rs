//! `jingui setup`, `jingui key create`, `jingui user create`.

use std::path::Path;

use jingui_ipc::control::{NewAccount, NewUser, Private, Reply, Request, Role, SetUp};
use jingui_trust::totp::TotpSecret;
use serde_json::json;

use crate::control::{Control, unexpected};
use crate::failure::{Exit, Failure};
use crate::files;
use crate::login::{self, Account, ask, ask_secret, now_step, role_name};
use crate::screen::{NO_FACTS, Screen};

const CODE_BYTES_MAX: u64 = 256;
const FILE_BYTES_MAX: u64 = 64 * 1024;
const ADMINS: [Role; 3] = [Role::System, Role::Security, Role::Audit];

/// `setup`.
pub(crate) fn set_up(
    screen: &Screen,
    state: &Path,
    code: Option<&str>,
    accounts: Option<&Path>,
    first_key_label: Option<&str>,
) -> Result<Exit, Failure> {
    let mut control = Control::connect(state)?;
    let setup_code = setup_code(screen, state, code)?;
    let (accounts, first_user) = match accounts {
        Some(path) => people_of_file(path)?,
        None => (
            ADMINS
                .iter()
                .map(|role| ask_account(screen, *role))
                .collect::<Result<_, _>>()?,
            None,
        ),
    };
    let first_key_label = first_key_label.map(ToOwned::to_owned);
    let set_up = SetUp {
        setup_code,
        accounts,
        first_user,
        first_key_label,
    };
    let Reply::SetUpDone(done) = control.ask_simply(&Request::SetUp(set_up))? else {
        return Err(unexpected());
    };
    let index = done.leaf_index.to_string();
    let mut lines = vec![screen.words("cli.setup.done", &[("index", &index)])];
    if let Some(key) = &done.first_key {
        lines.push(screen.words("cli.key.created", &[("key", &key.0)]));
    }
    if let Some(key) = &done.recovery_key {
        lines.push(screen.words("cli.setup.recovery-key", &[("key", &key.0)]));
    }
    let recovery_key = done.recovery_key.as_ref().map(|key| key.0.clone());
    let key = done.first_key.as_ref().map(|key| key.0.clone());
    screen.answer(
        &json!({ "leaf_index": done.leaf_index, "first_key": key, "recovery_key": recovery_key }),
        &lines,
    );
    Ok(Exit::Done)
}

/// `key create`.
pub(crate) fn create_key(
    screen: &Screen,
    state: &Path,
    label: &str,
    login: Option<&Path>,
) -> Result<Exit, Failure> {
    let mut control = Control::connect(state)?;
    let reply = login::prove(screen, login, &[Role::Security], |proofs| {
        match proofs.into_iter().next() {
            Some(proof) => control.ask_simply(&Request::CreateKey {
                proof,
                label: label.to_owned(),
            }),
            None => Err(unexpected()),
        }
    })?;
    let Reply::Key { key, leaf_index } = reply else {
        return Err(unexpected());
    };
    let json = json!({ "key": key.0, "leaf_index": leaf_index });
    screen.answer(&json, &[screen.words("cli.key.created", &[("key", &key.0)])]);
    Ok(Exit::Done)
}

/// `user create`.
pub(crate) fn create_user(
    screen: &Screen,
    state: &Path,
    username: Option<&str>,
    from: Option<&Path>,
    login: Option<&Path>,
) -> Result<Exit, Failure> {
    let user = match (from, username) {
        (Some(path), _) => user_of_file(path)?,
        (None, Some(username)) => ask_user(screen, username)?,
        (None, None) => return Err(Failure::new(Exit::Usage, "system.login.no-terminal")),
    };
    let mut control = Control::connect(state)?;
    let reply = login::prove(screen, login, &[Role::Security], |proofs| {
        match proofs.into_iter().next() {
            Some(proof) => control.ask_simply(&Request::CreateUser {
                proof,
                user: user.clone(),
            }),
            None => Err(unexpected()),
        }
    })?;
    let Reply::Done { leaf_index } = reply else {
        return Err(unexpected());
    };
    let json = json!({ "username": user.username, "leaf_index": leaf_index });
    screen.answer(
        &json,
        &[screen.words("cli.user.created", &[("username", &user.username)])],
    );
    Ok(Exit::Done)
}

fn setup_code(screen: &Screen, state: &Path, given: Option<&str>) -> Result<Private, Failure> {
    if let Some(code) = given {
        return Ok(Private(code.to_owned()));
    }
    // Who may read the state folder is the person at the box.
    if let Ok(code) = files::read_text(&state.join("setup-code"), CODE_BYTES_MAX) {
        return Ok(Private(code.trim().to_owned()));
    }
    ask(&screen.words("cli.ask.setup-code", NO_FACTS)).map(Private)
}

fn people_of_file(path: &Path) -> Result<(Vec<NewAccount>, Option<NewUser>), Failure> {
    let login = login::read(path)?;
    let (users, admins): (Vec<Account>, Vec<Account>) = login
        .accounts
        .into_iter()
        .partition(|account| account.role == Role::User);
    let step = now_step();
    let admins = admins
        .into_iter()
        .map(|account| {
            Ok(NewAccount {
                totp_code: account.code(step)?,
                role: account.role,
                username: account.username,
                password: account.password,
                totp_secret: account.totp_secret,
            })
        })
        .collect::<Result<_, Failure>>()?;
    Ok((admins, users.into_iter().next().map(new_user)))
}

fn user_of_file(path: &Path) -> Result<NewUser, Failure> {
    #[derive(serde::Deserialize)]
    struct User {
        username: String,
        password: Private,
        totp_secret: Private,
    }
    let bytes = files::read(path, FILE_BYTES_MAX)?;
    let malformed = |_| Failure::new(Exit::Refused, "system.login.malformed").with("file", path.display());
    let User {
        username,
        password,
        totp_secret,
    } = serde_json::from_slice(&bytes).map_err(malformed)?;
    Ok(NewUser {
        username,
        password,
        totp_secret,
    })
}

fn new_user(account: Account) -> NewUser {
    NewUser {
        username: account.username,
        password: account.password,
        totp_secret: account.totp_secret,
    }
}

fn ask_account(screen: &Screen, role: Role) -> Result<NewAccount, Failure> {
    eprintln!("\n{}", role_name(screen, role));
    let username = ask(&screen.words("cli.ask.username", NO_FACTS))?;
    let password = ask_new_password(screen)?;
    let totp_secret = show_new_secret(screen, &username)?;
    let totp_code = Private(ask(&screen.words("cli.ask.code", NO_FACTS))?);
    Ok(NewAccount {
        role,
        username,
        password,
        totp_secret,
        totp_code,
    })
}

fn ask_user(screen: &Screen, username: &str) -> Result<NewUser, Failure> {
    let password = ask_new_password(screen)?;
    let totp_secret = show_new_secret(screen, username)?;
    Ok(NewUser {
        username: username.to_owned(),
        password,
        totp_secret,
    })
}

/// Typed twice, so that a slip of the finger locks nobody out.
fn ask_new_password(screen: &Screen) -> Result<Private, Failure> {
    loop {
        let first = ask_secret(&screen.words("cli.ask.new-password", NO_FACTS))?;
        let second = ask_secret(&screen.words("cli.ask.password-again", NO_FACTS))?;
        if first == second {
            return Ok(first);
        }
        screen.remark("cli.ask.passwords-differ", NO_FACTS);
    }
}

fn show_new_secret(screen: &Screen, username: &str) -> Result<Private, Failure> {
    let secret =
        TotpSecret::generate().map_err(|_| Failure::new(Exit::Unavailable, "system.randomness.missing"))?;
    let text = secret.to_base32().expose().clone();
    screen.remark("cli.setup.secret", &[("username", username), ("secret", &text)]);
    Ok(Private(text))
}
