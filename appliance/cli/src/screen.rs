//! What the person or script sees: words in one of two languages, or JSON.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use jingui_messages::{Language, explain, phrase};
use serde_json::{Value, json};

use crate::failure::{Exit, Failure};

/// Facts of a phrase that has none.
pub(crate) const NO_FACTS: &[(&str, &str)] = &[];

/// Where answers go.
#[derive(Debug)]
pub(crate) struct Screen {
    is_json: bool,
    language: Language,
}

impl Screen {
    /// Language by option, else by the locale variables in the order of POSIX.
    pub(crate) fn new(is_json: bool, lang: Option<&str>) -> Self {
        Self {
            is_json,
            language: language(lang, |name| std::env::var(name).ok()),
        }
    }

    /// Language of the words.
    pub(crate) const fn language(&self) -> Language {
        self.language
    }

    /// A phrase of the catalogue; its key when it has none, so that nobody is left with nothing.
    pub(crate) fn words<V: AsRef<str>>(&self, key: &str, facts: &[(&str, V)]) -> String {
        phrase(key, self.language, facts).unwrap_or_else(|| key.to_owned())
    }

    /// The answer: JSON, or lines.
    pub(crate) fn answer(&self, json: &Value, lines: &[String]) {
        if self.is_json {
            print(&format!("{json:#}\n"));
        } else {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            print(&text);
        }
    }

    /// A remark beside the answer.
    pub(crate) fn remark<V: AsRef<str>>(&self, key: &str, facts: &[(&str, V)]) {
        eprintln!("{}", self.words(key, facts));
    }

    /// How far something is, on one line of a terminal; nothing elsewhere.
    pub(crate) fn progress(&self, key: &str, done: u64, total: u64) {
        if !std::io::stderr().is_terminal() || self.is_json {
            return;
        }
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
        let end = if done >= total { "\n" } else { "" };
        eprint!("\r{} {percent:3} %{end}", self.words(key, NO_FACTS));
    }

    /// Tells a failure and gives the exit code.
    pub(crate) fn fail(&self, failure: &Failure) -> Exit {
        let words = explain(&failure.code, self.language, &failure.facts);
        if self.is_json {
            let facts: serde_json::Map<String, Value> = failure
                .facts
                .iter()
                .map(|(name, value)| (name.clone(), Value::from(value.clone())))
                .collect();
            let error = json!({
                "code": failure.code, "what": words.what, "why": words.why, "do": words.remedy, "facts": facts,
            });
            print(&format!("{:#}\n", json!({ "error": error })));
        } else {
            // The class of a verdict on a line of its own, for scripts and people alike.
            for (_, class) in failure.facts.iter().filter(|(name, _)| name == "verdict") {
                print(&format!("{class}\n"));
            }
            for (key, text) in [
                ("cli.what", &words.what),
                ("cli.why", &words.why),
                ("cli.do", &words.remedy),
            ] {
                eprintln!("{}", self.words(key, &[("text", text)]));
            }
            eprintln!("{}", self.words("cli.code", &[("code", &failure.code)]));
        }
        failure.exit
    }
}

/// A command line that is not understood, or a call for help.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // What cannot be written to a closed pipe is not missed.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if std::env::args_os().any(|argument| argument == "--json") {
        let cause = error.kind().to_string();
        let failure = Failure::new(Exit::Usage, "system.command.usage").with("cause", cause);
        return ExitCode::from(Screen::new(true, None).fail(&failure).code());
    }
    let _ = error.print();
    ExitCode::from(Exit::Usage.code())
}

/// Writes to standard output; a closed pipe (`| head`) is no failure of ours.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn language(lang: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Language {
    if let Some(lang) = lang {
        return Language::from_locale(lang);
    }
    let names = ["LC_ALL", "LC_MESSAGES", "LANG"];
    let set = names
        .iter()
        .find_map(|name| variable(name).filter(|value| !value.is_empty()));
    Language::from_locale(&set.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_goes_before_the_locale_and_lc_all_before_lang() {
        let none = |_: &str| None;
        let chinese = |name: &str| (name == "LC_ALL").then(|| "zh_CN.UTF-8".to_owned());
        let english = |name: &str| (name == "LANG").then(|| "en_US.UTF-8".to_owned());
        let both = |name: &str| chinese(name).or_else(|| english(name));
        assert_eq!(language(Some("en"), chinese), Language::English);
        assert_eq!(language(Some("zh-CN"), english), Language::Chinese);
        assert_eq!(language(None, both), Language::Chinese);
        assert_eq!(language(None, english), Language::English);
        assert_eq!(language(None, none), Language::Chinese);
    }
}
