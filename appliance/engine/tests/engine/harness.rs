//! A supervisor and a gateway in small.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use jingui_engine::EngineError;
use jingui_ipc::engine::{
    Figures, Finish, FromEngine, Generate, Load, Order, Report, Sampling, Segment, ToEngine, Token,
};
use jingui_ipc::{Channel, ChannelError};
use serde::Deserialize;

/// Nothing here takes that long; a test that waits longer has found a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Ids of the canary's end tokens, banned to make a stream that does not end by itself.
pub(crate) const END_TOKENS: [u32; 3] = [3308, 3315, 3317];

pub(crate) fn model_path() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../image/models/glm4-canary");
    let entries = std::fs::read_dir(&folder).expect("the demo model is part of the tree");
    let mut files = entries.map(|entry| entry.unwrap().path());
    files
        .find(|path| path.extension().is_some_and(|ext| ext == "gguf"))
        .expect("the demo model is a GGUF file")
}

#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) prompt: Vec<Segment>,
    pub(crate) prompt_tokens: u32,
    pub(crate) reference_output: String,
}

/// The public cases, rendered by `data/make_prompts.py` with the template in the model and what came from people marked.
pub(crate) fn cases() -> Vec<Case> {
    let lines = include_str!("../data/prompts.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn order(stream_count: u32, stream_context_tokens: u32) -> Load {
    let weights_bytes = std::fs::metadata(model_path()).unwrap().len();
    Load::new(weights_bytes, 1, stream_count, stream_context_tokens)
}

pub(crate) struct Engine {
    pub(crate) supervisor: Channel,
    pub(crate) thread: JoinHandle<Result<(), EngineError>>,
}

impl Engine {
    /// An engine that has reported that it is behind its walls and waits for its order.
    pub(crate) fn waiting(weights: File) -> Self {
        Self::waiting_with(weights, None)
    }

    /// The same with a file for the disk tier.
    pub(crate) fn waiting_with(weights: File, disk: Option<File>) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let thread = std::thread::spawn(move || {
            let disk = disk.map(Into::into);
            jingui_engine::serve_with(Channel::new(theirs), weights.into(), disk, 7)
        });
        let mut engine = Self {
            supervisor: Channel::new(ours),
            thread,
        };
        assert_eq!(engine.report(), Report::Confined { landlock_abi: 7 });
        engine
    }

    /// An engine that serves the canary.
    pub(crate) fn serving(stream_count: u32, stream_context_tokens: u32) -> Self {
        Self::serving_with(order(stream_count, stream_context_tokens), None)
    }

    /// The same as ordered.
    pub(crate) fn serving_with(load: Load, disk: Option<File>) -> Self {
        let mut engine = Self::waiting_with(File::open(model_path()).unwrap(), disk);
        let expected = (load.stream_context_tokens, load.stream_count);
        engine.supervisor.send(&Order::Load(load)).unwrap();
        let report = engine.report_but_loading();
        assert!(matches!(
            report,
            Report::Serving { stream_context_tokens: tokens, stream_count: count, memory }
                if (tokens, count) == expected && memory.kv_bytes > 0 && memory.weights_bytes > 0
        ));
        engine
    }

    /// Reads the beats that were sent so far: a supervisor that does not is taken for dead.
    pub(crate) fn skip_beats(&mut self) {
        let brief = Duration::from_millis(1);
        self.supervisor.socket().set_read_timeout(Some(brief)).unwrap();
        while self.supervisor.receive::<Report>().is_ok() {}
        self.supervisor.socket().set_read_timeout(Some(PATIENCE)).unwrap();
    }

    /// What it did since its start, once it is idle.
    pub(crate) fn figures_when_idle(&mut self) -> Figures {
        self.skip_beats();
        loop {
            match self.report() {
                Report::Beat {
                    work_count: 0,
                    figures,
                    ..
                } => return figures,
                Report::Beat { .. } => {}
                other => panic!("{other:?} instead of a beat"),
            }
        }
    }

    pub(crate) fn report(&mut self) -> Report {
        self.supervisor.receive().unwrap()
    }

    pub(crate) fn report_but_loading(&mut self) -> Report {
        loop {
            match self.report() {
                Report::Loading { permille } => assert!(permille <= 1000),
                other => return other,
            }
        }
    }

    /// The next beat that satisfies `wanted`.
    pub(crate) fn beat_until(&mut self, wanted: impl Fn(u64, u32) -> bool) -> (u64, u32) {
        loop {
            match self.report() {
                Report::Beat {
                    step_count,
                    work_count,
                    ..
                } if wanted(step_count, work_count) => {
                    return (step_count, work_count);
                }
                Report::Beat { .. } => {}
                other => panic!("{other:?} instead of a beat"),
            }
        }
    }

    pub(crate) fn connect(&mut self) -> Gateway {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        self.supervisor
            .send_with(&Order::Gateway, &[theirs.as_fd()])
            .unwrap();
        Gateway {
            channel: Channel::new(ours),
        }
    }

    /// How the engine ends; our side of the conversation stays open.
    pub(crate) fn end(self) -> Result<(), EngineError> {
        self.thread.join().expect("the engine does not panic")
    }
}

pub(crate) struct Gateway {
    pub(crate) channel: Channel,
}

/// All that came for one stream.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) accepted: Option<u32>,
    pub(crate) tokens: Vec<Token>,
    pub(crate) done: Option<(Finish, u32, u32)>,
    /// As told when it started, and the same in the end.
    pub(crate) cached: Option<u32>,
    /// Streams ahead, each time it was told.
    pub(crate) ahead: Vec<u32>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        let bytes: Vec<u8> = self.tokens.iter().flat_map(|token| token.bytes.clone()).collect();
        String::from_utf8(bytes).expect("the whole answer is UTF-8")
    }

    pub(crate) fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|token| token.id).collect()
    }

    pub(crate) fn finish(&self) -> &Finish {
        &self.done.as_ref().unwrap().0
    }
}

impl Gateway {
    pub(crate) fn generate(&mut self, generate: Generate) {
        self.channel
            .send(&ToEngine::Generate(Box::new(generate)))
            .unwrap();
    }

    pub(crate) fn cancel(&mut self, stream: u64) {
        self.channel.send(&ToEngine::Cancel { stream }).unwrap();
    }

    pub(crate) fn event(&mut self) -> FromEngine {
        self.channel.receive().unwrap()
    }

    /// Reads until each of `streams` was taken, and forgets what else came.
    pub(crate) fn all_accepted(&mut self, streams: impl IntoIterator<Item = u64>) {
        let mut open: Vec<u64> = streams.into_iter().collect();
        while !open.is_empty() {
            if let FromEngine::Accepted { stream, .. } = self.event() {
                open.retain(|open| *open != stream);
            }
        }
    }

    /// Reads until each of `streams` is done.
    pub(crate) fn answers(&mut self, streams: impl IntoIterator<Item = u64>) -> HashMap<u64, Answer> {
        let mut open: Vec<u64> = streams.into_iter().collect();
        let mut answers: HashMap<u64, Answer> = HashMap::new();
        while !open.is_empty() {
            match self.event() {
                FromEngine::Accepted {
                    stream,
                    prompt_tokens,
                } => {
                    answers.entry(stream).or_default().accepted = Some(prompt_tokens);
                }
                FromEngine::Queued {
                    stream, ahead_count, ..
                } => {
                    answers.entry(stream).or_default().ahead.push(ahead_count);
                }
                FromEngine::Started {
                    stream,
                    cached_tokens,
                } => {
                    let answer = answers.entry(stream).or_default();
                    assert_eq!(answer.cached.replace(cached_tokens), None, "it starts once");
                }
                FromEngine::Token(token) => {
                    let answer = answers.entry(token.stream).or_default();
                    assert!(answer.done.is_none(), "nothing comes after the end");
                    answer.tokens.push(*token);
                }
                FromEngine::Done {
                    stream,
                    finish,
                    prompt_tokens,
                    completion_tokens,
                    cached_tokens,
                } => {
                    let answer = answers.entry(stream).or_default();
                    // The event of its start may have been read before.
                    assert!(answer.cached.is_none_or(|cached| cached == cached_tokens));
                    assert!(
                        answer
                            .done
                            .replace((finish, prompt_tokens, completion_tokens))
                            .is_none()
                    );
                    open.retain(|open| *open != stream);
                }
            }
        }
        answers
    }

    pub(crate) fn answer(&mut self, generate: Generate) -> Answer {
        let stream = generate.stream;
        self.generate(generate);
        self.answers([stream]).remove(&stream).unwrap()
    }

    /// Reads until a token of `stream` comes.
    pub(crate) fn first_token(&mut self, stream: u64) {
        loop {
            match self.event() {
                FromEngine::Token(token) if token.stream == stream => return,
                FromEngine::Done {
                    stream: ended,
                    finish,
                    ..
                } if ended == stream => panic!("ended by {finish:?}"),
                _ => {}
            }
        }
    }

    /// Whether the engine has closed the conversation.
    pub(crate) fn is_closed(&mut self) -> bool {
        loop {
            match self.channel.receive::<FromEngine>() {
                Ok(_) => {}
                Err(ChannelError::Closed | ChannelError::CutOff) => return true,
                Err(ChannelError::Socket(error)) => {
                    return error.kind() == std::io::ErrorKind::ConnectionReset;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

pub(crate) fn greedy() -> Sampling {
    Sampling {
        temperature: 0.0,
        top_p: 1.0,
        top_k: 0,
        min_p: 0.0,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        seed: None,
        logit_bias: Vec::new(),
    }
}

pub(crate) fn request(stream: u64, prompt: Vec<Segment>) -> Generate {
    Generate {
        completion_tokens_max: Some(512),
        ..Generate::new(stream, prompt)
    }
}

/// A request in the canary's chat format.
pub(crate) fn chat(stream: u64, text: &str) -> Generate {
    let prompt = vec![
        Segment::Scaffold("[gMASK]<sop><|user|>\n".to_owned()),
        Segment::Text(text.to_owned()),
        Segment::Scaffold("<|assistant|>\n<think></think>".to_owned()),
    ];
    request(stream, prompt)
}

/// A request whose stream ends by its limits only.
pub(crate) fn endless(stream: u64) -> Generate {
    let mut generate = chat(stream, "repeat: a b c");
    generate.completion_tokens_max = None;
    generate.sampling.logit_bias = END_TOKENS.iter().map(|id| (*id, -100.0)).collect();
    generate
}

/// A prompt of exactly `count` tokens, beside which nothing stands.
pub(crate) fn prompt_of(count: usize) -> Vec<Segment> {
    vec![Segment::Scaffold("<sop>".repeat(count))]
}
