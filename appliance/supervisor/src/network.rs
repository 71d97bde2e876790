//! How the box stands in its network: what was said, what is in force, and the way back.
//!
//! The supervisor keeps the settings in its state (`network-settings.json`) and writes them where systemd-networkd and the firewall
//! read them; a path unit takes them over. The file that is written last says that the others are whole.
//!
//! A box that was never told anything has no address. While it is not set up, `network.toml` on the ESP may tell it: the
//! installer wrote it there, or whoever made the disk. Once set up the file is not looked at any more, since the ESP is
//! under nobody's signature.

pub(crate) mod file;
pub(crate) mod interfaces;
mod networkd;
pub(crate) mod settings;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jingui_audit::event::{Event as LeafEvent, NetworkOrigin};
use jingui_ipc::network::{NetworkSettings, NetworkView};
use jingui_ipc::screen::Done;
use serde::{Deserialize, Serialize};

use crate::acts::{Asker, Told, refused, unavailable};
use crate::clock::Millis;
use crate::durable;
use crate::leaves::Actor;
use crate::places::Places;
use crate::supervisor::{Afterwards, Supervisor};
use crate::usb::Stick;

use settings::Sound;

/// How often the addresses are looked at: a lease comes and goes without anybody telling us.
pub(crate) const WATCH_MS: u64 = 2_000;

const FILE_NAME: &str = "network-settings.json";
const FORMAT: u32 = 1;
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Where an installer writes the first network on the ESP.
const FIRST_NETWORK: &str = "jingui/network.toml";
/// Written last: the path unit watches it.
const APPLIED_FILE: &str = "applied";
/// What networkd reads ends so.
const NETWORK_ENDING: &str = "network";

/// The network's settings and where they lie.
#[derive(Debug)]
pub(crate) struct Network {
    /// `None` on a developer's machine, whose network is its own.
    places: Option<Places>,
    file: PathBuf,
    book: Book,
    /// When the addresses are looked at again.
    pub(crate) watch_at: Option<Millis>,
    /// What goes wrong, for the health of the box.
    pub(crate) fault: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Book {
    format: u32,
    current: Option<NetworkSettings>,
    previous: Option<NetworkSettings>,
}

impl Network {
    /// Reads what is stored in the state folder. What cannot be read is said and not taken: the box then has no address
    /// until somebody at its screen gives it one.
    pub(crate) fn open(places: Option<Places>, state: &Path) -> Self {
        let file = state.join(FILE_NAME);
        let stored = read(&file);
        let fault = stored.is_err().then_some("network.state.unreadable");
        let empty = Book {
            format: FORMAT,
            current: None,
            previous: None,
        };
        Self {
            watch_at: places.as_ref().map(|_| Millis(0)),
            places,
            file,
            book: stored.ok().flatten().unwrap_or(empty),
            fault,
        }
    }

    /// The settings in force, if they make sense.
    fn sound(&self) -> Option<Sound> {
        let settings = self.book.current.clone()?;
        Sound::check(settings).ok()
    }

    /// Fixed addresses, which the listener's certificate names before they are there.
    pub(crate) fn fixed_addresses(&self) -> BTreeSet<String> {
        let sound = self.sound();
        let addresses = sound.iter().flat_map(Sound::addresses);
        addresses.map(|address| address.to_string()).collect()
    }

    /// What a person has to see before he changes anything.
    pub(crate) fn view(&self) -> NetworkView {
        let places = self.places.as_ref();
        NetworkView {
            interfaces: places.map_or_else(Vec::new, |places| interfaces::list(&places.interfaces())),
            current: self.book.current.clone(),
            previous: self.book.previous.clone(),
        }
    }

    /// Puts settings in force: first in the state, so that a crash on the way leaves them for the next start.
    fn set(&mut self, sound: &Sound) -> io::Result<()> {
        let before = self.book.clone();
        self.book.previous = before.current.clone();
        self.book.current = Some(sound.settings().clone());
        if let Err(error) = self.store() {
            self.book = before;
            return Err(error);
        }
        self.fault = None;
        self.apply()
    }

    fn store(&self) -> io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(&self.book)?;
        bytes.push(b'\n');
        durable::write(&self.file, &bytes, durable::PRIVATE_FILE)
    }

    /// Writes what networkd and the firewall read, and tells the path unit.
    fn apply(&self) -> io::Result<()> {
        let Some(places) = &self.places else {
            return Ok(());
        };
        let folder = places.network();
        durable::folder(&folder, durable::PUBLIC_FOLDER)?;
        let sound = self.sound();
        let files = sound.as_ref().map(networkd::files).unwrap_or_default();
        remove_others(&folder, &files)?;
        for (name, text) in &files {
            durable::write(&folder.join(name), text.as_bytes(), durable::PUBLIC_FILE)?;
        }
        let name_of = |port: &_| interfaces::name_of(&places.interfaces(), port);
        let firewall = networkd::firewall(sound.as_ref(), name_of);
        let firewall_file = folder.join(networkd::FIREWALL_FILE);
        durable::write(&firewall_file, firewall.as_bytes(), durable::PUBLIC_FILE)?;
        durable::write(&folder.join(APPLIED_FILE), b"", durable::PUBLIC_FILE)
    }

    /// What the ESP says, while nobody else said anything.
    fn first(&self) -> Result<Option<Sound>, &'static str> {
        let Some(places) = &self.places else {
            return Ok(None);
        };
        if self.book.current.is_some() {
            return Ok(None);
        }
        let malformed = |_| file::FileRefusal::CODE;
        let esp = Stick::mount_esp(places).map_err(|refusal| refusal.code())?;
        let Some(esp) = esp else { return Ok(None) };
        let path = esp.folder().join(FIRST_NETWORK);
        let Some(bytes) = durable::read(&path, file::FILE_BYTES_MAX).map_err(malformed)? else {
            return Ok(None);
        };
        drop(esp);
        let text = String::from_utf8(bytes).map_err(|_| file::FileRefusal::CODE)?;
        let settings = file::parse(&text).map_err(|_| file::FileRefusal::CODE)?;
        Sound::check(settings).map(Some).map_err(|refusal| refusal.code())
    }
}

fn read(file: &Path) -> io::Result<Option<Book>> {
    let Some(bytes) = durable::read(file, FILE_BYTES_MAX)? else {
        return Ok(None);
    };
    let book: Book = serde_json::from_slice(&bytes)?;
    let is_ours = book.format == FORMAT;
    let is_sound = book
        .current
        .clone()
        .is_none_or(|settings| Sound::check(settings).is_ok());
    if is_ours && is_sound {
        Ok(Some(book))
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Files for networkd of settings before these.
fn remove_others(folder: &Path, files: &[networkd::UnitFile]) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_kept = files.iter().any(|(name, _)| path.ends_with(name));
        if path.extension().is_some_and(|ending| ending == NETWORK_ENDING) && !is_kept {
            durable::remove(&path)?;
        }
    }
    Ok(())
}

impl Supervisor {
    /// At the start: the first network if nobody said anything yet, and what is in force goes where it is read.
    pub(crate) fn bring_up_network(&mut self) {
        if !self.people.is_set_up() {
            match self.network.first() {
                Ok(Some(sound)) => self.take_first_network(&sound),
                Ok(None) => {}
                Err(code) => self.network.fault = Some(code),
            }
        }
        if let Err(error) = self.network.apply() {
            crate::say(format_args!("the network's files could not be written: {error}"));
            self.network.fault = Some("network.files.unwritable");
        }
    }

    fn take_first_network(&mut self, sound: &Sound) {
        let event = network_event(sound, NetworkOrigin::Medium);
        let draft = self.scribe.done(Actor::device(), event, "");
        // Not set before its leaf is on disk; the next start tries again.
        let recorded = self.record(draft).is_ok_and(|_| self.log.commit().is_ok());
        if !recorded || self.network.set(sound).is_err() {
            self.network.fault = Some("network.files.unwritable");
        }
    }

    /// A person sets the network.
    pub(crate) fn set_network(
        &mut self,
        asker: Asker,
        actor: Actor,
        origin: NetworkOrigin,
        settings: NetworkSettings,
    ) {
        let sound = match Sound::check(settings) {
            Ok(sound) => sound,
            Err(refusal) => {
                return self.tell(asker, Told::Refused(refused(refusal.code(), refusal.facts())));
            }
        };
        let draft = self.scribe.done(actor, network_event(&sound, origin), "");
        match self.record(draft) {
            Ok(leaf_index) => self.after_commit(Afterwards::SetNetwork {
                asker,
                sound: Box::new(sound),
                leaf_index,
            }),
            Err(fault) => self.tell(asker, Told::Refused(fault)),
        }
    }

    /// The leaf is in a checkpoint: put the settings in force.
    pub(crate) fn install_network(&mut self, asker: Asker, sound: &Sound, leaf_index: u64) {
        if let Err(error) = self.network.set(sound) {
            crate::say(format_args!("the network could not be set: {error}"));
            return self.tell(asker, Told::Refused(unavailable("network.files.unwritable")));
        }
        let facts = vec![("settings".to_owned(), sound.lines().join("; "))];
        self.tell(asker, Told::Carried(Done { leaf_index, facts }));
    }

    /// Looks whether the box got other addresses: people are shown them, and the certificate has to name them.
    pub(crate) fn watch_addresses(&mut self, now: Millis) {
        if self.network.watch_at.is_none_or(|at| now < at) {
            return;
        }
        self.network.watch_at = Some(now.after(WATCH_MS));
        self.follow_addresses();
    }
}

fn network_event(sound: &Sound, origin: NetworkOrigin) -> LeafEvent {
    LeafEvent::NetworkSet {
        origin,
        interfaces: sound.lines(),
    }
}

#[cfg(test)]
mod tests {
    use super::settings::tests::fixed;
    use super::*;

    fn sound(address: &str) -> Sound {
        Sound::check(NetworkSettings {
            interfaces: vec![fixed("ens3", &[address])],
        })
        .unwrap()
    }

    fn network(root: &Path) -> Network {
        let state = root.join("state");
        fs::create_dir_all(&state).unwrap();
        Network::open(Some(Places::below(root)), &state)
    }

    #[test]
    fn settings_survive_a_restart_and_leave_a_way_back() {
        let root = tempfile::tempdir().unwrap();
        let mut before = network(root.path());
        before.set(&sound("10.0.2.15/24")).unwrap();
        before.set(&sound("10.0.3.15/24")).unwrap();
        let after = network(root.path());
        let view = after.view();
        let line = |settings: Option<NetworkSettings>| settings.unwrap().interfaces[0].to_string();
        assert_eq!(line(view.current), "ens3 static 10.0.3.15/24");
        assert_eq!(line(view.previous), "ens3 static 10.0.2.15/24");
        assert_eq!(after.fixed_addresses(), ["10.0.3.15".to_owned()].into());
    }

    #[test]
    fn what_networkd_reads_is_what_is_in_force_and_nothing_older() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("run/jingui/network");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("50-jingui-7.network"), "[Match]\nName=*\n").unwrap();
        network(root.path()).set(&sound("10.0.2.15/24")).unwrap();
        let mut names: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["50-jingui-0.network", "applied", "firewall.nft"]);
    }

    #[test]
    fn a_damaged_file_is_a_fault_and_no_address() {
        let root = tempfile::tempdir().unwrap();
        network(root.path()).set(&sound("10.0.2.15/24")).unwrap();
        for text in [
            "{",
            r#"{"format":2,"current":null,"previous":null}"#,
            r#"{"format":1,"current":null,"previous":null,"dns":1}"#,
        ] {
            fs::write(root.path().join("state").join(FILE_NAME), text).unwrap();
            let opened = network(root.path());
            assert_eq!(opened.fault, Some("network.state.unreadable"), "{text}");
            assert!(opened.fixed_addresses().is_empty());
        }
    }

    #[test]
    fn a_developer_s_machine_keeps_its_network() {
        let root = tempfile::tempdir().unwrap();
        let mut network = Network::open(None, root.path());
        network.set(&sound("10.0.2.15/24")).unwrap();
        assert!(!root.path().join("run").exists() && network.watch_at.is_none());
    }
}
