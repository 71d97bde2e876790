//! Leaves: one canonical form, round trips, a closed list, and a foreign JSON reader as judge.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use jingui_audit::event::{
    AccountKind, Event, Factors, Family, Finish, NetworkOrigin, PowerAct, SecureBoot, ShutdownReason, Worker,
};
use jingui_audit::leaf::{
    BootId, Commitments, Draft, LEAF_BYTES_MAX, Leaf, LeafRefusal, NUMBER_MAX, Outcome, Role, TimeSource,
    Timestamp,
};
use jingui_trust::Sha256;
use proptest::prelude::*;
use proptest::sample::select;

/// Text as people and attackers write it: any characters, controls and quotes included.
fn text() -> BoxedStrategy<String> {
    prop_oneof![
        "[a-z0-9-]{0,12}",
        "\\PC{0,12}",
        proptest::collection::vec(any::<char>(), 0..12).prop_map(|chars| chars.into_iter().collect()),
        select(vec![
            "\"",
            "\\",
            "\u{0}\u{1f}\u{7f}",
            "\u{8}\t\n\u{c}\r",
            "你好",
            "\u{10ffff}",
            "\u{2028}"
        ])
        .prop_map(str::to_owned),
    ]
    .boxed()
}

fn number() -> BoxedStrategy<u64> {
    prop_oneof![
        0..1000u64,
        select(vec![0, NUMBER_MAX - 1, NUMBER_MAX]),
        0..=NUMBER_MAX
    ]
    .boxed()
}

fn digest() -> BoxedStrategy<Sha256> {
    any::<[u8; 32]>().prop_map(Sha256::from_bytes).boxed()
}

fn maybe<T: std::fmt::Debug + 'static>(strategy: BoxedStrategy<T>) -> BoxedStrategy<Option<T>> {
    proptest::option::of(strategy).boxed()
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(text(), 0..4)
}

fn event() -> BoxedStrategy<Event> {
    let genesis = (
        text(),
        text(),
        texts(),
        maybe(digest()),
        maybe(digest()),
        maybe(digest()),
    )
        .prop_map(
            |(serial, log_vkey, witness_vkeys, image, tpm_ek, sm2_certificate)| Event::Genesis {
                serial,
                log_vkey,
                witness_vkeys,
                image,
                tpm_ek,
                sm2_certificate,
            },
        );
    let boot = (
        (
            text(),
            number(),
            maybe(digest()),
            select(SecureBoot::ALL),
            any::<bool>(),
        ),
        (maybe(text()), maybe(text()), maybe(any::<bool>().boxed())),
        (maybe(texts().boxed()), maybe(digest())),
        (maybe(number()), maybe(number()), maybe(number()), maybe(number())),
        (maybe(text()), maybe(any::<bool>().boxed())),
    )
        .prop_map(
            |(
                (version, security_version, image, secure_boot, developer_mode),
                (image_version, firmware, setup_mode),
                (pcrs, event_log),
                (tpm_clock_ms, tpm_reset_count, tpm_restart_count, floor),
                (state_opened_by, unclean),
            )| Event::Boot {
                version,
                security_version,
                image,
                secure_boot,
                developer_mode,
                image_version,
                firmware,
                setup_mode,
                pcrs,
                event_log,
                tpm_clock_ms,
                tpm_reset_count,
                tpm_restart_count,
                floor,
                state_opened_by,
                unclean,
            },
        );
    let people = prop_oneof![
        (text(), text(), text()).prop_map(|(system, security, audit)| Event::SetUp {
            system,
            security,
            audit
        }),
        select(Factors::ALL).prop_map(|factors| Event::AuthLogin { factors }),
        maybe(number()).prop_map(|failure_count| Event::AuthFail { failure_count }),
        Just(Event::AuthLogout {}),
        number().prop_map(|seconds| Event::AuthLock { seconds }),
        (text(), select(AccountKind::ALL)).prop_map(|(account, kind)| Event::AccountCreate { account, kind }),
        (text(), maybe(text())).prop_map(|(key, owner)| Event::KeyCreate { key, owner }),
    ];
    let log = prop_oneof![
        (number(), number()).prop_map(|(checkpoint_size, recovered_count)| Event::AuditRecovered {
            checkpoint_size,
            recovered_count
        }),
        (number(), digest()).prop_map(|(size, root)| Event::ExportAudit { size, root }),
    ];
    let verify = (
        maybe(digest()),
        maybe(digest()),
        maybe(text()),
        maybe(text()),
        maybe(number()),
        maybe(digest()),
    );
    let models = prop_oneof![
        (verify, maybe(text()), texts()).prop_map(
            |((package, weights, name, version, security_version, signed_by), file, approvers)| {
                Event::ModelVerify {
                    package,
                    weights,
                    name,
                    version,
                    security_version,
                    signed_by,
                    file,
                    approvers,
                }
            }
        ),
        (digest(), digest(), text(), maybe(number()), maybe(number())).prop_map(
            |(package, weights, name, stream_count, stream_context_tokens)| Event::ModelLoad {
                package,
                weights,
                name,
                stream_count,
                stream_context_tokens
            }
        ),
        (digest(), text()).prop_map(|(package, name)| Event::ModelUnload { package, name }),
        (
            text(),
            select(Family::ALL),
            digest(),
            number(),
            number(),
            select(Finish::ALL)
        )
            .prop_map(
                |(request, family, package, prompt_tokens, completion_tokens, finish)| Event::InferRequest {
                    request,
                    family,
                    package,
                    prompt_tokens,
                    completion_tokens,
                    finish,
                }
            ),
    ];
    let processes = prop_oneof![
        (select(Worker::ALL), number(), number()).prop_map(|(worker, restart_count, back_off_ms)| {
            Event::WorkerRestart {
                worker,
                restart_count,
                back_off_ms,
            }
        }),
        (select(ShutdownReason::ALL), number())
            .prop_map(|(reason, uptime_ms)| Event::Shutdown { reason, uptime_ms }),
        Just(Event::ConsoleError {}),
        select(PowerAct::ALL).prop_map(|act| Event::PowerAsk { act }),
        (select(NetworkOrigin::ALL), texts())
            .prop_map(|(origin, interfaces)| Event::NetworkSet { origin, interfaces }),
        Just(Event::FactoryReset {}),
    ];
    let bundle = || {
        (
            text(),
            maybe(text()),
            maybe(number()),
            maybe(digest()),
            maybe(digest()),
        )
    };
    let updates = prop_oneof![
        bundle().prop_map(
            |(running, version, security_version, roothash, signed_by)| Event::UpdateCheck {
                running,
                version,
                security_version,
                roothash,
                signed_by
            }
        ),
        bundle().prop_map(
            |(running, version, security_version, roothash, signed_by)| Event::UpdateApply {
                running,
                version,
                security_version,
                roothash,
                signed_by
            }
        ),
        (text(), number(), digest()).prop_map(|(version, security_version, roothash)| Event::UpdateBless {
            version,
            security_version,
            roothash
        }),
        (text(), text()).prop_map(|(version, running)| Event::UpdateFallBack { version, running }),
    ];
    prop_oneof![
        updates.boxed(),
        genesis.boxed(),
        boot.boxed(),
        people.boxed(),
        log.boxed(),
        models.boxed(),
        processes.boxed()
    ]
    .boxed()
}

prop_compose! {
    fn any_draft()(
        when in (any::<u64>(), select(TimeSource::ALL), any::<[u8; 16]>(), number()),
        who in (text(), select(Role::ALL), text(), text()),
        event in event(),
        how in (text(), select(Outcome::ALL), text()),
        commitments in (maybe(digest()), maybe(digest())),
    ) -> Draft {
        let (ms, time_source, boot, mono_ms) = when;
        let (actor, role, session, source) = who;
        let (object, outcome, why) = how;
        Draft {
            time: Timestamp::from_unix_ms(ms % 260_000_000_000_000),
            time_source,
            boot: BootId(boot),
            mono_ms,
            actor,
            role,
            session,
            source,
            event,
            object,
            outcome,
            why,
            commitments: Commitments { prompt: commitments.0, answer: commitments.1 },
        }
    }
}

/// RFC 8785 by other means: a foreign parser, and a writer of sorted names.
fn canonical(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| name.encode_utf16().collect::<Vec<_>>());
            let members = members
                .iter()
                .map(|(name, value)| format!("{}:{}", serde_json::json!(name), canonical(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        serde_json::Value::Array(values) => {
            format!("[{}]", values.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_leaf_round_trips_and_a_foreign_reader_finds_it_canonical(draft in any_draft(), index in number()) {
        let leaf = draft.numbered(index).unwrap();
        let bytes = leaf.to_bytes();
        prop_assert_eq!(Leaf::parse(&bytes).unwrap(), leaf.clone());
        prop_assert_eq!(Leaf::parse_at(index, &bytes).unwrap(), leaf.clone());
        let wrong = Leaf::parse_at(index ^ 1, &bytes);
        prop_assert_eq!(wrong, Err(LeafRefusal::WrongIndex { found: index }));
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        prop_assert_eq!(canonical(&value).into_bytes(), bytes);
        prop_assert_eq!(value["seq"].as_u64(), Some(index));
        prop_assert_eq!(value["evt"].as_str(), Some(leaf.draft.event.name()));
        prop_assert_eq!(value["actor"].as_str(), Some(leaf.draft.actor.as_str()));
    }

    #[test]
    fn only_the_canonical_bytes_of_a_leaf_are_read(
        draft in any_draft(), position: proptest::sample::Index, byte: u8, kind in 0..3
    ) {
        let bytes = draft.numbered(7).unwrap().to_bytes();
        let mut other = bytes.clone();
        let position = position.index(bytes.len());
        match kind {
            0 => other[position] = byte,
            1 => other.insert(position, byte),
            _ => { other.remove(position); }
        }
        if let Ok(leaf) = Leaf::parse(&other) {
            prop_assert_eq!(leaf.to_bytes(), other);
        }
    }

    #[test]
    fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), json in "[{}\\[\\]\",:a-z0-9\\\\]{0,80}") {
        let _ = Leaf::parse(&bytes);
        prop_assert!(Leaf::parse(json.as_bytes()).is_err());
    }

    #[test]
    fn a_moment_round_trips(ms in 0..=253_402_300_799_999u64) {
        let moment = Timestamp::from_unix_ms(ms);
        prop_assert_eq!(moment.to_string().parse::<Timestamp>(), Ok(moment));
        prop_assert_eq!(moment.to_string().len(), 24);
    }
}

#[test]
fn moments_are_written_as_rfc_3339_in_utc() {
    for (ms, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399_999, "2000-02-28T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (1_764_000_000_000, "2025-11-24T16:00:00.000Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ] {
        assert_eq!(Timestamp::from_unix_ms(ms).to_string(), text);
        assert_eq!(text.parse::<Timestamp>().unwrap().unix_ms(), ms);
    }
    assert_eq!(
        Timestamp::from_unix_ms(u64::MAX).to_string(),
        "9999-12-31T23:59:59.999Z"
    );
    for bad in [
        "",
        "2025-11-24",
        "2025-11-24T16:00:00Z",
        "2025-11-24t16:00:00.000Z",
        "2025-11-24T16:00:00.000+",
        "2025-02-29T00:00:00.000Z",
        "2100-02-29T00:00:00.000Z",
        "2025-13-01T00:00:00.000Z",
        "2025-00-01T00:00:00.000Z",
        "2025-01-00T00:00:00.000Z",
        "2025-01-32T00:00:00.000Z",
        "2025-01-01T24:00:00.000Z",
        "2025-01-01T00:60:00.000Z",
        "2025-01-01T00:00:60.000Z",
        "1969-12-31T23:59:59.999Z",
        "0000-01-01T00:00:00.000Z",
        "2025-11-24T16:00:00.000Z ",
        "+025-11-24T16:00:00.000Z",
        "２025-11-24T16:00:00.000Z",
    ] {
        assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
    }
}

const GOOD: &str = r#"{"actor":"a","boot":"03030303030303030303030303030303","det":{},"evt":"auth.logout","mono":1,"obj":"","out":"ok","role":"user","seq":5,"sess":"s","src":"","t":"2025-11-24T16:00:00.000Z","ts":"rtc","v":1,"why":""}"#;

/// A leaf as it was written before the platform was measured.
const BOOT_OF_BEFORE: &str = r#"{"actor":"supervisor","boot":"03030303030303030303030303030303","det":{"developer_mode":true,"secure_boot":"unknown","security_version":0,"version":"0.1.0"},"evt":"boot","mono":1,"obj":"","out":"ok","role":"device","seq":1,"sess":"","src":"","t":"2025-11-24T16:00:00.000Z","ts":"rtc","v":1,"why":""}"#;

#[test]
fn a_boot_leaf_of_before_is_read_and_written_as_it_was() {
    let leaf = Leaf::parse(BOOT_OF_BEFORE.as_bytes()).unwrap();
    let Event::Boot { pcrs, unclean, .. } = &leaf.draft.event else {
        panic!("a boot leaf");
    };
    assert_eq!((pcrs, unclean), (&None, &None));
    assert_eq!(leaf.to_bytes(), BOOT_OF_BEFORE.as_bytes());
}

#[test]
fn every_other_spelling_of_a_leaf_is_refused_with_its_reason() {
    assert_eq!(Leaf::parse(GOOD.as_bytes()).unwrap().index, 5);
    let many = format!("\"why\":\"{}\"", "x".repeat(LEAF_BYTES_MAX));
    for (from, to, reason) in [
        (":1,", ": 1,", "not canonical JSON"),
        ("{\"actor\"", " {\"actor\"", "not canonical JSON"),
        ("\"\"}", "\"\"}\n", "not canonical JSON"),
        ("\"mono\":1,", "\"mono\":1.0,", "not canonical JSON"),
        ("\"mono\":1,", "\"mono\":1e0,", "not canonical JSON"),
        ("\"mono\":1,", "\"mono\":-1,", "not canonical JSON"),
        ("\"mono\":1,", "\"mono\":9007199254740992,", "not canonical JSON"),
        ("\"mono\":1,", "\"mono\":null,", "not canonical JSON"),
        ("\"mono\":1,", "\"mono\":01,", "not written in the canonical way"),
        ("\"a\"", "\"\\u0061\"", "not written in the canonical way"),
        ("\"a\"", "\"\\/\"", "not canonical JSON"),
        ("\"a\"", "\"\\ud800\"", "not canonical JSON"),
        ("\"a\"", "\"\n\"", "not written in the canonical way"),
        (
            "\"seq\":5,\"sess\":\"s\"",
            "\"sess\":\"s\",\"seq\":5",
            "not written in the canonical way",
        ),
        (
            "\"det\":{}",
            "\"c\":{},\"det\":{}",
            "not written in the canonical way",
        ),
        ("\"det\":{}", "\"det\":{\"note\":\"x\"}", "there is no field note"),
        ("\"det\":{}", "\"det\":[]", "field det: of the wrong type"),
        ("\"mono\":1,", "", "field mono: missing"),
        ("\"mono\":1,", "\"mono\":\"1\",", "field mono: of the wrong type"),
        ("\"mono\":1,", "\"mono\":1,\"mono\":1,", "there is no field mono"),
        ("\"why\":\"\"", "\"why\":\"\",\"x\":1", "there is no field x"),
        ("\"v\":1", "\"v\":2", "schema 2 is not known"),
        ("auth.logout", "auth.hello", "there is no event auth.hello"),
        (
            "\"out\":\"ok\"",
            "\"out\":\"fine\"",
            "field out: not one of the possible values",
        ),
        (
            "\"role\":\"user\"",
            "\"role\":\"root\"",
            "field role: not one of the possible values",
        ),
        (
            "0303\",\"det",
            "030A\",\"det",
            "field boot: not one of the possible values",
        ),
        ("24T16", "24T25", "field t: not one of the possible values"),
        ("\"why\":\"\"", &many, "more than the 16384"),
    ] {
        let bad = GOOD.replacen(from, to, 1);
        assert_ne!(bad, GOOD, "{from}");
        let refusal = Leaf::parse(bad.as_bytes()).unwrap_err().to_string();
        assert!(refusal.contains(reason), "{to}: {refusal}");
    }
}

#[test]
fn a_leaf_may_have_16384_bytes_and_not_one_more() {
    let at = |length: usize| {
        let mut draft = support::draft(0);
        draft.why = "x".repeat(length);
        draft.numbered(0)
    };
    let empty = at(0).unwrap().to_bytes().len();
    assert_eq!(
        at(LEAF_BYTES_MAX - empty).unwrap().to_bytes().len(),
        LEAF_BYTES_MAX
    );
    assert_eq!(
        at(LEAF_BYTES_MAX - empty + 1),
        Err(LeafRefusal::TooLong {
            bytes: LEAF_BYTES_MAX + 1
        })
    );
}

#[test]
fn the_list_of_events_is_the_documented_one() {
    let mut names = Event::NAMES.to_vec();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "account.create",
            "audit.recovered",
            "auth.fail",
            "auth.lock",
            "auth.login",
            "auth.logout",
            "boot",
            "console.error",
            "export.audit",
            "factory.reset",
            "genesis",
            "infer.request",
            "key.create",
            "model.load",
            "model.unload",
            "model.verify",
            "network.set",
            "power.ask",
            "setup",
            "shutdown",
            "update.apply",
            "update.bless",
            "update.check",
            "update.fall-back",
            "worker.restart",
        ]
    );
}

#[test]
fn the_bytes_of_a_leaf_do_not_change() {
    let leaf = support::draft(1).numbered(1).unwrap();
    let expected = concat!(
        r#"{"actor":"user-1","boot":"03030303030303030303030303030303","#,
        r#""c":{"prompt":"PROMPT"},"#,
        r#""det":{"completion_tokens":7,"family":"openai","finish":"stop","#,
        r#""package":"PACKAGE","prompt_tokens":1,"request":"req-1"},"#,
        r#""evt":"infer.request","mono":1,"obj":"","out":"ok","role":"user","seq":1,"sess":"s1","src":"10.0.0.7","#,
        r#""t":"2025-11-24T16:00:00.001Z","ts":"rtc","v":1,"why":""}"#
    );
    let expected = expected
        .replace(
            "PROMPT",
            "67bbbd89d2a821f301cbab19734f0da4412c9b07bbf1f6fcbf046d9a1406a949",
        )
        .replace(
            "PACKAGE",
            "bc4a71180870f7945155fbb02f4b0a2e3faa2a62d6d31b7039013055ed19869a",
        );
    assert_eq!(String::from_utf8(leaf.to_bytes()).unwrap(), expected);
}
