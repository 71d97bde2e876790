//! Digests of a file by chunk: what lets a file be checked again on all cores at once.
//!
//! The signature covers SHA-256 of the whole file, which is computed from front to back by one core. While it is
//! computed, the same pieces of memory also give [`Chunks`]; from then on the file has the signed digest exactly as
//! long as each of its chunks has its own, and chunks can be looked at in any order by any number of threads.
//!
//! Holding a `Chunks` proves that bytes with its `sha256` gave these digests, **if it came from
//! [`crate::Verified::chunks`]**; one that was kept on a disk is worth what authenticated it there, which is the
//! keeper's task (in the box: the supervisor, with a key of its own).

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use jingui_trust::fs_verity::FsVerityStream;
use jingui_trust::{ChunkDigest, ChunkStream, Sha256};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use serde::{Deserialize, Serialize};

/// Bytes of a chunk; the last one of a file may be shorter. Long enough that a list stays short (16,384 for 64 GiB),
/// short enough that the cores of a large machine all have work in a small model.
pub const CHUNK_BYTES: u64 = 4 << 20;
/// Longest list that is made or read: a file of 16 TiB.
pub const CHUNK_COUNT_MAX: usize = 1 << 22;
/// Most threads that look at chunks.
pub const THREAD_COUNT_MAX: usize = 64;
/// Bytes read and digested at once: small enough to stay in a core's own cache.
const PIECE_BYTES: usize = 256 << 10;

/// Digests of a file by chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chunks {
    /// Digest of the whole file, the signed one.
    pub sha256: Sha256,
    /// Bytes of the file.
    pub byte_count: u64,
    /// Digest of each chunk, in order.
    pub digests: Vec<ChunkDigest>,
    /// What the kernel's fs-verity measures of the file, once it is sealed; `None` in lists of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs_verity: Option<Sha256>,
}

impl Chunks {
    /// Whether there is a digest for each chunk of such a file, and no more.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        u64::try_from(self.digests.len()) == Ok(self.byte_count.div_ceil(CHUNK_BYTES))
            && self.digests.len() <= CHUNK_COUNT_MAX
    }

    /// Whether the file behind this descriptor is the one of the list by what the kernel measured of it just now. Reads
    /// none of its bytes: the kernel checks each block when it is used, and a block that is not the measured one is an
    /// error of reading. Compared in constant time.
    #[must_use]
    pub fn match_measured(&self, file: &File, measured: &Sha256) -> bool {
        let Some(expected) = &self.fs_verity else {
            return false;
        };
        file.metadata().is_ok_and(|facts| facts.len() == self.byte_count)
            && jingui_trust::mac::equal(expected.as_bytes(), measured.as_bytes())
    }

    /// Whether the file, as it is behind this descriptor, is the one of the list: every byte is read through it.
    ///
    /// Works on as many threads as asked for, and tells `advance` how many bytes were looked at since it was last told.
    /// Stops at the first chunk that differs. The kernel is asked to read ahead of the threads, so that a cold file
    /// comes at the speed of the disk.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn match_file(
        &self,
        file: &File,
        thread_count: NonZeroUsize,
        advance: &mut dyn FnMut(u64),
    ) -> io::Result<bool> {
        if !self.is_whole() || file.metadata()?.len() != self.byte_count {
            return Ok(false);
        }
        let course = Course::default();
        let count = thread_count
            .get()
            .min(THREAD_COUNT_MAX)
            .min(self.digests.len().max(1));
        let (done, told) = mpsc::channel();
        thread::scope(|scope| {
            let threads: Vec<_> = (0..count)
                .map(|_| {
                    let done = done.clone();
                    let course = &course;
                    scope.spawn(move || self.work(file, course, count, &done))
                })
                .collect();
            drop(done);
            told.iter().for_each(&mut *advance);
            for thread in threads {
                // A panic is our own bug and goes on in the caller.
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            }
            Ok(!course.differs.load(Ordering::Relaxed))
        })
    }

    /// One thread: takes the next chunk that nobody has, until all are taken.
    fn work(&self, file: &File, course: &Course, ahead: usize, done: &mpsc::Sender<u64>) -> io::Result<()> {
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let index = course.next.fetch_add(1, Ordering::Relaxed);
            let expected = usize::try_from(index)
                .ok()
                .and_then(|index| self.digests.get(index));
            let Some(expected) = expected else { return Ok(()) };
            if course.differs.load(Ordering::Relaxed) {
                return Ok(());
            }
            let (start, end) = self.place(index);
            let (far, _) = self.place(index.saturating_add(u64::try_from(ahead).unwrap_or(1)));
            read_ahead(file, far);
            let matches = digest_part(file, start, end, &mut buffer)
                .map(|found| found == Some(*expected))
                .inspect_err(|_| course.differs.store(true, Ordering::Relaxed))?;
            if !matches {
                course.differs.store(true, Ordering::Relaxed);
                return Ok(());
            }
            // Nobody listens only when the caller panicked.
            let _ = done.send(end - start);
        }
    }

    fn place(&self, index: u64) -> (u64, u64) {
        let start = index.saturating_mul(CHUNK_BYTES).min(self.byte_count);
        (start, start.saturating_add(CHUNK_BYTES).min(self.byte_count))
    }
}

/// What the threads share.
#[derive(Debug, Default)]
struct Course {
    next: AtomicU64,
    differs: AtomicBool,
}

/// Asks for the chunk that some thread will want soon. Only advice: a file system that has none is as slow as it is.
fn read_ahead(file: &File, offset: u64) {
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(CHUNK_BYTES)) else {
        return;
    };
    let _ = posix_fadvise(
        file.as_fd(),
        offset,
        length,
        PosixFadviseAdvice::POSIX_FADV_WILLNEED,
    );
}

/// Digest of the bytes from `start` to `end`; `None` when the file ends before.
fn digest_part(file: &File, start: u64, end: u64, buffer: &mut [u8]) -> io::Result<Option<ChunkDigest>> {
    let mut stream = ChunkStream::new();
    let mut offset = start;
    while offset < end {
        let wanted = usize::try_from(end - offset)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let room = buffer.get_mut(..wanted).unwrap_or_default();
        let count = match file.read_at(room, offset) {
            Ok(0) => return Ok(None),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        stream.update(room.get(..count).unwrap_or_default());
        offset = offset.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }
    Ok(Some(stream.finish()))
}

/// Makes the list while a file is digested.
#[derive(Debug, Default)]
pub(crate) struct Making {
    current: ChunkStream,
    current_bytes: u64,
    byte_count: u64,
    digests: Vec<ChunkDigest>,
    fs_verity: FsVerityStream,
}

impl Making {
    /// Takes the next bytes of the file.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        self.fs_verity.update(bytes);
        while !bytes.is_empty() {
            let room = usize::try_from(CHUNK_BYTES - self.current_bytes).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.current.update(now);
            let count = u64::try_from(now.len()).unwrap_or(u64::MAX);
            self.current_bytes += count;
            self.byte_count = self.byte_count.saturating_add(count);
            if self.current_bytes == CHUNK_BYTES {
                self.close();
            }
            bytes = later;
        }
    }

    /// The list of a file whose digest turned out to be that.
    pub(crate) fn finish(mut self, sha256: Sha256) -> Chunks {
        if self.current_bytes > 0 {
            self.close();
        }
        Chunks {
            sha256,
            byte_count: self.byte_count,
            digests: self.digests,
            fs_verity: Some(self.fs_verity.finish()),
        }
    }

    fn close(&mut self) {
        let full = std::mem::take(&mut self.current);
        self.current_bytes = 0;
        // A longer list would be refused when it is used; the file is digested whole then.
        if self.digests.len() < CHUNK_COUNT_MAX {
            self.digests.push(full.finish());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    const CHUNK: usize = 4 << 20;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0])
            .collect()
    }

    fn list(bytes: &[u8], piece: usize) -> Chunks {
        let mut making = Making::default();
        bytes.chunks(piece.max(1)).for_each(|piece| making.update(piece));
        making.finish(Sha256::of(bytes))
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn matches(chunks: &Chunks, file: &File, threads: usize) -> bool {
        let mut done = 0;
        let found = chunks
            .match_file(file, NonZeroUsize::new(threads).unwrap(), &mut |bytes| {
                done += bytes
            })
            .unwrap();
        assert!(!found || done == chunks.byte_count, "all bytes were looked at");
        found
    }

    #[test]
    fn a_file_of_any_length_matches_its_own_list_on_any_number_of_threads() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5] {
            let bytes = bytes(length);
            let chunks = list(&bytes, 1 << 20);
            assert_eq!(chunks.digests.len(), length.div_ceil(CHUNK));
            for threads in [1, 2, 7] {
                assert!(matches(&chunks, &file(&bytes), threads), "{length} on {threads}");
            }
        }
    }

    #[test]
    fn one_changed_byte_anywhere_and_any_other_length_is_seen() {
        let whole = bytes(2 * CHUNK + 100);
        let chunks = list(&whole, 1 << 20);
        for at in [0, 1, CHUNK - 1, CHUNK, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 99] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(!matches(&chunks, &file(&changed), 2), "byte {at}");
        }
        assert!(!matches(&chunks, &file(&whole[..whole.len() - 1]), 2), "shorter");
        let longer = [whole.as_slice(), &[0]].concat();
        assert!(!matches(&chunks, &file(&longer), 2), "longer");
        let mut swapped = whole.clone();
        swapped.rotate_left(CHUNK);
        assert!(!matches(&chunks, &file(&swapped), 2), "chunks in another order");
    }

    #[test]
    fn a_list_with_a_digest_too_few_or_too_many_matches_nothing() {
        let whole = bytes(CHUNK + 1);
        let chunks = list(&whole, 1 << 20);
        let mut short = chunks.clone();
        short.digests.pop();
        let mut long = chunks.clone();
        long.digests.push(ChunkDigest::of(b""));
        for wrong in [short, long] {
            assert!(!wrong.is_whole() && !matches(&wrong, &file(&whole), 1));
        }
        assert!(chunks.is_whole());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn pieces_of_any_length_make_the_same_list(piece in 1_usize..3_000_000, extra in 0_usize..100_000) {
            let whole = bytes(CHUNK + extra);
            prop_assert_eq!(list(&whole, piece), list(&whole, whole.len()));
        }
    }
}
