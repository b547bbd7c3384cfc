//! An independent judge of the HTTP faces: Schemathesis reads the OpenAPI document of a running gateway and
//! tries what it promises, with good and with bad input. Every check, bounded in time.

use std::{fs, path::Path, process::Command};

use sluicegate_tests::{
    components::tell,
    jwt::SigningKey,
    require,
    setup::{Setup, claims},
};

/// Topics that exist, so that requests get past "no such topic".
const KNOWN_TOPIC: &str = "[parameters]\n\"path.topic\" = \"bids\"\n";
/// Whether a record of any shape is then accepted is up to the policy, not to the document.
const WITH_KNOWN_TOPIC: Settings =
    Settings { known_topic: true, without: Some("positive_data_acceptance") };
/// The judge takes away the `Authorization` header and expects a refusal; a certificate stays.
const BY_CERTIFICATE: Settings = Settings { known_topic: false, without: Some("ignored_auth") };
const ALL: Settings = Settings { known_topic: false, without: None };

struct Settings {
    known_topic: bool,
    without: Option<&'static str>,
}

/// The quickstart, and the key of its identity provider.
struct House {
    setup: Setup,
    key: SigningKey,
}

impl House {
    fn new() -> Self {
        let key = SigningKey::ed25519("first");
        let mut setup = Setup::quickstart();
        setup.believe(&key);
        fs::write(setup.path().join("known.toml"), KNOWN_TOPIC).unwrap();
        Self { setup, key }
    }

    /// One run as this principal against this listener; it must find nothing.
    fn judge(&self, python: &Path, principal: &str, base: &str, settings: &Settings) {
        let mut command = Command::new(python);
        command
            .current_dir(self.setup.path())
            .env("NO_COLOR", "1")
            .args(["-m", "schemathesis.cli"]);
        if settings.known_topic {
            command.arg("--config-file=known.toml");
        }
        command.args(["run", &format!("{base}/openapi.json"), "--checks", "all", "--seed", "1"]);
        command.args(["--phases", "examples,coverage,fuzzing", "--max-examples", "20"]);
        command.args(["--max-failures", "20", "--no-shrink", "--request-timeout", "20"]);
        command.args(["--suppress-health-check", "all", "--warnings", "off"]);
        command.args(["--tls-verify", "certs/ca.pem"]);
        command.args(settings.without.iter().flat_map(|check| ["--exclude-checks", check]));
        self.log_in(&mut command, principal, settings);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        let summary = text.lines().filter(|line| line.contains("generated")).collect::<String>();
        tell(&format!("Schemathesis as {principal}: {}", summary.trim()));
    }

    fn log_in(&self, command: &mut Command, principal: &str, settings: &Settings) {
        if settings.without == BY_CERTIFICATE.without {
            let files = self.setup.files(principal);
            command.arg("--request-cert").arg(&files.certificate);
            command.arg("--request-cert-key").arg(&files.key);
        } else {
            let token = self.key.token(&claims(principal).json());
            command.args(["--header", &format!("Authorization: Bearer {token}")]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_listener_keeps_its_word() {
    let python = require!(judges);
    let house = House::new();
    let gateway = house.setup.start().await;
    house.judge(&python, "svc.market", &gateway.url(""), &ALL);
    house.judge(&python, "svc.market", &gateway.url(""), &WITH_KNOWN_TOPIC);
    house.judge(&python, "analyst", &gateway.url(""), &WITH_KNOWN_TOPIC);
    assert_eq!(gateway.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_keeps_its_word() {
    let python = require!(judges);
    let house = House::new();
    let gateway = house.setup.start().await;
    house.judge(&python, "auditor", &gateway.admin_url(""), &ALL);
    house.judge(&python, "auditor", &gateway.admin_url(""), &BY_CERTIFICATE);
    house.judge(&python, "operator", &gateway.admin_url(""), &ALL);
    assert_eq!(gateway.stop().await, Some(0));
}
