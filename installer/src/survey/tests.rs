use super::*;
use std::os::unix::fs::symlink;

const ARCHITECTURE: Architecture = Architecture::X8664;

/// A machine made of folders: `/sys`, `/dev` and `/proc` below a folder of its own.
pub(crate) struct FakeMachine {
    pub(crate) folder: tempfile::TempDir,
}

impl FakeMachine {
    /// With a stick `sdz` that the root lies on, through dm-verity.
    pub(crate) fn new() -> Self {
        let machine = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for folder in [
            "sys/block",
            "sys/class/block",
            "sys/dev/block",
            "sys/devices",
            "dev",
            "proc/self",
        ] {
            fs::create_dir_all(machine.path(folder)).unwrap();
        }
        machine.add_disk("sdz", "9:0", 16 << 30);
        machine.write("sys/devices/sdz/sdz2/partition", "2");
        machine.write("sys/devices/sdz/sdz2/dev", "9:2");
        machine.write("sys/devices/dm-0/dm/uuid", "CRYPT-VERITY-1-root");
        fs::create_dir_all(machine.path("sys/devices/dm-0/slaves")).unwrap();
        symlink("../../sdz/sdz2", machine.path("sys/devices/dm-0/slaves/sdz2")).unwrap();
        symlink("../../devices/dm-0", machine.path("sys/dev/block/254:0")).unwrap();
        machine.mount("254:0", "/");
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    pub(crate) fn add_disk(&self, name: &str, number: &str, bytes: u64) {
        let place = format!("sys/devices/{name}");
        for (attribute, value) in [
            ("dev", number.to_owned()),
            ("size", (bytes / 512).to_string()),
            ("removable", "0".to_owned()),
            ("ro", "0".to_owned()),
            ("diskseq", "7".to_owned()),
            ("queue/logical_block_size", "512".to_owned()),
            ("device/model", format!("Model of {name}")),
            ("device/serial", format!("SERIAL-{name}")),
        ] {
            self.write(&format!("{place}/{attribute}"), &value);
        }
        symlink(format!("../devices/{name}"), self.path("sys/block").join(name)).unwrap();
        symlink(
            format!("../../devices/{name}"),
            self.path("sys/class/block").join(name),
        )
        .unwrap();
        symlink(
            format!("../../devices/{name}"),
            self.path("sys/dev/block").join(number),
        )
        .unwrap();
        let device = File::create(self.path("dev").join(name)).unwrap();
        device.set_len(bytes).unwrap();
    }

    pub(crate) fn mount(&self, number: &str, place: &str) {
        let path = self.path("proc/self/mountinfo");
        let before = fs::read_to_string(&path).unwrap_or_default();
        fs::write(path, format!("{before}21 1 {number} / {place} rw - ext4 x rw\n")).unwrap();
    }

    /// The number of a file is that of the device in whose place it stands.
    pub(crate) fn roots(&self) -> Roots {
        Roots {
            sys: self.path("sys"),
            dev: self.path("dev"),
            proc: self.path("proc"),
            number: |file| {
                use std::os::fd::AsRawFd;
                let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
                let name = file_name(&path);
                let root = path.parent().and_then(Path::parent).unwrap().to_owned();
                Ok(attribute(&root.join("sys/block").join(name), "dev"))
            },
        }
    }

    fn disk(&self, name: &str) -> Found {
        let roots = self.roots();
        let disks = roots.disks(&roots.medium().unwrap(), ARCHITECTURE).unwrap();
        disks.into_iter().find(|disk| disk.name == name).unwrap()
    }
}

#[test]
fn the_medium_is_the_disk_under_the_verity_of_the_root() {
    let machine = FakeMachine::new();
    let roots = machine.roots();
    assert_eq!(roots.medium().unwrap(), "sdz");
    assert_eq!(roots.checked_root().unwrap(), machine.path("dev/dm-0"));
    assert_eq!(machine.disk("sdz").unfit, Some(Unfit::Medium));
    machine.write("sys/devices/dm-0/dm/uuid", "LVM-x");
    roots.checked_root().unwrap_err();
}

#[test]
fn a_disk_is_told_by_model_serial_and_size() {
    let machine = FakeMachine::new();
    machine.add_disk("sda", "8:0", 32 << 30);
    machine.write("sys/devices/sda/device/vendor", "ACME");
    let disk = machine.disk("sda");
    assert_eq!(disk.model, "ACME Model of sda");
    assert_eq!((disk.serial.as_str(), disk.bytes), ("SERIAL-sda", 32 << 30));
    assert_eq!((disk.unfit, disk.content), (None, Content::Nothing));
    assert_eq!(disk.handle, "-sda");
    machine.write("sys/devices/sda/device/vendor", "0x1af4");
    assert_eq!(machine.disk("sda").model, "Model of sda");
    // As virtio and SCSI tell it.
    fs::remove_file(machine.path("sys/devices/sda/device/serial")).unwrap();
    machine.write("sys/devices/sda/serial", "virtio-1");
    assert_eq!(machine.disk("sda").serial, "virtio-1");
    fs::remove_file(machine.path("sys/devices/sda/serial")).unwrap();
    machine.write(
        "sys/devices/sda/device/vpd_pg80",
        "\0\u{80}\0\u{8}  SCSI-1 \u{1b}[2J",
    );
    assert_eq!(
        machine.disk("sda").serial,
        "SCSI-1 [2J",
        "nothing that a terminal obeys"
    );
}

#[test]
fn each_reason_not_to_write_a_disk_is_found() {
    let change = |change: &dyn Fn(&FakeMachine)| {
        let machine = FakeMachine::new();
        machine.add_disk("sda", "8:0", 32 << 30);
        change(&machine);
        machine.disk("sda").unfit
    };
    assert_eq!(change(&|_| ()), None);
    let write =
        |path: &'static str, text: &'static str| move |machine: &FakeMachine| machine.write(path, text);
    assert_eq!(
        change(&write("sys/devices/sda/removable", "1")),
        Some(Unfit::Removable)
    );
    assert_eq!(change(&write("sys/devices/sda/ro", "1")), Some(Unfit::ReadOnly));
    assert_eq!(
        change(&write("sys/devices/sda/size", "16777215")),
        Some(Unfit::TooSmall)
    );
    assert_eq!(change(&write("sys/devices/sda/size", "16777216")), None);
    assert_eq!(
        change(&write("sys/devices/sda/queue/logical_block_size", "4096")),
        Some(Unfit::Sectors)
    );
    assert_eq!(
        change(&write("sys/devices/sda/device/state", "offline")),
        Some(Unfit::Failing)
    );
    assert_eq!(change(&write("sys/devices/sda/device/state", "running")), None);
    assert_eq!(
        change(&write("sys/devices/sda/holders/md0", "")),
        Some(Unfit::InUse)
    );
    let partition = |machine: &FakeMachine| {
        machine.write("sys/devices/sda/sda1/partition", "1");
        machine.write("sys/devices/sda/sda1/dev", "8:1");
    };
    assert_eq!(change(&partition), None);
    let mounted = |machine: &FakeMachine| {
        partition(machine);
        machine.mount("8:1", "/data");
    };
    assert_eq!(change(&mounted), Some(Unfit::InUse));
    let swapped = |machine: &FakeMachine| {
        machine.write("sys/devices/sda/sda1/partition", "1");
        machine.write("sys/class/block/sda1/dev", "8:1");
        machine.write("sys/devices/sda/sda1/dev", "8:1");
        machine.write("proc/swaps", "Filename Type\n/dev/sda1 partition");
    };
    assert_eq!(change(&swapped), Some(Unfit::InUse));
    // It ends before its size says: as good as a disk that cannot be read there.
    let short = |machine: &FakeMachine| {
        let device = File::options().write(true).open(machine.path("dev/sda")).unwrap();
        device.set_len(1 << 20).unwrap();
    };
    assert_eq!(change(&short), Some(Unfit::Failing));
}

#[test]
fn what_is_no_disk_is_not_offered() {
    let machine = FakeMachine::new();
    for name in ["loop0", "ram0", "dm-7", "md127", "zram0", "sr0"] {
        machine.add_disk(name, "1:1", 32 << 30);
        fs::remove_file(machine.path("sys/dev/block/1:1")).unwrap();
    }
    let roots = machine.roots();
    let disks = roots.disks("sdz", ARCHITECTURE).unwrap();
    let names: Vec<&str> = disks.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(names, ["sdz"]);
}

#[test]
fn a_handle_tells_one_disk_from_all_others() {
    let machine = FakeMachine::new();
    for (name, number, serial) in [
        ("sda", "8:0", "AAA-1234"),
        ("sdb", "8:16", "BBB-1234"),
        ("sdc", "8:32", "CCC-9999"),
        ("sdd", "8:48", ""),
        ("sde", "8:64", "TWIN"),
        ("sdf", "8:80", "TWIN"),
        ("sdg", "8:96", "XY"),
    ] {
        machine.add_disk(name, number, 32 << 30);
        machine.write(&format!("sys/devices/{name}/device/serial"), serial);
    }
    let handles: Vec<String> = machine
        .roots()
        .disks("sdz", ARCHITECTURE)
        .unwrap()
        .into_iter()
        .map(|it| it.handle)
        .collect();
    assert_eq!(
        handles,
        ["AAA-1234", "BBB-1234", "9999", "sdd", "sde", "sdf", "XY", "-sdz"]
    );
}

#[test]
fn a_disk_that_was_exchanged_after_the_choice_is_not_opened() {
    let machine = FakeMachine::new();
    machine.add_disk("sda", "8:0", 32 << 30);
    let chosen = machine.disk("sda");
    machine.roots().open(&chosen).unwrap();
    let exchange = |path: &str, text: &str| {
        let machine = FakeMachine::new();
        machine.add_disk("sda", "8:0", 32 << 30);
        let chosen = machine.disk("sda");
        machine.write(path, text);
        machine.roots().open(&chosen).unwrap_err().code()
    };
    for (path, text) in [
        ("sys/devices/sda/device/serial", "another"),
        ("sys/devices/sda/size", "67108865"),
        ("sys/devices/sda/diskseq", "8"),
    ] {
        assert_eq!(exchange(path, text), "install.disk.changed", "{path}");
    }
    // The name leads to another device now.
    machine.add_disk("sdb", "8:16", 32 << 30);
    fs::rename(machine.path("dev/sdb"), machine.path("dev/sda")).unwrap();
    machine.write("sys/devices/sda/dev", "8:16");
    assert_eq!(
        machine.roots().open(&chosen).unwrap_err().code(),
        "install.disk.changed"
    );
    // A link in the place of a device is not followed.
    fs::remove_file(machine.path("dev/sda")).unwrap();
    symlink("sdz", machine.path("dev/sda")).unwrap();
    assert_eq!(
        machine.roots().open(&chosen).unwrap_err().code(),
        "install.disk.failed"
    );
}

#[test]
fn only_a_block_device_has_a_number() {
    number_of(&tempfile::tempfile().unwrap()).unwrap_err();
}
