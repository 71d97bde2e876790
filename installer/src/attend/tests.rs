use std::collections::VecDeque;
use std::fs;

use jingui_trust::image_key::{ImageKey, Purpose};

use super::*;
use crate::layout;
use crate::survey::tests::FakeMachine;
use crate::testing::bundle::{Bundle, SIZES, bundle};

const DISK_BYTES: u64 = 9 << 30;

/// Somebody with answers ready, who remembers what was said.
#[derive(Default)]
struct Script {
    language: Option<Language>,
    answers: VecDeque<&'static str>,
    heard: Vec<String>,
    question_count: usize,
}

impl Script {
    fn with(answers: &[&'static str]) -> Self {
        Self {
            answers: answers.iter().copied().collect(),
            ..Self::default()
        }
    }

    fn has_heard(&self, text: &str) -> bool {
        self.heard.iter().any(|line| line.contains(text))
    }
}

impl Person for Script {
    fn speak(&mut self, language: Language) {
        self.language = Some(language);
    }

    fn say(&mut self, said: &Said) {
        self.heard.push(said.text(self.language));
    }

    fn progress(&mut self, said: &Said) {
        self.heard.push(said.text(self.language));
    }

    fn ask(&mut self, question: &Said) -> io::Result<String> {
        self.heard.push(question.text(self.language));
        self.question_count += 1;
        let answer = self.answers.pop_front();
        answer
            .map(ToOwned::to_owned)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

struct Scene {
    machine: FakeMachine,
    bundle: Bundle,
}

impl Scene {
    fn new() -> Self {
        let machine = FakeMachine::new();
        machine.add_disk("sda", "8:0", DISK_BYTES);
        machine.add_disk("sdb", "8:16", DISK_BYTES);
        Self {
            machine,
            bundle: bundle("1"),
        }
    }

    fn install(&self, answers: Option<Answers>, person: &mut Script) -> Result<Proof, InstallFault> {
        let roots = self.machine.roots();
        let fitting = self.bundle.open();
        let stick = Stick {
            roots: &roots,
            medium: "sdz",
            bundle: &fitting,
            answers,
            sizes: SIZES,
        };
        install(&stick, person)
    }

    /// Which of the disks were written to.
    fn touched(&self) -> Vec<String> {
        let roots = self.machine.roots();
        let disks = roots.disks("sdz", Architecture::X8664).unwrap();
        let touched = disks.into_iter().filter(|disk| disk.content != Content::Nothing);
        touched.map(|disk| disk.name).collect()
    }
}

fn answers(serial: &str, data: Option<Data>) -> Answers {
    let (key, _) = ImageKey::generate().unwrap();
    let data = match data {
        None => String::new(),
        Some(Data::Keep) => "data = \"keep\"\n".to_owned(),
        Some(Data::Erase) => "data = \"erase\"\n".to_owned(),
    };
    let text = format!("format = 1\nlanguage = \"en\"\n[disk]\nserial = \"{serial}\"\n{data}");
    let signature = key.sign(Purpose::InstallAnswers, text.as_bytes());
    Answers::read(text.as_bytes(), &signature, &[key.public_key().unwrap()]).unwrap()
}

#[test]
fn a_person_answers_at_most_six_questions_and_exactly_one_disk_is_written() {
    let scene = Scene::new();
    let mut person = Script::with(&["2", "1", "enp3s0 10.0.2.15/24 10.0.2.2", "-sda"]);
    choose_language(&mut person).unwrap();
    let proof = scene.install(None, &mut person).unwrap();
    assert_eq!(proof.version.as_str(), "1");
    assert!(person.question_count < 6, "the sixth is to remove the stick");
    assert_eq!(scene.touched(), ["sda"]);
    for said in [
        "Model of sda",
        "SERIAL-sda",
        "The installer runs from this disk",
        "MB/s",
        "[installer.written]",
        "[installer.proved]",
    ] {
        assert!(person.has_heard(said), "{said}: {:#?}", person.heard);
    }
}

#[test]
fn a_mistyped_name_writes_nothing() {
    let scene = Scene::new();
    let mut person = Script::with(&["1", "", "sdb", "-sdb", "wrong"]);
    let fault = scene.install(None, &mut person).unwrap_err();
    assert_eq!(fault.code(), "install.disk.unconfirmed");
    assert!(scene.touched().is_empty());
    let mut slow = Script::with(&["1", "", "wrong", "-SDA"]);
    scene.install(None, &mut slow).unwrap();
}

#[test]
fn an_older_system_is_asked_about_and_kept_or_erased() {
    let mut scene = Scene::new();
    scene
        .install(None, &mut Script::with(&["1", "", "-sda"]))
        .unwrap();
    scene.bundle = bundle("2");
    let mut person = Script::with(&["1", "1", "-sda"]);
    person.speak(Language::English);
    let proof = scene.install(None, &mut person).unwrap();
    assert_eq!(proof.version.as_str(), "2");
    assert!(person.has_heard("its data kept"));
    scene.bundle = bundle("3");
    let mut person = Script::with(&["1", "2", "eth0 dhcp", "-sda"]);
    person.speak(Language::English);
    scene.install(None, &mut person).unwrap();
    assert!(person.has_heard("its data destroyed"));
    assert_eq!(scene.touched(), ["sda"]);
}

#[test]
fn answers_install_without_a_question_on_the_one_disk_they_name() {
    let scene = Scene::new();
    let mut nobody = Script::default();
    scene
        .install(Some(answers("SERIAL-sdb", None)), &mut nobody)
        .unwrap();
    assert_eq!(
        (nobody.question_count, scene.touched()),
        (0, vec!["sdb".to_owned()])
    );
}

#[test]
fn answers_that_do_not_name_exactly_one_disk_write_nothing() {
    let scene = Scene::new();
    let refused = |scene: &Scene, serial: &str| {
        let fault = scene
            .install(Some(answers(serial, None)), &mut Script::default())
            .unwrap_err();
        assert!(scene.touched().is_empty());
        (fault.code(), fault.facts())
    };
    let none = vec![("found", "0".to_owned())];
    assert_eq!(refused(&scene, "sda"), ("install.answers.disk", none.clone()));
    assert_eq!(
        refused(&scene, "SERIAL-sdz"),
        ("install.answers.disk", none),
        "the stick itself"
    );
    scene.machine.write("sys/devices/sdb/device/serial", "SERIAL-sda");
    let two = vec![("found", "2".to_owned())];
    assert_eq!(refused(&scene, "SERIAL-sda"), ("install.answers.disk", two));
}

#[test]
fn answers_must_say_what_happens_to_data_that_is_there() {
    let mut scene = Scene::new();
    scene
        .install(None, &mut Script::with(&["1", "", "-sda"]))
        .unwrap();
    scene.bundle = bundle("2");
    let silent = scene.install(Some(answers("SERIAL-sda", None)), &mut Script::default());
    assert_eq!(silent.unwrap_err().code(), "install.answers.data");
    scene
        .install(
            Some(answers("SERIAL-sda", Some(Data::Keep))),
            &mut Script::default(),
        )
        .unwrap();
}

#[test]
fn a_machine_without_a_fit_disk_is_told_why() {
    let machine = FakeMachine::new();
    machine.add_disk("sda", "8:0", 4 << 30);
    let scene = Scene {
        machine,
        bundle: bundle("1"),
    };
    let mut person = Script::default();
    person.speak(Language::English);
    let fault = scene.install(None, &mut person).unwrap_err();
    assert_eq!(fault.code(), "install.disk.none");
    assert!(person.has_heard("The disk is too small."));
}

#[test]
fn a_medium_is_read_to_its_end() {
    let mut file = tempfile::tempfile().unwrap();
    io::Write::write_all(&mut file, &vec![1; 3 * PIECE_BYTES + 1]).unwrap();
    let mut person = Script::default();
    check_medium(&mut file, &mut person).unwrap();
    assert!(person.has_heard("100"));
    assert!(person.has_heard("[installer.checked]"));
    let mut folder = File::open("/").unwrap();
    assert_eq!(
        check_medium(&mut folder, &mut person).unwrap_err().code(),
        "install.medium.damaged"
    );
}

#[test]
fn every_code_and_every_phrase_has_its_words_in_both_languages() {
    let lists = [
        InstallFault::CODES,
        WriteFault::CODES,
        OpenFault::CODES,
        AnswersRefusal::CODES,
    ];
    let unfit = crate::survey::Unfit::ALL.map(crate::survey::Unfit::code);
    for code in lists.into_iter().flatten().chain(&unfit) {
        assert!(jingui_messages::is_known(code), "{code}");
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in ["attend.rs", "main.rs", "survey.rs", "person.rs", "slot.rs"] {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        for quoted in text.split('"').skip(1).step_by(2) {
            if quoted.starts_with("installer.") && !quoted.contains(' ') {
                assert!(
                    jingui_messages::phrase(quoted, Language::English, NO_FACTS).is_some(),
                    "{quoted}"
                );
            }
            if quoted.starts_with("install.") && !quoted.contains(' ') {
                assert!(jingui_messages::is_known(quoted), "{quoted}");
            }
        }
    }
}

/// What is installed is ours when it is looked at again, and an interrupted installation says so.
#[test]
fn a_survey_tells_ours_from_unfinished_and_foreign() {
    let scene = Scene::new();
    scene
        .install(None, &mut Script::with(&["1", "", "-sda"]))
        .unwrap();
    let roots = scene.machine.roots();
    let content = |name: &str| {
        let disks = roots.disks("sdz", Architecture::X8664).unwrap();
        disks.into_iter().find(|disk| disk.name == name).unwrap().content
    };
    assert_eq!(
        (content("sda"), content("sdb")),
        (Content::Ours, Content::Nothing)
    );
    let found = roots.disks("sdz", Architecture::X8664).unwrap();
    let disk = roots
        .open(found.iter().find(|disk| disk.name == "sdb").unwrap())
        .unwrap();
    let finished = layout::fresh(DISK_BYTES, SIZES, Architecture::X8664)
        .unwrap()
        .unwrap();
    layout::unfinished(DISK_BYTES, &finished)
        .unwrap()
        .write(&disk)
        .unwrap();
    assert_eq!(content("sdb"), Content::Unfinished);
    finished.write(&disk).unwrap();
    assert_eq!(content("sdb"), Content::Foreign, "no system in it");
}
