//! Where the surroundings of the box lie: below `/` in the image, below a folder that stands for it in tests.
//!
//! Without such a root (a developer's machine) the box has no local screen, sets no network and touches no stick.

use std::path::{Path, PathBuf};

use jingui_ipc::{screen, storage};

/// The root of the image, or a folder that stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places {
    root: PathBuf,
}

impl Places {
    /// Everything below that folder.
    pub(crate) fn below(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Socket of the local screen.
    pub(crate) fn screen_socket(&self) -> PathBuf {
        self.root.join(screen::SOCKET_PATH.trim_start_matches('/'))
    }

    /// What systemd-networkd reads (`/run/systemd/network` leads here in the image).
    pub(crate) fn network(&self) -> PathBuf {
        self.root.join("run/jingui/network")
    }

    /// Counters of the firewall, as `nft -j` writes them now and then.
    pub(crate) fn firewall_counters(&self) -> PathBuf {
        self.root.join("run/jingui/firewall.json")
    }

    /// What `jingui-storage` did at this boot.
    pub(crate) fn storage_report(&self) -> PathBuf {
        self.root.join(storage::REPORT_PATH)
    }

    /// The recovery key, until the ceremony has shown it.
    pub(crate) fn recovery_key(&self) -> PathBuf {
        self.root.join(storage::RECOVERY_KEY_PATH)
    }

    /// Facts and keys of the image.
    pub(crate) fn system(&self) -> PathBuf {
        self.root.join("usr/share/jingui")
    }

    /// There as soon as the box was found healthy in this start of the machine.
    pub(crate) fn healthy(&self) -> PathBuf {
        self.root.join("run/jingui/healthy")
    }

    /// Network interfaces.
    pub(crate) fn interfaces(&self) -> PathBuf {
        self.root.join("sys/class/net")
    }

    /// Block devices.
    pub(crate) fn blocks(&self) -> PathBuf {
        self.root.join("sys/class/block")
    }

    /// Node of a block device.
    pub(crate) fn device(&self, name: &str) -> PathBuf {
        self.root.join("dev").join(name)
    }

    /// Where a stick is mounted while an act of that name uses it.
    pub(crate) fn stick(&self, act: &str) -> PathBuf {
        self.root.join("run/jingui/usb").join(act)
    }

    /// Program that restarts the machine or switches it off.
    pub(crate) fn systemctl(&self) -> PathBuf {
        self.root.join("usr/bin/systemctl")
    }
}
