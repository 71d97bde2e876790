//! Stable codes of the supervisor, for the test that every one has its words.

/// All of them, those of `trust` included. Those of `pack`, `audit` and `jail` are listed there.
pub(crate) const CODES: &[&str] = &[
    "audit.unwritable",
    "auth.account.locked",
    "auth.act.same-person",
    "auth.code.replayed",
    "auth.code.wrong",
    "auth.key.label-malformed",
    "auth.name.malformed",
    "auth.password.holds-name",
    "auth.password.too-long",
    "auth.password.too-plain",
    "auth.password.too-short",
    "auth.proof.wrong",
    "auth.role.missing",
    "auth.setup.code-wrong",
    "auth.setup.done",
    "auth.setup.locked",
    "auth.setup.missing",
    "auth.setup.roles",
    "auth.setup.same-person",
    "auth.totp.bad-secret",
    "engine.broken-conversation",
    "engine.crashed",
    "engine.ended",
    "engine.golden.unanswered",
    "engine.golden.wrong",
    "engine.hung",
    "engine.not-started",
    "engine.plan.memory",
    "engine.plan.weights",
    "engine.start-timed-out",
    "engine.starting",
    "engine.stuck-outbox",
    "evidence.log.unreadable",
    "evidence.stick.altered",
    "evidence.stick.unwritable",
    "gateway.broken-conversation",
    "gateway.crashed",
    "gateway.ended",
    "gateway.hung",
    "gateway.not-started",
    "gateway.start-timed-out",
    "gateway.starting",
    "gateway.stuck-outbox",
    "guarantee.why.counter-unusable",
    "guarantee.why.developer-machine",
    "guarantee.why.firmware-silent",
    "guarantee.why.machine-refuses",
    "guarantee.why.no-fs-verity",
    "guarantee.why.no-golden-prompts",
    "guarantee.why.no-tpm",
    "guarantee.why.not-sealed",
    "guarantee.why.process-absent",
    "guarantee.why.recovery-key",
    "guarantee.why.secure-boot-off",
    "guarantee.why.setup-mode",
    "guarantee.why.state-plain",
    "model.package.known",
    "network.address.count",
    "network.address.twice",
    "network.address.unusable",
    "network.file.malformed",
    "network.files.unwritable",
    "network.gateway.outside",
    "network.gateway.two",
    "network.interface.name",
    "network.interface.none",
    "network.interface.too-many",
    "network.interface.twice",
    "network.state.unreadable",
    "platform.floor.too-far",
    "platform.image.too-old",
    "platform.state.not-mounted",
    "platform.tpm.answer-malformed",
    "platform.tpm.refused",
    "platform.tpm.unreachable",
    "platform.tpm.wrong-index",
    "reset.failed",
    "reset.serial.wrong",
    "system.address.taken",
    "system.bug",
    "system.busy",
    "system.gateway.absent",
    "system.import.busy",
    "system.model.none",
    "system.randomness.missing",
    "system.record.malformed",
    "system.request.malformed",
    "system.state.in-use",
    "system.state.unwritable",
    "system.stopping",
    "system.store.damaged",
    "system.store.misplaced",
    "system.store.no-room",
    "system.vendors.unreadable",
    "update.busy",
    "update.fell-back",
    "update.image.none",
    "update.keys.unreadable",
    "update.no-room",
    "update.writer.ended",
    "update.writer.late",
    "update.writer.not-started",
    "usb.stick.busy",
    "usb.stick.content",
    "usb.stick.none",
    "usb.stick.several",
    "usb.stick.unreadable",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::guarantees::{self, Measured};

    #[test]
    fn every_code_has_words_in_both_languages() {
        let all = CODES
            .iter()
            .chain(jingui_audit::CODES)
            .chain(jingui_pack::CODES)
            .chain(jingui_jail::CODES);
        let missing: Vec<_> = all.filter(|code| !jingui_messages::is_known(code)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn every_guarantee_has_words_in_both_languages() {
        let measured = ["gateway", "engine"].map(|role| Measured {
            role,
            walls: None,
            landlock_abi: 0,
        });
        for guarantee in guarantees::list(
            &measured,
            None,
            crate::platform::Platform::default().guarantees(None),
        ) {
            assert!(jingui_messages::is_known(&guarantee.name), "{}", guarantee.name);
        }
    }

    /// Texts in the sources that look like a code of ours, so that none is forgotten in the list.
    #[test]
    fn every_code_in_the_sources_is_listed() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let listed: BTreeSet<&str> = CODES.iter().copied().collect();
        let mut sources = vec![folder];
        while let Some(path) = sources.pop() {
            if path.is_dir() {
                sources.extend(
                    std::fs::read_dir(path)
                        .unwrap()
                        .map(|entry| entry.unwrap().path()),
                );
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            // Production code only: tests name codes that other crates own.
            let text = text.split("#[cfg(test)]").next().unwrap();
            for quoted in text.split('"').skip(1).step_by(2) {
                let is_code = [
                    "auth.",
                    "evidence.",
                    "guarantee.why.",
                    "network.",
                    "reset.",
                    "system.",
                    "usb.",
                ]
                .iter()
                .any(|area| quoted.starts_with(area))
                    && quoted
                        .chars()
                        .all(|sign| sign.is_ascii_lowercase() || matches!(sign, '.' | '-'));
                assert!(
                    !is_code || listed.contains(quoted),
                    "{quoted} in {}",
                    path.display()
                );
            }
        }
    }
}
