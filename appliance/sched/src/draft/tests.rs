//! Drafting as a whole, against made-up machines and made-up texts.

use proptest::prelude::*;

use super::policy::{CREDIT_AT_START, OVERDRAFT_MAX};
use super::*;
use crate::Micros;

const A: TenantId = [1; 16];
const B: TenantId = [2; 16];

/// Microseconds of a step with so many rows.
type Machine = fn(usize) -> Micros;

/// Reading the weights is what a step costs: a large model, or few rows.
fn bound_by_memory(rows: usize) -> Micros {
    100_000 + 8_000 * rows as Micros
}

/// Two cores with half a billion parameters: the second row costs two thirds of the first.
fn bound_by_arithmetic(rows: usize) -> Micros {
    3_000 + 6_200 * rows as Micros
}

/// What the machine makes is known beforehand. Microseconds with guesses, and without.
struct Run {
    guessed_us: Micros,
    plain_us: Micros,
}

impl Run {
    fn gain(&self) -> f64 {
        crate::real_us(self.plain_us) / crate::real_us(self.guessed_us)
    }
}

fn run(
    drafter: &mut Drafter,
    stream: StreamKey,
    prompt: &[Token],
    answer: &[Token],
    machine: Machine,
) -> Run {
    drafter.begin(stream, A, prompt, true);
    let mut run = Run {
        guessed_us: 0,
        plain_us: machine(1) * answer.len() as Micros,
    };
    let mut made = 0;
    while made < answer.len() {
        let plain = machine(1);
        let added = |guesses: usize| machine(1 + guesses) - plain;
        let prices = Prices {
            width: 1,
            plain,
            added: &added,
        };
        let guesses = drafter.propose_at(stream, (answer.len() - made - 1).min(64), &prices);
        run.guessed_us += machine(1 + guesses.len());
        let right = guesses
            .iter()
            .zip(&answer[made..])
            .take_while(|(guess, truth)| guess == truth)
            .count();
        drafter.made(stream, &answer[made..=made + right], right);
        made += right + 1;
    }
    drafter.end(stream);
    run
}

/// A fixed sequence of numbers that looks random.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(bound)) as u32
    }

    fn random_text(&mut self, tokens: usize) -> Vec<Token> {
        (0..tokens).map(|_| self.below(3_000)).collect()
    }

    /// As prose is: common words often, and each followed by few others.
    fn prose(&mut self, tokens: usize) -> Vec<Token> {
        let mut text: Vec<Token> = vec![0];
        while text.len() < tokens {
            let last = text.last().copied().unwrap_or_default();
            let common = self.below(60) * self.below(60);
            let usual = (last.wrapping_mul(31) + self.below(12) * self.below(12)) % 3_000;
            text.push(if self.below(2) == 0 { usual } else { common });
        }
        text
    }

    /// `text` with about one token in `rate` changed, left out or put in.
    fn edited(&mut self, text: &[Token], rate: u32) -> Vec<Token> {
        let mut edited = Vec::new();
        for token in text {
            match self.below(rate * 3) {
                0 => edited.push(self.below(3_000)),
                1 => {}
                2 => edited.extend([*token, self.below(3_000)]),
                _ => edited.push(*token),
            }
        }
        edited
    }
}

#[test]
fn copying_and_editing_gain_half_where_rows_are_cheap() {
    for (seed, rate) in [(1, 1_000_000), (2, 60), (3, 40)] {
        let mut dice = Dice(seed);
        let prompt = dice.prose(1_500);
        let answer = dice.edited(&prompt[200..1_000], rate);
        let gain = run(&mut Drafter::new(), 1, &prompt, &answer, bound_by_memory).gain();
        assert!(gain >= 1.5, "one edit in {rate}: {gain:.2}");
    }
}

#[test]
fn copying_and_editing_gain_also_where_rows_are_dear() {
    for (seed, rate, least) in [(1, 1_000_000, 1.35), (2, 60, 1.15)] {
        let mut dice = Dice(seed);
        let prompt = dice.prose(1_500);
        let answer = dice.edited(&prompt[200..1_000], rate);
        let gain = run(&mut Drafter::new(), 1, &prompt, &answer, bound_by_arithmetic).gain();
        assert!(gain >= least, "one edit in {rate}: {gain:.2}");
    }
}

#[test]
fn behind_an_exchanged_word_guessing_goes_on_at_once() {
    let text: Vec<Token> = (100..200).collect();
    let prices = Prices {
        width: 1,
        plain: 10_000,
        added: &|_| 1,
    };
    let mut drafter = Drafter::new();
    drafter.begin(1, A, &text, true);
    drafter.made(1, &text[..20], 0);
    drafter.made(1, &[7], 0);
    assert_eq!(drafter.propose_at(1, 4, &prices), &text[21..25]);
    drafter.made(1, &text[21..22], 1);
    assert_eq!(drafter.propose_at(1, 4, &prices), &text[22..26]);
    // Two wrong ones in a row are no exchanged word.
    drafter.made(1, &[8], 0);
    drafter.made(1, &[9], 0);
    assert_eq!(drafter.propose_at(1, 4, &prices), [] as [Token; 0]);
}

#[test]
fn free_text_loses_two_in_a_hundred_at_most() {
    for machine in [bound_by_memory as Machine, bound_by_arithmetic] {
        for seed in 0..20 {
            let mut dice = Dice(seed);
            let mut drafter = Drafter::new();
            for (stream, text) in [dice.random_text(700), dice.prose(700), dice.prose(2_000)]
                .iter()
                .enumerate()
            {
                let (prompt, answer) = text.split_at(100);
                let gain = run(&mut drafter, stream as u64, prompt, answer, machine).gain();
                assert!(gain >= 0.98, "seed {seed}, text {stream}: {gain:.3}");
            }
        }
    }
}

#[test]
fn an_answer_like_an_earlier_one_is_made_faster() {
    let mut dice = Dice(7);
    let answer = dice.random_text(400);
    let mut drafter = Drafter::new();
    let first = run(&mut drafter, 1, &dice.random_text(50), &answer, bound_by_memory);
    let second = run(&mut drafter, 2, &dice.random_text(50), &answer, bound_by_memory);
    assert!(first.gain() > 0.98 && first.gain() < 1.02);
    assert!(second.gain() > 1.5, "{:.2}", second.gain());
}

#[test]
fn another_tenants_answer_is_never_proposed() {
    let mut dice = Dice(7);
    let answer = dice.random_text(400);
    let mut drafter = Drafter::new();
    run(&mut drafter, 1, &[], &answer, bound_by_memory);
    drafter.begin(2, B, &answer[..50], true);
    drafter.begin(3, A, &answer[..50], false);
    drafter.begin(4, A, &answer[..50], true);
    let prices = Prices {
        width: 1,
        plain: 10_000,
        added: &|_| 1,
    };
    assert_eq!(drafter.propose_at(2, 8, &prices), [] as [Token; 0]);
    assert_eq!(
        drafter.propose_at(3, 8, &prices),
        [] as [Token; 0],
        "it asked for no cache"
    );
    assert_eq!(drafter.propose_at(4, 8, &prices), &answer[50..58]);
}

#[test]
fn what_was_not_to_be_remembered_is_not() {
    let answer = Dice(7).random_text(100);
    let mut drafter = Drafter::new();
    drafter.begin(1, A, &[], false);
    drafter.made(1, &answer, 0);
    drafter.end(1);
    assert_eq!(drafter.recent.tenant_count(), 0);
}

#[test]
fn tenants_and_their_texts_are_bounded() {
    let mut drafter = Drafter::new();
    for number in 0..=TENANTS_MAX {
        let mut tenant = [0; 16];
        tenant[0] = number as u8;
        for stream in 0..3 {
            drafter.begin(stream, tenant, &[], true);
            drafter.made(stream, &vec![number as Token; TENANT_TOKENS_MAX], 0);
            drafter.end(stream);
        }
        assert!(drafter.recent.tenant_count() <= TENANTS_MAX);
        let texts = drafter.recent.texts(&tenant).expect("it was used just now");
        assert!(texts.text().len() <= TENANT_TOKENS_MAX);
    }
    assert!(drafter.recent.texts(&[0; 16]).is_none(), "quiet longest");
}

#[test]
fn a_stream_that_is_not_there_gets_no_guesses() {
    let mut drafter = Drafter::new();
    drafter.made(9, &[1, 2], 1);
    drafter.end(9);
    let room = DraftRoom {
        most: 8,
        load: Load::rows(10, 1, 1),
        from: 11,
        width: 1,
    };
    assert!(drafter.propose(9, &room, &CostModel::default()).is_empty());
}

#[test]
fn guesses_stay_within_the_room() {
    let text: Vec<Token> = (0..50).cycle().take(500).collect();
    let mut drafter = Drafter::new();
    drafter.begin(1, A, &text, true);
    drafter.made(1, &(0..50).collect::<Vec<_>>(), 0);
    let mut cost = CostModel::default();
    for rows in 1..40 {
        cost.learn(Load::rows(100, rows, rows), bound_by_memory(rows));
    }
    for most in 0..10 {
        let room = DraftRoom {
            most,
            load: Load::rows(550, 1, 1),
            from: 551,
            width: 1,
        };
        let guesses = drafter.propose(1, &room, &cost);
        assert!(guesses.len() <= most);
        assert_eq!(guesses.is_empty(), most == 0, "a sure repetition pays here");
        drafter.made(1, &[], 0);
    }
}

#[test]
fn guesses_that_a_grammar_forbade_cost_no_credit() {
    let text: Vec<Token> = (0..50).cycle().take(500).collect();
    let prices = Prices {
        width: 1,
        plain: 10_000,
        added: &|guesses| 2_000 * guesses as Micros,
    };
    let credit_after = |kept: usize| {
        let mut drafter = Drafter::new();
        drafter.begin(1, A, &text, true);
        let proposed = drafter.propose_at(1, 8, &prices).len();
        assert!(proposed > 1);
        drafter.kept(1, kept.min(proposed));
        drafter.made(1, &[999], 0);
        drafter.streams.get(&1).expect("it runs").policy.credit
    };
    let untouched = CREDIT_AT_START + 0.01;
    assert!((credit_after(0) - untouched).abs() < 1e-9);
    assert!((credit_after(1) - (untouched - 0.2)).abs() < 1e-9);
    assert!(credit_after(usize::MAX) < untouched - 0.3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the text is, made to deceive included: `text` has runs that repeat and then go on otherwise.
    #[test]
    fn no_text_loses_more_than_the_credit(
        runs in prop::collection::vec((0_usize..200, 2_usize..30, 0_u32..50), 1..60),
        is_dear: bool,
    ) {
        let machine = if is_dear { bound_by_arithmetic as Machine } else { bound_by_memory };
        let mut text: Vec<Token> = Dice(11).random_text(200);
        for (from, length, other) in runs {
            let from = from.min(text.len() - 1);
            let end = (from + length).min(text.len());
            text.extend_from_within(from..end);
            text.push(10_000 + other);
        }
        let (prompt, answer) = text.split_at(200);
        let run = run(&mut Drafter::new(), 1, prompt, answer, machine);
        let lost = (crate::real_us(run.guessed_us) - crate::real_us(run.plain_us)) / crate::real_us(machine(1));
        let most = CREDIT_AT_START + OVERDRAFT_MAX + 0.01 * real(answer.len());
        prop_assert!(lost <= most, "{lost} of {most}");
    }

    #[test]
    fn every_guess_follows_an_earlier_agreement(text in prop::collection::vec(0_u32..5, 0..200)) {
        let mut drafter = Drafter::new();
        drafter.begin(1, A, &text, true);
        let prices = Prices { width: 1, plain: 10_000, added: &|_| 1 };
        let guesses = drafter.propose_at(1, 8, &prices);
        if !guesses.is_empty() {
            let follows = |distance: usize| {
                let mut whole = text.clone();
                let agrees = whole[whole.len() - distance - 2..whole.len() - distance] == whole[whole.len() - 2..];
                agrees && guesses.iter().all(|guess| {
                    let is_so = *guess == whole[whole.len() - distance];
                    whole.push(*guess);
                    is_so
                })
            };
            prop_assert!((1..=text.len() - 2).any(follows));
        }
    }
}
