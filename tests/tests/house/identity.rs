//! Logins and the files behind them: what keeps a gateway from serving is said once, and in the same words
//! wherever somebody looks.

use std::{fs, time::Duration};

use sluicegate_tests::{
    client::{Credential, client as client_with},
    gateway::{CONFIG, Gateway, run},
    jwt::SigningKey,
    process::eventually,
    setup::Setup,
};

const SAID_WITHIN: Duration = Duration::from_secs(10);
/// Longer than two looks at the files while something is wrong.
const LOOKS_AGAIN: Duration = Duration::from_millis(2_300);

/// A house in which one thing is wrong, the words for it, and what a stranger is told.
fn broken() -> Vec<(Setup, &'static str, (u16, &'static str))> {
    let no_key = Setup::of("quickstart", "auction", &["other"]);
    let mut no_region = Setup::quickstart();
    no_region.change("  us-east:", "  us-west:");
    let bad_policy = Setup::quickstart();
    fs::write(bad_policy.path().join("policies/9-broken.yaml"), "kind: Nonsense\n").unwrap();
    let mut bad_keys = Setup::quickstart();
    bad_keys.believe(&SigningKey::ed25519("k"));
    fs::write(bad_keys.path().join("jwks.json"), "{}").unwrap();
    let no_text = Setup::quickstart();
    fs::write(no_text.path().join("policies/9-latin.yaml"), b"# S\xe3o Paulo\n").unwrap();
    let pipe = Setup::quickstart();
    let file = pipe.path().join("policies/9-pipe.yaml");
    assert!(std::process::Command::new("mkfifo").arg(file).status().unwrap().success());
    let policy = (503, "policy\n");
    vec![
        (no_key, "the keyring has no key `auction-2026`", policy),
        (
            no_region,
            "the policies name region `us-east`, which is not in the configuration",
            policy,
        ),
        (bad_policy, "the policies have errors:", policy),
        (no_text, "9-latin.yaml`: line 1 is not UTF-8", policy),
        (pipe, "9-pipe.yaml`: not a regular file", policy),
        // Its callers are shut out, and those with certificates are not.
        (bad_keys, "malformed: not a JSON web key set (line 1)", (200, "ok\n")),
    ]
}

#[tokio::test]
async fn check_readiness_and_log_name_the_same_cause_once() {
    let mut running = Vec::new();
    for (setup, cause, told_to_strangers) in broken() {
        fs::write(setup.path().join(CONFIG), &setup.config).unwrap();
        let checked = run(setup.path(), &["config", "check", CONFIG]);
        let told = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!(checked.status.code(), Some(1), "{cause}: {told}");
        assert!(told.contains(cause), "{cause} is not in: {told}");
        let gateway = Gateway::start_unready(setup.path()).await.unwrap();
        running.push((setup, cause, told_to_strangers, gateway));
    }
    tokio::time::sleep(LOOKS_AGAIN).await;
    for (setup, cause, (status, word), gateway) in running {
        let client = setup.client("operator");
        let said = eventually(SAID_WITHIN, async || {
            let answer = client.get(gateway.admin_url("/readyz")).send().await.ok()?;
            assert_eq!(answer.status(), status, "{cause}");
            answer.text().await.ok().filter(|text| text.contains(cause))
        });
        assert!(said.await.is_some(), "/readyz does not say: {cause}");
        for stranger in [client_of(&setup, &Credential::None), setup.client("svc.market")] {
            let answer = stranger.get(gateway.admin_url("/readyz")).send().await.unwrap();
            assert_eq!((answer.status().as_u16(), &*answer.text().await.unwrap()), (status, word));
        }
        let log = gateway.stderr();
        let lines = log.lines().filter(|line| line.contains(cause)).count();
        assert_eq!(lines, 1, "{cause} in the log:\n{log}");
        assert_eq!(gateway.stop().await, Some(0));
    }
}

fn client_of(setup: &Setup, credential: &Credential) -> reqwest::Client {
    client_with(&setup.ca, credential)
}
