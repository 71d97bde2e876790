//! Many streams at once.

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{Chooser, Chosen};

/// Fewest rows for which waking other threads pays.
const PARALLEL_ROW_COUNT_MIN: usize = 4;

/// Threads for choosing, made once.
#[derive(Debug)]
pub struct Pool {
    /// `None`: the caller does it all.
    threads: Option<ThreadPool>,
}

/// What is to be chosen for one stream.
#[derive(Debug)]
pub struct Job<'a> {
    /// Its chooser.
    pub chooser: &'a mut Chooser,
    /// Its rows of logits, as for [`Chooser::choose_chain`].
    pub rows: Vec<&'a [f32]>,
    /// Its draft.
    pub draft: &'a [u32],
}

impl Pool {
    /// A pool of `thread_count` threads, the caller counted: with one, or when threads cannot be made, everything is
    /// done by the caller.
    #[must_use]
    pub fn new(thread_count: usize) -> Self {
        let threads = (thread_count > 1)
            .then(|| {
                ThreadPoolBuilder::new()
                    .num_threads(thread_count)
                    .thread_name(|index| format!("choose-{index}"))
                    .build()
                    .ok()
            })
            .flatten();
        Self { threads }
    }

    /// Runs `work` here, and meanwhile prepares `choosers` on other threads, if there are any. Without, they are
    /// prepared when they choose.
    pub fn beside<'a, R>(
        &self,
        choosers: impl IntoIterator<Item = &'a mut Chooser>,
        work: impl FnOnce() -> R,
    ) -> R {
        let Some(threads) = &self.threads else {
            return work();
        };
        let mut held = choosers
            .into_iter()
            .filter(|chooser| chooser.is_constrained())
            .peekable();
        if held.peek().is_none() {
            return work();
        }
        threads.in_place_scope(|scope| {
            for chooser in held {
                scope.spawn(|_| chooser.prepare());
            }
            work()
        })
    }
}

/// Chooses for all jobs; the results are in their order.
pub fn choose_all(jobs: Vec<Job<'_>>, pool: &Pool) -> Vec<Chosen> {
    let row_count: usize = jobs.iter().map(|job| job.rows.len()).sum();
    let choose = |job: Job<'_>| job.chooser.choose_chain(&job.rows, job.draft);
    match &pool.threads {
        Some(threads) if jobs.len() > 1 && row_count >= PARALLEL_ROW_COUNT_MIN => {
            threads.install(|| jobs.into_par_iter().map(choose).collect())
        }
        _ => jobs.into_iter().map(choose).collect(),
    }
}
