//! Wrong proofs per address: beside the lock of a name, so that one machine cannot try many names.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::clock::Clock;

/// Wrong proofs from one address within [`WINDOW_S`]; one more is refused unchecked.
pub const TRY_COUNT_MAX: u32 = 30;
/// Length of the window in seconds; it begins with the first wrong proof.
pub const WINDOW_S: u64 = 15 * 60;
/// Addresses that are remembered; the oldest window is forgotten first.
pub const ADDRESS_COUNT_MAX: usize = 4096;

/// The windows, in memory: a restart of the gateway forgets them, the locks of names stay.
#[derive(Debug, Default)]
pub struct Tries {
    windows: Mutex<HashMap<IpAddr, Window>>,
    clock: Clock,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    began_at: u64,
    count: u32,
}

impl Tries {
    /// Nothing tried yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            windows: Mutex::default(),
            clock,
        }
    }

    /// Seconds that an address has to wait, `None` when it may try.
    #[must_use]
    pub fn wait_s(&self, address: IpAddr) -> Option<u64> {
        let now = self.clock.unix_seconds();
        let windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows
            .get(&address)
            .filter(|window| window.count >= TRY_COUNT_MAX)?;
        (window.began_at + WINDOW_S)
            .checked_sub(now)
            .filter(|wait| *wait > 0)
    }

    /// Counts a wrong proof.
    pub fn count(&self, address: IpAddr) {
        let now = self.clock.unix_seconds();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Window {
            began_at: now,
            count: 0,
        };
        let window = windows.entry(address).or_insert(fresh);
        if window.began_at + WINDOW_S <= now {
            *window = fresh;
        }
        window.count = window.count.saturating_add(1);
        if windows.len() > ADDRESS_COUNT_MAX
            && let Some(oldest) = windows
                .iter()
                .min_by_key(|(_, window)| window.began_at)
                .map(|(address, _)| *address)
        {
            windows.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_waits_after_its_last_try_and_others_do_not() {
        let clock = Clock::standing_at(1_000);
        let tries = Tries::new(clock.clone());
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..TRY_COUNT_MAX {
            assert_eq!(tries.wait_s(here), None);
            tries.count(here);
        }
        assert_eq!(tries.wait_s(here), Some(WINDOW_S));
        assert_eq!(tries.wait_s(there), None);
        clock.advance(WINDOW_S);
        assert_eq!(tries.wait_s(here), None);
        tries.count(here);
        assert_eq!(tries.wait_s(here), None, "a new window");
    }

    #[test]
    fn remembered_addresses_are_bounded() {
        let tries = Tries::new(Clock::standing_at(1_000));
        for number in 0..=u32::try_from(ADDRESS_COUNT_MAX).unwrap() {
            tries.count(IpAddr::from(number.to_be_bytes()));
        }
        assert_eq!(tries.windows.lock().unwrap().len(), ADDRESS_COUNT_MAX);
    }
}
