//! Stable codes of everything that can go wrong here; `messages/` holds their words.

/// The supervisor's first message was no order to load.
pub const ORDER: &str = "engine.order.unexpected";
/// The weights on the descriptor have another length than the signed ones.
pub const LOAD_SIZE: &str = "engine.load.size-mismatch";
/// The descriptor cannot be read.
pub const LOAD_UNREADABLE: &str = "engine.load.unreadable";
/// llama.cpp does not accept the weights.
pub const LOAD_REFUSED: &str = "engine.load.refused";
/// The model does not make text token by token.
pub const LOAD_UNSUPPORTED: &str = "engine.load.unsupported";
/// Streams, context or threads are out of range.
pub const LOAD_SHAPE: &str = "engine.load.shape";
/// There is no memory for the context that was asked for.
pub const LOAD_MEMORY: &str = "engine.load.memory";
/// The first trial token could not be computed.
pub const LOAD_COMPUTE: &str = "engine.load.compute";
/// The prompt has no tokens.
pub const PROMPT_EMPTY: &str = "engine.prompt.empty";
/// The prompt cannot be made tokens.
pub const PROMPT_UNREADABLE: &str = "engine.prompt.unreadable";
/// The connection has a stream of that number already.
pub const STREAM_DUPLICATE: &str = "engine.stream.duplicate";
/// Computing a step failed.
pub const COMPUTE_FAILED: &str = "engine.compute.failed";
/// The model gave no usable number for any token.
pub const COMPUTE_NOT_FINITE: &str = "engine.compute.not-finite";
/// The constraint is malformed, asks for what cannot be enforced, or fits nothing.
pub const CONSTRAINT_INVALID: &str = "engine.constraint.invalid";
/// The constraint is too large, too deep or too costly.
pub const CONSTRAINT_TOO_COMPLEX: &str = "engine.constraint.too-complex";
/// The answer could not go on inside its constraint.
pub const CONSTRAINT_STUCK: &str = "engine.constraint.stuck";
/// Tokens that an earlier engine made do not fit the constraint.
pub const CONSTRAINT_UNFIT: &str = "engine.constraint.unfit";
/// Tokens made before are not of this model.
pub const RESUME_UNFIT: &str = "engine.resume.unfit";
/// The engine is being shut down.
pub const DRAINING: &str = "engine.draining";

/// All of them, so that a test can walk them.
pub const CODES: &[&str] = &[
    ORDER,
    LOAD_SIZE,
    LOAD_UNREADABLE,
    LOAD_REFUSED,
    LOAD_UNSUPPORTED,
    LOAD_SHAPE,
    LOAD_MEMORY,
    LOAD_COMPUTE,
    PROMPT_EMPTY,
    PROMPT_UNREADABLE,
    STREAM_DUPLICATE,
    COMPUTE_FAILED,
    COMPUTE_NOT_FINITE,
    CONSTRAINT_INVALID,
    CONSTRAINT_TOO_COMPLEX,
    CONSTRAINT_STUCK,
    CONSTRAINT_UNFIT,
    RESUME_UNFIT,
    DRAINING,
];
