use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::ambient::{Ambient, JudgedClock, ManualClock};

/// 2026-11-23.
const NOW_US: i64 = 1_795_392_000_000_000;
const DAY_US: i64 = 86_400_000_000;
const KEY: &str = "keys: { tokens-1: AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=, \
                   ledger-search: AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8= }\n";

#[tokio::test]
async fn only_regular_files_of_each_folder_once_are_read() {
    let House { dir, policy, .. } = house();
    let policies = dir.path().join("policies");
    std::os::unix::fs::symlink(&policies, policies.join("again")).unwrap();
    assert_eq!(read_bundle(&policies).unwrap().len(), 3, "a folder that holds itself");
    let pipe = policies.join("pipe.yaml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let soon = std::time::Duration::from_secs(10);
    let why = tokio::time::timeout(soon, policy.reload()).await.unwrap().unwrap_err().to_string();
    assert!(why.contains("not a regular file"), "{why}");
    std::fs::remove_file(&pipe).unwrap();
    std::fs::File::create(&pipe).unwrap().set_len(BUNDLE_BYTES_MAX + 1).unwrap();
    assert!(read_bundle(&policies).err().unwrap().to_string().contains("more than"));
}

#[test]
fn what_is_not_read_as_a_policy_is_told() {
    let House { dir, .. } = house();
    let policies = dir.path().join("policies");
    std::fs::write(policies.join("README.md"), "Ask the `apiVersion: sluicegate/v1` people.")
        .unwrap();
    assert_eq!(overlooked(&policies), [] as [String; 0]);
    std::fs::rename(policies.join("rules.yaml"), policies.join("rules.txt")).unwrap();
    std::fs::create_dir(policies.join("more")).unwrap();
    let kept = "# kept\napiVersion: sluicegate/v1\n";
    std::fs::write(policies.join("more/words.yaml.bak"), kept).unwrap();
    std::fs::write(policies.join("more/.words.yaml.swp"), kept).unwrap();
    assert_eq!(overlooked(&policies), ["more/words.yaml.bak", "rules.txt"]);
    std::fs::write(policies.join("latin.yaml"), b"# ok\n# S\xe3o Paulo\n").unwrap();
    let why = read_bundle(&policies).err().unwrap().to_string();
    assert!(
        why.ends_with("latin.yaml`: line 2 is not UTF-8\n  help: save the file as UTF-8"),
        "{why}"
    );
}

/// Each of many mistakes would show its line, and a line may be as long as its file.
#[tokio::test]
async fn what_is_wrong_with_a_policy_is_told_at_a_sane_length() {
    let House { dir, policy, .. } = house();
    let long = format!("apiVersion: sluicegate/v1\nkind: {}\n---\n", "K".repeat(10_000)).repeat(30);
    std::fs::write(dir.path().join("policies/long.yaml"), long).unwrap();
    let told = policy.reload().await.err().unwrap().to_string();
    assert!(
        told.starts_with("the policies have errors:\nlong.yaml:2:7: error: `KKK"),
        "{told:.99}"
    );
    assert!(told.len() < POLICY_ERROR_BYTES_MAX + 100 && told.ends_with(" …"), "{}", told.len());
}

struct House {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    policy: Arc<Policy>,
}

fn house() -> House {
    let dir = tempfile::tempdir().unwrap();
    let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/starter");
    std::fs::create_dir(dir.path().join("policies")).unwrap();
    for file in ["words.yaml", "rules.yaml", "tests.yaml"] {
        let from = starter.join("policies").join(file);
        std::fs::copy(from, dir.path().join("policies").join(file)).unwrap();
    }
    let file = dir.path().join("sluicegate.yaml");
    std::fs::copy(starter.join("sluicegate.yaml"), &file).unwrap();
    let clock = Arc::new(ManualClock::at_us(NOW_US));
    let config = crate::config::load(&file).unwrap();
    let judged = Arc::new(JudgedClock::of(clock.clone()));
    let ambient = Ambient { clock: judged, ..Ambient::system() };
    let policy = Arc::new(Policy::new(&config, &ambient));
    let house = House { dir, clock, policy };
    house.keyring(KEY);
    house
}

impl House {
    fn keyring(&self, text: &str) {
        let file = self.dir.path().join("keys/keyring.yaml");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn rules(&self, change: impl Fn(String) -> String) {
        let file = self.dir.path().join("policies/rules.yaml");
        std::fs::write(&file, change(std::fs::read_to_string(&file).unwrap())).unwrap();
    }
}

#[tokio::test]
async fn nothing_is_decided_before_a_policy_is_in_force() {
    let house = house();
    assert_eq!(house.policy.now().err().unwrap().code, RefusalCode::PolicyNotInForce);
    assert!(house.policy.reload().await.unwrap().is_some());
    assert!(house.policy.now().is_ok());
    assert!(house.policy.reload().await.unwrap().is_none(), "nothing changed");
}

#[tokio::test]
async fn a_bad_bundle_changes_nothing_and_says_why() {
    let house = house();
    let first = house.policy.reload().await.unwrap().unwrap();
    house.rules(|text| text.replace("may: [publish]", "may: [publsh]"));
    let error = house.policy.reload().await.unwrap_err().to_string();
    assert!(error.contains("did you mean `publish`?"), "{error}");
    assert_eq!(house.policy.now().unwrap().table.digest(), first.digest);
    assert!(house.policy.trouble().is_some());
    house.rules(|text| text.replace("may: [publsh]", "may: [publish]"));
    assert!(house.policy.reload().await.unwrap().is_none(), "back to what is in force");
    assert!(house.policy.trouble().is_none());
}

#[tokio::test]
async fn a_missing_key_refuses_the_bundle_and_a_found_one_takes_it() {
    let house = house();
    house.keyring(&KEY.replace("tokens-1", "other"));
    let error = house.policy.reload().await.unwrap_err().to_string();
    assert!(error.contains("tokens-1"), "{error}");
    assert!(house.policy.now().is_err());
    house.keyring(KEY);
    assert!(house.policy.reload().await.unwrap().is_some());
    assert!(house.policy.now().is_ok());
}

#[tokio::test]
async fn a_region_without_a_pipeline_refuses_the_bundle() {
    let house = house();
    let words = house.dir.path().join("policies/words.yaml");
    let text = std::fs::read_to_string(&words).unwrap();
    std::fs::write(&words, text.replace("{ id: eu, title", "{ id: europe, title")).unwrap();
    let error = house.policy.reload().await.unwrap_err().to_string();
    assert!(error.contains("region `europe`"), "{error}");
}

#[tokio::test]
async fn a_clock_that_leaps_refuses_while_it_lasts_and_no_longer() {
    let house = house();
    house.policy.reload().await.unwrap();
    assert!(house.policy.now().is_ok());
    for (leap_us, why) in [(31 * DAY_US, "leapt ahead"), (-6_000_000, "leapt back")] {
        house.clock.leap_us(leap_us);
        let refused = house.policy.now().err().unwrap();
        assert!(refused.detail.contains(why), "{}", refused.detail);
        house.clock.leap_us(0);
        assert!(house.policy.now().is_ok());
        house.clock.leap_us(leap_us.signum() * 4_000_000);
        assert!(house.policy.now().is_ok(), "within the tolerance");
        house.clock.leap_us(0);
    }
}

#[tokio::test]
async fn a_clock_behind_a_time_that_has_passed_refuses_until_it_has_caught_up() {
    let house = house();
    house.policy.reload().await.unwrap();
    house.policy.has_passed(NOW_US + DAY_US);
    let refused = house.policy.now().err().unwrap();
    assert!(refused.detail.contains("clock is behind"), "{}", refused.detail);
    house.clock.set_us(NOW_US + DAY_US);
    assert!(house.policy.now().is_ok());
}

#[tokio::test]
async fn a_date_in_the_policy_takes_effect_when_it_passes() {
    let house = house();
    house.rules(|text| {
        text.replace(
            "who: [my-service]\nmay: [publish]",
            "effective: { until: 2026-11-25 }\nwho: [my-service]\nmay: [publish]",
        )
    });
    house.policy.reload().await.unwrap();
    let may_publish = || {
        let snapshot = house.policy.now().unwrap();
        let publish = sluicegate_policies::Operation::Publish;
        snapshot.table.admit("my-service", None, publish, "events").is_ok()
    };
    assert!(may_publish());
    house.clock.set_us(NOW_US + 2 * DAY_US);
    assert!(!may_publish());
}
