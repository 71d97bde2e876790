//! A machine for tests: a root folder with `/sys` and `/proc` of its own, and programs that a closure plays.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{Access, Ended, Machine, Tool};

type Player = Box<dyn FnMut(&Path, &Tool) -> Ended>;

/// The machine.
pub(crate) struct FakeMachine {
    root: tempfile::TempDir,
    /// What was run, in order: program and arguments, with the root folder's name cut off.
    pub(crate) ran: Vec<String>,
    /// What was mounted, in order.
    pub(crate) mounted: Vec<String>,
    /// Mounts that fail, by device.
    pub(crate) refused_mounts: Vec<&'static str>,
    player: Player,
}

impl FakeMachine {
    /// A machine with one disk, whose root lies on the partitions that are labelled as slots.
    pub(crate) fn with_disk(name: &str, labels: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in [
            "proc/self",
            "sys/dev/block",
            "sys/class/block",
            "dev",
            "run/jingui",
            "var/lib",
        ] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let mapper = root.path().join("sys/devices/dm-0");
        fs::create_dir_all(mapper.join("dm")).unwrap();
        fs::create_dir_all(mapper.join("slaves")).unwrap();
        fs::write(mapper.join("dm/uuid"), "CRYPT-VERITY-0123-root\n").unwrap();
        symlink("../../devices/dm-0", root.path().join("sys/dev/block/253:0")).unwrap();
        fs::write(
            root.path().join("proc/self/mountinfo"),
            "26 1 253:0 / / ro,relatime - erofs /dev/mapper/root ro\n",
        )
        .unwrap();
        let mut machine = Self {
            root,
            ran: Vec::new(),
            mounted: Vec::new(),
            refused_mounts: Vec::new(),
            player: Box::new(|_, _| Ended {
                code: Some(0),
                output: Vec::new(),
            }),
        };
        machine.add_disk(name, labels);
        for (index, label) in labels.iter().enumerate() {
            if label.starts_with("jingui_") {
                machine.add_slave(name, &format!("{name}{}", index + 1));
            }
        }
        machine
    }

    /// The programs' part: what each one does below the root folder, and how it ends.
    pub(crate) fn played_by(mut self, player: impl FnMut(&Path, &Tool) -> Ended + 'static) -> Self {
        self.player = Box::new(player);
        self
    }

    /// Another disk.
    pub(crate) fn add_disk(&mut self, name: &str, labels: &[&str]) {
        let folder = self.root.path().join("sys/devices").join(name);
        fs::create_dir_all(&folder).unwrap();
        symlink(
            format!("../../devices/{name}"),
            self.root.path().join("sys/class/block").join(name),
        )
        .unwrap();
        fs::write(self.root.path().join("dev").join(name), [0; 4096]).unwrap();
        for label in labels {
            add_partition(self.root.path(), name, label);
        }
    }

    /// One more slave of the root device.
    pub(crate) fn add_slave(&mut self, disk: &str, partition: &str) {
        symlink(
            format!("../../{disk}/{partition}"),
            self.root.path().join("sys/devices/dm-0/slaves").join(partition),
        )
        .unwrap();
    }

    pub(crate) fn root_folder(&self) -> &Path {
        self.root.path()
    }

    /// Writes a file below the root folder.
    pub(crate) fn write(&self, below: &str, bytes: impl AsRef<[u8]>) {
        let path = self.root.path().join(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn read(&self, below: &str) -> Option<String> {
        fs::read_to_string(self.root.path().join(below)).ok()
    }
}

/// Adds a partition with that label to a disk, as the kernel shows it.
pub(crate) fn add_partition(root: &Path, disk: &str, label: &str) -> PathBuf {
    let folder = root.join("sys/devices").join(disk);
    let number = (1..)
        .find(|number| !folder.join(format!("{disk}{number}")).exists())
        .unwrap();
    let name = format!("{disk}{number}");
    let partition = folder.join(&name);
    fs::create_dir_all(&partition).unwrap();
    fs::write(partition.join("partition"), format!("{number}\n")).unwrap();
    fs::write(
        partition.join("uevent"),
        format!("MAJOR=254\nDEVNAME={name}\nDEVTYPE=partition\nPARTN={number}\nPARTNAME={label}\n"),
    )
    .unwrap();
    let device = root.join("dev").join(name);
    fs::write(&device, b"").unwrap();
    device
}

impl Machine for FakeMachine {
    fn root(&self) -> &Path {
        self.root.path()
    }

    fn run(&mut self, tool: Tool) -> io::Result<Ended> {
        let root = self.root.path().to_string_lossy().into_owned();
        let arguments: Vec<String> = tool
            .arguments
            .iter()
            .map(|it| it.to_string_lossy().replace(&root, ""))
            .collect();
        self.ran.push(format!("{} {}", tool.program, arguments.join(" ")));
        Ok((self.player)(self.root.path(), &tool))
    }

    fn mount(&mut self, device: &Path, folder: &Path, kind: &str, access: Access) -> io::Result<()> {
        let short = |path: &Path| format!("/{}", path.strip_prefix(self.root.path()).unwrap().display());
        assert!(folder.is_dir(), "{} is there", folder.display());
        let device = short(device);
        if self.refused_mounts.contains(&device.as_str()) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let line = format!("{device} on {} as {kind}, {access:?}", short(folder));
        self.mounted.push(line);
        Ok(())
    }

    fn unmount(&mut self, folder: &Path) -> io::Result<()> {
        let folder = folder
            .strip_prefix(self.root.path())
            .unwrap()
            .display()
            .to_string();
        self.mounted
            .retain(|line| !line.contains(&format!(" on /{folder} ")));
        Ok(())
    }
}
