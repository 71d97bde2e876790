//! An installation from the first question to "remove the stick".
//!
//! Six questions at most: language, disk, data of an older system, network, confirmation, and to remove the stick. A
//! signed answers file replaces all of them but the last.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::time::Instant;

use jingui_ipc::network::InterfaceSettings;
use jingui_messages::Language;
use jingui_pack::update::{Architecture, Fitting, UpdateRefusal};

use crate::answers::{self, Answers, AnswersRefusal};
use crate::install::{self, Data, Job, Proof};
use crate::layout::Sizes;
use crate::person::{Person, Said};
use crate::slot::{Progress, Stage, WriteFault};
use crate::survey::{Content, Found, OpenFault, Roots};

const NO_FACTS: &[(&str, &str)] = &[];
const PIECE_BYTES: usize = 1 << 20;
/// How often a person may mistype before it starts over.
const TRIES_MAX: usize = 3;

/// What the stick brings.
#[derive(Debug)]
pub struct Stick<'a> {
    /// The machine.
    pub roots: &'a Roots,
    /// Name of the stick's disk.
    pub medium: &'a str,
    /// Which image it brings.
    pub bundle: &'a Fitting,
    /// Answers, if somebody signed some.
    pub answers: Option<Answers>,
    /// Sizes of a new disk's parts.
    pub sizes: Sizes,
}

/// Why nothing was installed. The disk says so itself where it was touched.
#[derive(Debug, thiserror::Error)]
pub enum InstallFault {
    /// The stick is damaged.
    #[error("the stick is damaged")]
    Medium(#[source] io::Error),
    /// Its bundle is bad.
    #[error(transparent)]
    Bundle(#[from] UpdateRefusal),
    /// The machine's disks cannot be looked at.
    #[error("the disks cannot be looked at")]
    Survey(#[source] io::Error),
    /// There is none that may be written.
    #[error("there is no disk that may be written")]
    NoDisk,
    /// The chosen one could not be opened.
    #[error(transparent)]
    Open(#[from] OpenFault),
    /// Writing or proving failed.
    #[error(transparent)]
    Write(#[from] WriteFault),
    /// The answers are not followed.
    #[error(transparent)]
    Answers(#[from] AnswersRefusal),
    /// Not exactly one disk that may be written has the serial of the answers.
    #[error("{found} disks have the serial of the answers")]
    AnswersDisk {
        /// How many.
        found: usize,
    },
    /// There is an older system, and the answers do not say what happens to its data.
    #[error("the answers do not say what happens to the data")]
    AnswersData,
    /// Nobody confirmed.
    #[error("the disk was not confirmed")]
    Unconfirmed,
    /// There is nobody to ask.
    #[error("nobody answers")]
    Nobody(#[source] io::Error),
}

impl InstallFault {
    /// Every code of this type that no other one has.
    pub const CODES: &'static [&'static str] = &[
        "install.medium.damaged",
        "install.survey.failed",
        "install.disk.none",
        "install.answers.disk",
        "install.answers.data",
        "install.disk.unconfirmed",
        "install.nobody",
    ];

    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Medium(_) => "install.medium.damaged",
            Self::Bundle(refusal) => refusal.code(),
            Self::Survey(_) => "install.survey.failed",
            Self::NoDisk => "install.disk.none",
            Self::Open(fault) => fault.code(),
            Self::Write(fault) => fault.code(),
            Self::Answers(refusal) => refusal.code(),
            Self::AnswersDisk { .. } => "install.answers.disk",
            Self::AnswersData => "install.answers.data",
            Self::Unconfirmed => "install.disk.unconfirmed",
            Self::Nobody(_) => "install.nobody",
        }
    }

    /// Facts for the words.
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Bundle(refusal) => refusal.facts(),
            Self::Write(fault) => fault.facts(),
            Self::Answers(refusal) => refusal.facts(),
            Self::Open(OpenFault::Failed(source)) | Self::Medium(source) | Self::Survey(source) => {
                vec![("cause", source.kind().to_string())]
            }
            Self::AnswersDisk { found } => vec![("found", found.to_string())],
            _ => Vec::new(),
        }
    }
}

/// Reads the whole root of the stick once: each block is checked by dm-verity while it is read.
///
/// # Errors
/// [`InstallFault::Medium`].
pub fn check_medium(root: &mut File, person: &mut dyn Person) -> Result<(), InstallFault> {
    let total = io::Seek::seek(root, io::SeekFrom::End(0)).map_err(InstallFault::Medium)?;
    io::Seek::rewind(root).map_err(InstallFault::Medium)?;
    let mut meter = Speed::new("installer.checking");
    let mut buffer = vec![0; PIECE_BYTES];
    let mut done = 0;
    loop {
        let count = root.read(&mut buffer).map_err(InstallFault::Medium)?;
        if count == 0 {
            break;
        }
        done += count as u64;
        meter.tell(person, done, total);
    }
    person.say(&Said::milestone("installer.checked", NO_FACTS));
    Ok(())
}

/// Which language; both are spoken until then.
///
/// # Errors
/// [`InstallFault::Nobody`].
pub fn choose_language(person: &mut dyn Person) -> Result<(), InstallFault> {
    let question = Said::plain("1) 中文   2) English");
    let mut language = Language::English;
    for _ in 0..TRIES_MAX {
        let answer = person.ask(&question).map_err(InstallFault::Nobody)?;
        language = match answer.as_str() {
            "1" => Language::Chinese,
            "2" | "" => Language::English,
            _ => continue,
        };
        break;
    }
    person.speak(language);
    Ok(())
}

/// From the choice of a disk to the proof of what is on it.
///
/// # Errors
/// Any [`InstallFault`].
pub fn install(stick: &Stick<'_>, person: &mut dyn Person) -> Result<Proof, InstallFault> {
    let manifest = stick.bundle.manifest();
    let found = show_disks(stick, manifest.architecture, person)?;
    let disk = match &stick.answers {
        Some(answers) => named_disk(&found, answers)?,
        None => choose_disk(&found, person)?,
    };
    let data = choose_data(stick, disk, person)?;
    let interfaces = match (&stick.answers, data) {
        (Some(answers), _) => answers.interfaces.clone(),
        (None, Some(Data::Keep)) => Vec::new(),
        (None, _) => choose_network(person)?,
    };
    if stick.answers.is_none() {
        confirm(disk, data, person)?;
    }
    let job = Job {
        bundle: stick.bundle,
        sizes: stick.sizes,
        network: answers::network_toml(&interfaces),
    };
    let target = stick.roots.open(disk)?;
    let mut writing = Speed::new("installer.writing");
    let mut comparing = Speed::new("installer.comparing");
    let mut tell = |progress: Progress| match progress.stage {
        Stage::Writing => writing.tell(person, progress.done, progress.total),
        Stage::Comparing => comparing.tell(person, progress.done, progress.total),
    };
    match data {
        None => install::fresh(&target, &job, &mut tell)?,
        Some(data) => install::beside(&target, &job, data, &mut tell)?,
    }
    person.say(&Said::milestone("installer.written", NO_FACTS));
    let mut proving = Speed::new("installer.proving");
    let proof = install::prove(&target, stick.bundle, &mut |progress| {
        proving.tell(person, progress.done, progress.total);
    })?;
    let facts = [
        ("version", proof.version.to_string()),
        ("bytes", proof.bytes.to_string()),
        ("roothash", proof.roothash.to_string()),
    ];
    person.say(&Said::milestone("installer.proved", &facts));
    Ok(proof)
}

/// Every disk with what it says of itself, and why it may not be written.
fn show_disks(
    stick: &Stick<'_>,
    architecture: Architecture,
    person: &mut dyn Person,
) -> Result<Vec<Found>, InstallFault> {
    let disks = stick
        .roots
        .disks(stick.medium, architecture)
        .map_err(InstallFault::Survey)?;
    let mut fit = Vec::new();
    for disk in disks {
        let verdict = match disk.unfit {
            Some(unfit) => Said::what(unfit.code()),
            None => Said::phrase(disk.content.key(), NO_FACTS),
        };
        let number = if disk.unfit.is_none() {
            format!("{}", fit.len() + 1)
        } else {
            "-".to_owned()
        };
        let line = format!(
            "{number}) {}  {}  {}  {}: ",
            disk.name,
            shown(&disk.model),
            shown(&disk.serial),
            Size(disk.bytes)
        );
        person.say(&Said::plain(&line).then(&verdict));
        if disk.unfit.is_none() {
            fit.push(disk);
        }
    }
    if fit.is_empty() {
        return Err(InstallFault::NoDisk);
    }
    Ok(fit)
}

fn choose_disk<'a>(found: &'a [Found], person: &mut dyn Person) -> Result<&'a Found, InstallFault> {
    for _ in 0..TRIES_MAX {
        let answer = ask(person, "installer.ask.disk")?;
        let chosen = answer
            .parse::<usize>()
            .ok()
            .and_then(|number| found.get(number.checked_sub(1)?));
        if let Some(disk) = chosen {
            return Ok(disk);
        }
    }
    Err(InstallFault::Unconfirmed)
}

/// The one disk that has the serial; more than one is as bad as none.
fn named_disk<'a>(found: &'a [Found], answers: &Answers) -> Result<&'a Found, InstallFault> {
    let mut named = found.iter().filter(|disk| disk.serial == answers.serial);
    match (named.next(), named.count()) {
        (Some(disk), 0) => Ok(disk),
        (first, others) => Err(InstallFault::AnswersDisk {
            found: usize::from(first.is_some()) + others,
        }),
    }
}

/// What happens to the data of an older system; `None` for a disk without one.
fn choose_data(
    stick: &Stick<'_>,
    disk: &Found,
    person: &mut dyn Person,
) -> Result<Option<Data>, InstallFault> {
    if disk.content != Content::Ours {
        return Ok(None);
    }
    if let Some(answers) = &stick.answers {
        return answers.data.map(Some).ok_or(InstallFault::AnswersData);
    }
    for _ in 0..TRIES_MAX {
        match ask(person, "installer.ask.data")?.as_str() {
            "1" => return Ok(Some(Data::Keep)),
            "2" => return Ok(Some(Data::Erase)),
            _ => {}
        }
    }
    Err(InstallFault::Unconfirmed)
}

/// No answer leaves the network to the local screen.
fn choose_network(person: &mut dyn Person) -> Result<Vec<InterfaceSettings>, InstallFault> {
    for _ in 0..TRIES_MAX {
        let line = ask(person, "installer.ask.network")?;
        match answers::parse_line(&line) {
            Ok(interfaces) => return Ok(interfaces),
            Err(fault) => {
                person.say(&Said::phrase("installer.network.malformed", &[("fault", fault)]));
            }
        }
    }
    Ok(Vec::new())
}

/// Everything on the disk is at stake: its name is typed, not a number.
fn confirm(disk: &Found, data: Option<Data>, person: &mut dyn Person) -> Result<(), InstallFault> {
    let key = match data {
        None => "installer.confirm.disk",
        Some(Data::Erase) => "installer.confirm.erase",
        Some(Data::Keep) => "installer.confirm.keep",
    };
    let facts = [
        (
            "disk",
            format!(
                "{} {} {}",
                shown(&disk.model),
                shown(&disk.serial),
                Size(disk.bytes)
            ),
        ),
        ("handle", disk.handle.clone()),
    ];
    for _ in 0..TRIES_MAX {
        let answer = person
            .ask(&Said::phrase(key, &facts))
            .map_err(InstallFault::Nobody)?;
        if answer.eq_ignore_ascii_case(&disk.handle) {
            return Ok(());
        }
    }
    Err(InstallFault::Unconfirmed)
}

fn ask(person: &mut dyn Person, key: &str) -> Result<String, InstallFault> {
    person
        .ask(&Said::phrase(key, NO_FACTS))
        .map_err(InstallFault::Nobody)
}

fn shown(text: &str) -> &str {
    if text.is_empty() { "?" } else { text }
}

/// Bytes as people write sizes of disks.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gigabytes = self.0 / 1_000_000_000;
        if gigabytes == 0 {
            write!(f, "{} MB", self.0 / 1_000_000)
        } else {
            write!(f, "{gigabytes} GB")
        }
    }
}

/// How far, and how fast since it began.
struct Speed {
    key: &'static str,
    began: Option<(Instant, u64)>,
    told: Option<u64>,
}

impl Speed {
    const fn new(key: &'static str) -> Self {
        Self {
            key,
            began: None,
            told: None,
        }
    }

    fn tell(&mut self, person: &mut dyn Person, done: u64, total: u64) {
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
        let (began, from) = *self.began.get_or_insert_with(|| (Instant::now(), done));
        if self.told == Some(percent) {
            return;
        }
        self.told = Some(percent);
        let millis = u64::try_from(began.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        // Bytes per millisecond are kilobytes per second.
        let speed = (done - from) / millis / 1000;
        let facts = [("percent", percent.to_string()), ("speed", speed.to_string())];
        person.progress(&Said::phrase(self.key, &facts));
    }
}

#[cfg(test)]
mod tests;
