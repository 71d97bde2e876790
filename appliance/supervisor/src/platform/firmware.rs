//! What the firmware says of itself: UEFI variables (UEFI 2.10, 3.3) and the DMI table.

use std::path::Path;

use jingui_audit::event::SecureBoot;

use super::{line, read};

/// Vendor of the global variables.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// A variable below efivarfs: four bytes of attributes, then its value.
const ATTRIBUTE_BYTES: usize = 4;
const VARIABLE_BYTES_MAX: u64 = 64;
/// Longest vendor or version that is taken.
const WORD_SIGNS_MAX: usize = 64;

/// The firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Firmware {
    secure_boot: Option<bool>,
    /// Whether its keys can be replaced by anybody: no platform key is enrolled.
    pub(super) setup_mode: Option<bool>,
    vendor: Option<String>,
    version: Option<String>,
}

impl Firmware {
    /// Reads what there is below `root`.
    pub(super) fn measure(root: &Path) -> Self {
        let dmi = |name: &str| line(&root.join("sys/class/dmi/id").join(name)).map(shorten);
        Self {
            secure_boot: flag(root, "SecureBoot"),
            setup_mode: flag(root, "SetupMode"),
            vendor: dmi("bios_vendor"),
            version: dmi("bios_version"),
        }
    }

    /// Secure Boot as the firmware reports it.
    pub(super) const fn secure_boot(&self) -> SecureBoot {
        match self.secure_boot {
            Some(true) => SecureBoot::On,
            Some(false) => SecureBoot::Off,
            None => SecureBoot::Unknown,
        }
    }

    /// Vendor and version.
    pub(super) fn title(&self) -> Option<String> {
        let words = [self.vendor.as_deref(), self.version.as_deref()];
        let title: Vec<&str> = words.into_iter().flatten().collect();
        (!title.is_empty()).then(|| title.join(" "))
    }
}

fn shorten(word: String) -> String {
    word.chars().take(WORD_SIGNS_MAX).collect()
}

/// A variable of one byte that is 0 or 1.
fn flag(root: &Path, name: &str) -> Option<bool> {
    let path = root
        .join("sys/firmware/efi/efivars")
        .join(format!("{name}-{GLOBAL}"));
    let bytes = read(&path, VARIABLE_BYTES_MAX).ok()?;
    match bytes.get(ATTRIBUTE_BYTES..)? {
        [0] => Some(false),
        [1] => Some(true),
        _ => None,
    }
}
