//! New people: the rules that names, passwords and second factors keep, and accounts made of those who keep them.

use std::collections::BTreeSet;

use jingui_ipc::control::{NewAccount, NewUser, Private, Role};
use jingui_trust::password::{self, PasswordWeakness};
use jingui_trust::totp::{self, TotpSecret};

use super::{Account, Person};
use crate::clock::UnixSeconds;

/// Longest account name in bytes.
pub(crate) const USERNAME_BYTES_MAX: usize = 64;

/// The ceremony's people after every rule was checked; their passwords are not hashed yet.
#[derive(Debug)]
pub(crate) struct Enrolment {
    accounts: Vec<NewAccount>,
}

/// The ceremony's people with hashed passwords, ready to be written.
#[derive(Debug)]
pub(crate) struct Enrolled {
    pub(super) accounts: Vec<Account>,
    pub(super) next_number: u64,
}

/// Why the ceremony's people, or a new user, are not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccountRefusal {
    /// Not exactly one account of each of the three roles.
    #[error("exactly one account for each of system, security and audit is needed")]
    Roles,
    /// Two people have one name, or one secret.
    #[error("{username} stands for two people")]
    SamePerson {
        /// The name.
        username: String,
    },
    /// The name is empty, too long, or has other signs than letters, digits, `.`, `-` and `_`.
    #[error("the name {username:?} is not allowed")]
    Name {
        /// The name.
        username: String,
    },
    /// The password breaks a rule.
    #[error("the password of {username} is too weak")]
    WeakPassword {
        /// Whose password.
        username: String,
        /// The broken rule.
        #[source]
        weakness: PasswordWeakness,
    },
    /// The password contains the name.
    #[error("the password of {username} contains that name")]
    PasswordHoldsName {
        /// Whose password.
        username: String,
    },
    /// The box could not hash it: no memory or no randomness.
    #[error("the password of {username} could not be hashed")]
    NotHashed {
        /// Whose password.
        username: String,
    },
    /// The secret is no Base32 secret of at least 128 bits.
    #[error("the second-factor secret of {username} is malformed")]
    Secret {
        /// Whose secret.
        username: String,
    },
    /// The code does not belong to the secret.
    #[error("the code of {username} does not belong to the secret")]
    EnrolmentCode {
        /// Whose code.
        username: String,
    },
}

impl AccountRefusal {
    /// Stable code.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Roles => "auth.setup.roles",
            Self::SamePerson { .. } => "auth.setup.same-person",
            Self::Name { .. } => "auth.name.malformed",
            Self::WeakPassword { weakness, .. } => weakness.code(),
            Self::PasswordHoldsName { .. } => "auth.password.holds-name",
            Self::NotHashed { .. } => "system.randomness.missing",
            Self::Secret { .. } => "auth.totp.bad-secret",
            Self::EnrolmentCode { .. } => "auth.code.wrong",
        }
    }

    /// Facts for the words.
    pub(crate) fn facts(&self) -> Vec<(String, String)> {
        match self {
            Self::Roles => Vec::new(),
            Self::SamePerson { username }
            | Self::Name { username }
            | Self::WeakPassword { username, .. }
            | Self::PasswordHoldsName { username }
            | Self::NotHashed { username }
            | Self::Secret { username }
            | Self::EnrolmentCode { username } => vec![("username".to_owned(), username.clone())],
        }
    }
}

impl Enrolment {
    /// Checks every rule for the three people of the ceremony.
    pub(crate) fn check(accounts: Vec<NewAccount>, now: UnixSeconds) -> Result<Self, AccountRefusal> {
        let roles: Vec<Role> = accounts.iter().map(|account| account.role).collect();
        let is_complete = [Role::System, Role::Security, Role::Audit]
            .iter()
            .all(|role| roles.contains(role));
        if accounts.len() != 3 || !is_complete {
            return Err(AccountRefusal::Roles);
        }
        let (mut names, mut secrets) = (BTreeSet::new(), BTreeSet::new());
        for account in &accounts {
            let username = || account.username.clone();
            check_name_and_password(&account.username, &account.password)?;
            let secret = parse_secret(&account.username, &account.totp_secret)?;
            let is_new = names.insert(account.username.to_lowercase())
                & secrets.insert(secret.to_base32().expose().clone());
            if !is_new {
                return Err(AccountRefusal::SamePerson { username: username() });
            }
            totp::check(&secret, &account.totp_code.0, now.0, None)
                .map_err(|_| AccountRefusal::EnrolmentCode { username: username() })?;
        }
        Ok(Self { accounts })
    }
}

impl Enrolled {
    /// Turns checked people into accounts; hashes three passwords, so it runs on a work thread.
    pub(crate) fn hash(enrolment: Enrolment, now: UnixSeconds) -> Result<Self, AccountRefusal> {
        let mut accounts = Vec::new();
        let mut next_number = 1;
        for new in enrolment.accounts {
            let hash = password::hash(&new.password.0);
            let not_hashed = || AccountRefusal::NotHashed {
                username: new.username.clone(),
            };
            accounts.push(Account {
                id: format!("a-{next_number:04}"),
                role: new.role,
                username: new.username.clone(),
                password_hash: hash.map_err(|_| not_hashed())?,
                totp_secret: new.totp_secret.clone(),
                last_used_step: None,
                failure_count: 0,
                locked_until_unix_s: None,
                created_unix_s: now.0,
            });
            next_number += 1;
        }
        Ok(Self {
            accounts,
            next_number,
        })
    }

    /// The people to be, for their leaves.
    pub(crate) fn people(&self) -> Vec<Person> {
        self.accounts.iter().map(Account::person).collect()
    }
}

/// Checks an ordinary user's name, password and secret by the same rules as an admin's.
pub(crate) fn check_new_user(user: &NewUser) -> Result<(), AccountRefusal> {
    check_name_and_password(&user.username, &user.password)?;
    parse_secret(&user.username, &user.totp_secret).map(drop)
}

fn check_name_and_password(username: &str, password: &Private) -> Result<(), AccountRefusal> {
    let is_sign = |sign: char| sign.is_alphanumeric() || matches!(sign, '.' | '-' | '_');
    let is_name =
        !username.is_empty() && username.len() <= USERNAME_BYTES_MAX && username.chars().all(is_sign);
    if !is_name {
        return Err(AccountRefusal::Name {
            username: username.chars().take(USERNAME_BYTES_MAX).collect(),
        });
    }
    let username = || username.to_owned();
    password::is_strong_enough(&password.0).map_err(|weakness| AccountRefusal::WeakPassword {
        username: username(),
        weakness,
    })?;
    if password.0.to_lowercase().contains(&username().to_lowercase()) {
        return Err(AccountRefusal::PasswordHoldsName { username: username() });
    }
    Ok(())
}

fn parse_secret(username: &str, secret: &Private) -> Result<TotpSecret, AccountRefusal> {
    TotpSecret::from_base32(&secret.0).map_err(|_| AccountRefusal::Secret {
        username: username.to_owned(),
    })
}
