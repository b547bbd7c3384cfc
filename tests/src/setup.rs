//! A gateway's folder of a test's own, filled from one of `examples/`: its policies and configuration, and
//! fresh certificates and master keys beside them.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::rand::{SecureRandom as _, SystemRandom};
use tempfile::TempDir;

use crate::{
    ca::{Ca, Files, Identity, replace},
    client::{Credential, client},
    components,
    gateway::Gateway,
    jwt::{Claims, SigningKey, write_jwks},
};

const ISSUER: &str = "https://id.house.example";
const AUDIENCE: &str = "sluicegate";

/// What a token of the house's identity provider says of this principal.
pub fn claims(principal: &str) -> Claims {
    Claims::new(ISSUER, AUDIENCE, principal)
}

/// The folder, and the authority that signs for it. The configuration is text that a test may change
/// before the start; listeners stand on port 0.
pub struct Setup {
    dir: TempDir,
    pub ca: Ca,
    pub config: String,
    trust: &'static str,
}

impl Setup {
    /// A copy of `examples/NAME`. `trust` is the host in its clients' URIs, `keys` the master keys that its
    /// token domains name.
    pub fn of(example: &str, trust: &'static str, keys: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("sluicegate-house").tempdir().unwrap();
        let from = components::root().join("examples").join(example);
        copy(&from.join("policies"), &dir.path().join("policies"));
        let ca = Ca::new("house");
        let certs = dir.path().join("certs");
        fs::create_dir(&certs).unwrap();
        ca.write(&certs);
        ca.server().write(&certs, "server");
        for folder in ["keys", "data"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        write_keyring(&dir.path().join("keys/keyring.yaml"), keys);
        let config = fs::read_to_string(from.join("sluicegate.yaml"))
            .unwrap()
            .replace("127.0.0.1:8443", "127.0.0.1:0")
            .replace("127.0.0.1:9443", "127.0.0.1:0");
        // Clients must know the ports of these listeners: a test that wants one says which.
        let config = config.split("\n# Kafka clients").next().unwrap().to_owned();
        Self { dir, ca, config, trust }
    }

    /// The auction house of `examples/quickstart`: SQLite and three embedded regions.
    pub fn quickstart() -> Self {
        Self::of("quickstart", "auction", &["auction-2026"])
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Replaces a part of the configuration, which must be there.
    pub fn change(&mut self, from: &str, to: &str) {
        assert!(self.config.contains(from), "the configuration has no `{from}`");
        self.config = self.config.replace(from, to);
    }

    /// Replaces a part of a policy file, which must be there, as an editor saves it.
    pub fn change_policy(&self, file: &str, from: &str, to: &str) {
        let path = self.path().join("policies").join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no `{from}`");
        replace(&path, &text.replace(from, to));
    }

    /// Also believes the tokens that this key signs, as an identity provider of the house.
    pub fn believe(&mut self, key: &SigningKey) {
        write_jwks(self.path(), &[key]);
        let tokens = format!(
            "  tokens:\n    - {{ issuer: \"{ISSUER}\", audience: {AUDIENCE}, jwks-file: jwks.json, \
             algorithms: [EdDSA], clock-skew-s: 5 }}\n\nroles:"
        );
        self.change("\nroles:", &tokens);
    }

    /// Starts a gateway here, ready.
    pub async fn start(&self) -> Gateway {
        let started = Gateway::start(self.path(), &self.config, &self.ca).await;
        started.unwrap_or_else(|why| panic!("the gateway did not start: {why:?}"))
    }

    pub fn identity(&self, name: &str) -> Identity {
        self.ca.client(&format!("spiffe://{}/{name}", self.trust))
    }

    /// An HTTPS client with the certificate of this name.
    pub fn client(&self, name: &str) -> reqwest::Client {
        client(&self.ca, &Credential::Certificate(&self.identity(name)))
    }

    /// The files of a client's certificate, for programs that take files.
    pub fn files(&self, name: &str) -> Files {
        self.identity(name).write(&self.path().join("certs"), name)
    }
}

/// A keyring as the gateway wants it: readable by its owner alone.
fn write_keyring(path: &Path, names: &[&str]) {
    let random = SystemRandom::new();
    let mut text = String::from("keys:\n");
    for name in names.iter().chain(&["ledger-search"]) {
        let mut key = [0; 32];
        random.fill(&mut key).unwrap();
        text.push_str(&format!("  \"{name}\": {}\n", STANDARD.encode(key)));
    }
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A folder with all below it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}
