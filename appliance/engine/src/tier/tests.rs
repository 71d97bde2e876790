//! Both tiers as a whole: what they promise, and what a disk can do to them.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use jingui_ipc::engine::TierKey;
use proptest::prelude::*;

use super::*;

const WORTH: Worth = Worth {
    cost_us: 100_000,
    is_pinned: false,
};
const BLOCK_BYTES: usize = 10_000;
const PLENTY: u64 = 64 << 20;
const A: TenantBytes = [1; 16];
const B: TenantBytes = [2; 16];

fn shape() -> Shape {
    Shape::of(&[b"the model"])
}

fn terms(bytes_max: u64) -> DiskTier {
    DiskTier {
        bytes_max,
        weights_sha256: [0; 32],
        key: TierKey([7; 32]),
    }
}

/// A prefix of whole blocks, each of one token over and over.
fn prefix(tenant: TenantBytes, blocks: &[u32]) -> Prefix {
    let tokens: Vec<u32> = blocks.iter().flat_map(|token| [*token; BLOCK_TOKENS]).collect();
    Prefix::new(shape(), tenant, &tokens)
}

/// The state of the last of `blocks`: different for every tenant and every path.
fn state(tenant: TenantBytes, blocks: &[u32]) -> Vec<u8> {
    let mut seed = tenant.to_vec();
    seed.extend(blocks.iter().flat_map(|token| token.to_le_bytes()));
    let digest = jingui_trust::Sha256::of(&seed);
    digest
        .as_bytes()
        .iter()
        .copied()
        .cycle()
        .take(BLOCK_BYTES)
        .collect()
}

fn store_all(tiers: &mut Tiers, tenant: TenantBytes, blocks: &[u32]) -> Vec<Stored> {
    let whole = prefix(tenant, blocks);
    (0..blocks.len())
        .map(|index| {
            let stored = tiers.store(&whole, index, state(tenant, &blocks[..=index]), WORTH);
            settle(tiers);
            stored
        })
        .collect()
}

fn settle(tiers: &Tiers) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !tiers.is_settled() {
        assert!(Instant::now() < deadline, "the disk thread does not come to rest");
        std::thread::yield_now();
    }
}

/// Brings all leading blocks; fails when one of them is not what was stored.
fn fetch_all(tiers: &mut Tiers, tenant: TenantBytes, blocks: &[u32]) -> usize {
    let whole = prefix(tenant, blocks);
    let there = tiers.longest(&whole);
    let mut fetch = tiers.fetch(&whole, 0..there);
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut count = 0;
    loop {
        match tiers.next(&mut fetch) {
            Next::Ready(block) => {
                assert_eq!(block.index(), count);
                assert!(*block == *state(tenant, &blocks[..=count]), "wrong bytes");
                count += 1;
            }
            Next::Wait => {
                assert!(Instant::now() < deadline, "a block never comes");
                std::thread::yield_now();
            }
            Next::End => return count,
        }
    }
}

fn open(host_bytes_max: u64, file: &File, bytes_max: u64) -> Tiers {
    let file = file.try_clone().expect("a descriptor can be had twice");
    Tiers::open(shape(), host_bytes_max, Some((file, &terms(bytes_max))))
}

fn file() -> File {
    tempfile::tempfile().expect("the test machine has a temporary folder")
}

#[test]
fn what_was_stored_is_found_from_memory_from_disk_and_from_both() {
    for (host, disk) in [(PLENTY, 0), (0, PLENTY), (PLENTY, PLENTY)] {
        let mut tiers = open(host, &file(), disk);
        for stored in store_all(&mut tiers, A, &[1, 2, 3, 4, 5, 6, 7, 8]) {
            let kept = Stored::Kept {
                in_host: host > 0,
                on_disk: disk > 0,
            };
            assert_eq!(stored, kept);
        }
        assert_eq!(fetch_all(&mut tiers, A, &[1, 2, 3, 4, 5, 6, 7, 8]), 8);
        assert_eq!(fetch_all(&mut tiers, A, &[1, 2, 9]), 2);
        assert_eq!(fetch_all(&mut tiers, A, &[2]), 0);
        assert_eq!(fetch_all(&mut tiers, B, &[1, 2, 3]), 0, "another tenant");
        let figures = tiers.figures();
        assert_eq!(figures.host_hit_count > 0, host > 0);
        assert_eq!(figures.disk_hit_count > 0, host == 0);
    }
}

#[test]
fn without_tiers_nothing_is_kept_and_nothing_fails() {
    let mut tiers = Tiers::open(shape(), 0, None);
    assert!(!tiers.is_any());
    assert!(!tiers.wants(&prefix(A, &[1]), 0));
    assert_eq!(store_all(&mut tiers, A, &[1]), [Stored::Dropped]);
    assert_eq!(fetch_all(&mut tiers, A, &[1]), 0);
}

#[test]
fn a_block_without_the_one_before_it_is_not_kept() {
    let mut tiers = open(PLENTY, &file(), PLENTY);
    let whole = prefix(A, &[1, 2]);
    let stored = tiers.store(&whole, 1, state(A, &[1, 2]), WORTH);
    assert_eq!(stored, Stored::Orphan);
    assert_eq!(tiers.store(&whole, 2, state(A, &[1, 2]), WORTH), Stored::Orphan);
    assert_eq!(tiers.figures().block_count, 0);
}

#[test]
fn a_block_that_is_there_is_known() {
    let mut tiers = open(PLENTY, &file(), PLENTY);
    store_all(&mut tiers, A, &[1, 2]);
    assert!(!tiers.wants(&prefix(A, &[1, 2]), 1));
    assert!(tiers.wants(&prefix(A, &[1, 3]), 1));
    assert_eq!(
        store_all(&mut tiers, A, &[1, 3]),
        [
            Stored::Known,
            Stored::Kept {
                in_host: true,
                on_disk: true
            }
        ]
    );
}

#[test]
fn a_new_worker_finds_what_the_old_one_stored() {
    let file = file();
    let mut old = open(PLENTY, &file, PLENTY);
    store_all(&mut old, A, &[1, 2, 3]);
    store_all(&mut old, A, &[1, 2, 4, 5]);
    store_all(&mut old, B, &[1]);
    // Killed: nothing of it runs any more, and nothing was closed in order. The file is as it is.
    let mut new = open(0, &file, PLENTY);
    std::mem::forget(old);
    assert_eq!(new.figures().disk_block_count, 6);
    assert_eq!(fetch_all(&mut new, A, &[1, 2, 3]), 3);
    assert_eq!(fetch_all(&mut new, A, &[1, 2, 4, 5]), 4);
    assert_eq!(fetch_all(&mut new, B, &[1, 2]), 1);
    // And goes on where the old one was.
    store_all(&mut new, B, &[1, 2]);
    assert_eq!(fetch_all(&mut new, B, &[1, 2]), 2);
}

#[test]
fn a_worker_that_ends_in_order_first_writes_what_it_took() {
    let file = file();
    let mut old = open(PLENTY, &file, PLENTY);
    let whole = prefix(A, &[1, 2, 3]);
    for index in 0..3 {
        old.store(&whole, index, state(A, &[1, 2, 3][..=index]), WORTH);
    }
    drop(old);
    assert_eq!(fetch_all(&mut open(0, &file, PLENTY), A, &[1, 2, 3]), 3);
}

#[test]
fn another_key_or_another_model_finds_nothing() {
    let file = file();
    store_all(&mut open(PLENTY, &file, PLENTY), A, &[1, 2, 3]);
    let other_key = DiskTier {
        bytes_max: PLENTY,
        weights_sha256: [0; 32],
        key: TierKey([8; 32]),
    };
    let clone = || file.try_clone().expect("a descriptor can be had twice");
    let tiers = Tiers::open(shape(), 0, Some((clone(), &other_key)));
    assert_eq!(tiers.figures().block_count, 0);
    let other_shape = Shape::of(&[b"the next version"]);
    let tiers = Tiers::open(other_shape, 0, Some((clone(), &terms(PLENTY))));
    assert_eq!(tiers.figures().block_count, 0);
    drop(tiers);
    // Neither harmed it by looking.
    assert_eq!(fetch_all(&mut open(0, &file, PLENTY), A, &[1, 2, 3]), 3);
}

#[test]
fn the_next_model_takes_the_file_over() {
    let file = file();
    store_all(&mut open(0, &file, PLENTY), A, &[1, 2, 3]);
    let other = Shape::of(&[b"the next version"]);
    let tokens = [1; BLOCK_TOKENS];
    let clone = || file.try_clone().expect("a descriptor can be had twice");
    let mut tiers = Tiers::open(other, 0, Some((clone(), &terms(PLENTY))));
    let prefix = Prefix::new(other, A, &tokens);
    let stored = tiers.store(&prefix, 0, vec![3; 50_000], WORTH);
    assert_eq!(
        stored,
        Stored::Kept {
            in_host: false,
            on_disk: true
        }
    );
    drop(tiers);
    assert_eq!(open(0, &file, PLENTY).figures().block_count, 0);
    let tiers = Tiers::open(other, 0, Some((clone(), &terms(PLENTY))));
    assert_eq!(tiers.longest(&prefix), 1);
}

#[test]
fn budgets_are_kept_and_the_newest_of_what_is_worth_the_same_stays() {
    let host_max = 5 * BLOCK_BYTES as u64;
    let disk_max = 200_000;
    let file = file();
    let mut tiers = open(host_max, &file, disk_max);
    for number in 0..60 {
        store_all(&mut tiers, A, &[number, number + 1]);
        let figures = tiers.figures();
        assert!(figures.host_bytes <= host_max);
        assert!(file.metadata().expect("it is open").len() <= disk_max);
        assert_eq!(fetch_all(&mut tiers, A, &[number, number + 1]), 2);
    }
    assert!(tiers.figures().disk_block_count > 8, "the file is used");
    assert_eq!(fetch_all(&mut tiers, A, &[0, 1]), 0);
}

#[test]
fn pinned_blocks_stay_while_others_come_and_go() {
    let host_max = 4 * BLOCK_BYTES as u64;
    let mut tiers = Tiers::open(shape(), host_max, None);
    let pinned = Worth {
        is_pinned: true,
        ..WORTH
    };
    tiers.store(&prefix(A, &[1]), 0, state(A, &[1]), pinned);
    for number in 100..150 {
        store_all(&mut tiers, A, &[number]);
    }
    assert_eq!(fetch_all(&mut tiers, A, &[1]), 1);
}

#[test]
fn a_loud_tenant_does_not_flush_a_quiet_one() {
    let host_max = 6 * BLOCK_BYTES as u64;
    let mut tiers = open(host_max, &file(), 120_000);
    store_all(&mut tiers, B, &[1, 2]);
    for number in 100..200 {
        store_all(&mut tiers, A, &[number]);
    }
    assert_eq!(fetch_all(&mut tiers, B, &[1, 2]), 2);
}

#[test]
fn what_the_disk_was_too_slow_for_it_gets_when_it_is_asked_for_again() {
    let file = file();
    let mut tiers = open(PLENTY, &file, PLENTY);
    let whole = prefix(A, &[1, 2]);
    let behind = tiers.disk.as_ref().and_then(Disk::fall_behind);
    assert!(behind.is_some());
    for index in 0..2 {
        let stored = tiers.store(&whole, index, state(A, &[1, 2][..=index]), WORTH);
        let in_memory = Stored::Kept {
            in_host: true,
            on_disk: false,
        };
        assert_eq!(stored, in_memory);
        assert!(!tiers.wants(&whole, index));
    }
    drop(behind);
    assert!(!tiers.wants(&whole, 1));
    settle(&tiers);
    assert_eq!(tiers.figures().disk_block_count, 0, "its parent is not on disk");
    assert!(!tiers.wants(&whole, 0));
    assert!(!tiers.wants(&whole, 1));
    drop(tiers);
    assert_eq!(fetch_all(&mut open(0, &file, PLENTY), A, &[1, 2]), 2);
}

#[test]
fn a_disk_that_is_behind_drops_what_memory_has_no_room_for() {
    let mut tiers = open(0, &file(), PLENTY);
    let behind = tiers.disk.as_ref().and_then(Disk::fall_behind);
    let stored = tiers.store(&prefix(A, &[1]), 0, state(A, &[1]), WORTH);
    assert_eq!(stored, Stored::Dropped);
    assert_eq!(tiers.figures().dropped_count, 1);
    drop(behind);
    assert_eq!(fetch_all(&mut tiers, A, &[1]), 0);
}

#[test]
fn a_disk_that_fails_switches_its_tier_off_and_the_host_goes_on() {
    let whole_file = tempfile::NamedTempFile::new().expect("the test machine has a temporary folder");
    let read_only = File::open(whole_file.path()).expect("it was made just now");
    let full = File::options()
        .read(true)
        .write(true)
        .open("/dev/full")
        .expect("Linux has it");
    for broken in [read_only, full] {
        let mut tiers = open(PLENTY, &broken, PLENTY);
        store_all(&mut tiers, A, &[1, 2, 3]);
        store_all(&mut tiers, A, &[4]);
        assert_eq!(fetch_all(&mut tiers, A, &[1, 2, 3]), 3);
        let figures = tiers.figures();
        assert!(figures.is_disk_off);
        assert_eq!((figures.disk_block_count, figures.disk_written_count), (0, 0));
        assert_eq!(figures.block_count, 4);
    }
}

#[test]
fn a_disk_that_fails_while_in_use_takes_only_itself_along() {
    let file = file();
    let mut tiers = open(0, &file, PLENTY);
    store_all(&mut tiers, A, &[1, 2]);
    drop(tiers);
    // Reading goes, writing does not: the next worker has the descriptor for reading only.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let read_only = File::open(path).expect("the test machine has procfs");
    let mut tiers = open(0, &read_only, PLENTY);
    assert_eq!(fetch_all(&mut tiers, A, &[1, 2]), 2);
    store_all(&mut tiers, A, &[3]);
    assert_eq!(fetch_all(&mut tiers, A, &[1, 2]), 0, "off");
    assert!(tiers.figures().is_disk_off);
}

#[test]
fn a_fetch_that_is_given_up_leaves_nothing_behind() {
    let mut tiers = open(0, &file(), PLENTY);
    store_all(&mut tiers, A, &[1, 2, 3, 4, 5, 6]);
    for _ in 0..50 {
        drop(tiers.fetch(&prefix(A, &[1, 2, 3, 4, 5, 6]), 0..6));
    }
    assert_eq!(fetch_all(&mut tiers, A, &[1, 2, 3, 4, 5, 6]), 6);
}

#[test]
fn a_fetch_may_begin_in_the_middle_and_meets_what_was_lost_meanwhile() {
    let mut tiers = open(4 * BLOCK_BYTES as u64, &file(), 0);
    store_all(&mut tiers, A, &[1, 2, 3]);
    let whole = prefix(A, &[1, 2, 3]);
    let mut fetch = tiers.fetch(&whole, 1..3);
    assert!(matches!(tiers.next(&mut fetch), Next::Ready(block) if block.index() == 1));
    store_all(&mut tiers, A, &[7, 8, 9, 10]);
    assert!(matches!(tiers.next(&mut fetch), Next::End));
}

/// Each moment at which a worker may die while it writes over a slot, and orders that a machine without flushes may
/// leave. Whatever is found then is one of the two blocks, whole; a block that was promised to be there reads as
/// itself or as not there.
#[test]
fn whatever_a_crash_leaves_of_a_slot_is_one_block_or_none() {
    let slot_bytes = 12_288;
    let directory_end = 8_192;
    let bytes_max = directory_end + slot_bytes + 1_024;
    let file = file();
    let mut tiers = open(0, &file, bytes_max);
    store_all(&mut tiers, A, &[1]);
    let before = image(&file);
    store_all(&mut tiers, A, &[2]);
    let after = image(&file);
    drop(tiers);
    assert_eq!(before.len(), after.len());
    assert_eq!(before.len() as u64, directory_end + BLOCK_BYTES as u64 + 40);
    let header = 4_096..5_120;
    let body = 8_192..before.len();
    let mixed = |ranges: &[Range<usize>], is_wiped: bool| {
        let mut image = before.clone();
        if is_wiped {
            image[header.clone()].fill(0);
        }
        for range in ranges {
            image[range.clone()].copy_from_slice(&after[range.clone()]);
        }
        image
    };
    let half_body = body.start..body.start + 5_000;
    let half_header = header.start..header.start + 512;
    // What was on disk, and which of the two blocks can be had then.
    let table = [
        ("before the header was wiped", mixed(&[], false), (1, 0)),
        ("header wiped", mixed(&[], true), (0, 0)),
        (
            "half of the state",
            mixed(std::slice::from_ref(&half_body), true),
            (0, 0),
        ),
        (
            "the state, no header",
            mixed(std::slice::from_ref(&body), true),
            (0, 0),
        ),
        (
            "half of the header",
            mixed(&[body.clone(), half_header], true),
            (0, 0),
        ),
        ("all", mixed(&[body.clone(), header.clone()], true), (0, 1)),
        (
            "new state, old header",
            mixed(std::slice::from_ref(&body), false),
            (0, 0),
        ),
        ("half new state, old header", mixed(&[half_body], false), (0, 0)),
        (
            "old state, new header",
            mixed(std::slice::from_ref(&header), false),
            (0, 0),
        ),
    ];
    for (what, image, (first, second)) in table {
        let file = self::file();
        file.write_all_at(&image, 0).expect("there is room");
        let mut tiers = open(0, &file, bytes_max);
        assert_eq!(fetch_all(&mut tiers, A, &[1]), first, "{what}");
        assert_eq!(fetch_all(&mut tiers, A, &[2]), second, "{what}");
        // And the slot is of use again.
        store_all(&mut tiers, A, &[3]);
        assert_eq!(fetch_all(&mut tiers, A, &[3]), 1, "{what}");
    }
}

#[test]
fn a_refused_slot_is_counted_and_what_hangs_below_it_is_gone() {
    let file = file();
    let mut tiers = open(0, &file, PLENTY);
    store_all(&mut tiers, A, &[1, 2, 3]);
    let end = file.metadata().expect("it is open").len();
    // The first slot holds the first block; its state begins where the directory ends.
    let first = end - 2 * 12_288 - (BLOCK_BYTES as u64 + 40);
    file.write_all_at(b"x", first + 17).expect("there is room");
    assert_eq!(tiers.longest(&prefix(A, &[1, 2, 3])), 3);
    assert_eq!(fetch_all(&mut tiers, A, &[1, 2, 3]), 0);
    assert_eq!(tiers.figures().disk_refused_count, 1);
    assert_eq!(tiers.longest(&prefix(A, &[1, 2, 3])), 0);
    store_all(&mut tiers, A, &[1, 2, 3]);
    assert_eq!(fetch_all(&mut tiers, A, &[1, 2, 3]), 3);
}

fn image(file: &File) -> Vec<u8> {
    let length = file.metadata().expect("it is open").len();
    let mut bytes = vec![0; usize::try_from(length).expect("it is small")];
    file.read_exact_at(&mut bytes, 0).expect("it is open");
    bytes
}

#[derive(Debug, Clone)]
enum Act {
    Store(bool, Vec<u32>),
    Fetch(bool, Vec<u32>),
    Restart { is_in_order: bool },
    Flip(prop::sample::Index),
}

fn act(with_flips: bool) -> impl Strategy<Value = Act> {
    let path = || prop::collection::vec(0_u32..3, 1..5);
    prop_oneof![
        8 => (any::<bool>(), path()).prop_map(|(is_a, path)| Act::Store(is_a, path)),
        8 => (any::<bool>(), path()).prop_map(|(is_a, path)| Act::Fetch(is_a, path)),
        1 => any::<bool>().prop_map(|is_in_order| Act::Restart { is_in_order }),
        u32::from(with_flips) * 4 => any::<prop::sample::Index>().prop_map(Act::Flip),
    ]
}

/// Runs the acts against a map of everything that was ever stored. `fetch_all` compares every byte that comes back.
fn check(acts: Vec<Act>, host_blocks: u64, disk_bytes_max: u64, is_ample: bool) -> Result<(), TestCaseError> {
    let file = file();
    let host_max = host_blocks * BLOCK_BYTES as u64;
    let mut tiers = open(host_max, &file, disk_bytes_max);
    let mut stored: HashMap<(TenantBytes, Vec<u32>), ()> = HashMap::new();
    let tenant = |is_a: bool| if is_a { A } else { B };
    for act in acts {
        match act {
            Act::Store(is_a, path) => {
                store_all(&mut tiers, tenant(is_a), &path);
                for end in 1..=path.len() {
                    stored.insert((tenant(is_a), path[..end].to_vec()), ());
                }
            }
            Act::Fetch(is_a, path) => {
                let count = fetch_all(&mut tiers, tenant(is_a), &path);
                let known = (1..=path.len())
                    .take_while(|end| stored.contains_key(&(tenant(is_a), path[..*end].to_vec())))
                    .count();
                prop_assert!(count <= known);
                if is_ample {
                    prop_assert_eq!(count, known);
                }
            }
            Act::Restart { is_in_order } => {
                let new = open(host_max, &file, disk_bytes_max);
                let old = std::mem::replace(&mut tiers, new);
                if is_in_order {
                    drop(old);
                } else {
                    std::mem::forget(old);
                }
            }
            Act::Flip(place) => {
                let length = file.metadata().expect("it is open").len();
                if length > 0 {
                    let at = place.index(usize::try_from(length).expect("it is small")) as u64;
                    let mut byte = [0];
                    file.read_exact_at(&mut byte, at).expect("it is open");
                    file.write_all_at(&[byte[0] ^ 0x10], at).expect("there is room");
                }
            }
        }
        prop_assert!(tiers.figures().host_bytes <= host_max);
        prop_assert!(file.metadata().expect("it is open").len() <= disk_bytes_max);
        tiers.shelf.check();
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn with_room_enough_everything_stored_is_found_and_nothing_else(
        acts in prop::collection::vec(act(false), 1..60),
    ) {
        check(acts, 0, PLENTY, true)?;
    }

    #[test]
    fn in_narrow_tiers_what_is_found_is_what_was_stored(
        acts in prop::collection::vec(act(false), 1..80),
        host_blocks in 0_u64..7,
        disk_bytes in 0_u64..150_000,
    ) {
        check(acts, host_blocks, disk_bytes, false)?;
    }

    #[test]
    fn on_a_disk_that_alters_bits_what_is_found_is_what_was_stored(
        acts in prop::collection::vec(act(true), 1..60),
        host_blocks in 0_u64..3,
    ) {
        check(acts, host_blocks, 300_000, false)?;
    }
}
