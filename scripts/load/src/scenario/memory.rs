//! P12: the most memory that a server has resident over the same work.

use super::Values;
use super::speed::together;
use crate::round::Round;
use crate::server::Server;

/// P12: peak memory of all processes of a fresh server over eight sampled streams, what loading and a ceremony took at
/// their height left out on all sides. Shared pages of our three processes count once for each.
pub(super) async fn peak(server: &Server, round: &Round<'_>) -> anyhow::Result<Values> {
    server.forget_peaks()?;
    together(
        &server.client,
        round,
        8,
        round.sizes.document / 4,
        round.sizes.answer / 2,
    )
    .await?;
    let bytes = server.peak_bytes()?;
    let mebibytes = f64::from(u32::try_from(bytes / (1 << 20))?);
    Ok(vec![("peak_mib", mebibytes)])
}
