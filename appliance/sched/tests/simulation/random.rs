//! Numbers from a seed.

/// SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `least` to `most`, both possible.
    pub(crate) fn between(&mut self, least: usize, most: usize) -> usize {
        least + (self.next() % (most - least + 1) as u64) as usize
    }

    /// True in one of `of` cases.
    pub(crate) fn one_in(&mut self, of: usize) -> bool {
        self.between(1, of) == 1
    }
}

/// Says how to run the scenario again, if it panics.
pub(crate) struct Replay<'a> {
    pub(crate) test: &'a str,
    pub(crate) seed: u64,
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "replay: JINGUI_SEED={} cargo test --release -p jingui-sched --test simulation {}",
                self.seed, self.test
            );
        }
    }
}

/// Runs a scenario for many seeds, or for the one in the environment.
pub(crate) fn for_seeds(test: &str, count: u64, scenario: impl Fn(u64)) {
    let given = std::env::var("JINGUI_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds = given.map_or(0..count, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let _replay = Replay { test, seed };
        scenario(seed);
    }
}
