//! The five keys of an image: PK, KEK and db for the firmware, one for the PCR policy, one that signs updates.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::say;
use crate::tools::quietly;

/// Word in the subject of development certificates and in the folder's mark; a build for delivery refuses it.
const DEVELOPMENT: &str = "development";
const MARK: &str = "DEVELOPMENT-KEYS.txt";
const DAYS: &str = "3650";
/// Names of the keys with certificates. TPMs and firmware know RSA-2048 everywhere.
const CERTIFIED: &[&str] = &["PK", "KEK", "db", "pcr"];

/// Where a private key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Private {
    /// A file, PEM.
    File(PathBuf),
    /// A token, named by a PKCS#11 URI (RFC 7512).
    Token(String),
}

/// The keys of a build.
#[derive(Debug)]
pub(crate) struct Keys {
    folder: PathBuf,
    db: Private,
    pcr: Private,
}

impl Keys {
    /// Development keys in that folder, made if there are none.
    pub(crate) fn development(folder: &Path) -> anyhow::Result<Self> {
        if !folder.join("image.pem").exists() {
            say("making development keys of the image");
            make_development(folder)?;
        }
        Self::read(folder)
    }

    /// Keys that somebody keeps. Refuses development keys, wherever they were copied to.
    pub(crate) fn for_delivery(folder: &Path) -> anyhow::Result<Self> {
        ensure!(
            !folder.join(MARK).exists(),
            "{} holds development keys; a build for delivery needs its own",
            folder.display()
        );
        for name in CERTIFIED {
            let certificate = folder.join(format!("{name}.crt"));
            let output = Command::new("openssl")
                .args(["x509", "-noout", "-subject", "-in"])
                .arg(&certificate)
                .output()?;
            ensure!(
                output.status.success(),
                "{} is no certificate",
                certificate.display()
            );
            ensure!(
                !String::from_utf8_lossy(&output.stdout).contains(DEVELOPMENT),
                "{} is a development certificate; a build for delivery needs its own",
                certificate.display()
            );
        }
        Self::read(folder)
    }

    /// The keys in that folder, of whatever kind.
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Self> {
        let folder = folder
            .canonicalize()
            .with_context(|| format!("{} cannot be found", folder.display()))?;
        let keys = Self {
            db: private(&folder, "db")?,
            pcr: private(&folder, "pcr")?,
            folder,
        };
        for name in CERTIFIED {
            let certificate = keys.certificate(name);
            ensure!(certificate.is_file(), "{} is missing", certificate.display());
        }
        for file in [keys.image_public(), keys.image_private()] {
            ensure!(file.is_file(), "{} is missing", file.display());
        }
        Ok(keys)
    }

    /// Certificate of PK, KEK, db or pcr.
    pub(crate) fn certificate(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.crt"))
    }

    /// Public half of the key that signs updates.
    pub(crate) fn image_public(&self) -> PathBuf {
        self.folder.join("image.pem")
    }

    /// Private half of the key that signs updates.
    pub(crate) fn image_private(&self) -> PathBuf {
        self.folder.join("image.key")
    }

    /// Options of mkosi that name the keys.
    pub(crate) fn to_mkosi(&self, command: &mut Command) {
        for (option, name, private) in [
            ("secure-boot", "db", &self.db),
            ("sign-expected-pcr", "pcr", &self.pcr),
        ] {
            command
                .arg(format!("--{option}-certificate"))
                .arg(self.certificate(name));
            match private {
                Private::File(file) => {
                    command.arg(format!("--{option}-key")).arg(file);
                }
                Private::Token(uri) => {
                    command.args([format!("--{option}-key"), uri.clone()]);
                    command.args([format!("--{option}-key-source"), "provider:pkcs11".to_owned()]);
                }
            }
        }
    }

    /// Options of ukify that name the keys.
    pub(crate) fn to_ukify(&self, command: &mut Command, work: &Path) -> anyhow::Result<()> {
        let tokens = [&self.db, &self.pcr]
            .into_iter()
            .any(|it| matches!(it, Private::Token(_)));
        if tokens {
            command.args(["--signing-provider", "pkcs11"]);
        }
        let text = |private: &Private| match private {
            Private::File(file) => file.display().to_string(),
            Private::Token(uri) => uri.clone(),
        };
        command
            .arg("--secureboot-certificate")
            .arg(self.certificate("db"));
        command.args(["--secureboot-private-key", &text(&self.db)]);
        // This version of ukify takes the bare public key.
        let public = work.join("pcr.pem");
        quietly(
            Command::new("openssl")
                .args(["x509", "-pubkey", "-noout", "-in"])
                .arg(self.certificate("pcr"))
                .arg("-out")
                .arg(&public),
        )?;
        command.arg("--pcr-public-key").arg(public);
        command.args(["--pcr-private-key", &text(&self.pcr)]);
        Ok(())
    }
}

fn private(folder: &Path, name: &str) -> anyhow::Result<Private> {
    let uri = folder.join(format!("{name}.uri"));
    if let Ok(text) = std::fs::read_to_string(&uri) {
        let text = text.trim().to_owned();
        ensure!(
            text.starts_with("pkcs11:"),
            "{} holds no PKCS#11 URI",
            uri.display()
        );
        return Ok(Private::Token(text));
    }
    let file = folder.join(format!("{name}.key"));
    ensure!(
        file.is_file(),
        "neither {} nor {} is there",
        file.display(),
        uri.display()
    );
    Ok(Private::File(file))
}

fn make_development(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(
        folder.join(MARK),
        "Keys for development, made on this machine. Whoever has the tree's build has them: never for delivery.\n",
    )?;
    for name in CERTIFIED {
        quietly(
            Command::new("openssl")
                .args([
                    "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-sha256", "-days", DAYS,
                ])
                .args(["-subj", &format!("/CN=Jingui {DEVELOPMENT} {name}")])
                .arg("-keyout")
                .arg(folder.join(format!("{name}.key")))
                .arg("-out")
                .arg(folder.join(format!("{name}.crt"))),
        )?;
    }
    let private = folder.join("image.key");
    quietly(
        Command::new("openssl")
            .args(["genpkey", "-algorithm", "ed25519", "-out"])
            .arg(&private),
    )?;
    quietly(
        Command::new("openssl")
            .args(["pkey", "-pubout", "-in"])
            .arg(&private)
            .arg("-out")
            .arg(folder.join("image.pem")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_for_delivery_refuses_development_keys_wherever_they_lie() {
        let folder = tempfile::tempdir().unwrap();
        Keys::development(folder.path()).unwrap();
        let refusal = |folder: &Path| Keys::for_delivery(folder).unwrap_err().to_string();
        assert!(refusal(folder.path()).contains("development keys"));
        std::fs::remove_file(folder.path().join(MARK)).unwrap();
        assert!(refusal(folder.path()).contains("development certificate"));
    }

    #[test]
    fn a_key_may_be_in_a_token() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("db.uri"), "pkcs11:token=Jingui;object=db\n").unwrap();
        assert_eq!(
            private(folder.path(), "db").unwrap(),
            Private::Token("pkcs11:token=Jingui;object=db".to_owned())
        );
        std::fs::write(folder.path().join("pcr.uri"), "/dev/null").unwrap();
        private(folder.path(), "pcr").unwrap_err();
        private(folder.path(), "PK").unwrap_err();
    }
}
