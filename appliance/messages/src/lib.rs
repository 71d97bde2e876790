//! Words for people in Chinese and English.
//!
//! Two kinds of entries, in one JSON file per area under `catalogue/`: *codes* with what happened, why and what to
//! do (`model.file.altered`), and *phrases* of the console and the command line (`chat.send`). Both are embedded,
//! so nothing is read at run time. Text may hold named placeholders, `{file}`, filled from facts.
//!
//! Logs and scripts use codes; only people see these words.

mod catalogue;
mod language;
mod placeholders;

pub use catalogue::{AREAS, Explanation, PHRASE_AREAS, codes, explain, is_known, phrase};
pub use language::Language;
pub use placeholders::{fill, placeholders};
