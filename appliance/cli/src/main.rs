//! The jingui command for admins, packagers and auditors.
//!
//! Thin words over `pack`, `audit` and the supervisor's control socket: each command asks, shows the answer in the
//! caller's language (or as JSON), and ends with one of the exit codes of [`failure::Exit`]. It decides nothing: who
//! may do what is the supervisor's business, and what a good package or log is, that of the crates below.

mod arguments;
mod audit;
mod control;
mod failure;
mod files;
mod login;
mod model;
mod people;
mod screen;
mod status;
mod update;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{
    Arguments, AuditCommand, Command, KeyCommand, ModelCommand, UpdateCommand, UserCommand,
};
use crate::failure::{Exit, Failure};
use crate::screen::Screen;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(usage) => return screen::usage(&usage),
    };
    let screen = Screen::new(arguments.json, arguments.lang.as_deref());
    let exit = match run(&arguments, &screen) {
        Ok(exit) => exit,
        Err(failure) => screen.fail(&failure),
    };
    ExitCode::from(exit.code())
}

fn run(arguments: &Arguments, screen: &Screen) -> Result<Exit, Failure> {
    let state = &arguments.state;
    match &arguments.command {
        Command::Model(command) => match command {
            ModelCommand::Inspect { file } => model::inspect(screen, file),
            ModelCommand::Sign { folder, key } => model::sign(screen, folder, key),
            ModelCommand::Verify { folder, key } => model::verify(screen, folder, key),
            ModelCommand::Import {
                folder,
                activate,
                login,
            } => model::import(screen, state, folder, *activate, login.as_deref()),
            ModelCommand::List => model::list(screen, state),
            ModelCommand::Keygen { out } => model::keygen(screen, out),
        },
        Command::Audit(command) => match command {
            AuditCommand::Verify { folder, vkey, since } => {
                audit::verify(screen, folder, vkey, since.as_deref())
            }
            AuditCommand::Export { to, login } => audit::export(screen, state, to, login.as_deref()),
            AuditCommand::Proof { index, to, log, vkey } => {
                audit::proof(screen, state, *index, to, log.as_deref(), vkey.as_deref())
            }
        },
        Command::Setup {
            code,
            accounts,
            first_key_label,
        } => people::set_up(
            screen,
            state,
            code.as_deref(),
            accounts.as_deref(),
            first_key_label.as_deref(),
        ),
        Command::Key(KeyCommand::Create { label, login }) => {
            people::create_key(screen, state, label, login.as_deref())
        }
        Command::User(UserCommand::Create {
            username,
            from,
            login,
        }) => people::create_user(
            screen,
            state,
            username.as_deref(),
            from.as_deref(),
            login.as_deref(),
        ),
        Command::Update(command) => match command {
            UpdateCommand::Check { folder } => update::check(screen, state, folder),
            UpdateCommand::Apply { folder, login } => update::apply(screen, state, folder, login.as_deref()),
            UpdateCommand::Status => update::status(screen, state),
            UpdateCommand::Healthy { wait } => update::healthy(screen, state, *wait),
            UpdateCommand::Build(arguments) => update::build(screen, arguments),
            UpdateCommand::Verify { folder, key } => update::verify(screen, folder, key),
            UpdateCommand::Keygen { out } => update::keygen(screen, out),
        },
        Command::Status => status::show(screen, state),
        Command::Stop => status::stop(screen, state),
    }
}
