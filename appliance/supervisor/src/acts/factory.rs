//! Packages that come with the box: in the image, or beside the models by the installer. The box takes them in by itself
//! once the ceremony was held, one after another, checked like any other import and recorded as its own act.
//!
//! What is in the store already, and what is older than it, is passed over. A bad one is refused with its leaf, and status
//! says so until the box is started again without it.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::{Act, Asker, Stage, Told};
use crate::engine::Reason;
use crate::models::ImportJob;
use crate::supervisor::Supervisor;

/// Most packages that are taken in.
pub(crate) const PACKAGES_MAX: usize = 16;

/// Packages that wait, and what was wrong with others.
#[derive(Debug, Default)]
pub(crate) struct Factory {
    waiting: VecDeque<PathBuf>,
    current: Option<PathBuf>,
    refused: Vec<Reason>,
}

impl Factory {
    /// Every folder in those folders, by name.
    pub(crate) fn find(folders: &[PathBuf]) -> Self {
        let mut waiting: Vec<PathBuf> = folders
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flat_map(|entries| entries.filter_map(Result::ok))
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        waiting.sort();
        waiting.truncate(PACKAGES_MAX);
        Self {
            waiting: waiting.into(),
            ..Self::default()
        }
    }

    /// Why packages of the box were not taken in.
    pub(crate) fn reasons(&self) -> &[Reason] {
        &self.refused
    }
}

impl Supervisor {
    /// Begins with the next package of the box, when nothing speaks against it now.
    pub(crate) fn take_in_factory(&mut self) {
        let is_time = self.people.is_set_up()
            && self.factory.current.is_none()
            && self.platform.refusal().is_none()
            && self.check_can_act().is_ok()
            && !self.acts.is_import_running();
        if !is_time {
            return;
        }
        let Some(path) = self.factory.waiting.pop_front() else {
            return;
        };
        let folder = match open_folder(&path) {
            Ok(folder) => folder,
            Err(error) => {
                return crate::say(format_args!("{} cannot be opened: {error}", path.display()));
            }
        };
        let stage = Stage::Importing {
            approvers: Vec::new(),
            activate: false,
        };
        let act = self.acts.insert(Asker::Factory, "", stage);
        self.factory.current = Some(path);
        let job = ImportJob {
            act,
            folder,
            is_new_only: true,
        };
        if self.models.start_import(job, self.clock, &self.events).is_err() {
            self.acts.running.remove(&act);
            self.put_factory_back();
        }
    }

    /// The package is in the store, is passed over, or was refused.
    pub(super) fn on_factory_told(&mut self, told: &Told) {
        let Some(path) = self.factory.current.take() else {
            return;
        };
        match told {
            Told::Refused(fault) => {
                let name = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                crate::say(format_args!(
                    "the package {name} of the box is refused: {}",
                    fault.code
                ));
                let mut facts = fault.facts.clone();
                facts.push(("package".to_owned(), name));
                self.factory.refused.push(Reason {
                    code: fault.code.clone(),
                    facts,
                });
            }
            _ => self.tidy_factory(&path),
        }
    }

    /// The act ended without a word: the package is known already.
    pub(super) fn on_factory_known(&mut self, act: &Act) {
        if act.asker == Asker::Factory
            && let Some(path) = self.factory.current.take()
        {
            self.tidy_factory(&path);
        }
    }

    fn put_factory_back(&mut self) {
        if let Some(path) = self.factory.current.take() {
            self.factory.waiting.push_front(path);
        }
    }

    /// A package that the installer laid beside the models is there twice now; one in the image stays.
    fn tidy_factory(&self, path: &Path) {
        if !path.starts_with(self.state.models()) {
            return;
        }
        let path = path.to_owned();
        // Deleting much takes long; what stays behind is passed over at the next start.
        std::thread::spawn(move || fs::remove_dir_all(path));
    }
}

fn open_folder(path: &Path) -> std::io::Result<OwnedFd> {
    let flags = (OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits();
    let folder = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    Ok(folder.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_the_folders_in_the_folders_up_to_a_bound() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(one.path().join("b")).unwrap();
        fs::create_dir(one.path().join("a")).unwrap();
        fs::write(one.path().join("note"), "no package").unwrap();
        std::os::unix::fs::symlink(one.path(), one.path().join("link")).unwrap();
        let missing = one.path().join("none");
        let found = Factory::find(&[one.path().to_owned(), missing]).waiting;
        assert_eq!(found, [one.path().join("a"), one.path().join("b")]);
        for index in 0..PACKAGES_MAX + 1 {
            fs::create_dir(other.path().join(format!("p{index}"))).unwrap();
        }
        assert_eq!(
            Factory::find(&[other.path().to_owned()]).waiting.len(),
            PACKAGES_MAX
        );
    }
}
