use super::*;

/// Facts of a small model.
pub(crate) fn facts() -> ModelFacts {
    ModelFacts {
        name: "canary".to_owned(),
        version: "1.0.0".to_owned(),
        security_version: 1,
        package_digest: "11".repeat(32),
        weights_digest: "22".repeat(32),
        weights_bytes: 8_000_000,
        signed_by: "33".repeat(32),
        architecture: "glm4".to_owned(),
        parameter_count: 3_000_000,
        layer_count: 4,
        head_count: 8,
        kv_head_count: 2,
        context_tokens: 2_048,
        kv_bytes_per_token: 1_024,
        tensor_types: vec![("F16".to_owned(), 30)],
        tokenizer: "gpt2/glm4".to_owned(),
        chat_template_digest: "44".repeat(32),
        license: "MIT".to_owned(),
        filing_number: String::new(),
        imported_at: "2026-11-24T08:00:00.000Z".to_owned(),
        state: "stored".to_owned(),
    }
}

fn staged(state: &StateFolder, package: u8, security_version: u64) -> Staged {
    let copy = state.incoming().join(format!("copy-{package}"));
    fs::create_dir(&copy).unwrap();
    fs::write(copy.join("release.json"), [package]).unwrap();
    let package = Sha256::from_bytes([package; 32]);
    let facts = ModelFacts {
        security_version,
        package_digest: package.to_string(),
        ..facts()
    };
    let digest = Sha256::from_bytes([9; 32]);
    Staged {
        copy,
        package,
        weights: digest,
        signed_by: digest,
        facts,
        chunks: None,
    }
}

fn open() -> (tempfile::TempDir, StateFolder, ModelStore) {
    let folder = tempfile::tempdir().unwrap();
    let state = StateFolder::open(folder.path()).unwrap();
    let store = ModelStore::open(&state, [7; 32], &[]).unwrap();
    (folder, state, store)
}

fn name() -> ModelName {
    ModelName::parse("canary").unwrap()
}

#[test]
fn the_first_model_is_served_and_a_second_one_only_when_asked_for() {
    let (_folder, state, mut store) = open();
    let choice = |stored: io::Result<Stored>| stored.unwrap().choice;
    assert_eq!(choice(store.store(staged(&state, 1, 1), false)), Choice::Serve);
    assert_eq!(choice(store.store(staged(&state, 2, 2), false)), Choice::Keep);
    assert_eq!(store.active(), Some(Sha256::from_bytes([1; 32])));
    assert_eq!(choice(store.store(staged(&state, 3, 3), true)), Choice::Switch);
    assert_eq!(
        store.active(),
        Some(Sha256::from_bytes([1; 32])),
        "until the new one has shown that it can be served"
    );
    store.activate(Sha256::from_bytes([3; 32])).unwrap();
    assert_eq!(store.active(), Some(Sha256::from_bytes([3; 32])));
    assert_eq!(store.facts().len(), 3);
}

#[test]
fn store_choice_and_floor_survive_a_restart() {
    let (folder, state, mut store) = open();
    store.store(staged(&state, 1, 7), false).unwrap();
    drop((store, state));
    let state = StateFolder::open(folder.path()).unwrap();
    let store = ModelStore::open(&state, [7; 32], &[]).unwrap();
    assert_eq!(store.active(), Some(Sha256::from_bytes([1; 32])));
    assert_eq!(store.facts()[0].security_version, 7);
    assert_eq!(floor_of(&store.floors, &name()), SecurityVersion::new(7));
}

#[test]
fn the_floor_never_sinks() {
    let (_folder, state, mut store) = open();
    store.store(staged(&state, 1, 7), false).unwrap();
    store.store(staged(&state, 2, 5), false).unwrap();
    assert_eq!(floor_of(&store.floors, &name()), SecurityVersion::new(7));
}

#[test]
fn a_newer_package_that_is_not_chosen_keeps_older_ones_out_and_the_chosen_one_in() {
    let (_folder, state, mut store) = open();
    store.store(staged(&state, 1, 1), false).unwrap();
    store.store(staged(&state, 2, 5), true).unwrap();
    assert_eq!(
        floor_of(&store.floors, &name()),
        SecurityVersion::new(1),
        "the one that serves can be loaded again"
    );
    assert_eq!(floor_of(&store.import_floors(), &name()), SecurityVersion::new(5));
    store.activate(Sha256::from_bytes([2; 32])).unwrap();
    assert_eq!(floor_of(&store.floors, &name()), SecurityVersion::new(5));
}

#[test]
fn a_package_that_is_stored_again_replaces_the_old_copy() {
    let (_folder, state, mut store) = open();
    store.store(staged(&state, 1, 1), false).unwrap();
    let place = state.models().join(Sha256::from_bytes([1; 32]).to_string());
    fs::write(place.join("release.json"), b"damaged").unwrap();
    store.set_state(Sha256::from_bytes([1; 32]), "failed");
    let stored = store.store(staged(&state, 1, 1), false).unwrap();
    assert_eq!(
        stored.choice,
        Choice::Serve,
        "a failed active model is tried again"
    );
    assert_eq!(fs::read(place.join("release.json")).unwrap(), [1]);
}

#[test]
fn what_an_interrupted_import_left_is_gone_after_a_start() {
    let (folder, state, store) = open();
    staged(&state, 1, 1);
    drop((store, state));
    let state = StateFolder::open(folder.path()).unwrap();
    let store = ModelStore::open(&state, [7; 32], &[]).unwrap();
    assert_eq!(fs::read_dir(state.incoming()).unwrap().count(), 0);
    assert!(store.facts().is_empty());
}

#[test]
fn facts_without_their_package_are_not_listed() {
    let (folder, state, store) = open();
    let path = state
        .models()
        .join(format!("{}.json", Sha256::from_bytes([1; 32])));
    fs::write(path, serde_json::to_vec(&facts()).unwrap()).unwrap();
    drop((store, state));
    let state = StateFolder::open(folder.path()).unwrap();
    assert!(ModelStore::open(&state, [7; 32], &[]).unwrap().facts().is_empty());
}

type Obstacle = (&'static str, fn(&StateFolder));

/// Stores the second package and makes it the choice, as when it has passed.
fn take(state: &StateFolder, store: &mut ModelStore) -> io::Result<Choice> {
    let stored = store.store(staged(state, 2, 5), true)?;
    store.activate(stored.package)?;
    Ok(stored.choice)
}

/// Each step of storing and choosing, made to fail by something that is in its way.
const OBSTACLES: [Obstacle; 4] = [
    ("the floor", |state| {
        fs::create_dir(state.trust().join("floors.json")).unwrap()
    }),
    ("the facts", |state| {
        fs::create_dir(
            state
                .models()
                .join(format!("{}.json", Sha256::from_bytes([2; 32]))),
        )
        .unwrap();
    }),
    ("the package", |state| {
        fs::write(state.models().join(Sha256::from_bytes([2; 32]).to_string()), "x").unwrap()
    }),
    ("the choice", |state| {
        fs::remove_file(state.models().join("active")).unwrap();
        fs::create_dir(state.models().join("active")).unwrap();
    }),
];

#[test]
fn a_store_that_fails_at_any_step_keeps_the_old_model_and_takes_the_new_one_at_the_next_try() {
    for (step, put_in_the_way) in OBSTACLES {
        let (folder, state, mut store) = open();
        // Version 0 leaves no floor file, so that the first obstacle can stand in its place.
        store.store(staged(&state, 1, 0), false).unwrap();
        let active = fs::read(state.models().join("active")).unwrap();
        put_in_the_way(&state);
        if step == "the package" {
            // A file stands where the package goes: it is moved away, and nothing fails.
            assert_eq!(take(&state, &mut store).unwrap(), Choice::Switch);
            continue;
        }
        assert!(take(&state, &mut store).is_err(), "{step}");
        drop((store, state));
        for path in ["trust/floors.json", "models/active"] {
            let path = folder.path().join(path);
            if path.is_dir() {
                fs::remove_dir(path).unwrap();
            }
        }
        fs::remove_dir(
            folder
                .path()
                .join(format!("models/{}.json", Sha256::from_bytes([2; 32]))),
        )
        .ok();
        if step == "the choice" {
            fs::write(folder.path().join("models/active"), &active).unwrap();
        }
        let state = StateFolder::open(folder.path()).unwrap();
        let mut store = ModelStore::open(&state, [7; 32], &[]).unwrap();
        assert_eq!(store.active(), Some(Sha256::from_bytes([1; 32])), "{step}");
        assert_eq!(take(&state, &mut store).unwrap(), Choice::Switch, "{step}");
        assert_eq!(store.active(), Some(Sha256::from_bytes([2; 32])), "{step}");
        assert_eq!(store.facts().len(), 2, "{step}");
    }
}
