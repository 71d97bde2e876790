//! Model package: signature bundle, release facts, strict GGUF check. Pure.

pub mod gguf;
