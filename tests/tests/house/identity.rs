//! Logins and the files behind them: what keeps a gateway from serving is said once, and in the same words
//! wherever somebody looks.

use std::{fs, time::Duration};

use sluicegate_tests::{
    gateway::{CONFIG, Gateway, run},
    jwt::SigningKey,
    process::eventually,
    setup::Setup,
};

const SAID_WITHIN: Duration = Duration::from_secs(10);
/// Longer than two looks at the files while something is wrong.
const LOOKS_AGAIN: Duration = Duration::from_millis(2_300);

/// A house in which one thing is wrong, and the words for it.
fn broken() -> Vec<(Setup, &'static str)> {
    let no_key = Setup::of("quickstart", "auction", &["other"]);
    let mut no_region = Setup::quickstart();
    no_region.change("  us-east:", "  us-west:");
    let bad_policy = Setup::quickstart();
    fs::write(bad_policy.path().join("policies/9-broken.yaml"), "kind: Nonsense\n").unwrap();
    let mut bad_keys = Setup::quickstart();
    bad_keys.believe(&SigningKey::ed25519("k"));
    fs::write(bad_keys.path().join("jwks.json"), "{}").unwrap();
    vec![
        (no_key, "the keyring has no key `auction-2026`"),
        (no_region, "the policies name region `us-east`, which is not in the configuration"),
        (bad_policy, "the policies have errors:"),
        (bad_keys, "malformed: not a JSON web key set (line 1)"),
    ]
}

#[tokio::test]
async fn check_readiness_and_log_name_the_same_cause_once() {
    let mut running = Vec::new();
    for (setup, cause) in broken() {
        fs::write(setup.path().join(CONFIG), &setup.config).unwrap();
        let checked = run(setup.path(), &["config", "check", CONFIG]);
        let told = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!(checked.status.code(), Some(1), "{cause}: {told}");
        assert!(told.contains(cause), "{cause} is not in: {told}");
        let gateway = Gateway::start_unready(setup.path()).await.unwrap();
        running.push((setup, cause, gateway));
    }
    tokio::time::sleep(LOOKS_AGAIN).await;
    for (setup, cause, gateway) in running {
        let client = setup.client("operator");
        let said = eventually(SAID_WITHIN, async || {
            let answer = client.get(gateway.admin_url("/readyz")).send().await.ok()?;
            assert_eq!(answer.status(), 503, "{cause}");
            answer.text().await.ok().filter(|text| text.contains(cause))
        });
        assert!(said.await.is_some(), "/readyz does not say: {cause}");
        let log = gateway.stderr();
        let lines = log.lines().filter(|line| line.contains(cause)).count();
        assert_eq!(lines, 1, "{cause} in the log:\n{log}");
        assert_eq!(gateway.stop().await, Some(0));
    }
}
