//! Making what is missing behind slot A: slot B, the state, the model store. `systemd-repart` does it on the one disk
//! that it is named: it formats and encrypts a partition first and writes the table last, so that a partition that is
//! there is whole, and one that a power cut came across is not there.
//!
//! What is there is never touched, with one exception: a state that [`crate::erase`] destroyed on a person's order.

use std::fs;
use std::path::Path;

use crate::disk::{Disk, MODELS_LABEL, STATE_LABEL};
use crate::erase;
use crate::failure::Failure;
use crate::keys::NewKey;
use crate::machine::{Machine, Tool};
use crate::table;

const REPART: &str = "/usr/bin/systemd-repart";
/// Where definitions and key lie while the program runs, below the root folder.
const DEFINITIONS: &str = "run/jingui/repart.d";
/// Partitions of two slots: root and hash tree of each.
const SLOT_PARTITIONS: usize = 4;
/// Label of a slot that no image was written to.
const EMPTY_LABEL: &str = "_empty";
/// Labels of slots begin so.
const SLOT_PREFIX: &str = "jingui_";
/// Key of the image's signed measurements, below the root folder; systemd's stub puts it there.
pub(crate) const PCR_KEY: &str = "run/systemd/tpm2-pcr-public-key.pem";

/// What is missing on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// For people and the report.
    pub(crate) labels: Vec<String>,
    /// Whether the state was destroyed on a person's order and is to be made anew.
    pub(crate) is_erased: bool,
}

impl Missing {
    /// Looks at the disk.
    pub(crate) fn on(disk: &Disk) -> Result<Self, Failure> {
        let labels = disk.labels()?;
        let is_slot = |label: &&String| label.starts_with(SLOT_PREFIX) || *label == EMPTY_LABEL;
        let mut missing = Vec::new();
        if labels.iter().filter(is_slot).count() < SLOT_PARTITIONS {
            missing.push("slot B".to_owned());
        }
        let is_erased = match disk.partition(STATE_LABEL)? {
            Some(state) => erase::is_erased(&state),
            None => false,
        };
        if is_erased || disk.partition(STATE_LABEL)?.is_none() {
            missing.push(STATE_LABEL.to_owned());
        }
        if disk.partition(MODELS_LABEL)?.is_none() {
            missing.push(MODELS_LABEL.to_owned());
        }
        Ok(Self {
            labels: missing,
            is_erased,
        })
    }

    /// Whether a state has to be made, and so a key for it.
    pub(crate) fn needs_state(&self) -> bool {
        self.labels.iter().any(|label| label == STATE_LABEL)
    }
}

/// Makes what is missing. A state is encrypted under `key`.
pub(crate) fn make(
    machine: &mut dyn Machine,
    disk: &Disk,
    missing: &Missing,
    key: Option<&NewKey>,
) -> Result<(), Failure> {
    if missing.labels.is_empty() {
        return Ok(());
    }
    let device = disk.device();
    table::stretch(&device).map_err(|source| Failure::ToolFailed {
        program: "stretch",
        source,
    })?;
    let folder = machine.path(DEFINITIONS);
    write_definitions(&folder, key).map_err(|source| Failure::ToolFailed {
        program: REPART,
        source,
    })?;
    let key_file = match key {
        Some(NewKey::Typed(secret)) => Some(crate::keys::KeyFile::write(machine, secret)?),
        Some(NewKey::Tpm) | None => None,
    };
    let mut arguments = vec![
        format!("--definitions={}", folder.display()),
        "--dry-run=no".to_owned(),
        "--empty=refuse".to_owned(),
        "--offline=no".to_owned(),
        "--seed=random".to_owned(),
        "--factory-reset=".to_owned() + if missing.is_erased { "yes" } else { "no" },
    ];
    arguments.extend(key_arguments(
        machine,
        key_file.as_ref().map(crate::keys::KeyFile::path),
    ));
    arguments.push(device.display().to_string());
    // Model files are sealed by fs-verity, which ext4 has as a feature to be chosen.
    let tool = Tool::new(REPART, arguments).with("SYSTEMD_REPART_MKFS_OPTIONS_EXT4", "-O verity");
    let ended = crate::keys::run(machine, tool)?;
    if ended.is_success() {
        Ok(())
    } else {
        Err(Failure::PartitionsFailed { code: ended.code })
    }
}

fn key_arguments(machine: &dyn Machine, key_file: Option<&Path>) -> Vec<String> {
    match key_file {
        Some(path) => vec![format!("--key-file={}", path.display())],
        None => tpm_arguments(machine),
    }
}

/// Firmware state and keys (PCR 7) as they are now, and any image that our measurement key signed (PCR 11).
pub(crate) fn tpm_arguments(machine: &dyn Machine) -> Vec<String> {
    vec![
        "--tpm2-device=auto".to_owned(),
        "--tpm2-pcrs=7".to_owned(),
        format!("--tpm2-public-key={}", machine.path(PCR_KEY).display()),
        "--tpm2-public-key-pcrs=11".to_owned(),
    ]
}

fn write_definitions(folder: &Path, key: Option<&NewKey>) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let encrypt = match key {
        Some(NewKey::Typed(_)) => "key-file",
        Some(NewKey::Tpm) | None => "tpm2",
    };
    for (name, text) in DEFINITION_TEXTS {
        fs::write(folder.join(name), text.replace("{encrypt}", encrypt))?;
    }
    Ok(())
}

/// Slot A is there already: its definitions say only that it stays as large as it is. Types of state and model store
/// are our own, so that no part of systemd takes them for something that it mounts by itself.
const DEFINITION_TEXTS: [(&str, &str); 6] = [
    (
        "10-root-a.conf",
        "[Partition]\nType=root\nSizeMinBytes=1M\nSizeMaxBytes=1M\nWeight=0\n",
    ),
    (
        "11-verity-a.conf",
        "[Partition]\nType=root-verity\nSizeMinBytes=1M\nSizeMaxBytes=1M\nWeight=0\n",
    ),
    (
        "20-root-b.conf",
        "[Partition]\nType=root\nLabel=_empty\nSizeMinBytes=400M\nSizeMaxBytes=400M\nWeight=0\n",
    ),
    (
        "21-verity-b.conf",
        "[Partition]\nType=root-verity\nLabel=_empty\nSizeMinBytes=16M\nSizeMaxBytes=16M\nWeight=0\n",
    ),
    (
        "50-state.conf",
        "[Partition]\nType=6a1e0f2c-5b0d-4c7e-9d41-0a6f3c2b7e11\nLabel=jingui-state\nFormat=ext4\nEncrypt={encrypt}\n\
         SizeMinBytes=512M\nSizeMaxBytes=64G\nWeight=250\nFactoryReset=yes\n",
    ),
    (
        "60-models.conf",
        "[Partition]\nType=6a1e0f2c-5b0d-4c7e-9d41-0a6f3c2b7e12\nLabel=jingui-models\nFormat=ext4\n\
         SizeMinBytes=512M\nWeight=1000\n",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Ended;
    use crate::machine::fake::FakeMachine;

    const WHOLE: [&str; 7] = [
        "jingui-esp",
        "jingui_1",
        "jingui_1_verity",
        "_empty",
        "_empty",
        "jingui-state",
        "jingui-models",
    ];

    fn missing(labels: &[&str]) -> Missing {
        let machine = FakeMachine::with_disk("vda", labels);
        Missing::on(&Disk::find(machine.root_folder()).unwrap()).unwrap()
    }

    #[test]
    fn what_is_missing_is_told_and_a_whole_disk_misses_nothing() {
        assert!(missing(&WHOLE).labels.is_empty());
        assert_eq!(
            missing(&WHOLE[..3]).labels,
            ["slot B", "jingui-state", "jingui-models"]
        );
        assert_eq!(missing(&WHOLE[..5]).labels, ["jingui-state", "jingui-models"]);
        assert_eq!(missing(&WHOLE[..6]).labels, ["jingui-models"]);
        let updated = [
            "jingui_1",
            "jingui_1_verity",
            "jingui_2",
            "jingui_2_verity",
            "jingui-state",
            "jingui-models",
        ];
        assert!(missing(&updated).labels.is_empty());
    }

    #[test]
    fn a_whole_disk_is_left_alone() {
        let mut machine = FakeMachine::with_disk("vda", &WHOLE);
        let disk = Disk::find(machine.root_folder()).unwrap();
        let missing = Missing::on(&disk).unwrap();
        make(&mut machine, &disk, &missing, None).unwrap();
        assert!(machine.ran.is_empty());
    }

    #[test]
    fn the_state_is_bound_to_the_tpm_on_the_one_disk_and_no_other_is_named() {
        let mut machine = FakeMachine::with_disk("nvme0n1", &WHOLE[..3]);
        let disk = Disk::find(machine.root_folder()).unwrap();
        let missing = Missing::on(&disk).unwrap();
        make(&mut machine, &disk, &missing, Some(&NewKey::Tpm)).unwrap();
        assert_eq!(
            machine.ran,
            [
                "/usr/bin/systemd-repart --definitions=/run/jingui/repart.d --dry-run=no --empty=refuse --offline=no \
                 --seed=random --factory-reset=no --tpm2-device=auto --tpm2-pcrs=7 \
                 --tpm2-public-key=/run/systemd/tpm2-pcr-public-key.pem --tpm2-public-key-pcrs=11 /dev/nvme0n1"
            ]
        );
        let state = machine.read("run/jingui/repart.d/50-state.conf").unwrap();
        assert!(state.contains("Encrypt=tpm2\n"), "{state}");
        let models = machine.read("run/jingui/repart.d/60-models.conf").unwrap();
        assert!(!models.contains("Encrypt"), "{models}");
    }

    #[test]
    fn a_repart_that_fails_is_a_failure_with_its_code() {
        let failing = |_: &Path, _: &Tool| Ended {
            code: Some(1),
            output: Vec::new(),
        };
        let mut machine = FakeMachine::with_disk("vda", &WHOLE[..3]).played_by(failing);
        let disk = Disk::find(machine.root_folder()).unwrap();
        let missing = Missing::on(&disk).unwrap();
        let failure = make(&mut machine, &disk, &missing, Some(&NewKey::Tpm)).unwrap_err();
        assert_eq!(failure.code(), "storage.partitions.failed");
    }
}
