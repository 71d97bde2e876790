//! File systems: checked, then mounted.

use std::fs;
use std::io;
use std::path::Path;

use crate::failure::Failure;
use crate::keys::run;
use crate::machine::{Access, Machine, Tool};

const E2FSCK: &str = "/usr/sbin/e2fsck";
/// e2fsck(8): from this sum of bits on, errors are left.
const ERRORS_LEFT: i32 = 4;
/// Where the state is mounted, below the root folder.
pub(crate) const STATE_FOLDER: &str = "var/lib/jingui";
/// Where the model store is mounted, below the root folder.
pub(crate) const MODELS_FOLDER: &str = "var/lib/jingui/models";

/// Checks and mounts the state. Only repairs that lose nothing are made.
pub(crate) fn mount_state(machine: &mut dyn Machine, device: &Path) -> Result<(), Failure> {
    let code = check(machine, device, &["-p"])?;
    if !is_sound(code) {
        return Err(Failure::StateDamaged { code });
    }
    mount(machine, device, STATE_FOLDER, "the state")
}

/// Checks and mounts the model store. It holds nothing that is not signed or cannot be imported again, so every repair
/// is made; when none helps, the code says so and the box runs without models.
pub(crate) fn mount_models(
    machine: &mut dyn Machine,
    device: &Path,
) -> Result<Option<&'static str>, Failure> {
    let mut code = check(machine, device, &["-p"])?;
    if !is_sound(code) {
        code = check(machine, device, &["-f", "-y"])?;
    }
    if !is_sound(code) || mount(machine, device, MODELS_FOLDER, "the model store").is_err() {
        return Ok(Some("storage.models.damaged"));
    }
    Ok(None)
}

/// Whether the state is mounted already: this program was started again.
pub(crate) fn is_mounted(machine: &dyn Machine) -> bool {
    let mounts = fs::read_to_string(machine.path("proc/self/mountinfo")).unwrap_or_default();
    let folder = format!("/{STATE_FOLDER}");
    mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(folder.as_str()))
}

fn check(machine: &mut dyn Machine, device: &Path, how: &[&str]) -> Result<Option<i32>, Failure> {
    let arguments = how.iter().map(AsRef::as_ref).chain([device.as_os_str()]);
    run(machine, Tool::new(E2FSCK, arguments)).map(|ended| ended.code)
}

fn is_sound(code: Option<i32>) -> bool {
    code.is_some_and(|code| (0..ERRORS_LEFT).contains(&code))
}

fn mount(machine: &mut dyn Machine, device: &Path, folder: &str, what: &'static str) -> Result<(), Failure> {
    let folder = machine.path(folder);
    let mounted: io::Result<()> =
        fs::create_dir_all(&folder).and_then(|()| machine.mount(device, &folder, "ext4", Access::Write));
    mounted.map_err(|source| Failure::MountFailed { what, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Ended;
    use crate::machine::fake::FakeMachine;

    fn checking(codes: &'static [i32]) -> FakeMachine {
        let mut codes = codes.iter();
        FakeMachine::with_disk("vda", &["jingui_1"]).played_by(move |_, _| Ended {
            code: codes.next().copied(),
            output: Vec::new(),
        })
    }

    #[test]
    fn a_state_is_mounted_after_repairs_that_lose_nothing_and_not_after_others() {
        for sound in [&[0][..], &[1], &[2], &[3]] {
            let mut machine = checking(sound);
            let device = machine.path("dev/mapper/jingui-state");
            mount_state(&mut machine, &device).unwrap();
            assert_eq!(machine.ran, ["/usr/sbin/e2fsck -p /dev/mapper/jingui-state"]);
            assert_eq!(
                machine.mounted,
                ["/dev/mapper/jingui-state on /var/lib/jingui as ext4, Write"]
            );
        }
        for damaged in [&[4][..], &[8], &[12], &[]] {
            let mut machine = checking(damaged);
            let device = machine.path("dev/mapper/jingui-state");
            let failure = mount_state(&mut machine, &device).unwrap_err();
            assert_eq!(failure.code(), "storage.state.damaged");
            assert_eq!(machine.ran.len(), 1, "and nothing else is tried");
            assert!(machine.mounted.is_empty());
        }
    }

    #[test]
    fn a_model_store_gets_every_repair_and_the_box_runs_without_one_that_stays_damaged() {
        let mut machine = checking(&[4, 1]);
        let device = machine.path("dev/vda7");
        assert_eq!(mount_models(&mut machine, &device).unwrap(), None);
        assert_eq!(
            machine.ran,
            [
                "/usr/sbin/e2fsck -p /dev/vda7",
                "/usr/sbin/e2fsck -f -y /dev/vda7"
            ]
        );
        assert_eq!(machine.mounted.len(), 1);
        let mut machine = checking(&[4, 4]);
        let device = machine.path("dev/vda7");
        assert_eq!(
            mount_models(&mut machine, &device).unwrap(),
            Some("storage.models.damaged")
        );
        assert!(machine.mounted.is_empty());
        let mut machine = checking(&[0]);
        machine.refused_mounts = vec!["/dev/vda7"];
        let device = machine.path("dev/vda7");
        assert_eq!(
            mount_models(&mut machine, &device).unwrap(),
            Some("storage.models.damaged")
        );
    }
}
