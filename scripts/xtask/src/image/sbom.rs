//! The bill of materials: CycloneDX 1.5 (<https://cyclonedx.org/docs/1.5/json/>), Debian's packages and our crates.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::Image;
use super::listing::Package;

/// Programs of the image, whose crates are counted.
const PROGRAMS: &[&str] = &[
    "jingui-supervisor",
    "jingui-gateway",
    "jingui-engine",
    "jingui-cli",
    "jingui-screen",
    "jingui-storage",
    "jingui-installer",
];

/// The bill of an image made of these packages, at this time.
pub(crate) fn write(image: &Image, packages: &[Package], time: u64) -> anyhow::Result<Value> {
    let mut components: Vec<Value> = packages.iter().map(debian).collect();
    components.extend(crates(&image.tree)?);
    let timestamp = Command::new("date")
        .args(["--utc", "--date", &format!("@{time}"), "+%Y-%m-%dT%H:%M:%SZ"])
        .output()?;
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": String::from_utf8_lossy(&timestamp.stdout).trim(),
            "component": {
                "type": "operating-system",
                "bom-ref": format!("jingui@{}", image.version),
                "name": "jingui",
                "version": image.version,
            },
        },
        "components": components,
    }))
}

fn debian(package: &Package) -> Value {
    let purl = format!(
        "pkg:deb/debian/{}@{}?arch={}&distro=trixie",
        package.name,
        escaped(&package.version),
        package.architecture
    );
    let mut properties = Vec::new();
    if let Some(source) = &package.source {
        properties.push(json!({"name": "debian:source", "value": source}));
    }
    json!({
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "purl": purl,
        "properties": properties,
        "evidence": {"licenses": [{"license": {"name": format!("licenses/{}.txt", package.name)}}]},
    })
}

/// What a package URL does not take as it is (<https://github.com/package-url/purl-spec>).
fn escaped(version: &str) -> String {
    version.replace('+', "%2B").replace(':', "%3A")
}

/// Crates that the programs are linked from; tools of the build and tests are left out.
fn crates(tree: &Path) -> anyhow::Result<Vec<Value>> {
    let mut command = Command::new("cargo");
    command.current_dir(tree).args([
        "tree",
        "--locked",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--no-dedupe",
    ]);
    command.args(["--format", "{p}|{l}|{r}"]);
    for program in PROGRAMS {
        command.args(["--package", program]);
    }
    let output = command.output().context("cargo cannot be started")?;
    ensure!(
        output.status.success(),
        "cargo tree failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines: Vec<&str> = text.lines().filter(|it| !it.trim().is_empty()).collect();
    lines.sort_unstable();
    lines.dedup();
    Ok(lines.into_iter().filter_map(crate_component).collect())
}

fn crate_component(line: &str) -> Option<Value> {
    let mut parts = line.split('|');
    let mut words = parts.next()?.split(' ');
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    let license = parts.next().unwrap_or_default();
    let purl = format!("pkg:cargo/{name}@{}", escaped(version));
    Some(json!({
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "licenses": [{"expression": license.replace('/', " OR ")}],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_carry_their_package_urls() {
        let package = Package {
            name: "libssl3t64".to_owned(),
            version: "3.5.1-1+deb13u1".to_owned(),
            architecture: "amd64".to_owned(),
            source: Some("openssl".to_owned()),
        };
        let component = debian(&package);
        assert_eq!(
            component["purl"],
            "pkg:deb/debian/libssl3t64@3.5.1-1%2Bdeb13u1?arch=amd64&distro=trixie"
        );
        let component = crate_component("ring v0.17.14|Apache-2.0 AND ISC|").unwrap();
        assert_eq!(component["purl"], "pkg:cargo/ring@0.17.14");
        assert_eq!(component["licenses"][0]["expression"], "Apache-2.0 AND ISC");
        assert_eq!(crate_component("(*)"), None);
    }
}
