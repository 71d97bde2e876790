//! P17: from the start of a program to its first answer, weights verified (ours) or not (the peer), page cache warm.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::ask::Ask;
use crate::client::Client;
use crate::server::{Model, Programs, Server, Shape, Side, engine_options};

/// Longest wait for an answer.
const START_TIME_MAX: Duration = Duration::from_secs(120);
const RETRY: Duration = Duration::from_millis(4);

/// What is started again and again.
pub(crate) enum Start {
    /// A box that was set up before and has its model.
    Ours {
        /// Keeps the state; was stopped.
        prepared: Box<Server>,
        /// How the supervisor is started on it.
        command: Box<Command>,
    },
    /// The peer, from nothing.
    Peer {
        /// Which tuning.
        side: Side,
    },
}

impl Start {
    /// Sets the box up: its first start, which imports the model, is not measured.
    pub(crate) async fn prepare(
        side: Side,
        programs: &Programs,
        model: &Model,
        shape: Shape,
    ) -> anyhow::Result<Self> {
        if side != Side::Ours {
            return Ok(Self::Peer { side });
        }
        let mut prepared = Server::start(side, programs, model, shape, &[]).await?;
        prepared.stop()?;
        let mut command = Command::new(programs.ours.join("jingui-supervisor"));
        command
            .current_dir(&programs.tree)
            .arg("--state")
            .arg(prepared.state())
            .args(["--port", &prepared.client.port().to_string()])
            .arg("--stop-when-stdin-closes")
            .args(engine_options(shape))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(Self::Ours {
            prepared: Box::new(prepared),
            command: Box::new(command),
        })
    }

    /// Seconds from the start to the first answer of one token.
    pub(crate) async fn measure(
        &mut self,
        programs: &Programs,
        model: &Model,
        shape: Shape,
        peer_options: &[&str],
    ) -> anyhow::Result<f64> {
        let begin = Instant::now();
        match self {
            Self::Ours { prepared, command } => {
                let mut supervisor = Ended(command.spawn()?);
                first_answer(&prepared.client, begin).await?;
                let seconds = begin.elapsed().as_secs_f64();
                supervisor.end()?;
                Ok(seconds)
            }
            Self::Peer { side } => {
                let mut server = Server::start(*side, programs, model, shape, peer_options).await?;
                first_answer(&server.client, begin).await?;
                let seconds = begin.elapsed().as_secs_f64();
                server.stop()?;
                Ok(seconds)
            }
        }
    }
}

async fn first_answer(client: &Client, begin: Instant) -> anyhow::Result<()> {
    let ask = Ask::new("hello", 1);
    while let Err(error) = client.ask(&ask).await {
        if begin.elapsed() > START_TIME_MAX {
            return Err(error).context("no answer after a start");
        }
        tokio::time::sleep(RETRY).await;
    }
    Ok(())
}

/// A supervisor that ends in order when the value goes: it watches its standard input.
struct Ended(Child);

impl Ended {
    fn end(&mut self) -> anyhow::Result<()> {
        drop(self.0.stdin.take());
        let status = self.0.wait()?;
        ensure!(status.success(), "the supervisor ended with {status}");
        Ok(())
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
