//! What time it is: an argument of everything that needs it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Wall time. Rules that must survive a restart (sessions, locks) cannot use a monotonic clock.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    Machine,
    /// A clock that stands where it is put; for tests.
    Set(Arc<AtomicU64>),
}

impl Clock {
    /// A clock that stands at that second.
    #[must_use]
    pub fn standing_at(unix_seconds: u64) -> Self {
        Self::Set(Arc::new(AtomicU64::new(unix_seconds)))
    }

    /// Seconds since 1970-01-01T00:00:00Z; 0 for a machine clock before that.
    #[must_use]
    pub fn unix_seconds(&self) -> u64 {
        match self {
            Self::Machine => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            Self::Set(seconds) => seconds.load(Ordering::SeqCst),
        }
    }

    /// Moves a standing clock on; a machine clock cannot be moved.
    pub fn advance(&self, seconds: u64) {
        if let Self::Set(now) = self {
            now.fetch_add(seconds, Ordering::SeqCst);
        }
    }
}

/// RFC 3339 UTC of a moment; empty for one that no calendar holds.
#[must_use]
pub fn rfc3339(unix_seconds: u64) -> String {
    i64::try_from(unix_seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// Seconds since 1970 of an RFC 3339 text; `None` for other texts and for moments before.
#[must_use]
pub fn unix_seconds_of(rfc3339: &str) -> Option<u64> {
    u64::try_from(OffsetDateTime::parse(rfc3339, &Rfc3339).ok()?.unix_timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_and_read_as_rfc_3339() {
        assert_eq!(rfc3339(1_795_550_400), "2026-11-24T20:00:00Z");
        assert_eq!(unix_seconds_of("2026-11-24T20:00:00Z"), Some(1_795_550_400));
        assert_eq!(unix_seconds_of("yesterday"), None);
        assert_eq!(rfc3339(u64::MAX), "");
    }
}
