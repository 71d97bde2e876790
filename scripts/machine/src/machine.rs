//! One run of a machine: from power on until it is off, killed, or started again.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::serial::Serial;
use crate::site::Site;
use crate::tpm;

const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
const QEMU: &str = "qemu-system-x86_64";
/// How long QEMU may take until its sockets are there.
const START_DEADLINE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
/// Long enough for a hypervisor that only looks usable to fail, as it does at the firmware's first steps.
const PROBE_TIME: Duration = Duration::from_secs(3);
const MEMORY_MIB: u32 = 2048;
const PROCESSORS: u32 = 2;

/// A disk of a machine.
#[derive(Debug, Clone)]
pub struct Disk {
    /// Raw image.
    pub file: PathBuf,
    /// Serial number that the machine sees.
    pub serial: String,
    /// A stick at a USB port instead of a disk inside.
    pub is_usb: bool,
    /// The medium cannot be written.
    pub is_read_only: bool,
}

impl Disk {
    /// A disk inside the machine.
    #[must_use]
    pub fn inside(file: PathBuf, serial: &str) -> Self {
        Self {
            file,
            serial: serial.to_owned(),
            is_usb: false,
            is_read_only: false,
        }
    }

    /// A stick at a USB port.
    #[must_use]
    pub fn stick(file: PathBuf, serial: &str) -> Self {
        Self {
            is_usb: true,
            ..Self::inside(file, serial)
        }
    }
}

/// A TCP port of the machine, reached through one of this host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// On this host, at 127.0.0.1; 0 takes a free one.
    pub host: u16,
    /// On the machine, at 10.0.2.15.
    pub guest: u16,
}

/// How a machine is started.
#[derive(Debug, Clone)]
pub struct Boot {
    /// Disks and sticks, in the order in which the firmware tries them.
    pub disks: Vec<Disk>,
    /// A TPM, its state kept in this folder of the site; `None` for a machine without.
    pub tpm: Option<String>,
    /// A network card whose only peer is this host.
    pub port: Option<Port>,
    /// Keep all frames in this file of the site.
    pub capture: Option<String>,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// A kernel and its command line given to QEMU directly, for machines that are only compared with.
    pub direct_kernel: Option<(PathBuf, PathBuf, String)>,
}

impl Boot {
    /// From one disk, with a TPM, without a network.
    #[must_use]
    pub fn from_disk(file: PathBuf) -> Self {
        Self {
            disks: vec![Disk::inside(file, "JGDISK0001")],
            tpm: Some("tpm".to_owned()),
            port: None,
            capture: None,
            memory_mib: MEMORY_MIB,
            direct_kernel: None,
        }
    }
}

/// A machine that has power.
#[derive(Debug)]
pub struct Machine {
    qemu: Child,
    tpm: Option<Child>,
    /// Its serial line.
    pub serial: Serial,
    port: Option<u16>,
    monitor: PathBuf,
    started: Instant,
}

impl Machine {
    /// Switches it on.
    pub fn start(site: &Site, boot: &Boot) -> anyhow::Result<Self> {
        let line = site.file("serial.sock");
        let monitor = site.file("monitor.sock");
        for socket in [&line, &monitor] {
            let _ = std::fs::remove_file(socket);
        }
        let Prepared {
            mut command,
            tpm: swtpm,
            port,
        } = prepare(site, boot)?;
        command.arg("-chardev").arg(format!(
            "socket,id=line,path={},server=on,wait=off,logfile={}",
            line.display(),
            site.file("serial.log").display()
        ));
        command.args(["-serial", "chardev:line"]);
        command
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", monitor.display()));
        let errors = std::fs::File::create(site.file("qemu.log"))?;
        let mut qemu = command
            .stdin(Stdio::null())
            .stdout(errors.try_clone()?)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("{QEMU} cannot be started"))?;
        let started = Instant::now();
        while !line.exists() || !monitor.exists() {
            if qemu.try_wait()?.is_some() || started.elapsed() > START_DEADLINE {
                let _ = qemu.kill();
                let words = std::fs::read_to_string(site.file("qemu.log")).unwrap_or_default();
                bail!("{QEMU} did not start: {}", words.trim());
            }
            std::thread::sleep(POLL);
        }
        Ok(Self {
            serial: Serial::connect(&line)?,
            qemu,
            tpm: swtpm,
            port,
            monitor,
            started,
        })
    }

    /// Runs it with this terminal as its serial line, until it is off. Ctrl-A X pulls the plug.
    pub fn in_foreground(site: &Site, boot: &Boot) -> anyhow::Result<ExitStatus> {
        let Prepared { mut command, tpm, .. } = prepare(site, boot)?;
        command.args(["-serial", "mon:stdio"]);
        let status = command
            .status()
            .with_context(|| format!("{QEMU} cannot be started"));
        if let Some(mut tpm) = tpm {
            let _ = tpm.kill();
            let _ = tpm.wait();
        }
        status
    }

    /// Where the forwarded port is reached from this host.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        let port = self.port.context("this machine has no network")?;
        Ok((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Time since power on.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether it still has power.
    pub fn is_on(&mut self) -> bool {
        matches!(self.qemu.try_wait(), Ok(None))
    }

    /// Pulls the plug.
    pub fn cut_power(mut self) {
        self.stop();
    }

    /// Waits until it switched itself off.
    pub fn wait_off(&mut self, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        while self.is_on() {
            ensure!(
                Instant::now() < deadline,
                "the machine did not switch itself off in {patience:?}"
            );
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Presses the reset button.
    pub fn reset(&self) -> anyhow::Result<()> {
        self.order(r#"{"execute":"system_reset"}"#)
    }

    /// Pulls the disk or stick with that place in [`Boot::disks`], while the machine runs. USB only.
    pub fn pull_stick(&self, index: usize) -> anyhow::Result<()> {
        self.order(&format!(
            r#"{{"execute":"device_del","arguments":{{"id":"disk{index}"}}}}"#
        ))
    }

    /// One command of QEMU's machine protocol.
    fn order(&self, command: &str) -> anyhow::Result<()> {
        let mut socket = UnixStream::connect(&self.monitor)?;
        socket.set_read_timeout(Some(START_DEADLINE))?;
        let mut replies = BufReader::new(socket.try_clone()?);
        let mut line = String::new();
        replies.read_line(&mut line)?;
        for command in [r#"{"execute":"qmp_capabilities"}"#, command] {
            socket.write_all(command.as_bytes())?;
            socket.write_all(b"\n")?;
            loop {
                line.clear();
                ensure!(replies.read_line(&mut line)? > 0, "QEMU hung up");
                let reply: serde_json::Value = serde_json::from_str(&line)?;
                if let Some(error) = reply.get("error") {
                    bail!("QEMU refused {command}: {error}");
                }
                if reply.get("return").is_some() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn stop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        if let Some(mut tpm) = self.tpm.take() {
            // It ends by itself when QEMU hangs up, and writes its state before.
            let deadline = Instant::now() + Duration::from_secs(2);
            while matches!(tpm.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(POLL);
            }
            let _ = tpm.kill();
            let _ = tpm.wait();
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A machine that only lacks its serial line.
struct Prepared {
    command: Command,
    tpm: Option<Child>,
    port: Option<u16>,
}

fn prepare(site: &Site, boot: &Boot) -> anyhow::Result<Prepared> {
    let mut command = Command::new("nice");
    command
        .arg(QEMU)
        .args(["-name", "jingui", "-nodefaults", "-display", "none"]);
    command.args(["-accel", accelerator(), "-cpu", "max"]);
    command.args(["-machine", "q35,smm=on"]);
    command.args(["-global", "driver=cfi.pflash01,property=secure,value=on"]);
    command.args([
        "-smp",
        &PROCESSORS.to_string(),
        "-m",
        &boot.memory_mib.to_string(),
    ]);
    command.args([
        "-device",
        "virtio-rng-pci",
        "-device",
        "qemu-xhci,id=usb",
        "-vga",
        "std",
    ]);
    command.args(["-device", "i6300esb", "-watchdog-action", "reset"]);
    command
        .arg("-drive")
        .arg(format!("if=pflash,format=raw,unit=0,readonly=on,file={CODE}"));
    command.arg("-drive").arg(format!(
        "if=pflash,format=raw,unit=1,file={}",
        site.variables().display()
    ));
    add_disks(&mut command, &boot.disks);
    let tpm = boot
        .tpm
        .as_deref()
        .map(|name| add_tpm(&mut command, site, name))
        .transpose()?;
    let port = add_network(&mut command, site, boot)?;
    if let Some((kernel, initrd, line)) = &boot.direct_kernel {
        command
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initrd)
            .args(["-append", line]);
    }
    Ok(Prepared { command, tpm, port })
}

fn add_disks(command: &mut Command, disks: &[Disk]) {
    for (index, disk) in disks.iter().enumerate() {
        let read_only = if disk.is_read_only { ",readonly=on" } else { "" };
        command.arg("-drive").arg(format!(
            "if=none,id=drive{index},format=raw,cache=writeback,discard=unmap,file={}{read_only}",
            disk.file.display()
        ));
        let model = if disk.is_usb {
            "usb-storage,bus=usb.0"
        } else {
            "virtio-blk-pci"
        };
        command.arg("-device").arg(format!(
            "{model},id=disk{index},drive=drive{index},serial={},bootindex={index}",
            disk.serial
        ));
    }
}

fn add_tpm(command: &mut Command, site: &Site, name: &str) -> anyhow::Result<Child> {
    let socket = site.file("tpm.sock");
    let child = tpm::start(&site.file(name), &socket, &site.file("swtpm.log"))?;
    command
        .arg("-chardev")
        .arg(format!("socket,id=tpm,path={}", socket.display()));
    command.args([
        "-tpmdev",
        "emulator,id=tpm0,chardev=tpm",
        "-device",
        "tpm-crb,tpmdev=tpm0",
    ]);
    Ok(child)
}

fn add_network(command: &mut Command, site: &Site, boot: &Boot) -> anyhow::Result<Option<u16>> {
    let Some(port) = boot.port else { return Ok(None) };
    let host = if port.host == 0 { free_port()? } else { port.host };
    command.arg("-netdev").arg(format!(
        "user,id=lan,restrict=on,hostfwd=tcp:127.0.0.1:{host}-10.0.2.15:{}",
        port.guest
    ));
    command.args([
        "-device",
        "virtio-net-pci,netdev=lan,mac=52:54:00:4a:47:01,romfile=",
    ]);
    if let Some(name) = &boot.capture {
        command.arg("-object").arg(format!(
            "filter-dump,id=capture,netdev=lan,file={}",
            site.file(name).display()
        ));
    }
    Ok(Some(host))
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// How QEMU computes here: `kvm` where that really works, else `tcg,thread=multi`.
///
/// A device file says little: under some hypervisors it opens and QEMU aborts at the firmware's first steps. So the firmware is
/// started once, for a moment.
#[must_use]
pub fn accelerator() -> &'static str {
    static FOUND: OnceLock<&str> = OnceLock::new();
    FOUND.get_or_init(|| if kvm_works() { "kvm" } else { "tcg,thread=multi" })
}

fn kvm_works() -> bool {
    if !Path::new("/dev/kvm").exists() {
        return false;
    }
    let probe = Command::new(QEMU)
        .args([
            "-nodefaults",
            "-display",
            "none",
            "-accel",
            "kvm",
            "-cpu",
            "max",
            "-m",
            "256",
        ])
        .args(["-machine", "q35,smm=on"])
        .args(["-global", "driver=cfi.pflash01,property=secure,value=on"])
        .args([
            "-drive",
            &format!("if=pflash,format=raw,unit=0,readonly=on,file={CODE}"),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut probe) = probe else { return false };
    let deadline = Instant::now() + PROBE_TIME;
    let mut is_alive = true;
    while is_alive && Instant::now() < deadline {
        std::thread::sleep(POLL);
        is_alive = matches!(probe.try_wait(), Ok(None));
    }
    let _ = probe.kill();
    let _ = probe.wait();
    is_alive
}
