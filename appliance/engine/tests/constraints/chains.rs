//! A draft changes when tokens come and never which.

use jingui_engine::choose::{Chooser, Job, Next, Pool, choose_all};
use jingui_ipc::engine::{Grammar, Sampling};
use proptest::prelude::*;

use crate::table::{ENDS, compile, logits, run};

/// Logits that follow from what was written before, as a model's do.
fn row_after(seed: u64, ids: &[u32]) -> Vec<f32> {
    let mixed = ids.iter().fold(seed, |mixed, id| {
        mixed.wrapping_mul(31).wrapping_add(u64::from(*id))
    });
    logits(mixed, ids.len())
}

fn grammar(which: u8) -> Option<Grammar> {
    match which % 4 {
        0 => None,
        1 => Some(Grammar::JsonObject),
        2 => Some(Grammar::Regex("[a-f0-9 ]{5,30}".to_owned())),
        _ => Some(Grammar::Lark(
            "start: (\"north\" | \"south\" | /[0-9]{1,3}/) start?".to_owned(),
        )),
    }
}

fn chooser(settings: &Sampling, grammar: Option<&Grammar>) -> Chooser {
    let matcher = grammar.map(|grammar| compile(grammar.clone()));
    Chooser::new(settings, 9, Some(2), matcher, ENDS.clone())
}

/// The answer, computed with drafts that `draft` proposes from what was written and what will come.
fn made(
    chooser: &mut Chooser,
    seed: u64,
    tokens_max: usize,
    mut draft: impl FnMut(usize) -> Vec<u32>,
) -> (Vec<u32>, Option<Next>) {
    let mut ids = Vec::new();
    while ids.len() < tokens_max {
        let draft = draft(ids.len());
        let rows: Vec<Vec<f32>> = (0..=draft.len())
            .map(|count| row_after(seed, &[&ids[..], &draft[..count]].concat()))
            .collect();
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let chosen = chooser.choose_chain(&rows, &draft);
        assert!((1..=rows.len()).contains(&chosen.choices.len()) || matches!(chosen.next, Next::Failed(_)));
        ids.extend(chosen.choices.iter().map(|choice| choice.id));
        if chosen.next != Next::More {
            ids.truncate(tokens_max);
            return (ids, Some(chosen.next));
        }
    }
    ids.truncate(tokens_max);
    (ids, None)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn with_any_draft_the_tokens_are_those_without(
        seed: u64, which: u8, wrong in proptest::collection::vec((0usize..6, 0u32..3300, 0usize..8), 40),
        temperature in prop_oneof![Just(0.0f32), 0.2f32..2.0], frequency_penalty in 0f32..1.0, top_k in 0u32..50,
    ) {
        let settings = Sampling { temperature, frequency_penalty, top_k, seed: Some(seed), ..Sampling::GREEDY };
        let grammar = grammar(which);
        let (plain, end) = made(&mut chooser(&settings, grammar.as_ref()), seed, 40, |_| Vec::new());
        let (drafted, drafted_end) = made(&mut chooser(&settings, grammar.as_ref()), seed, 40, |place| {
            // The right tokens, with a wrong one somewhere or none.
            let (right_count, id, wrong_at) = wrong[place];
            let mut draft: Vec<u32> = plain.iter().skip(place).take(right_count).copied().collect();
            if let Some(place) = draft.get_mut(wrong_at) { *place = id; }
            draft
        });
        prop_assert_eq!(&drafted, &plain);
        if end.is_some() && drafted.len() == plain.len() && plain.len() < 40 {
            prop_assert_eq!(drafted_end, end);
        }
    }

    #[test]
    fn a_resumed_stream_goes_on_as_if_nothing_had_happened(seed: u64, which: u8, at in 0usize..30) {
        let settings = Sampling { temperature: 0.9, presence_penalty: 0.3, seed: Some(seed), ..Sampling::GREEDY };
        let grammar = grammar(which);
        let mut whole = chooser(&settings, grammar.as_ref());
        let ids = run(&mut whole, seed, 30).ids;
        let at = at.min(ids.len().saturating_sub(1));
        let mut resumed = chooser(&settings, grammar.as_ref());
        resumed.resume(&ids[..at]).unwrap();
        for (index, id) in ids.iter().enumerate().skip(at) {
            let row = logits(seed, index);
            prop_assert_eq!(resumed.choose_chain(&[&row], &[]).choices[0].id, *id);
        }
    }
}

#[test]
fn a_pool_chooses_what_one_thread_chooses() {
    let settings = |seed| Sampling {
        temperature: 1.0,
        seed: Some(seed),
        ..Sampling::GREEDY
    };
    let all = |pool: &Pool| {
        let mut choosers: Vec<Chooser> = (0..8)
            .map(|index| chooser(&settings(index), grammar(index as u8).as_ref()))
            .collect();
        let mut ids = Vec::new();
        for step in 0..10 {
            let row = logits(5, step);
            pool.beside(choosers.iter_mut(), || ());
            let jobs = choosers
                .iter_mut()
                .map(|chooser| Job {
                    chooser,
                    rows: vec![&row],
                    draft: &[],
                })
                .collect();
            let chosen = choose_all(jobs, pool);
            ids.push(
                chosen
                    .into_iter()
                    .map(|chosen| chosen.choices.first().map(|choice| choice.id))
                    .collect::<Vec<_>>(),
            );
        }
        ids
    };
    assert_eq!(all(&Pool::new(1)), all(&Pool::new(3)));
}

#[test]
fn a_row_without_numbers_ends_the_chain_with_its_code() {
    let mut chooser = chooser(&Sampling::GREEDY, None);
    let (good, bad) = (logits(1, 0), vec![f32::NAN; 3000]);
    let first = chooser.choose_chain(&[&good], &[]).choices[0].id;
    let chosen = self::chooser(&Sampling::GREEDY, None).choose_chain(&[&good, &bad], &[first]);
    assert_eq!(chosen.choices.len(), 1);
    assert_eq!(chosen.next, Next::Failed("engine.compute.not-finite"));
}

#[test]
fn tokens_of_another_answer_do_not_resume_a_held_one() {
    let mut held = chooser(&Sampling::GREEDY, Some(&Grammar::Regex("[0-9]+".to_owned())));
    let letters = crate::table::MODEL.tokenize("abc", false).unwrap();
    let error = held
        .resume(&letters.iter().map(|token| token.id()).collect::<Vec<_>>())
        .unwrap_err();
    assert_eq!(error.code(), "engine.constraint.unfit");
}
