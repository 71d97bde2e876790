//! The EFI system partition of the running system, through the kernel's driver.
//!
//! While a system runs, its ESP belongs to the kernel: systemd mounts it on demand, and systemd-bless-boot renames boot
//! entries there. So an update writes through that mount, found by the device number of its partition, and mounts it
//! itself only where nobody has.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::entries::{ENTRIES_FOLDER, EspFault, MountedFolder};
use crate::layout::ESP_LABEL;
use crate::survey::Roots;

/// Where systemd mounts an ESP; looking there makes it do so.
const PLACES: [&str; 3] = ["/efi", "/boot", "/boot/efi"];
/// Where it is mounted when nobody else did.
const OWN_PLACE: &str = "/run/jingui/esp";

/// The mounted ESP. Unmounted when dropped, where it was mounted here.
#[derive(Debug)]
pub struct MountedEsp {
    folder: PathBuf,
    is_own: bool,
}

impl MountedEsp {
    /// Finds or mounts the ESP of that disk.
    ///
    /// # Errors
    /// [`EspFault::Io`].
    pub fn find(roots: &Roots, disk: &str) -> Result<Self, EspFault> {
        let device = roots
            .partition(disk, ESP_LABEL)?
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let number = fs::metadata(&device)?.rdev();
        for place in PLACES {
            // Opening what is in it, not the folder itself, is what an automount waits for.
            let _ = fs::read_dir(place).map(|mut it| it.next().is_some());
            if fs::metadata(place).is_ok_and(|metadata| metadata.dev() == number) {
                return Ok(Self {
                    folder: PathBuf::from(place),
                    is_own: false,
                });
            }
        }
        fs::create_dir_all(OWN_PLACE)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some(&device), OWN_PLACE, Some("vfat"), flags, Some("umask=0077")).map_err(io::Error::from)?;
        Ok(Self {
            folder: PathBuf::from(OWN_PLACE),
            is_own: true,
        })
    }

    /// The folder of boot entries.
    ///
    /// # Errors
    /// [`EspFault::Io`].
    pub fn entries(&mut self) -> Result<MountedFolder, EspFault> {
        Ok(MountedFolder::new(open_entries(&self.folder)?))
    }
}

fn open_entries(esp: &Path) -> io::Result<OwnedFd> {
    let folder = File::open(esp.join(ENTRIES_FOLDER))?;
    if folder.metadata()?.is_dir() {
        Ok(folder.into())
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

impl Drop for MountedEsp {
    fn drop(&mut self) {
        if self.is_own {
            // Lazily: a descriptor below it may still be open; it goes when that is closed.
            let _ = umount2(self.folder.as_path(), MntFlags::MNT_DETACH);
        }
    }
}
