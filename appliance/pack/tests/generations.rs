//! Each generation of GLM, as a tiny model that llama.cpp computes right, passes the strict check before it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::path::Path;

use jingui_pack::gguf::{self, Architecture};

#[test]
fn every_generation_that_the_engine_is_tested_with_passes_the_strict_check() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernels/llama/tests/assets");
    for (name, architecture) in [
        ("chatglm", Architecture::ChatGlm),
        ("glm4", Architecture::Glm4),
        ("glm4moe", Architecture::Glm4Moe),
        ("glm4moe-mtp", Architecture::Glm4Moe),
        ("deepseek2", Architecture::Deepseek2),
        ("glm-dsa", Architecture::GlmDsa),
    ] {
        let file = File::open(folder.join(format!("{name}.gguf"))).unwrap();
        let facts = gguf::inspect(&file).unwrap();
        assert_eq!(facts.architecture, architecture, "{name}");
    }
}

#[test]
fn models_that_make_no_text_are_not_on_the_list() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernels/llama/tests/assets");
    for name in ["embedding", "rerank"] {
        let file = File::open(folder.join(format!("{name}.gguf"))).unwrap();
        assert!(gguf::inspect(&file).is_err(), "{name}");
    }
}
