//! The command line of the supervisor.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::plan::Wishes;

/// Exit code of a command line that is not understood.
pub(crate) const EXIT_USAGE: u8 = 64;
/// Exit code when the box cannot be started now.
pub(crate) const EXIT_UNAVAILABLE: u8 = 4;

/// How long a taken port is tried again.
const BIND_PATIENCE: Duration = Duration::from_secs(2);
const BIND_PAUSE: Duration = Duration::from_millis(50);
const PORT_DEFAULT: u16 = 8443;
const USAGE: &str = "usage: jingui-supervisor [--state DIR] [--port N] [--bind ADDR] [--stop-when-stdin-closes] [--image] \
     [--vendors DIR]... [--factory DIR]...; for tests only: [--root DIR]; for measuring only: [--engine-threads N] [--engine-streams N] \
     [--engine-context-tokens N] [--engine-kv-tokens N]";

/// Most folders of one kind that the command line may name.
const FOLDERS_MAX: usize = 8;

/// What the supervisor was started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// The state folder.
    pub(crate) state: PathBuf,
    /// Port of the listener; 0 for a free one.
    pub(crate) port: u16,
    /// Address of the listener.
    pub(crate) bind: IpAddr,
    /// Stop in order when standard input ends: whoever started us is gone.
    pub(crate) stop_when_stdin_closes: bool,
    /// What the supervisor stands on.
    pub(crate) ground: Ground,
    /// Folders of vendor keys that are trusted besides those of the state.
    pub(crate) vendors: Vec<PathBuf>,
    /// Folders whose subfolders are packages that the box takes in by itself.
    pub(crate) factory: Vec<PathBuf>,
    /// Where the surroundings of the box lie; `None` on a developer's machine, whose surroundings are its own.
    pub(crate) root: Option<PathBuf>,
    /// How to load a model, where somebody who measures says so; the memory plan refuses what does not fit all the same.
    pub(crate) wishes: Wishes,
}

/// What the supervisor stands on, as whoever started it says. What is really so is measured ([`crate::platform`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ground {
    /// Any Linux: walls that the machine refuses are left away, and status says which.
    DeveloperMachine,
    /// The sealed image: every wall is required, and the state must be the mounted, encrypted one.
    Image,
}

/// The command line is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}; {USAGE}")]
pub(crate) struct UsageFault(String);

impl Options {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self, UsageFault> {
        let mut options = Self {
            state: PathBuf::from("target/state"),
            port: PORT_DEFAULT,
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            stop_when_stdin_closes: false,
            ground: Ground::DeveloperMachine,
            vendors: Vec::new(),
            factory: Vec::new(),
            root: None,
            wishes: Wishes::default(),
        };
        let mut arguments = arguments;
        while let Some(name) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .ok_or_else(|| UsageFault(format!("{name:?} needs a value")))
            };
            match name.to_str() {
                Some("--state") => options.state = value()?.into(),
                Some("--port") => options.port = parse(&value()?)?,
                Some("--bind") => options.bind = parse(&value()?)?,
                Some("--stop-when-stdin-closes") => options.stop_when_stdin_closes = true,
                Some("--image") => {
                    options.ground = Ground::Image;
                    options.root.get_or_insert_with(|| PathBuf::from("/"));
                }
                Some("--root") => options.root = Some(value()?.into()),
                Some("--vendors") => add_folder(&mut options.vendors, value()?)?,
                Some("--factory") => add_folder(&mut options.factory, value()?)?,
                Some("--engine-threads") => options.wishes.thread_count = Some(parse(&value()?)?),
                Some("--engine-streams") => options.wishes.stream_count = Some(parse(&value()?)?),
                Some("--engine-context-tokens") => {
                    options.wishes.stream_context_tokens = Some(parse(&value()?)?);
                }
                Some("--engine-kv-tokens") => options.wishes.kv_tokens = Some(parse(&value()?)?),
                _ => return Err(UsageFault(format!("{name:?} is unknown"))),
            }
        }
        Ok(options)
    }

    /// Binds the listener. After a crash the processes before us may hold the port for a moment longer.
    pub(crate) fn listen(&self) -> io::Result<TcpListener> {
        let deadline = Instant::now() + BIND_PATIENCE;
        loop {
            match TcpListener::bind(SocketAddr::new(self.bind, self.port)) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                    thread::sleep(BIND_PAUSE);
                }
                bound => return bound,
            }
        }
    }
}

fn add_folder(folders: &mut Vec<PathBuf>, folder: OsString) -> Result<(), UsageFault> {
    if folders.len() == FOLDERS_MAX {
        return Err(UsageFault(format!("{folder:?} is one folder too many")));
    }
    folders.push(folder.into());
    Ok(())
}

fn parse<T: std::str::FromStr>(value: &OsString) -> Result<T, UsageFault> {
    let parsed = value.to_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| UsageFault(format!("{value:?} is not understood")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    fn parse_words(words: &[&str]) -> Result<Options, UsageFault> {
        Options::parse(words.iter().map(OsString::from))
    }

    #[test]
    fn the_options_of_the_design_are_understood() {
        let options = parse_words(&["--state", "/s", "--port", "0", "--bind", "0.0.0.0"]).unwrap();
        assert_eq!(options.state, PathBuf::from("/s"));
        assert_eq!(
            (options.port, options.bind),
            (0, IpAddr::V4(Ipv4Addr::UNSPECIFIED))
        );
        assert!(!options.stop_when_stdin_closes);
        assert!(
            parse_words(&["--stop-when-stdin-closes"])
                .unwrap()
                .stop_when_stdin_closes
        );
        let plain = parse_words(&[]).unwrap();
        assert_eq!(
            (plain.port, plain.bind),
            (PORT_DEFAULT, IpAddr::V4(Ipv4Addr::LOCALHOST))
        );
    }

    #[test]
    fn who_measures_says_how_the_engine_is_loaded() {
        let words =
            "--engine-threads 2 --engine-streams 8 --engine-context-tokens 4096 --engine-kv-tokens 32768";
        let words: Vec<&str> = words.split(' ').collect();
        let wishes = parse_words(&words).unwrap().wishes;
        assert_eq!(
            wishes,
            Wishes {
                thread_count: NonZeroU32::new(2),
                stream_count: NonZeroU32::new(8),
                stream_context_tokens: NonZeroU32::new(4096),
                kv_tokens: NonZeroU32::new(32768),
            }
        );
        assert_eq!(parse_words(&[]).unwrap().wishes, Wishes::default());
    }

    #[test]
    fn the_image_names_its_ground_its_vendors_and_its_factory_packages() {
        let words = "--image --vendors /v --factory /a --factory /b";
        let options = parse_words(&words.split(' ').collect::<Vec<_>>()).unwrap();
        assert_eq!(options.ground, Ground::Image);
        assert_eq!(options.root, Some(PathBuf::from("/")));
        assert_eq!(parse_words(&[]).unwrap().root, None);
        assert_eq!(
            parse_words(&["--root", "/r"]).unwrap().root,
            Some(PathBuf::from("/r"))
        );
        assert_eq!(options.vendors, [PathBuf::from("/v")]);
        assert_eq!(options.factory, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(parse_words(&[]).unwrap().ground, Ground::DeveloperMachine);
        let many = |count: usize| parse_words(&["--factory", "/a"].repeat(count));
        assert!(many(FOLDERS_MAX).is_ok());
        many(FOLDERS_MAX + 1).unwrap_err();
    }

    #[test]
    fn anything_else_is_a_usage_fault() {
        for words in [
            &["--port"][..],
            &["--port", "65536"],
            &["--bind", "host"],
            &["--verbose"],
            &["--vendors"],
            &["--factory"],
            &["--engine-streams", "0"],
            &["--engine-threads", "all"],
            &["x"],
        ] {
            parse_words(words).unwrap_err();
        }
    }
}
