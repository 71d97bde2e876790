//! Where Debian's packages come from: the mirror of this very machine, asked of its own package manager at build time.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// The release the image is made of.
pub(crate) const RELEASE: &str = "trixie";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Settings of the machine's package manager that say how a mirror is reached, such as a proxy.
const APT_SETTINGS: &str = "/etc/apt/apt.conf.d";

/// Debian's two archives as this machine reaches them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mirror {
    /// The main archive.
    pub(crate) main: String,
    /// Security updates.
    pub(crate) security: String,
}

impl Mirror {
    /// Asks apt, which understands all forms of its configuration.
    pub(crate) fn of_this_machine() -> anyhow::Result<Self> {
        let output = Command::new("apt-get")
            .args([
                "indextargets",
                "--format",
                "$(CREATED_BY)|$(ORIGIN)|$(LABEL)|$(REPO_URI)",
            ])
            .output()
            .context("apt-get cannot be started")?;
        ensure!(output.status.success(), "apt-get tells no sources");
        Self::parse(&String::from_utf8_lossy(&output.stdout)).context(
            "apt knows no mirror of Debian with its security updates: add one, run apt-get update, try again",
        )
    }

    fn parse(text: &str) -> Option<Self> {
        let first = |label: &str| {
            let head = format!("Packages|Debian|{label}|");
            text.lines()
                .find_map(|it| it.strip_prefix(&head))
                .map(str::to_owned)
        };
        Some(Self {
            main: first("Debian")?,
            security: first("Debian-Security")?,
        })
    }

    /// The archives in apt's own format.
    pub(crate) fn sources(&self) -> String {
        let stanza = |uri: &str, suites: &str| {
            format!("Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\nSigned-By: {KEYRING}\n")
        };
        [
            stanza(&self.main, RELEASE),
            stanza(&self.security, &format!("{RELEASE}-security")),
        ]
        .join("\n")
    }
}

/// Writes the folder that mkosi lays over the package manager's configuration.
pub(crate) fn write(folder: &Path) -> anyhow::Result<PathBuf> {
    let _ = std::fs::remove_dir_all(folder);
    let sources = folder.join("etc/apt/sources.list.d");
    let settings = folder.join("etc/apt/apt.conf.d");
    std::fs::create_dir_all(&sources)?;
    std::fs::create_dir_all(&settings)?;
    // Only a file of this very name takes the place of mkosi's own, which adds an archive that no mirror has.
    std::fs::write(
        sources.join("mkosi.sources"),
        Mirror::of_this_machine()?.sources(),
    )?;
    for (name, text) in transport_settings()? {
        std::fs::write(settings.join(name), text)?;
    }
    Ok(folder.to_owned())
}

/// Files of the machine's settings that speak of how archives are reached. Others (hooks, cleaning) belong to it alone.
pub(crate) fn transport_settings() -> anyhow::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(APT_SETTINGS).with_context(|| format!("{APT_SETTINGS} cannot be read"))? {
        let entry = entry?;
        let Ok(text) = std::fs::read_to_string(entry.path()) else {
            continue;
        };
        if text.lines().any(|it| it.trim_start().starts_with("Acquire::"))
            && !text.contains("Acquire::GzipIndexes")
        {
            found.push((entry.file_name().to_string_lossy().into_owned(), text));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_machines_own() {
        let text = "DEP-11|Debian|Debian|http://other/debian/\n\
                    Packages|Debian|Debian|http://mirror/debian/\n\
                    Packages|Debian|Debian-Security|http://mirror/security/\n\
                    Packages|Somebody|Debian|http://else/\n";
        let mirror = Mirror::parse(text).unwrap();
        assert_eq!(mirror.main, "http://mirror/debian/");
        assert_eq!(mirror.security, "http://mirror/security/");
        assert!(mirror.sources().contains("Suites: trixie-security\n"));
        assert_eq!(
            Mirror::parse("Packages|Debian|Debian|http://mirror/debian/\n"),
            None
        );
    }
}
