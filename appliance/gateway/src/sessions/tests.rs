use super::*;

const NOW: u64 = 1_000_000;

fn sessions() -> (tempfile::TempDir, Sessions, Clock) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::standing_at(NOW);
    let sessions = Sessions::open(Store::open(folder.path()).unwrap(), clock.clone()).unwrap();
    (folder, sessions, clock)
}

fn opener(account_id: &str, role: Role) -> Opener {
    Opener {
        account_id: account_id.to_owned(),
        username: "wang".to_owned(),
        role,
        session: "s-1".to_owned(),
    }
}

#[tokio::test]
async fn a_session_ends_when_nothing_is_done_and_admins_sooner() {
    for (role, idle) in [(Role::User, USER_IDLE_S), (Role::Audit, ADMIN_IDLE_S)] {
        let (_folder, sessions, clock) = sessions();
        let (session, token) = sessions.begin(opener("a", role)).await.unwrap();
        assert_eq!(session.expires_at, NOW + idle);
        clock.advance(idle - 1);
        assert!(sessions.find(&token, true).is_some());
        clock.advance(idle - 1);
        assert!(sessions.find(&token, false).is_some(), "an act keeps it open");
        clock.advance(1);
        assert_eq!(sessions.find(&token, true), None, "a poll does not");
        assert_eq!(sessions.find(&token, true), None);
    }
}

#[tokio::test]
async fn a_busy_session_ends_after_a_working_day() {
    let (_folder, sessions, clock) = sessions();
    let (_, token) = sessions.begin(opener("a", Role::User)).await.unwrap();
    for _ in 0..SESSION_S / 600 - 1 {
        clock.advance(600);
        assert!(sessions.find(&token, true).is_some());
    }
    clock.advance(600);
    assert_eq!(sessions.find(&token, true), None);
}

#[tokio::test]
async fn an_admin_has_one_session_and_a_user_may_have_two() {
    let (_folder, sessions, _clock) = sessions();
    let (_, first) = sessions.begin(opener("a", Role::System)).await.unwrap();
    let (_, second) = sessions.begin(opener("a", Role::System)).await.unwrap();
    assert_eq!(sessions.find(&first, true), None);
    assert!(sessions.find(&second, true).is_some());
    let (_, third) = sessions.begin(opener("u", Role::User)).await.unwrap();
    let (_, fourth) = sessions.begin(opener("u", Role::User)).await.unwrap();
    for token in [&second, &third, &fourth] {
        assert!(sessions.find(token, true).is_some());
    }
}

#[tokio::test]
async fn sessions_survive_a_restart_and_ended_ones_do_not_return() {
    let (folder, sessions, clock) = sessions();
    let (open, token) = sessions.begin(opener("a", Role::User)).await.unwrap();
    let (_, ended) = sessions.begin(opener("b", Role::User)).await.unwrap();
    sessions.end(&ended).await.unwrap();
    drop(sessions);
    let sessions = Sessions::open(Store::open(folder.path()).unwrap(), clock).unwrap();
    assert_eq!(sessions.find(&token, false), Some(open));
    assert_eq!(sessions.find(&ended, false), None);
}

#[tokio::test]
async fn the_table_does_not_hold_the_token() {
    let (folder, sessions, _clock) = sessions();
    let (_, token) = sessions.begin(opener("a", Role::User)).await.unwrap();
    drop(sessions);
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(16).any(|window| window == &token.as_bytes()[..16]));
    }
}

#[test]
fn the_token_is_found_among_cookies() {
    assert_eq!(token_in("a=b; __Host-jingui=abc; c=d"), Some("abc"));
    assert_eq!(token_in("x__Host-jingui=abc"), None);
    assert_eq!(token_in(""), None);
}

#[tokio::test]
async fn past_their_number_the_idlest_session_ends_for_a_new_one() {
    let (_folder, sessions, _clock) = sessions();
    let row = |seen_at| Row {
        opener: opener("u", Role::User),
        opened_at: seen_at,
        seen_at,
        stored_seen_at: seen_at,
    };
    for number in 0..u64::try_from(SESSION_COUNT_MAX).unwrap() - 1 {
        let digest = token_digest(&number.to_string());
        sessions
            .rows
            .lock()
            .unwrap()
            .insert(digest, row(NOW - u64::from(number == 7)));
    }
    sessions.begin(opener("u", Role::User)).await.unwrap();
    assert!(sessions.find("7", false).is_some(), "the last place");
    sessions.begin(opener("u", Role::User)).await.unwrap();
    assert_eq!(sessions.rows.lock().unwrap().len(), SESSION_COUNT_MAX);
    assert_eq!(sessions.find("7", false), None);
    assert!(sessions.find("8", false).is_some());
}
