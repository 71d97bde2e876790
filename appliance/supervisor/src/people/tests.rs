use super::enrolment::USERNAME_BYTES_MAX;
use super::*;
use jingui_ipc::control::{NewAccount, Private};
use jingui_trust::totp;

const NOW: UnixSeconds = UnixSeconds(1_764_000_000);
const PASSWORD: &str = "Correct-Horse-7";

fn secret(number: u8) -> TotpSecret {
    TotpSecret::from_base32(&format!(
        "{}GY3TQOJQ",
        char::from(b'A' + number).to_string().repeat(24)
    ))
    .unwrap()
}

fn code(number: u8, now: UnixSeconds, steps_later: i64) -> Private {
    Private(secret(number).code_at(totp::step_at(now.0).checked_add_signed(steps_later).unwrap()))
}

fn account(number: u8, role: Role, username: &str) -> NewAccount {
    NewAccount {
        role,
        username: username.to_owned(),
        password: Private(PASSWORD.to_owned()),
        totp_secret: Private(secret(number).to_base32().expose().clone()),
        totp_code: code(number, NOW, 0),
    }
}

fn three() -> Vec<NewAccount> {
    vec![
        account(0, Role::System, "wei"),
        account(1, Role::Security, "lan"),
        account(2, Role::Audit, "mei"),
    ]
}

fn people(folder: &Path) -> People {
    let mut people = People::open(folder).unwrap();
    people
        .install(Enrolled::hash(Enrolment::check(three(), NOW).unwrap(), NOW).unwrap())
        .unwrap();
    people
}

fn prove(
    people: &mut People,
    username: &str,
    password: &str,
    code: Private,
    now: UnixSeconds,
) -> Result<Person, ProofRefusal> {
    let proof = Proof {
        username: username.to_owned(),
        password: Private(password.to_owned()),
        code,
    };
    let checked = people.begin(proof, now)?.run();
    people.finish(&checked, now)
}

fn person(id: &str, role: Role) -> Person {
    Person {
        id: id.to_owned(),
        username: id.to_owned(),
        role,
    }
}

#[test]
fn three_people_set_up_the_box_and_are_known_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!People::open(folder.path()).unwrap().is_set_up());
    people(folder.path());
    let mut again = People::open(folder.path()).unwrap();
    assert!(again.is_set_up());
    let wei = prove(&mut again, "wei", PASSWORD, code(0, NOW, 0), NOW).unwrap();
    assert_eq!((wei.id.as_str(), wei.role), ("a-0001", Role::System));
}

#[test]
fn a_ceremony_with_a_broken_rule_is_refused_by_name() {
    let check = |change: fn(&mut Vec<NewAccount>), code: &str| {
        let mut accounts = three();
        change(&mut accounts);
        assert_eq!(Enrolment::check(accounts, NOW).unwrap_err().code(), code);
    };
    check(|it| drop(it.pop()), "auth.setup.roles");
    check(|it| it.push(account(3, Role::Audit, "extra")), "auth.setup.roles");
    check(|it| it[2].role = Role::System, "auth.setup.roles");
    check(|it| it[1].role = Role::User, "auth.setup.roles");
    check(|it| it[1].username = "WEI".to_owned(), "auth.setup.same-person");
    check(
        |it| it[1] = account(0, Role::Security, "lan"),
        "auth.setup.same-person",
    );
    check(|it| it[0].username = String::new(), "auth.name.malformed");
    check(|it| it[0].username = "w ei".to_owned(), "auth.name.malformed");
    check(
        |it| it[0].username = "w".repeat(USERNAME_BYTES_MAX + 1),
        "auth.name.malformed",
    );
    check(
        |it| it[0].password = Private("short".to_owned()),
        "auth.password.too-short",
    );
    check(
        |it| it[0].password = Private("My-name-is-Wei-1".to_owned()),
        "auth.password.holds-name",
    );
    check(
        |it| it[0].totp_secret = Private("01".to_owned()),
        "auth.totp.bad-secret",
    );
    check(
        |it| it[0].totp_code = Private("000000".to_owned()),
        "auth.code.wrong",
    );
}

#[test]
fn the_enrolment_code_still_opens_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut people = people(folder.path());
    prove(&mut people, "wei", PASSWORD, code(0, NOW, 0), NOW).unwrap();
    let again = prove(&mut people, "wei", PASSWORD, code(0, NOW, 0), NOW);
    assert_eq!(again, Err(ProofRefusal::Replayed));
}

#[test]
fn a_used_code_is_refused_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    prove(&mut people(folder.path()), "wei", PASSWORD, code(0, NOW, 1), NOW).unwrap();
    let mut again = People::open(folder.path()).unwrap();
    for step in [-1, 0, 1] {
        let refused = prove(&mut again, "wei", PASSWORD, code(0, NOW, step), NOW);
        assert_eq!(refused, Err(ProofRefusal::Replayed));
    }
}

#[test]
fn five_wrong_tries_lock_and_the_right_proof_opens_only_after_fifteen_minutes() {
    let folder = tempfile::tempdir().unwrap();
    let mut people = people(folder.path());
    for number in 1..=FAILURES_MAX {
        let wrong = prove(&mut people, "wei", "wrong", code(0, NOW, 0), NOW);
        let locks = number == FAILURES_MAX;
        assert_eq!(
            wrong,
            Err(ProofRefusal::Wrong {
                locks,
                failure_count: Some(number)
            })
        );
    }
    let mut people = People::open(folder.path()).unwrap();
    let last = UnixSeconds(NOW.0 + LOCK_S - 1);
    let locked = prove(&mut people, "wei", PASSWORD, code(0, last, 0), last);
    assert_eq!(locked, Err(ProofRefusal::Locked { remaining_s: 1 }));
    prove(&mut people, "lan", PASSWORD, code(1, last, 0), last).unwrap();
    let open = UnixSeconds(NOW.0 + LOCK_S);
    prove(&mut people, "wei", PASSWORD, code(0, open, 0), open).unwrap();
}

#[test]
fn tries_begun_before_the_lock_do_not_pass_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut people = people(folder.path());
    let proof = |password: &str| Proof {
        username: "wei".to_owned(),
        password: Private(password.to_owned()),
        code: code(0, NOW, 0),
    };
    let early = people.begin(proof(PASSWORD), NOW).unwrap().run();
    let wrong = people.begin(proof("wrong"), NOW).unwrap().run();
    for _ in 0..FAILURES_MAX {
        people.finish(&wrong, NOW).unwrap_err();
    }
    assert!(matches!(
        people.finish(&early, NOW),
        Err(ProofRefusal::Locked { .. })
    ));
}

#[test]
fn a_code_is_judged_as_of_the_moment_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let mut people = people(folder.path());
    let proof = Proof {
        username: "wei".to_owned(),
        password: Private(PASSWORD.to_owned()),
        code: code(0, NOW, -1),
    };
    let checked = people.begin(proof, NOW).unwrap().run();
    people.finish(&checked, UnixSeconds(NOW.0 + 40)).unwrap();
}

#[test]
fn a_right_password_with_a_wrong_code_is_a_wrong_try() {
    let folder = tempfile::tempdir().unwrap();
    let mut people = people(folder.path());
    let wrong = prove(&mut people, "wei", PASSWORD, code(1, NOW, 0), NOW);
    assert_eq!(
        wrong,
        Err(ProofRefusal::Wrong {
            locks: false,
            failure_count: Some(1)
        })
    );
    let unknown = prove(&mut people, "nobody", PASSWORD, code(1, NOW, 0), NOW);
    assert_eq!(
        unknown,
        Err(ProofRefusal::Wrong {
            locks: false,
            failure_count: None
        })
    );
}

#[test]
fn an_unknown_name_costs_the_same_hash_as_a_known_one() {
    let real = password::hash(PASSWORD).unwrap();
    let parameters = |hash: &str| hash.rsplitn(3, '$').last().map(ToOwned::to_owned);
    assert_eq!(parameters(UNKNOWN_PERSON_HASH), parameters(&real));
    assert_eq!(UNKNOWN_PERSON_HASH.len(), real.len());
}

#[test]
fn acts_need_exactly_their_roles_by_different_people() {
    let (wei, lan, mei) = (
        person("a", Role::System),
        person("b", Role::Security),
        person("c", Role::Audit),
    );
    let both = person("a", Role::Security);
    let cases: [(Act, &[Person], Option<&str>); 9] = [
        (Act::ImportModel, &[wei.clone(), lan.clone()], None),
        (Act::ImportModel, &[lan.clone(), wei.clone()], None),
        (
            Act::ImportModel,
            std::slice::from_ref(&wei),
            Some("auth.role.missing"),
        ),
        (
            Act::ImportModel,
            &[wei.clone(), mei.clone()],
            Some("auth.role.missing"),
        ),
        (
            Act::ImportModel,
            &[wei.clone(), both],
            Some("auth.act.same-person"),
        ),
        (Act::ManageAccounts, std::slice::from_ref(&lan), None),
        (
            Act::ManageAccounts,
            std::slice::from_ref(&wei),
            Some("auth.role.missing"),
        ),
        (Act::ExportAudit, std::slice::from_ref(&mei), None),
        (
            Act::ExportAudit,
            std::slice::from_ref(&lan),
            Some("auth.role.missing"),
        ),
    ];
    for (act, people, code) in cases {
        assert_eq!(
            authorise(act, people).err().map(|refusal| refusal.code()),
            code,
            "{act:?} {people:?}"
        );
    }
}

#[test]
fn accounts_that_are_not_ours_let_nobody_in() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE_NAME), b"{}").unwrap();
    People::open(folder.path()).unwrap_err();
}
