//! What tools and screens learn about updates of the image.

use serde::{Deserialize, Serialize};

/// A bundle that is signed by a key of this box and may be written: what it would bring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateOffer {
    /// Version that runs.
    pub running: String,
    /// Version of the bundle.
    pub version: String,
    /// Its security version.
    pub security_version: u64,
    /// Root hash of its image, lower-case hex.
    pub roothash: String,
    /// Hint of the key that signed it: hex SHA-256 of its PEM text.
    pub signed_by: String,
    /// Bytes of its files.
    pub bytes: u64,
}

/// Where the box stands between two images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateState {
    /// Version that runs.
    pub running: String,
    /// Its security version.
    pub security_version: u64,
    /// Least security version that an update must have.
    pub floor: u64,
    /// What became of the last update.
    pub phase: UpdatePhase,
    /// Version of the last update; `None` when there was none.
    pub version: Option<String>,
    /// Version that ran when it was applied.
    pub from: Option<String>,
}

/// What became of the last update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdatePhase {
    /// There was none.
    None,
    /// It is being written.
    Writing,
    /// It is written, and starts with the next restart.
    Written,
    /// It runs, and was not found good yet: a restart now may bring the older image back.
    OnTrial,
    /// It runs, and was found good.
    Blessed,
    /// It did not start or was not healthy; the older image runs again.
    FellBack,
}

impl UpdatePhase {
    /// Every value.
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::Writing,
        Self::Written,
        Self::OnTrial,
        Self::Blessed,
        Self::FellBack,
    ];

    /// How it is written in JSON, and the end of the key of its words.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Writing => "writing",
            Self::Written => "written",
            Self::OnTrial => "on-trial",
            Self::Blessed => "blessed",
            Self::FellBack => "fell-back",
        }
    }
}
