//! The command line: names that scripts rely on. `tests/help` holds the help texts as golden files.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Jingui (金匮): a sealed box for models. Command for admins, packagers and auditors.
///
/// Exit codes: 0 done, 1 the thing checked is bad, 2 refused input, 3 not allowed, 4 not available now, 64 usage.
#[derive(Debug, Parser)]
#[command(name = "jingui", version, about, long_about, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Answer as JSON on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// State folder of the box
    #[arg(long, global = true, value_name = "DIR", default_value = "target/state")]
    pub(crate) state: PathBuf,

    /// Language of messages: zh-CN or en; without it as LC_ALL, LC_MESSAGES or LANG say
    #[arg(long, global = true, value_name = "LANG", value_parser = ["zh-CN", "en"])]
    pub(crate) lang: Option<String>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Model packages: inspect, sign, verify, import, list
    #[command(subcommand)]
    Model(ModelCommand),
    /// The audit log: verify, export, prove a single leaf
    #[command(subcommand)]
    Audit(AuditCommand),
    /// First-boot ceremony: three admins, each a person of his own
    Setup {
        /// Code that the box showed; without it read from the state folder or asked for
        #[arg(long, value_name = "CODE")]
        code: Option<String>,
        /// JSON with accounts[{role,username,password,totp_secret}] instead of questions; a role `user` is the first user
        #[arg(long, value_name = "FILE")]
        accounts: Option<PathBuf>,
        /// Make a first API key with this label
        #[arg(long, value_name = "LABEL")]
        first_key_label: Option<String>,
    },
    /// API keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Ordinary users of the console
    #[command(subcommand)]
    User(UserCommand),
    /// New images of the box: check, apply, see what became of them; build and verify bundles
    #[command(subcommand)]
    Update(UpdateCommand),
    /// Health, processes, guarantees in force and not in force
    Status,
    /// Stop the box in order
    Stop,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Check a GGUF file by the strict rules and show its facts; exit 2 names the broken rule
    Inspect {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Sign a folder as a package: completes release.json, writes model.sig
    Sign {
        /// The folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Private vendor key, PEM (PKCS #8, P-256)
        #[arg(long, value_name = "KEY")]
        key: PathBuf,
    },
    /// Check a package against a vendor's public key; exit 1 names what is wrong
    Verify {
        /// The package
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Public vendor key, PEM
        #[arg(long, value_name = "PUB")]
        key: PathBuf,
    },
    /// Import a package into the box; a system and a security admin approve
    Import {
        /// The package
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Serve it from now on; without this only if no model is served
        #[arg(long)]
        activate: bool,
        /// Accounts that approve, in a demo.json; without it they are asked
        #[arg(long, value_name = "FILE")]
        login: Option<PathBuf>,
    },
    /// Installed models
    List,
    /// Make a vendor key pair for development: vendor.key and vendor.pem
    Keygen {
        /// Folder for the two files
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Recompute a whole log; exit 1 with one of: altered, missing, forked, truncated, bad-signature, malformed
    Verify {
        /// The log or an export of it
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Verifier key: its text, or a file that holds it
        #[arg(long, value_name = "VKEY")]
        vkey: String,
        /// An earlier checkpoint that this log must continue
        #[arg(long, value_name = "CHECKPOINT")]
        since: Option<PathBuf>,
    },
    /// Copy the log into an empty folder; the auditor approves, and the export is itself recorded
    Export {
        /// The folder
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// The auditor's account, in a demo.json; without it asked for
        #[arg(long, value_name = "FILE")]
        login: Option<PathBuf>,
    },
    /// Write the evidence for one leaf as a tlog-proof file
    Proof {
        /// Index of the leaf: the number at the end of a ProduceID
        #[arg(value_name = "N")]
        index: u64,
        /// The file to write
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// A log or an export; without it the box's own
        #[arg(long, value_name = "DIR")]
        log: Option<PathBuf>,
        /// Verifier key: its text, or a file that holds it; without it the box's own
        #[arg(long, value_name = "VKEY")]
        vkey: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make an API key; the security admin approves. Shown once
    Create {
        /// What the key is for
        #[arg(long, value_name = "LABEL")]
        label: String,
        /// The security admin's account, in a demo.json; without it asked for
        #[arg(long, value_name = "FILE")]
        login: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Make an ordinary user; the security admin approves
    Create {
        /// Name to sign in with; password and second factor are asked for
        #[arg(long, value_name = "NAME", required_unless_present = "from")]
        username: Option<String>,
        /// JSON with username, password and totp_secret instead of questions
        #[arg(long, value_name = "FILE", conflicts_with = "username")]
        from: Option<PathBuf>,
        /// The security admin's account, in a demo.json; without it asked for
        #[arg(long, value_name = "FILE")]
        login: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum UpdateCommand {
    /// Check a bundle on a mounted stick: signature, fit, every byte. Writes nothing
    Check {
        /// The bundle's folder, or the top of a stick that has one
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Write a bundle into the other slot; the system admin approves. It starts with the next restart
    Apply {
        /// The bundle's folder, or the top of a stick that has one
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// The system admin's account, in a demo.json; without it asked for
        #[arg(long, value_name = "FILE")]
        login: Option<PathBuf>,
    },
    /// What runs, what it will not go back behind, and what became of the last update
    Status,
    /// Wait until the box is healthy; exit 1 when it is not and its image is on trial
    Healthy {
        /// How long
        #[arg(long, value_name = "SECONDS")]
        wait: u64,
    },
    /// Make the manifest of the files in a folder, and sign it
    Build(BuildArguments),
    /// Check a bundle against the public key of an image's maker; exit 1 names what is wrong
    Verify {
        /// The bundle's folder, or the top of a stick that has one
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Public key, PEM
        #[arg(long, value_name = "PUB")]
        key: PathBuf,
    },
    /// Make a key pair that signs bundles: image.key and image.pem
    Keygen {
        /// Folder for the two files
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// What the maker of a bundle says about it.
#[derive(Debug, clap::Args)]
pub(crate) struct BuildArguments {
    /// The folder with exactly the files that are named
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Version of the image
    #[arg(long, value_name = "V")]
    pub(crate) image_version: String,
    /// Number against rollback
    #[arg(long, value_name = "N")]
    pub(crate) security_version: u64,
    /// For which machines
    #[arg(long, value_name = "ARCH", default_value = "x86-64", value_parser = ["x86-64", "arm64"])]
    pub(crate) architecture: String,
    /// Root hash of the verity tree, 64 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    pub(crate) roothash: String,
    /// File of the root
    #[arg(long, value_name = "NAME")]
    pub(crate) root: String,
    /// File of the verity tree
    #[arg(long, value_name = "NAME")]
    pub(crate) verity: String,
    /// File of the signed boot entry
    #[arg(long, value_name = "NAME")]
    pub(crate) uki: String,
    /// File of the signed boot loader, for a stick
    #[arg(long, value_name = "NAME")]
    pub(crate) loader: Option<String>,
    /// Public key of a site whose answers files an installer takes; several are possible
    #[arg(long = "site-key", value_name = "PUB")]
    pub(crate) site_keys: Vec<PathBuf>,
    /// Private key, PEM (PKCS #8, Ed25519); without it only the manifest is written, to be signed elsewhere
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<PathBuf>,
}
