//! `jingui-installer`: started from the stick it installs; started by the supervisor it writes the other slot.
//!
//! ```text
//! jingui-installer               installs; speaks on the consoles of the machine
//! jingui-installer write-slot    writes the bundle in the folder on standard input into the slot not in use
//! jingui-installer entries       tells the boot entries of the running system
//! ```
//!
//! The last two speak in lines of JSON: `{"progress":[done,total]}`, `{"done":true}`, `{"entries":[…]}`,
//! `{"refused":{"code":…,"facts":[[name,value],…]}}`. They touch the disk that the running root came from and no other.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use jingui_installer::answers::{ANSWERS_BYTES_MAX, ANSWERS_NAME, ANSWERS_SIGNATURE_NAME, Answers};
use jingui_installer::attend::{self, InstallFault, Stick};
use jingui_installer::disk::FileDisk;
use jingui_installer::esp::MountedEsp;
use jingui_installer::fat::Fat;
use jingui_installer::layout::{ESP_LABEL, Sizes};
use jingui_installer::person::{Consoles, Person, Said};
use jingui_installer::slot::{self, Kept, WriteFault};
use jingui_installer::survey::Roots;
use jingui_pack::SecurityVersion;
use jingui_pack::update::{Architecture, Fitting, Machine, Offered, UpdateRefusal};
use jingui_trust::Sha256;
use jingui_trust::image_key::ImagePublicKey;
use nix::mount::{MsFlags, mount};
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{SigSet, Signal};
use serde_json::json;

const KEYS_FOLDER: &str = "/usr/share/jingui/image-keys";
const PAYLOAD_LABEL: &str = "jingui-payload";
const PAYLOAD_FOLDER: &str = "/run/jingui/payload";
const NO_FACTS: &[(&str, &str)] = &[];
const EXIT_USAGE: u8 = 64;
const EXIT_UNAVAILABLE: u8 = 4;
const PAUSE: Duration = Duration::from_secs(1);
/// Most keys of the image.
const KEYS_MAX: usize = 16;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => install(),
        ["write-slot"] => tell(write_slot()),
        ["entries"] => tell(tell_entries()),
        _ => {
            eprintln!("usage: jingui-installer [write-slot | entries]");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Runs until the machine restarts: what fails is said, and starts over when somebody wants it to.
fn install() -> ExitCode {
    // Control-C on a console must not leave a disk half written. All threads come later and inherit it.
    // The stick may be pulled out, and our own program with it: what was said about that must still be readable.
    let deaf =
        SigSet::from_iter([Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTSTP, Signal::SIGHUP]).thread_block();
    let locked = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE);
    let roots = Roots::real();
    let mut person = match Consoles::open(&roots) {
        Ok(person) => person,
        Err(error) => {
            eprintln!("jingui-installer: no console: {error}");
            return ExitCode::from(EXIT_UNAVAILABLE);
        }
    };
    if let Err(errno) = deaf.and(locked) {
        eprintln!("jingui-installer: signals could not be blocked, or the memory not locked: {errno}");
    }
    person.say(&Said::milestone("installer.welcome", NO_FACTS));
    loop {
        match install_once(&roots, &mut person) {
            Ok(medium) => return restart(&roots, &medium, &mut person),
            Err(fault) => {
                person.say(&Said::code(fault.code(), &fault.facts()));
                if person.ask(&Said::milestone("installer.again", NO_FACTS)).is_err() {
                    return ExitCode::from(EXIT_UNAVAILABLE);
                }
            }
        }
    }
}

/// One try; gives the name of the stick's disk.
fn install_once(roots: &Roots, person: &mut Consoles) -> Result<String, InstallFault> {
    let medium = roots.medium().map_err(InstallFault::Survey)?;
    let keys = read_keys(Path::new(KEYS_FOLDER)).map_err(InstallFault::Medium)?;
    let payload = mount_payload(roots, &medium).map_err(InstallFault::Medium)?;
    let bundle = fit(&payload, &keys)?;
    let mut trusted = keys;
    trusted.extend(bundle.manifest().site_keys());
    let answers = read_answers(roots, &medium, &trusted)?;
    match &answers {
        Some(answers) => {
            person.speak(answers.language);
            person.say(&Said::milestone("installer.unattended", NO_FACTS));
        }
        None => attend::choose_language(person)?,
    }
    let root = roots.checked_root().map_err(InstallFault::Medium)?;
    let mut root = File::open(root).map_err(InstallFault::Medium)?;
    attend::check_medium(&mut root, person)?;
    let stick = Stick {
        roots,
        medium: &medium,
        bundle: &bundle,
        answers,
        sizes: Sizes::default(),
    };
    attend::install(&stick, person)?;
    Ok(medium)
}

/// Everything is on the disk. The machine restarts when the stick is gone, so that it does not start from it again.
fn restart(roots: &Roots, medium: &str, person: &mut dyn Person) -> ExitCode {
    nix::unistd::sync();
    person.say(&Said::milestone("installer.done", NO_FACTS));
    while roots.is_there(medium) {
        thread::sleep(PAUSE);
    }
    person.say(&Said::milestone("installer.restarting", NO_FACTS));
    thread::sleep(PAUSE);
    // Returns only when it is refused.
    let _ = reboot(RebootMode::RB_AUTOBOOT);
    ExitCode::from(EXIT_UNAVAILABLE)
}

/// Mounts the payload of this very stick, once.
fn mount_payload(roots: &Roots, medium: &str) -> io::Result<File> {
    let folder = Path::new(PAYLOAD_FOLDER);
    if !folder.join(jingui_pack::update::FOLDER_NAME).exists() {
        let device = roots
            .partition(medium, PAYLOAD_LABEL)?
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        fs::create_dir_all(folder)?;
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        // Without its journal, so that not a bit of the stick is written.
        mount(Some(&device), folder, Some("ext4"), flags, Some("noload"))?;
    }
    File::open(folder)
}

/// The bundle of a folder, for this machine, on a disk whose older system need not be followed.
fn fit(folder: &impl AsFd, keys: &[ImagePublicKey]) -> Result<Fitting, UpdateRefusal> {
    let authentic = Offered::open(folder.as_fd())?.authenticate(keys)?;
    // A machine for which no image exists does not run this program.
    let architecture = Architecture::ours().unwrap_or(authentic.manifest().architecture);
    authentic.fit(&Machine {
        architecture,
        running: None,
        floor: SecurityVersion::default(),
    })
}

/// Answers on the ESP of this very stick; none is the ordinary case.
fn read_answers(
    roots: &Roots,
    medium: &str,
    keys: &[ImagePublicKey],
) -> Result<Option<Answers>, InstallFault> {
    let Some(device) = roots.partition(medium, ESP_LABEL).map_err(InstallFault::Medium)? else {
        return Ok(None);
    };
    let disk = FileDisk::new(File::open(device).map_err(InstallFault::Medium)?);
    let disk = disk.map_err(InstallFault::Medium)?;
    let bytes = jingui_installer::disk::Disk::bytes(&disk);
    let Ok(volume) = Fat::open(&disk, 0, bytes) else {
        return Ok(None);
    };
    let read = |name: &str| {
        let mut bytes = Vec::new();
        let found = volume.read_file(&format!("jingui/{name}"), &mut |piece| {
            if bytes.len() as u64 > ANSWERS_BYTES_MAX {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            bytes.extend_from_slice(piece);
            Ok(())
        });
        found.ok().map(|()| bytes)
    };
    let Some(bytes) = read(ANSWERS_NAME) else {
        return Ok(None);
    };
    let signature = read(ANSWERS_SIGNATURE_NAME).unwrap_or_default();
    Ok(Some(Answers::read(&bytes, &signature, keys)?))
}

/// The other slot of the running system, from the bundle in the folder on standard input.
fn write_slot() -> Result<(), Refused> {
    let roots = Roots::real();
    let keys = read_keys(Path::new(KEYS_FOLDER)).map_err(WriteFault::Disk)?;
    let bundle = fit(&io::stdin(), &keys).map_err(WriteFault::Bundle)?;
    let medium = roots.medium().map_err(WriteFault::Disk)?;
    let disk = OpenOptions::new()
        .read(true)
        .write(true)
        .open(roots.dev.join(&medium));
    let disk = FileDisk::new(disk.map_err(WriteFault::Disk)?).map_err(WriteFault::Disk)?;
    let mut esp = MountedEsp::find(&roots, &medium).map_err(WriteFault::Esp)?;
    let kept = Kept::Running(running_roothash(&roots).map_err(WriteFault::Disk)?);
    let mut last = None;
    let mut progress = |progress: slot::Progress| {
        let percent = progress.done.saturating_mul(100).checked_div(progress.total);
        if percent != last {
            last = percent;
            line(&json!({ "progress": [progress.done, progress.total] }));
        }
    };
    let mut folder = esp.entries().map_err(WriteFault::Esp)?;
    slot::write_other_slot(&disk, &mut folder, &bundle, &kept, &mut progress)?;
    line(&json!({ "done": true }));
    Ok(())
}

/// The boot entries of the running system.
fn tell_entries() -> Result<(), Refused> {
    let roots = Roots::real();
    let medium = roots.medium().map_err(WriteFault::Disk)?;
    let mut esp = MountedEsp::find(&roots, &medium).map_err(WriteFault::Esp)?;
    let folder = esp.entries().map_err(WriteFault::Esp)?;
    let names = jingui_installer::entries::BootFolder::names(&folder).map_err(WriteFault::Esp)?;
    let entries: Vec<_> = names
        .iter()
        .filter_map(|name| jingui_installer::entries::BootEntry::parse(name))
        .map(|entry| json!({ "version": entry.version.as_str(), "tries_left": entry.tries_left }))
        .collect();
    line(&json!({ "entries": entries }));
    Ok(())
}

/// The root hash in the command line, which is part of the signed boot entry.
fn running_roothash(roots: &Roots) -> io::Result<Sha256> {
    let words = fs::read_to_string(roots.proc.join("cmdline"))?;
    let roothash = words
        .split_whitespace()
        .find_map(|word| word.strip_prefix("roothash="));
    roothash
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| io::Error::other("the command line has no root hash"))
}

fn read_keys(folder: &Path) -> io::Result<Vec<ImagePublicKey>> {
    let mut keys = Vec::new();
    for entry in fs::read_dir(folder)?.take(KEYS_MAX) {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            let mut text = String::new();
            File::open(&path)?.take(4096).read_to_string(&mut text)?;
            let key = ImagePublicKey::from_pem(&text);
            keys.push(key.map_err(|refusal| io::Error::new(io::ErrorKind::InvalidData, refusal))?);
        }
    }
    Ok(keys)
}

/// What the child could not do.
#[derive(Debug)]
struct Refused(WriteFault);

impl From<WriteFault> for Refused {
    fn from(fault: WriteFault) -> Self {
        Self(fault)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn tell(result: Result<(), Refused>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(refused) => {
            eprintln!("jingui-installer: {refused}");
            let facts: Vec<[String; 2]> = refused
                .0
                .facts()
                .into_iter()
                .map(|(name, value)| [name.to_owned(), value])
                .collect();
            line(&json!({ "refused": { "code": refused.0.code(), "facts": facts } }));
            ExitCode::from(EXIT_UNAVAILABLE)
        }
    }
}

/// Whoever started us and does not listen any more has no use for the rest.
fn line(value: &serde_json::Value) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{value}").and_then(|()| out.flush());
}
