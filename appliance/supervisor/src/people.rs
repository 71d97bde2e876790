//! The three admins of the box: their accounts, their proofs, and what each role may do.
//!
//! A proof is a password and a code of the second factor. Checking the password takes a tenth of a second and
//! 64 MiB, so it is done on a work thread between [`People::begin`] and [`People::finish`]; everything that decides
//! is done here, on the loop's thread, in order. Every change is on disk before it is answered.
//!
//! Rules (GB/T 22239 8.1.4.1 and 8.1.4.2): ids are never used again, one person never holds two roles, five wrong
//! tries lock an account for fifteen minutes, a code once used is refused afterwards.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use jingui_ipc::control::{NewAccount, NewUser, Private, Proof, Role};
use jingui_trust::password::{self, PasswordWeakness};
use jingui_trust::totp::{self, TotpRefusal, TotpSecret};
use serde::{Deserialize, Serialize};

use crate::clock::UnixSeconds;
use crate::durable;

/// Wrong tries in a row that lock an account.
pub(crate) const FAILURES_MAX: u32 = 5;
/// How long a locked account stays locked, in seconds.
pub(crate) const LOCK_S: u64 = 15 * 60;
/// Longest account name in bytes.
pub(crate) const USERNAME_BYTES_MAX: usize = 64;

const FILE_NAME: &str = "accounts.json";
const FILE_BYTES_MAX: u64 = 1024 * 1024;
const FORMAT: u32 = 1;

/// The accounts, as they are on disk.
#[derive(Debug)]
pub(crate) struct People {
    file: PathBuf,
    book: Book,
}

/// A person whose proof was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    /// Account id, never used again.
    pub(crate) id: String,
    /// Name at that moment.
    pub(crate) username: String,
    /// Role at that moment.
    pub(crate) role: Role,
}

/// What a work thread has to compute before a proof can be judged.
#[derive(Debug)]
pub(crate) struct PasswordCheck {
    /// Name as typed; recorded when the proof is wrong.
    pub(crate) username: String,
    password: Private,
    code: Private,
    asked_at: UnixSeconds,
    hash: String,
}

/// A computed [`PasswordCheck`].
#[derive(Debug)]
pub(crate) struct CheckedPassword {
    username: String,
    code: Private,
    /// The code is judged as of then: computing a password must not make it late.
    asked_at: UnixSeconds,
    is_right: bool,
}

/// Why a proof is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProofRefusal {
    /// Name, password or code is wrong; which one is not told.
    #[error("name, password or code is wrong")]
    Wrong {
        /// Whether this try locked the account.
        locks: bool,
        /// Wrong tries in a row, this one included; `None` when there is no such account.
        failure_count: Option<u32>,
    },
    /// The code was used before.
    #[error("the code was used before")]
    Replayed,
    /// The account is locked after too many wrong tries.
    #[error("the account is locked for another {remaining_s} s")]
    Locked {
        /// Seconds until it opens.
        remaining_s: u64,
    },
    /// The accounts could not be written; the proof was not accepted.
    #[error("the accounts cannot be written")]
    Unwritable,
}

impl ProofRefusal {
    /// Stable code.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Wrong { .. } => "auth.proof.wrong",
            Self::Replayed => "auth.code.replayed",
            Self::Locked { .. } => "auth.account.locked",
            Self::Unwritable => "system.state.unwritable",
        }
    }

    /// Facts for the words.
    pub(crate) fn facts(&self) -> Vec<(String, String)> {
        match self {
            Self::Locked { remaining_s } => {
                vec![("minutes".to_owned(), remaining_s.div_ceil(60).to_string())]
            }
            Self::Wrong { .. } | Self::Replayed | Self::Unwritable => Vec::new(),
        }
    }
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

/// The ceremony's people after every rule was checked; their passwords are not hashed yet.
#[derive(Debug)]
pub(crate) struct Enrolment {
    accounts: Vec<NewAccount>,
}

/// The ceremony's people with hashed passwords, ready to be written.
#[derive(Debug)]
pub(crate) struct Enrolled {
    accounts: Vec<Account>,
    next_number: u64,
}

/// An act that needs people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Import a model: a system and a security admin, four eyes.
    ImportModel,
    /// Make an API key or an ordinary user: the security admin.
    ManageAccounts,
    /// Export the log: the auditor.
    ExportAudit,
}

/// Why people may not do an act together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ActRefusal {
    /// A role is missing among the people who proved themselves.
    #[error("{needed} must approve")]
    RoleMissing {
        /// The missing role.
        needed: &'static str,
    },
    /// More people proved themselves than the act needs, or one proved himself twice.
    #[error("one person stands for two")]
    SamePerson,
}

impl ActRefusal {
    /// Stable code.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::RoleMissing { .. } => "auth.role.missing",
            Self::SamePerson => "auth.act.same-person",
        }
    }

    /// Facts for the words.
    pub(crate) fn facts(&self) -> Vec<(String, String)> {
        match self {
            Self::RoleMissing { needed } => vec![("role".to_owned(), (*needed).to_owned())],
            Self::SamePerson => Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Book {
    format: u32,
    /// Number of the next account id; only ever grows.
    next_number: u64,
    accounts: Vec<Account>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    id: String,
    role: Role,
    username: String,
    password_hash: String,
    totp_secret: Private,
    last_used_step: Option<u64>,
    failure_count: u32,
    locked_until_unix_s: Option<u64>,
    created_unix_s: u64,
}

impl Account {
    fn person(&self) -> Person {
        Person {
            id: self.id.clone(),
            username: self.username.clone(),
            role: self.role,
        }
    }
}

impl People {
    /// Reads the accounts of a state folder's `people/`; none before the ceremony.
    ///
    /// # Errors
    /// When the file is there and is not what we wrote: then nobody is let in, since nobody can say who may.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let file = folder.join(FILE_NAME);
        let empty = Book {
            format: FORMAT,
            next_number: 1,
            accounts: Vec::new(),
        };
        let book: Book = match durable::read(&file, FILE_BYTES_MAX)? {
            None => empty,
            Some(bytes) => serde_json::from_slice(&bytes)?,
        };
        if book.format != FORMAT {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "accounts of another format",
            ));
        }
        Ok(Self { file, book })
    }

    /// Whether the ceremony was done.
    pub(crate) fn is_set_up(&self) -> bool {
        !self.book.accounts.is_empty()
    }

    /// First step of a proof: refuses at once while the account is locked.
    ///
    /// An unknown name gets a hash that no password has, so that it takes as long as a wrong password.
    pub(crate) fn begin(&self, proof: Proof, now: UnixSeconds) -> Result<PasswordCheck, ProofRefusal> {
        let account = self.find(&proof.username);
        if let Some(account) = account {
            refuse_locked(account, now)?;
        }
        let hash = account.map_or_else(
            || UNKNOWN_PERSON_HASH.to_owned(),
            |account| account.password_hash.clone(),
        );
        Ok(PasswordCheck {
            username: proof.username,
            password: proof.password,
            code: proof.code,
            asked_at: now,
            hash,
        })
    }

    /// Last step of a proof. Whatever it changes is on disk when it returns.
    pub(crate) fn finish(
        &mut self,
        checked: &CheckedPassword,
        now: UnixSeconds,
    ) -> Result<Person, ProofRefusal> {
        let Some(account) = self
            .book
            .accounts
            .iter_mut()
            .find(|account| account.username == checked.username)
        else {
            return Err(ProofRefusal::Wrong {
                locks: false,
                failure_count: None,
            });
        };
        // Tries that were begun before the lock and end after it are refused like all others.
        refuse_locked(account, now)?;
        let verdict = judge(account, checked, now);
        if matches!(verdict, Err(ProofRefusal::Replayed)) {
            return verdict;
        }
        match self.store() {
            Ok(()) => verdict,
            Err(_) => Err(ProofRefusal::Unwritable),
        }
    }

    /// Writes the ceremony's people. Only while there are none.
    pub(crate) fn install(&mut self, enrolled: Enrolled) -> io::Result<()> {
        assert!(!self.is_set_up(), "the ceremony is done once");
        self.book.accounts = enrolled.accounts;
        self.book.next_number = enrolled.next_number;
        let stored = self.store();
        if stored.is_err() {
            self.book.accounts.clear();
        }
        stored
    }

    /// Turns checked people into accounts; hashes three passwords, so it runs on a work thread.
    pub(crate) fn enrol(enrolment: Enrolment, now: UnixSeconds) -> Result<Enrolled, AccountRefusal> {
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
        Ok(Enrolled {
            accounts,
            next_number,
        })
    }

    /// The account of that name, for the record of a proof that was refused.
    pub(crate) fn named(&self, username: &str) -> Option<Person> {
        self.find(username).map(Account::person)
    }

    fn find(&self, username: &str) -> Option<&Account> {
        self.book
            .accounts
            .iter()
            .find(|account| account.username == username)
    }

    fn store(&self) -> io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(&self.book)?;
        bytes.push(b'\n');
        durable::write(&self.file, &bytes, durable::PRIVATE_FILE)
    }
}

impl Enrolled {
    /// The people to be, for their leaves.
    pub(crate) fn people(&self) -> Vec<Person> {
        self.accounts.iter().map(Account::person).collect()
    }
}

impl PasswordCheck {
    /// Computes the hash; about a tenth of a second and 64 MiB.
    pub(crate) fn run(self) -> CheckedPassword {
        let is_right = password::verify(&self.password.0, &self.hash);
        CheckedPassword {
            username: self.username,
            code: self.code,
            asked_at: self.asked_at,
            is_right,
        }
    }
}

impl CheckedPassword {
    /// Name as typed.
    pub(crate) fn username(&self) -> &str {
        &self.username
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

/// Checks an ordinary user's name, password and secret by the same rules as an admin's.
pub(crate) fn check_new_user(user: &NewUser) -> Result<(), AccountRefusal> {
    check_name_and_password(&user.username, &user.password)?;
    parse_secret(&user.username, &user.totp_secret).map(drop)
}

/// Whether these people may do that act together: exactly the roles it needs, each by another person.
pub(crate) fn authorise(act: Act, people: &[Person]) -> Result<(), ActRefusal> {
    let needed = act.roles();
    for role in needed {
        if !people.iter().any(|person| person.role == *role) {
            return Err(ActRefusal::RoleMissing {
                needed: role_name(*role),
            });
        }
    }
    let ids: BTreeSet<&str> = people.iter().map(|person| person.id.as_str()).collect();
    if ids.len() != people.len() || people.len() != needed.len() {
        return Err(ActRefusal::SamePerson);
    }
    Ok(())
}

impl Act {
    const fn roles(self) -> &'static [Role] {
        match self {
            Self::ImportModel => &[Role::System, Role::Security],
            Self::ManageAccounts => &[Role::Security],
            Self::ExportAudit => &[Role::Audit],
        }
    }
}

/// Name of a role in leaves and facts.
pub(crate) const fn role_name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::Security => "security",
        Role::Audit => "audit",
        Role::User => "user",
    }
}

fn refuse_locked(account: &Account, now: UnixSeconds) -> Result<(), ProofRefusal> {
    match account.locked_until_unix_s {
        Some(until) if now.0 < until => Err(ProofRefusal::Locked {
            remaining_s: until - now.0,
        }),
        _ => Ok(()),
    }
}

fn judge(account: &mut Account, checked: &CheckedPassword, now: UnixSeconds) -> Result<Person, ProofRefusal> {
    let secret = TotpSecret::from_base32(&account.totp_secret.0).ok();
    let code = secret.map_or(Err(TotpRefusal::Wrong), |secret| {
        totp::check(
            &secret,
            &checked.code.0,
            checked.asked_at.0,
            account.last_used_step,
        )
    });
    match code {
        Ok(step) if checked.is_right => {
            account.last_used_step = Some(step);
            account.failure_count = 0;
            account.locked_until_unix_s = None;
            Ok(account.person())
        }
        Err(TotpRefusal::Replayed) if checked.is_right => Err(ProofRefusal::Replayed),
        _ => {
            account.failure_count = account.failure_count.saturating_add(1);
            let failure_count = Some(account.failure_count);
            let locks = account.failure_count >= FAILURES_MAX;
            if locks {
                account.failure_count = 0;
                account.locked_until_unix_s = Some(now.0.saturating_add(LOCK_S));
            }
            Err(ProofRefusal::Wrong { locks, failure_count })
        }
    }
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

/// Argon2id hash with our parameters of random bytes that nobody kept.
const UNKNOWN_PERSON_HASH: &str = "$argon2id$v=19$m=65536,t=3,p=1$amluZ3VpLW5vYm9keS0wMQ$\
                                   dGhpcyBpcyBub3QgYSBoYXNoIG9mIGFueSBwYXNzd28";

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_764_000_000);
    const PASSWORD: &str = "Correct-Horse-7";

    fn secret(number: u8) -> TotpSecret {
        TotpSecret::from_base32(&format!(
            "{}GY3TQOJQ",
            char::from(b'A' + number).to_string().repeat(24)
        ))
        .unwrap()
    }

    fn code(number: u8, now: UnixSeconds, steps_later: i64) -> Private {
        Private(secret(number).code_at(totp::step_at(now.0).checked_add_signed(steps_later).unwrap()))
    }

    fn account(number: u8, role: Role, username: &str) -> NewAccount {
        NewAccount {
            role,
            username: username.to_owned(),
            password: Private(PASSWORD.to_owned()),
            totp_secret: Private(secret(number).to_base32().expose().clone()),
            totp_code: code(number, NOW, 0),
        }
    }

    fn three() -> Vec<NewAccount> {
        vec![
            account(0, Role::System, "wei"),
            account(1, Role::Security, "lan"),
            account(2, Role::Audit, "mei"),
        ]
    }

    fn people(folder: &Path) -> People {
        let mut people = People::open(folder).unwrap();
        people
            .install(People::enrol(Enrolment::check(three(), NOW).unwrap(), NOW).unwrap())
            .unwrap();
        people
    }

    fn prove(
        people: &mut People,
        username: &str,
        password: &str,
        code: Private,
        now: UnixSeconds,
    ) -> Result<Person, ProofRefusal> {
        let proof = Proof {
            username: username.to_owned(),
            password: Private(password.to_owned()),
            code,
        };
        let checked = people.begin(proof, now)?.run();
        people.finish(&checked, now)
    }

    fn person(id: &str, role: Role) -> Person {
        Person {
            id: id.to_owned(),
            username: id.to_owned(),
            role,
        }
    }

    #[test]
    fn three_people_set_up_the_box_and_are_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!People::open(folder.path()).unwrap().is_set_up());
        people(folder.path());
        let mut again = People::open(folder.path()).unwrap();
        assert!(again.is_set_up());
        let wei = prove(&mut again, "wei", PASSWORD, code(0, NOW, 0), NOW).unwrap();
        assert_eq!((wei.id.as_str(), wei.role), ("a-0001", Role::System));
    }

    #[test]
    fn a_ceremony_with_a_broken_rule_is_refused_by_name() {
        let check = |change: fn(&mut Vec<NewAccount>), code: &str| {
            let mut accounts = three();
            change(&mut accounts);
            assert_eq!(Enrolment::check(accounts, NOW).unwrap_err().code(), code);
        };
        check(|it| drop(it.pop()), "auth.setup.roles");
        check(|it| it.push(account(3, Role::Audit, "extra")), "auth.setup.roles");
        check(|it| it[2].role = Role::System, "auth.setup.roles");
        check(|it| it[1].role = Role::User, "auth.setup.roles");
        check(|it| it[1].username = "WEI".to_owned(), "auth.setup.same-person");
        check(
            |it| it[1] = account(0, Role::Security, "lan"),
            "auth.setup.same-person",
        );
        check(|it| it[0].username = String::new(), "auth.name.malformed");
        check(|it| it[0].username = "w ei".to_owned(), "auth.name.malformed");
        check(
            |it| it[0].username = "w".repeat(USERNAME_BYTES_MAX + 1),
            "auth.name.malformed",
        );
        check(
            |it| it[0].password = Private("short".to_owned()),
            "auth.password.too-short",
        );
        check(
            |it| it[0].password = Private("My-name-is-Wei-1".to_owned()),
            "auth.password.holds-name",
        );
        check(
            |it| it[0].totp_secret = Private("01".to_owned()),
            "auth.totp.bad-secret",
        );
        check(
            |it| it[0].totp_code = Private("000000".to_owned()),
            "auth.code.wrong",
        );
    }

    #[test]
    fn the_enrolment_code_still_opens_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut people = people(folder.path());
        prove(&mut people, "wei", PASSWORD, code(0, NOW, 0), NOW).unwrap();
        let again = prove(&mut people, "wei", PASSWORD, code(0, NOW, 0), NOW);
        assert_eq!(again, Err(ProofRefusal::Replayed));
    }

    #[test]
    fn a_used_code_is_refused_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        prove(&mut people(folder.path()), "wei", PASSWORD, code(0, NOW, 1), NOW).unwrap();
        let mut again = People::open(folder.path()).unwrap();
        for step in [-1, 0, 1] {
            let refused = prove(&mut again, "wei", PASSWORD, code(0, NOW, step), NOW);
            assert_eq!(refused, Err(ProofRefusal::Replayed));
        }
    }

    #[test]
    fn five_wrong_tries_lock_and_the_right_proof_opens_only_after_fifteen_minutes() {
        let folder = tempfile::tempdir().unwrap();
        let mut people = people(folder.path());
        for number in 1..=FAILURES_MAX {
            let wrong = prove(&mut people, "wei", "wrong", code(0, NOW, 0), NOW);
            let locks = number == FAILURES_MAX;
            assert_eq!(
                wrong,
                Err(ProofRefusal::Wrong {
                    locks,
                    failure_count: Some(number)
                })
            );
        }
        let mut people = People::open(folder.path()).unwrap();
        let last = UnixSeconds(NOW.0 + LOCK_S - 1);
        let locked = prove(&mut people, "wei", PASSWORD, code(0, last, 0), last);
        assert_eq!(locked, Err(ProofRefusal::Locked { remaining_s: 1 }));
        prove(&mut people, "lan", PASSWORD, code(1, last, 0), last).unwrap();
        let open = UnixSeconds(NOW.0 + LOCK_S);
        prove(&mut people, "wei", PASSWORD, code(0, open, 0), open).unwrap();
    }

    #[test]
    fn tries_begun_before_the_lock_do_not_pass_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut people = people(folder.path());
        let proof = |password: &str| Proof {
            username: "wei".to_owned(),
            password: Private(password.to_owned()),
            code: code(0, NOW, 0),
        };
        let early = people.begin(proof(PASSWORD), NOW).unwrap().run();
        let wrong = people.begin(proof("wrong"), NOW).unwrap().run();
        for _ in 0..FAILURES_MAX {
            people.finish(&wrong, NOW).unwrap_err();
        }
        assert!(matches!(
            people.finish(&early, NOW),
            Err(ProofRefusal::Locked { .. })
        ));
    }

    #[test]
    fn a_code_is_judged_as_of_the_moment_it_was_given() {
        let folder = tempfile::tempdir().unwrap();
        let mut people = people(folder.path());
        let proof = Proof {
            username: "wei".to_owned(),
            password: Private(PASSWORD.to_owned()),
            code: code(0, NOW, -1),
        };
        let checked = people.begin(proof, NOW).unwrap().run();
        people.finish(&checked, UnixSeconds(NOW.0 + 40)).unwrap();
    }

    #[test]
    fn a_right_password_with_a_wrong_code_is_a_wrong_try() {
        let folder = tempfile::tempdir().unwrap();
        let mut people = people(folder.path());
        let wrong = prove(&mut people, "wei", PASSWORD, code(1, NOW, 0), NOW);
        assert_eq!(
            wrong,
            Err(ProofRefusal::Wrong {
                locks: false,
                failure_count: Some(1)
            })
        );
        let unknown = prove(&mut people, "nobody", PASSWORD, code(1, NOW, 0), NOW);
        assert_eq!(
            unknown,
            Err(ProofRefusal::Wrong {
                locks: false,
                failure_count: None
            })
        );
    }

    #[test]
    fn an_unknown_name_costs_the_same_hash_as_a_known_one() {
        let real = password::hash(PASSWORD).unwrap();
        let parameters = |hash: &str| hash.rsplitn(3, '$').last().map(ToOwned::to_owned);
        assert_eq!(parameters(UNKNOWN_PERSON_HASH), parameters(&real));
        assert_eq!(UNKNOWN_PERSON_HASH.len(), real.len());
    }

    #[test]
    fn acts_need_exactly_their_roles_by_different_people() {
        let (wei, lan, mei) = (
            person("a", Role::System),
            person("b", Role::Security),
            person("c", Role::Audit),
        );
        let both = person("a", Role::Security);
        let cases: [(Act, &[Person], Option<&str>); 9] = [
            (Act::ImportModel, &[wei.clone(), lan.clone()], None),
            (Act::ImportModel, &[lan.clone(), wei.clone()], None),
            (
                Act::ImportModel,
                std::slice::from_ref(&wei),
                Some("auth.role.missing"),
            ),
            (
                Act::ImportModel,
                &[wei.clone(), mei.clone()],
                Some("auth.role.missing"),
            ),
            (
                Act::ImportModel,
                &[wei.clone(), both],
                Some("auth.act.same-person"),
            ),
            (Act::ManageAccounts, std::slice::from_ref(&lan), None),
            (
                Act::ManageAccounts,
                std::slice::from_ref(&wei),
                Some("auth.role.missing"),
            ),
            (Act::ExportAudit, std::slice::from_ref(&mei), None),
            (
                Act::ExportAudit,
                std::slice::from_ref(&lan),
                Some("auth.role.missing"),
            ),
        ];
        for (act, people, code) in cases {
            assert_eq!(
                authorise(act, people).err().map(|refusal| refusal.code()),
                code,
                "{act:?} {people:?}"
            );
        }
    }

    #[test]
    fn accounts_that_are_not_ours_let_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE_NAME), b"{}").unwrap();
        People::open(folder.path()).unwrap_err();
    }
}
