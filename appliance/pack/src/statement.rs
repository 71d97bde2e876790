//! The signed statement: which files the package has, with their digests.
//!
//! in-toto Statement v1 with the predicate of OpenSSF Model Signing v1, `files` method. Made in exactly one form;
//! read in any JSON spelling, with any order of files (the public tool orders by path parts, we by code point),
//! but with no field, algorithm, option or ignored path beyond the fixed ones.

use std::collections::BTreeMap;

use jingui_trust::{Sha256, Sha256Stream};
use serde::{Deserialize, Serialize};

use crate::path::{PackPath, shown};
use crate::refusal::Refusal;

/// `payloadType` of the envelope.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Most bytes of a statement.
pub const STATEMENT_BYTES_MAX: usize = 1 << 20;

/// Paths that statements made here leave out of the package. The signature itself always stays out.
pub const IGNORE_PATHS: [&str; 5] = ["model.sig.sm2", ".git", ".gitignore", ".gitattributes", ".github"];

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";
const METHOD: &str = "files";
const ALGORITHM: &str = "sha256";

/// Files of a package with the digests that were signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    subject: String,
    files: BTreeMap<PackPath, Sha256>,
    root: Sha256,
    ignores_sidecar: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: Vec<WireSubject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: WirePredicate,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSubject {
    name: String,
    digest: WireDigest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireDigest {
    sha256: Sha256,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePredicate {
    resources: Vec<WireResource>,
    serialization: WireSerialization,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireResource {
    name: String,
    algorithm: String,
    digest: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSerialization {
    method: String,
    hash_type: String,
    allow_symlinks: bool,
    ignore_paths: Vec<String>,
}

impl Statement {
    /// A statement over `files`; `subject` is a name for people.
    #[must_use]
    pub fn new(subject: String, files: BTreeMap<PackPath, Sha256>) -> Self {
        let root = root_of(files.values());
        Self {
            subject,
            files,
            root,
            ignores_sidecar: true,
        }
    }

    /// Name of the package for people. Nothing relies on it.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Files with their digests, in code point order.
    #[must_use]
    pub const fn files(&self) -> &BTreeMap<PackPath, Sha256> {
        &self.files
    }

    /// The root digest, by which the package is called.
    #[must_use]
    pub const fn root(&self) -> Sha256 {
        self.root
    }

    /// Whether an SM2 signature file may lie beside the files.
    #[must_use]
    pub const fn ignores_sidecar(&self) -> bool {
        self.ignores_sidecar
    }

    /// The signed bytes: compact JSON in one fixed order of fields and files.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let resources = self.files.iter().map(|(name, digest)| WireResource {
            name: name.to_string(),
            algorithm: ALGORITHM.to_owned(),
            digest: digest.to_string(),
        });
        let wire = Wire {
            statement_type: STATEMENT_TYPE.to_owned(),
            subject: vec![WireSubject {
                name: self.subject.clone(),
                digest: WireDigest { sha256: self.root },
            }],
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate: WirePredicate {
                resources: resources.collect(),
                serialization: WireSerialization {
                    method: METHOD.to_owned(),
                    hash_type: ALGORITHM.to_owned(),
                    allow_symlinks: false,
                    ignore_paths: IGNORE_PATHS.map(str::to_owned).to_vec(),
                },
            },
        };
        // Texts, digests and a boolean always serialise.
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// Reads signed bytes. Call it only after the signature over them was checked.
    ///
    /// # Errors
    /// [`Refusal::StatementMalformed`], [`Refusal::Predicate`], [`Refusal::Serialization`],
    /// [`Refusal::IgnorePath`], [`Refusal::Name`], [`Refusal::CaseTwins`], [`Refusal::Root`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        const fn malformed(fault: &'static str) -> Refusal {
            Refusal::StatementMalformed { fault }
        }
        if bytes.len() > STATEMENT_BYTES_MAX {
            return Err(malformed("too long"));
        }
        check_types(bytes)?;
        let wire: Wire = serde_json::from_slice(bytes).map_err(|_| malformed("not of the schema"))?;
        let [subject] =
            <[WireSubject; 1]>::try_from(wire.subject).map_err(|_| malformed("not one subject"))?;
        let ignores_sidecar = check_serialization(&wire.predicate.serialization)?;

        let mut stream = Sha256Stream::new();
        let mut files = BTreeMap::new();
        for resource in wire.predicate.resources {
            if resource.algorithm != ALGORITHM {
                return Err(Refusal::Serialization { fault: "algorithm" });
            }
            let digest: Sha256 = resource.digest.parse().map_err(|_| malformed("not a digest"))?;
            stream.update(digest.as_bytes());
            let path = PackPath::parse(&resource.name).map_err(|fault| Refusal::Name {
                name: shown(resource.name.as_bytes()),
                fault,
            })?;
            if files.insert(path, digest).is_some() {
                return Err(malformed("a file stands twice"));
            }
        }
        check_twins(files.keys())?;
        let root = stream.finish();
        if root != subject.digest.sha256 {
            return Err(Refusal::Root);
        }
        Ok(Self {
            subject: subject.name,
            files,
            root,
            ignores_sidecar,
        })
    }
}

/// Tells apart a statement about something else from one that is malformed.
fn check_types(bytes: &[u8]) -> Result<(), Refusal> {
    #[derive(Deserialize)]
    struct Types {
        #[serde(rename = "_type")]
        statement_type: String,
        #[serde(rename = "predicateType")]
        predicate_type: String,
    }
    let types: Types = serde_json::from_slice(bytes).map_err(|_| Refusal::StatementMalformed {
        fault: "not a statement",
    })?;
    if types.statement_type != STATEMENT_TYPE || types.predicate_type != PREDICATE_TYPE {
        return Err(Refusal::Predicate);
    }
    Ok(())
}

fn check_serialization(serialization: &WireSerialization) -> Result<bool, Refusal> {
    if serialization.method != METHOD {
        return Err(Refusal::Serialization { fault: "method" });
    }
    if serialization.hash_type != ALGORITHM {
        return Err(Refusal::Serialization { fault: "hash_type" });
    }
    if serialization.allow_symlinks {
        return Err(Refusal::Serialization {
            fault: "allow_symlinks",
        });
    }
    for path in &serialization.ignore_paths {
        // The public tool also writes the signature's own name down.
        if path != crate::SIGNATURE_NAME && !IGNORE_PATHS.contains(&path.as_str()) {
            return Err(Refusal::IgnorePath {
                path: shown(path.as_bytes()),
            });
        }
    }
    Ok(serialization
        .ignore_paths
        .iter()
        .any(|path| path == crate::SIDECAR_NAME))
}

/// Refuses two paths that a file system without case would hold for one, at any step of the way.
pub(crate) fn check_twins<'a>(paths: impl Iterator<Item = &'a PackPath>) -> Result<(), Refusal> {
    let mut steps: BTreeMap<String, (String, &PackPath)> = BTreeMap::new();
    for path in paths {
        let mut step = String::new();
        for name in path.names() {
            if !step.is_empty() {
                step.push('/');
            }
            step.push_str(name);
            match steps.get(&step.to_ascii_lowercase()) {
                Some((seen, other)) if *seen != step => {
                    return Err(Refusal::CaseTwins {
                        first: (*other).clone(),
                        second: path.clone(),
                    });
                }
                Some(_) => {}
                None => {
                    steps.insert(step.to_ascii_lowercase(), (step.clone(), path));
                }
            }
        }
    }
    Ok(())
}

fn root_of<'a>(digests: impl Iterator<Item = &'a Sha256>) -> Sha256 {
    let mut stream = Sha256Stream::new();
    digests.for_each(|digest| stream.update(digest.as_bytes()));
    stream.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> PackPath {
        PackPath::parse(text).unwrap()
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let files = BTreeMap::from([
            (path("sub/b.txt"), Sha256::of(b"x\n")),
            (path("a.txt"), Sha256::of(b"hi\n")),
        ]);
        // Digests and root as the public tool gives them for a folder with these two files.
        let expected = concat!(
            r#"{"_type":"https://in-toto.io/Statement/v1","#,
            r#""subject":[{"name":"pkg","digest":{"sha256":"#,
            r#""c411a4924ea846393ef2ee46d132d47e2e035de0bdca3a6323539af295cc958f"}}],"#,
            r#""predicateType":"https://model_signing/signature/v1.0","#,
            r#""predicate":{"resources":["#,
            r#"{"name":"a.txt","algorithm":"sha256","#,
            r#""digest":"98ea6e4f216f2fb4b69fff9b3a44842c38686ca685f3f55dc48c5d3fb1107be4"},"#,
            r#"{"name":"sub/b.txt","algorithm":"sha256","#,
            r#""digest":"73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac"}],"#,
            r#""serialization":{"method":"files","hash_type":"sha256","allow_symlinks":false,"#,
            r#""ignore_paths":["model.sig.sm2",".git",".gitignore",".gitattributes",".github"]}}}"#,
        );
        let statement = Statement::new("pkg".to_owned(), files);
        assert_eq!(String::from_utf8(statement.to_bytes()).unwrap(), expected);
        assert_eq!(Statement::parse(expected.as_bytes()).unwrap(), statement);
    }

    #[test]
    fn twins_are_found_at_any_step_and_others_are_none() {
        for (paths, is_twin) in [
            (["a", "A"], true),
            (["docs/a", "Docs/b"], true),
            (["a/b", "a/B"], true),
            (["docs/a", "docs/b"], false),
            (["a", "b/A"], false),
            (["a-b", "a_b"], false),
        ] {
            let paths = paths.map(path);
            assert_eq!(check_twins(paths.iter()).is_err(), is_twin, "{paths:?}");
        }
    }

    proptest! {
        #[test]
        fn a_statement_reads_back_as_itself(
            names in proptest::collection::btree_set("[a-z0-9]{1,8}(/[a-z0-9.]{0,3}[a-z]){0,2}", 0..20),
            subject: String,
        ) {
            let files = names
                .iter()
                .filter_map(|name| PackPath::parse(name).ok())
                .map(|name| (name.clone(), Sha256::of(name.as_str().as_bytes())))
                .collect();
            let statement = Statement::new(subject, files);
            prop_assert_eq!(Statement::parse(&statement.to_bytes()).unwrap(), statement);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, position: prop::sample::Index, value: u8) {
            let _ = Statement::parse(&bytes);
            let files = BTreeMap::from([(path("a.txt"), Sha256::of(b""))]);
            let mut good = Statement::new("pkg".to_owned(), files).to_bytes();
            let position = position.index(good.len());
            good[position] = value;
            let _ = Statement::parse(&good);
        }
    }
}
