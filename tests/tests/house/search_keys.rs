//! Search keys that rotate under a running gateway: what was written under any of them is found, by both
//! ways, before and after a restart; and none that the ledger needs may change or go.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use serde_json::{Value, json};
use sluicegate_tests::{
    gateway::{Gateway, run},
    process::eventually,
    setup::Setup,
};

const TAKEN_WITHIN: Duration = Duration::from_secs(20);
const KEYRING: &str = "keys/keyring.yaml";
const SECOND: &str = "  \"ledger-search-2\": AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";

/// Writes the keyring, as an editor saves it.
fn write(setup: &Setup, text: &str) {
    let (path, beside) = (setup.path().join(KEYRING), setup.path().join("keys/new"));
    fs::write(&beside, text).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(beside, path).unwrap();
}

async fn publish(setup: &Setup, gateway: &Gateway, key: &str) -> (u16, Option<String>, Value) {
    let record = json!({ "key": "7", "value": {
        "auction": 7, "price": 120, "bidder": { "id": 1001, "country": "DE" },
        "terminal": "terminal-7",
    }});
    let url = gateway.url("/v1/topics/bids/records");
    let request = setup.client("svc.market").post(url).header("idempotency-key", key);
    let answer = request.json(&record).send().await.unwrap();
    let replayed = answer.headers().get("idempotency-replayed");
    let replayed = replayed.map(|value| value.to_str().unwrap().to_owned());
    let status = answer.status().as_u16();
    (status, replayed, answer.json().await.unwrap())
}

/// The token of the bidder, read from the topic.
async fn token(setup: &Setup, gateway: &Gateway, report: &Value) -> String {
    let delivery = &report[0]["deliveries"][0];
    let path = format!(
        "/v1/topics/bids/partitions/{}/records?region={}&offset={}&limit=1",
        delivery["partition"],
        delivery["region"].as_str().unwrap(),
        delivery["offset"]
    );
    let answer = setup.client("analyst").get(gateway.url(&path)).send().await.unwrap();
    let record: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    record["value"]["bidder"]["id"].as_str().unwrap().to_owned()
}

/// Both records are found by their token and by their source, on the command line and over HTTPS.
async fn both_are_found(setup: &Setup, gateway: &Gateway, token: &str) {
    for (words, path) in [
        (["token", token].to_vec(), format!("tokens/{token}")),
        (
            ["affected", "--source", "device=terminal-7"].to_vec(),
            "affected?source=device%3Dterminal-7".to_owned(),
        ),
    ] {
        let output = run(setup.path(), &[&["lineage"], &words[..], &["-o", "json"]].concat());
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["found"].as_array().map(Vec::len), Some(2), "{words:?}: {told}");
        let url = gateway.admin_url(&format!("/v1/lineage/{path}"));
        let answer = setup.client("auditor").get(url).send().await.unwrap();
        let told: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(told["found"].as_array().map(Vec::len), Some(2), "{path}: {told}");
    }
}

fn verified(setup: &Setup) {
    let output = run(setup.path(), &["ledger", "verify", "--store", "sqlite:data/ledger.db"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
}

/// Until the log says it again: a reload that is refused.
async fn refused(gateway: &mut Gateway, why: &str) {
    gateway.reload();
    let said = eventually(TAKEN_WITHIN, async || gateway.stderr().contains(why).then_some(()));
    assert!(said.await.is_some(), "no word of `{why}`: {}", gateway.stderr());
}

#[tokio::test]
async fn search_keys_rotate_and_everything_is_found_under_all_of_them() {
    let setup = Setup::quickstart();
    let first = fs::read_to_string(setup.path().join(KEYRING)).unwrap();
    let both = format!("{first}{SECOND}");
    let mut gateway = setup.start().await;
    let (status, _, report) = publish(&setup, &gateway, "one").await;
    assert_eq!(status, 200, "{report}");
    let token = token(&setup, &gateway, &report).await;

    write(&setup, &both);
    gateway.reload();
    // Another policy in force is not to be seen: the segment is.
    let entered = eventually(TAKEN_WITHIN, async || {
        run(setup.path(), &["ledger", "export", "--store", "sqlite:data/ledger.db", "--to", "e"]);
        let ledger = fs::read(setup.path().join("e")).unwrap();
        let name = b"ledger-search-2";
        ledger.windows(name.len()).any(|bytes| bytes == name).then_some(())
    });
    assert!(entered.await.is_some(), "the new key was not taken: {}", gateway.stderr());
    let (status, replayed, report) = publish(&setup, &gateway, "two").await;
    assert_eq!((status, replayed), (200, None), "{report}");
    both_are_found(&setup, &gateway, &token).await;
    // An idempotency key of before is known.
    let (status, replayed, _) = publish(&setup, &gateway, "one").await;
    assert_eq!((status, replayed.as_deref()), (200, Some("true")));

    // A key that the ledger was written with neither changes nor goes, and the old ones stay in force.
    let changed = both.replace("\"ledger-search\": ", "\"unused\": ");
    write(&setup, &changed);
    refused(&mut gateway, "the keyring has no search key `ledger-search`").await;
    let other = SECOND.replace("AAEC", "AAED");
    write(&setup, &format!("{first}{other}"));
    refused(&mut gateway, "the search key `ledger-search-2` of the keyring is not the one").await;
    let changed = format!("{changed}{}", SECOND.replace("ledger-search-2", "ledger-search"));
    write(&setup, &changed);
    refused(&mut gateway, "the search key `ledger-search` of the keyring is not the one").await;
    write(&setup, &both);
    both_are_found(&setup, &gateway, &token).await;
    verified(&setup);
    assert_eq!(gateway.stop().await, Some(0));

    let gateway = setup.start().await;
    both_are_found(&setup, &gateway, &token).await;
    let (status, replayed, _) = publish(&setup, &gateway, "one").await;
    assert_eq!((status, replayed.as_deref()), (200, Some("true")));
    assert_eq!(gateway.stop().await, Some(0));

    // Nor does a gateway start without one of them.
    write(&setup, &first);
    let (code, said) = match Gateway::start_unready(setup.path()).await {
        Err(why) => (why.status.and_then(|status| status.code()), why.stderr),
        Ok(mut gateway) => {
            let ended = gateway.ends(TAKEN_WITHIN).await;
            (ended.and_then(|status| status.code()), gateway.stderr())
        }
    };
    assert!(code.is_some_and(|code| code != 0) && said.contains("`ledger-search-2`"), "{said}");
    verified(&setup);
}
