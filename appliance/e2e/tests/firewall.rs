//! The image's firewall with real packets: in a network namespace of its own, a box and a PC on one link, both families.
//!
//! Needs root for the namespaces; says so and fails without.

#![allow(
    clippy::indexing_slicing,
    reason = "a missing field of a JSON value is null, not a panic"
)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use jingui_e2e::{output_of, python, tree};
use serde_json::Value;

const RULES: &str = "image/mkosi.extra/usr/lib/jingui/nftables.conf";
const BOX: [&str; 2] = ["10.78.0.1", "fd78::1"];
const PC: [&str; 2] = ["10.78.0.2", "fd78::2"];
/// What the kernel says to a program whose packet the output chain drops.
const NOT_PERMITTED: &str = "refused 1";

#[test]
fn the_rules_are_what_nft_understands() -> anyhow::Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "nft needs root to check rules");
    output_of(
        Command::new("unshare")
            .args(["-n", "nft", "-c", "-f"])
            .arg(tree().join(RULES)),
    )?;
    Ok(())
}

#[test]
fn in_comes_a_conversation_with_the_service_and_out_goes_its_reply_and_nothing_else() -> anyhow::Result<()> {
    let link = Link::make()?;
    let _service = link.serve("box", &[8443, 8444])?;
    let _home = link.serve("pc", &[8443, 53, 443])?;

    for address in BOX {
        ensure!(
            link.knock("pc", &["tcp", address, "8443"])? == "answered",
            "the service at {address}"
        );
        ensure!(
            link.knock("pc", &["tcp", address, "8444"])? == "silence",
            "another port at {address}"
        );
        ensure!(link.knock("pc", &["udp", address, "8443"])? == "sent");
    }
    ensure!(
        link.knock("pc", &["ping", BOX[0]])? == "silence",
        "the box answers to ping"
    );
    ensure!(
        link.knock("pc", &["stray", BOX[0], "8443"])? == "silence",
        "a conversation began without SYN"
    );
    ensure!(link.packets("service_in")? == 2);
    ensure!(link.packets("refused_in")? > 0 && link.packets("replies_out")? > 0);
    ensure!(
        link.packets("refused_out")? == 0,
        "something of the box tried to speak of itself"
    );

    let tries: [&[&str]; 8] = [
        &["tcp", PC[0], "443"],
        &["tcp", PC[1], "443"],
        &["tcp", PC[0], "8443"],
        &["udp", PC[0], "53"],
        &["udp", PC[1], "53"],
        &["udp", PC[0], "67", "68"],
        &["udp", PC[0], "123"],
        &["ping", PC[0]],
    ];
    let mut refused = 0;
    for words in tries {
        let came = link.knock("box", words)?;
        ensure!(
            came == NOT_PERMITTED || came == "silence",
            "{words:?} came to {came}"
        );
        let now = link.packets("refused_out")?;
        ensure!(now > refused, "{words:?} was not counted");
        refused = now;
    }
    // Its own loopback is no way round.
    let inside = link.knock("box", &["tcp", "127.0.0.1", "8443"])?;
    ensure!(
        inside == NOT_PERMITTED || inside == "silence",
        "the loopback: {inside}"
    );
    Ok(())
}

#[test]
fn the_dhcp_client_speaks_only_where_it_is_configured() -> anyhow::Result<()> {
    let link = Link::make()?;
    let ask = ["udp", PC[0], "67", "68"];
    ensure!(link.knock("box", &ask)? == NOT_PERMITTED);
    let text =
        "flush set inet jingui dhcp_interfaces\nadd element inet jingui dhcp_interfaces { \"lan0\" }\n";
    link.apply(text)?;
    ensure!(link.knock("box", &ask)? == "sent");
    ensure!(link.knock("box", &["udp", PC[0], "67", "69"])? == NOT_PERMITTED);
    link.apply("flush set inet jingui dhcp_interfaces\n")?;
    ensure!(link.knock("box", &ask)? == NOT_PERMITTED);
    Ok(())
}

/// Two namespaces on one link; the box's has the rules.
struct Link {
    id: String,
}

impl Link {
    fn make() -> anyhow::Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "network namespaces for this test need root"
        );
        let thread = format!("{:?}", std::thread::current().id());
        let digits: String = thread.chars().filter(char::is_ascii_digit).collect();
        let link = Self {
            id: format!("jingui-fw-{}-{digits}", std::process::id()),
        };
        for side in ["box", "pc"] {
            ip(&["netns", "add", &link.name(side)])?;
        }
        output_of(link.inside("box").args(["nft", "-f"]).arg(tree().join(RULES)))?;
        let (here, there) = (link.name("box"), link.name("pc"));
        ip(&[
            "link", "add", "lan0", "netns", &here, "type", "veth", "peer", "name", "lan0", "netns", &there,
        ])?;
        for (side, addresses) in [("box", BOX), ("pc", PC)] {
            let name = link.name(side);
            // As the image's settings have it: no router is asked for. Duplicates cannot be here.
            for (switch, value) in [("accept_ra", "0"), ("accept_dad", "0")] {
                let set = format!("echo {value} > /proc/sys/net/ipv6/conf/lan0/{switch}");
                output_of(link.inside(side).args(["sh", "-c", &set]))?;
            }
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
            for (address, prefix) in addresses.iter().zip(["24", "64"]) {
                ip(&[
                    "-n",
                    &name,
                    "address",
                    "add",
                    &format!("{address}/{prefix}"),
                    "dev",
                    "lan0",
                ])?;
            }
            ip(&["-n", &name, "link", "set", "lan0", "up"])?;
        }
        ip(&["-n", &here, "route", "add", "default", "via", PC[0]])?;
        Ok(link)
    }

    fn name(&self, side: &str) -> String {
        format!("{}-{side}", self.id)
    }

    fn inside(&self, side: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(side)]);
        command
    }

    fn script(&self, side: &str) -> anyhow::Result<Command> {
        let mut command = self.inside(side);
        command
            .arg(python()?.get_program())
            .arg(tree().join("appliance/e2e/python/knock.py"));
        Ok(command)
    }

    fn serve(&self, side: &str, ports: &[u16]) -> anyhow::Result<Service> {
        let mut command = self.script(side)?;
        command.arg("serve").args(ports.iter().map(ToString::to_string));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut heard = BufReader::new(child.stdout.take().context("its output")?);
        let service = Service(child);
        let mut line = String::new();
        heard.read_line(&mut line)?;
        ensure!(line == "ready\n", "the service did not start");
        Ok(service)
    }

    fn knock(&self, side: &str, words: &[&str]) -> anyhow::Result<String> {
        Ok(output_of(self.script(side)?.args(words))?.trim().to_owned())
    }

    fn apply(&self, text: &str) -> anyhow::Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), text)?;
        output_of(self.inside("box").args(["nft", "-f"]).arg(file.path()))?;
        Ok(())
    }

    /// Packets that the counter of that name saw, as the local screen reads it.
    fn packets(&self, name: &str) -> anyhow::Result<u64> {
        let listed = output_of(self.inside("box").args(["nft", "-j", "list", "counters"]))?;
        let listed: Value = serde_json::from_str(&listed)?;
        let counters = listed["nftables"].as_array().context("a list")?;
        let found = counters.iter().find(|one| one["counter"]["name"] == name);
        found
            .and_then(|one| one["counter"]["packets"].as_u64())
            .context("a counter")
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for side in ["box", "pc"] {
            let _ = ip(&["netns", "delete", &self.name(side)]);
        }
    }
}

/// Ends when dropped.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(words: &[&str]) -> anyhow::Result<()> {
    output_of(Command::new("ip").args(words)).map(drop)
}
