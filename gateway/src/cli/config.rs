//! `sluicegate config check`: all that is wrong with a configuration, with its place; then all that
//! is wrong with what it names, in the words in which the gateway, its log and `/readyz` say it.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Exit, Output, eprint, print, runtime};
use crate::{
    ambient::Ambient,
    config::{self, Config},
    decide::{Policy, digests_of},
    files,
    identify::Identifier,
    listen::tls::Tls,
};

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// Check a configuration file, and whether a gateway can serve with it
    ///
    /// Reads the certificates, keyring, policies and key sets that the file names, as the gateway
    /// does. Connects to nothing and writes nothing.
    Check {
        /// The configuration file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

pub(super) fn run(verb: &Verb, output: Output) -> Exit {
    let Verb::Check { file } = verb;
    let Found { mut errors, warnings } = match config::load_as(file, super::node_of_environment()) {
        Ok(config) => match look(&config) {
            Ok(found) => found,
            Err(exit) => return exit,
        },
        Err(mistakes) => Found {
            errors: mistakes.iter().map(ToString::to_string).collect(),
            warnings: Vec::new(),
        },
    };
    // The keyring is needed by several.
    let mut seen = std::collections::BTreeSet::new();
    errors.retain(|text| seen.insert(text.clone()));
    match output {
        Output::Json => print(serde_json::json!({
            "ok": errors.is_empty(), "errors": errors, "warnings": warnings,
        })),
        Output::Human => {
            if errors.is_empty() {
                print(format!("{}: ok", file.display()));
            }
            errors.iter().for_each(eprint);
            warnings.iter().for_each(|warning| eprint(format!("warning: {warning}")));
        }
    }
    match (errors.is_empty(), warnings.is_empty()) {
        (true, true) => Exit::Ok,
        (true, false) => Exit::Lint,
        _ => Exit::CheckFailed,
    }
}

struct Found {
    /// All that keeps a gateway from serving with this configuration, as far as files say.
    errors: Vec<String>,
    warnings: Vec<String>,
}

/// What is in the files is never printed.
fn look(config: &Config) -> Result<Found, Exit> {
    let mut found = Vec::new();
    let kafka = config.kafka.values().map(|face| &face.tls);
    let listeners = [&config.listen.tls, &config.admin.tls].into_iter().chain(kafka);
    found.extend(listeners.into_iter().filter_map(|tls| Tls::load(tls).err()).map(said));
    let ambient = Ambient::system();
    let policy = Arc::new(Policy::new(config, &ambient));
    let runtime = runtime()?;
    let identifier = Identifier::new(&config.identify, &ambient);
    let unread = runtime.block_on(identifier.refresh_files());
    match runtime.block_on(policy.reload()) {
        Ok(_) => found.extend(strangers(config, &policy, &identifier)),
        Err(error) => found.push(said(error)),
    }
    // The policy asks for the search keys, too, where it can be read.
    let keys = runtime.block_on(digests_of(config)).err().map(said);
    found.extend(keys.filter(|text| !found.contains(text)).into_iter().collect::<Vec<_>>());
    found.extend(unread.into_iter().map(said));
    found.extend(named(config).iter().filter_map(|file| unreadable(file)));
    found.extend(homes(config).iter().filter_map(|file| homeless(file)));
    let mut warnings = Vec::new();
    if policy.now().is_ok_and(|snapshot| snapshot.all_contributors().next().is_some()) {
        found.extend(homeless(&config.releases.witness));
        warnings.extend(beside_the_ledger(config));
    }
    Ok(Found { errors: found, warnings })
}

/// A witness that is restored with the ledger says nothing about it.
fn beside_the_ledger(config: &Config) -> Option<String> {
    let Ok(sluicegate_audit::Url::Sqlite(ledger)) = config.ledger.url() else { return None };
    let device = |path: &Path| {
        let here = |path: &Path| match path.as_os_str().is_empty() {
            true => std::fs::metadata("."),
            false => std::fs::metadata(path),
        };
        path.ancestors().find_map(|path| here(path).ok()).map(|found| found.dev())
    };
    let text = "`releases.witness` is on the file system of the ledger: if both are restored from \
                one copy, windows are published again with fresh noise, and nothing notices\n  \
                help: put it on another disk, or use `run --restored` or `sluicegate budget block` \
                after every restore";
    (device(&ledger)? == device(&config.releases.witness)?).then(|| text.to_owned())
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Principals that a login gives and that may do nothing, because nothing knows them.
fn strangers(config: &Config, policy: &Policy, identifier: &Identifier) -> Vec<String> {
    let Ok(snapshot) = policy.now() else { return Vec::new() };
    let identify = &config.identify;
    let mut given: Vec<&String> = identify.certificates.iter().map(|r| &r.principal).collect();
    given.extend(identify.tokens.iter().flat_map(|issuer| issuer.principals.values()));
    given.extend(&identify.anonymous);
    let has_role =
        |name: &String| config.roles.auditor.contains(name) || config.roles.operator.contains(name);
    given.retain(|name| !snapshot.table.knows_principal(name) && !has_role(name));
    let text = |name: &String| {
        format!(
            "`identify` names principal `{name}`, which neither the policies nor `roles` know\n  \
             help: declare it in a `Vocabulary`, or correct the name"
        )
    };
    let with_passwords = identifier.password_names().into_iter();
    let unknown = with_passwords.filter(|name| !snapshot.table.knows_principal(name));
    let of_password = |name: String| {
        format!(
            "`{name}` has a password, and the policies do not know it\n  help: declare it in a \
             `Vocabulary`, or `sluicegate credential remove` it"
        )
    };
    given.into_iter().map(text).chain(unknown.map(of_password)).collect()
}

/// Files that are read when a connection is made, or by a part that a check does not start.
fn named(config: &Config) -> Vec<&Path> {
    let kafka = config.regions.values().filter_map(|region| region.kafka.as_ref());
    let of_kafka = kafka.flat_map(|kafka| {
        let tls = kafka.tls.iter().flat_map(|tls| {
            [Some(&tls.ca), tls.certificate.as_ref(), tls.key.as_ref()].into_iter().flatten()
        });
        tls.chain(kafka.sasl.iter().map(|sasl| &sasl.password_file))
    });
    let of_issuers = config.identify.tokens.iter().filter_map(|issuer| issuer.ca.as_ref());
    let all = config.ledger.store_file.iter().chain(of_kafka).chain(of_issuers);
    all.map(PathBuf::as_path).collect()
}

fn unreadable(file: &Path) -> Option<String> {
    let why = files::begin_of(file, 1).err()?;
    Some(format!("couldn't read `{}`: {why}", file.display()))
}

/// Files that the gateway makes, in folders that it does not.
fn homes(config: &Config) -> Vec<&Path> {
    let ledger = config.ledger.store.iter().filter_map(|store| store.strip_prefix("sqlite:"));
    let embedded = config.regions.values().filter_map(|region| region.embedded.as_ref());
    ledger.map(Path::new).chain(embedded.map(|embedded| embedded.file.as_path())).collect()
}

fn homeless(file: &Path) -> Option<String> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty())?;
    let text = || format!("the folder of `{}` is missing\n  help: create it", file.display());
    (!folder.is_dir()).then(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cli::init;

    /// What the check says of a fresh `init` after a change of one of its files.
    fn check(file: &str, change: impl Fn(String) -> String) -> Vec<String> {
        crate::cli::install_crypto();
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(init::run(&init::Args { dir: dir.path().join("g") }), Exit::Ok);
        let [file, config] = [file, "sluicegate.yaml"].map(|name| dir.path().join("g").join(name));
        let text = fs::read_to_string(&file).unwrap();
        let changed = change(text.clone());
        fs::write(&file, &changed).unwrap();
        match config::load(&config) {
            Ok(config) => look(&config).unwrap().errors,
            Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn what_can_never_serve_is_not_ok() {
        assert_eq!(check("sluicegate.yaml", |text| text), [] as [String; 0]);
        let config = "sluicegate.yaml";
        let tokens = "roles:\n  auditor";
        for (file, from, to, cause) in [
            ("keys/keyring.yaml", "tokens-1", "tokens-2", "the keyring has no key `tokens-1`"),
            ("keys/keyring.yaml", "ledger-search", "other", "no key `ledger-search`"),
            (config, "  eu:\n", "  europe:\n", "the policies name region `eu`"),
            (config, "principal: my-service", "principal: my-servise", "principal `my-servise`"),
            (config, ":9443", ":8443", "`listen` and `admin` share an address"),
            (config, "127.0.0.1:9443", "0.0.0.0:8443", "`listen` and `admin` share an address"),
            (config, "data/eu.db", "data/ledger.db", "two components use the same file"),
            (config, "data/eu.db", "gone/eu.db", "the folder of `"),
            (config, "certs/server.key", "certs/operator.key", "don't match"),
            ("policies/rules.yaml", "may: [publish]", "may: [publsh]", "did you mean `publish`?"),
            (
                config,
                tokens,
                "  tokens:\n    - { issuer: i, audience: a, jwks-file: gone.json, algorithms: [ES256] }\n\
                 roles:\n  auditor",
                "key set of issuer `i`: `",
            ),
            (
                config,
                tokens,
                "  tokens:\n    - { issuer: i, audience: a, discovery: true, algorithms: [HS256] }\n\
                 roles:\n  auditor",
                "unknown variant `HS256`",
            ),
            (
                config,
                tokens,
                "  tokens:\n    - { issuer: i, audience: a, discovery: true, algorithms: [ES256] }\n\
                 roles:\n  auditor",
                "`discovery` needs an https issuer",
            ),
        ] {
            let found = check(file, |text| {
                assert!(text.contains(from), "{file} has no `{from}`");
                // A region is named by its Kafka listener, too.
                text.replacen(from, to, if from == "  eu:\n" { 2 } else { 1 })
            });
            let hits = found.iter().filter(|text| text.contains(cause)).count();
            assert_eq!(hits, 1, "{cause}\n--- in\n{found:#?}");
        }
    }

    #[test]
    fn what_init_writes_has_folders_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(init::run(&init::Args { dir: dir.path().to_owned() }), Exit::Ok);
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        names.sort_by_key(|entry| entry.as_ref().unwrap().file_name());
        let names: Vec<_> = names.into_iter().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["certs", "clients", "data", "keys", "policies", "sluicegate.yaml"]);
    }
}
