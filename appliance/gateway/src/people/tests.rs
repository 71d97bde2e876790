use jingui_ipc::control::Private;

use super::*;

const PASSWORD: &str = "Correct-Horse-7";
const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const NOW: u64 = 1_000_000;

fn people() -> (tempfile::TempDir, People, Clock) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::standing_at(NOW);
    let people = People::new(Store::open(folder.path()).unwrap(), clock.clone());
    (folder, people, clock)
}

fn new_user(username: &str, password: &str, secret: &str) -> NewUser {
    NewUser {
        username: username.to_owned(),
        password: Private(password.to_owned()),
        totp_secret: Private(secret.to_owned()),
    }
}

fn code_at(now: u64) -> String {
    TotpSecret::from_base32(SECRET)
        .unwrap()
        .code_at(totp::step_at(now))
}

fn proof(password: &str, code: &str) -> Proof {
    Proof {
        username: "wang".to_owned(),
        password: Private(password.to_owned()),
        code: Private(code.to_owned()),
    }
}

#[tokio::test]
async fn a_right_proof_opens_once_and_the_next_code_opens_again() {
    let (_folder, people, clock) = people();
    let id = people.create(new_user("wang", PASSWORD, SECRET)).await.unwrap();
    let person = Person {
        account_id: id.clone(),
        username: "wang".to_owned(),
    };
    assert_eq!(
        people.check(&proof(PASSWORD, &code_at(NOW))).await.unwrap(),
        Some(person.clone())
    );
    assert!(matches!(
        people.check(&proof(PASSWORD, &code_at(NOW))).await,
        Err(ProofRefusal::Replayed { account_id }) if account_id == id
    ));
    clock.advance(totp::STEP_SECONDS);
    assert_eq!(
        people
            .check(&proof(PASSWORD, &code_at(clock.unix_seconds())))
            .await
            .unwrap(),
        Some(person)
    );
}

#[tokio::test]
async fn either_half_alone_is_wrong_and_a_wrong_password_uses_no_code() {
    let (_folder, people, _clock) = people();
    people.create(new_user("wang", PASSWORD, SECRET)).await.unwrap();
    for (password, code) in [
        ("Wrong-Horse-77", code_at(NOW)),
        (PASSWORD, "000000".to_owned()),
        ("", String::new()),
    ] {
        assert!(matches!(
            people.check(&proof(password, &code)).await,
            Err(ProofRefusal::Wrong { .. })
        ));
    }
    assert!(
        people
            .check(&proof(PASSWORD, &code_at(NOW)))
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn an_unknown_name_is_left_to_the_supervisor() {
    let (_folder, people, _clock) = people();
    assert_eq!(people.check(&proof(PASSWORD, "000000")).await.unwrap(), None);
}

#[tokio::test]
async fn the_fifth_wrong_try_locks_for_fifteen_minutes_and_not_longer() {
    let (_folder, people, clock) = people();
    for _ in 1..FAILURE_COUNT_MAX {
        assert!(!people.count_failure("wang").await.unwrap());
        assert_eq!(people.locked_for("wang").await.unwrap(), None);
    }
    assert!(people.count_failure("wang").await.unwrap());
    assert_eq!(people.locked_for("wang").await.unwrap(), Some(LOCK_S));
    assert_eq!(people.locked_for("li").await.unwrap(), None);
    clock.advance(LOCK_S - 1);
    assert_eq!(people.locked_for("wang").await.unwrap(), Some(1));
    clock.advance(1);
    assert_eq!(people.locked_for("wang").await.unwrap(), None);
    assert!(
        !people.count_failure("wang").await.unwrap(),
        "the count starts again after a lock"
    );
}

#[tokio::test]
async fn a_success_forgets_the_wrong_tries() {
    let (_folder, people, _clock) = people();
    for _ in 1..FAILURE_COUNT_MAX {
        people.count_failure("wang").await.unwrap();
    }
    people.clear_failures("wang").await.unwrap();
    assert!(!people.count_failure("wang").await.unwrap());
}

#[tokio::test]
async fn failures_of_many_names_are_bounded() {
    let (_folder, people, clock) = people();
    let count = |people: &People| -> i64 {
        people
            .store
            .run_here(|t| t.query_row("SELECT count(*) FROM failures", [], |row| row.get(0)))
            .unwrap()
    };
    people
        .store
        .run_here(|t| {
            for number in 0..FAILED_NAME_COUNT_MAX {
                t.execute(
                    "INSERT INTO failures (name_digest, failure_count, last_at) VALUES (?1, 1, ?2)",
                    params![name_digest(&number.to_string()), column(number)],
                )?;
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(count(&people), column(FAILED_NAME_COUNT_MAX));
    clock.advance(1);
    people.count_failure("new").await.unwrap();
    assert_eq!(count(&people), column(FAILED_NAME_COUNT_MAX));
    let oldest = name_digest("0");
    let is_kept: bool = people
        .store
        .run_here(|t| {
            t.query_row(
                "SELECT count(*) FROM failures WHERE name_digest = ?1",
                params![oldest],
                |row| row.get(0),
            )
        })
        .unwrap();
    assert!(!is_kept);
}

#[tokio::test]
async fn users_that_break_a_rule_are_not_made() {
    let (_folder, people, _clock) = people();
    let code = |user| {
        let people = &people;
        async move { people.create(user).await.unwrap_err().code() }
    };
    let long = "n".repeat(USERNAME_BYTES_MAX + 1);
    assert_eq!(code(new_user("", PASSWORD, SECRET)).await, "auth.name.malformed");
    assert_eq!(
        code(new_user("two words", PASSWORD, SECRET)).await,
        "auth.name.malformed"
    );
    assert_eq!(
        code(new_user(&long, PASSWORD, SECRET)).await,
        "auth.name.malformed"
    );
    assert_eq!(
        code(new_user("wang", "short", SECRET)).await,
        "auth.password.too-short"
    );
    assert_eq!(
        code(new_user("horse", PASSWORD, SECRET)).await,
        "auth.password.holds-name"
    );
    assert_eq!(
        code(new_user("wang", PASSWORD, "AAAA")).await,
        "auth.totp.bad-secret"
    );
    people.create(new_user("王伟", PASSWORD, SECRET)).await.unwrap();
    assert_eq!(code(new_user("王伟", PASSWORD, SECRET)).await, "api.user.exists");
}

#[tokio::test]
async fn proofs_past_the_queue_are_told_to_come_back() {
    let (_folder, people, _clock) = people();
    let mut places = Vec::new();
    for _ in 0..HASH_COUNT_MAX + HASH_QUEUE_COUNT_MAX - 1 {
        places.push(people.waiting.try_acquire().unwrap());
    }
    assert_eq!(people.on_hash_thread(|| 1).await, Some(1), "the last place");
    places.push(people.waiting.try_acquire().unwrap());
    assert_eq!(people.on_hash_thread(|| 1).await, None, "one past it");
}

#[tokio::test]
async fn users_are_made_up_to_their_number() {
    let (_folder, people, _clock) = people();
    let fill = |count: u64| {
        people.store.run_here(|t| {
            for number in 1..count {
                t.execute(
                    "INSERT INTO people (account_id, username, password, totp_secret, created_at)
                     VALUES (?1, ?1, '', '', 0)",
                    params![number.to_string()],
                )?;
            }
            Ok(())
        })
    };
    fill(PERSON_COUNT_MAX).unwrap();
    people.create(new_user("wang", PASSWORD, SECRET)).await.unwrap();
    let refusal = people.create(new_user("li", PASSWORD, SECRET)).await.unwrap_err();
    assert_eq!(refusal.code(), "api.user.too-many");
}
