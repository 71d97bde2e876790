use proptest::prelude::*;

use super::*;

fn keys(root: u8) -> (tempfile::TempDir, Keys) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let keys = Keys::open(store, Secret::new([root; 32]), Clock::standing_at(1_000)).unwrap();
    (folder, keys)
}

#[tokio::test]
async fn a_made_key_opens_and_survives_opening_again() {
    let (folder, keys) = keys(1);
    let made = keys.create("build server", "a-0002").await.unwrap();
    let holder = KeyHolder {
        key_id: made.id.clone(),
        owner: "a-0002".to_owned(),
    };
    assert_eq!(keys.check(&made.key.0), Ok(holder.clone()));
    drop(keys);
    let store = Store::open(folder.path()).unwrap();
    let keys = Keys::open(store, Secret::new([1; 32]), Clock::standing_at(1_000)).unwrap();
    assert_eq!(keys.check(&made.key.0), Ok(holder));
}

#[tokio::test]
async fn a_key_of_another_root_does_not_open() {
    let (folder, keys) = keys(1);
    let made = keys.create("x", "a-0002").await.unwrap();
    drop(keys);
    let store = Store::open(folder.path()).unwrap();
    let keys = Keys::open(store, Secret::new([2; 32]), Clock::standing_at(1_000)).unwrap();
    assert_eq!(keys.check(&made.key.0), Err(KeyRefusal::Unknown));
}

#[tokio::test]
async fn a_changed_row_does_not_open() {
    let (folder, keys) = keys(1);
    let made = keys.create("x", "a-0002").await.unwrap();
    drop(keys);
    let store = Store::open(folder.path()).unwrap();
    store
        .run_here(|t| t.execute("UPDATE keys SET salt = x'00'", []))
        .unwrap();
    let keys = Keys::open(store, Secret::new([1; 32]), Clock::standing_at(1_000)).unwrap();
    assert_eq!(keys.check(&made.key.0), Err(KeyRefusal::Unknown));
}

#[tokio::test]
async fn the_tables_do_not_hold_the_secret() {
    let (folder, keys) = keys(1);
    let made = keys.create("x", "a-0002").await.unwrap();
    drop(keys);
    let secret = made.key.0.split_once('.').unwrap().1.as_bytes().to_vec();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(8).any(|window| window == &secret[..8]));
    }
}

#[tokio::test]
async fn a_revoked_key_is_told_so_only_to_who_knows_it() {
    let (_folder, keys) = keys(1);
    let made = keys.create("x", "a-0002").await.unwrap();
    assert!(keys.revoke(&made.id).await.unwrap());
    assert!(!keys.revoke(&made.id).await.unwrap());
    assert!(!keys.revoke("nobody").await.unwrap());
    assert_eq!(keys.check(&made.key.0), Err(KeyRefusal::Revoked));
    let other = derive(&Secret::new([9; 32]), &made.id, VERSION);
    assert_eq!(
        keys.check(&format!("{}.{}", made.id, other.expose())),
        Err(KeyRefusal::Unknown)
    );
}

#[tokio::test]
async fn each_typing_error_is_seen_without_a_table() {
    let (_folder, keys) = keys(1);
    let made = keys.create("x", "a-0002").await.unwrap();
    let key = made.key.0.clone();
    for place in 0..key.len() {
        let mut bytes = key.clone().into_bytes();
        bytes[place] = if bytes[place] == b'q' { b'w' } else { b'q' };
        let mistyped = String::from_utf8(bytes).unwrap();
        assert_eq!(keys.check(&mistyped), Err(KeyRefusal::Mistyped), "{place}");
    }
    assert_eq!(keys.check(&key[..key.len() - 1]), Err(KeyRefusal::Mistyped));
    assert_eq!(keys.check(&format!("{key}0")), Err(KeyRefusal::Mistyped));
}

#[tokio::test]
async fn an_unknown_id_with_a_fitting_check_code_is_unknown() {
    let (_folder, keys) = keys(1);
    let id = "A".repeat(ID_CHARACTERS);
    let secret = derive(&keys.root, &id, VERSION);
    assert_eq!(
        keys.check(&format!("{id}.{}", secret.expose())),
        Err(KeyRefusal::Unknown)
    );
}

#[tokio::test]
async fn labels_are_taken_up_to_their_limit() {
    let (_folder, keys) = keys(1);
    assert!(keys.create(&"钥".repeat(LABEL_CHARACTERS_MAX), "o").await.is_ok());
    for label in [&"钥".repeat(LABEL_CHARACTERS_MAX + 1), "", "  ", "a\nb"] {
        assert!(
            matches!(keys.create(label, "o").await, Err(KeyNotMade::Label)),
            "{label:?}"
        );
    }
}

#[tokio::test]
async fn keys_are_made_up_to_their_number() {
    let (_folder, keys) = keys(1);
    let row = Row {
        owner: String::new(),
        version: 1,
        salt: Vec::new(),
        digest: Vec::new(),
        revoked_at: Some(1),
    };
    let row = Arc::new(row);
    for number in 1..KEY_COUNT_MAX {
        keys.rows
            .write()
            .unwrap()
            .insert(number.to_string(), Arc::clone(&row));
    }
    assert!(keys.create("last", "o").await.is_ok());
    assert!(matches!(
        keys.create("one more", "o").await,
        Err(KeyNotMade::TooMany)
    ));
}

#[test]
fn the_derivation_never_changes() {
    // Computed by a program that shares no code with this one (HKDF and base62 in Python).
    let secret = derive(&Secret::new([7; 32]), "0123456789abcdef", 1);
    assert_eq!(secret.expose(), "zOgOSH5einkm0NcX61IWx2XwzcSwKd8IhDZ8T5cQHLnr6Uc");
}

proptest! {
    #[test]
    fn hostile_keys_never_panic(key: String) {
        static KEYS: std::sync::LazyLock<(tempfile::TempDir, Keys)> = std::sync::LazyLock::new(|| keys(1));
        prop_assert_eq!(KEYS.1.check(&key), Err(KeyRefusal::Mistyped));
    }

    #[test]
    fn base62_tells_all_numbers_apart(left: [u8; 32], right: [u8; 32]) {
        prop_assert_eq!(base62(&left).len(), SECRET_CHARACTERS);
        prop_assert_eq!(base62(&left) == base62(&right), left == right);
    }
}
