use std::os::unix::fs::PermissionsExt;

use ring::rand::SystemRandom;

use super::*;

const FEW: NonZeroU32 = NonZeroU32::new(ITERATIONS_MIN).unwrap();

pub(in crate::identify) fn set(file: &Path, name: &str, password: &str) -> bool {
    let random = SystemRandom::new();
    PasswordFile::change(file, &random, |content| content.set(name, password, FEW, &random))
        .unwrap()
}

fn house() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passwords.yaml");
    (dir, file)
}

fn config(file: &Path) -> config::Passwords {
    config::Passwords { file: file.to_owned(), lenient_scram_nonce: false }
}

async fn read(file: &Path) -> Passwords {
    let passwords = Passwords::new(&config(file));
    passwords.refresh().await.unwrap();
    passwords
}

#[test]
fn a_file_says_what_was_set_and_is_its_owners_alone() {
    let (dir, file) = house();
    assert!(!set(&file, "svc.market", "pencil"));
    assert!(!set(&file, "a \"b\\é=,", "pencil"));
    assert!(set(&file, "svc.market", "another"));
    let content = PasswordFile::read(&file).unwrap();
    let names: Vec<_> = content.names().collect();
    assert_eq!(names, [("a \"b\\é=,", 4096), ("svc.market", 4096)]);
    for (keys, mechanism) in content.credentials["svc.market"].iter().zip(MECHANISMS) {
        assert_eq!(keys.mechanism, mechanism);
        assert!(keys.accept("another") && !keys.accept("pencil"));
    }
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    let random = SystemRandom::new();
    let remove = |name| PasswordFile::change(&file, &random, |c| Ok(c.remove(name))).unwrap();
    assert!(remove("svc.market") && remove("a \"b\\é=,") && !remove("svc.market"));
    assert_eq!(PasswordFile::read(&file).unwrap().names().count(), 0);
}

#[test]
fn a_change_that_fails_changes_nothing_and_two_at_once_are_refused() {
    let (dir, file) = house();
    set(&file, "svc.market", "pencil");
    let before = fs::read(&file).unwrap();
    let random = SystemRandom::new();
    let change = |name: &str, password: &str, iterations| {
        let iterations = NonZeroU32::new(iterations).unwrap();
        let set = |content: &mut PasswordFile| content.set(name, password, iterations, &random);
        PasswordFile::change(&file, &random, set).unwrap_err().to_string()
    };
    assert!(change("", "pencil", 4096).contains("a name is not usable"));
    assert!(change(&"n".repeat(129), "pencil", 4096).contains("a name is not usable"));
    assert!(change("x\n", "pencil", 4096).contains("a name is not usable"));
    assert!(change("x", "pen\u{ad}cil", 4096).contains("SASLprep"));
    assert!(change("x", "pencil", 4095).contains("iterations are 4096 to 1000000"));
    assert!(change("x", "pencil", 1_000_001).contains("iterations are 4096 to 1000000"));
    fs::write(dir.path().join("passwords.yaml.new"), "").unwrap();
    let error = change("x", "pencil", 4096);
    assert!(error.contains("it is being changed") && error.contains("help: remove `"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn a_link_stays_one() {
    let (dir, file) = house();
    let link = dir.path().join("link.yaml");
    set(&file, "a", "pencil");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    set(&link, "b", "pencil");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(PasswordFile::read(&file).unwrap().names().count(), 2);
}

#[test]
fn what_is_no_file_of_passwords_is_refused_without_a_byte_of_it() {
    let (_dir, file) = house();
    set(&file, "svc.market", "pencil");
    let good = fs::read_to_string(&file).unwrap();
    assert!(PasswordFile::parse(&good).is_ok());
    let json: serde_json::Value = serde_saphyr::from_str(&good).unwrap();
    assert!(PasswordFile::parse(&json.to_string()).is_ok(), "JSON is read, too");
    let secret = json["secret"].as_str().unwrap();
    for (from, to) in [
        ("iterations: 4096", "iterations: 4095"),
        ("iterations: 4096", "iterations: 1000001"),
        ("stored-key: \"", "stored-key: \"AAAA"),
        ("salt: \"", "salt: \"!"),
        ("SCRAM-SHA-512", "SCRAM-SHA-384"),
        ("secret: \"", "secret: \"A"),
        ("secret:", "secrets:"),
        ("credentials:", "secret: x\ncredentials:"),
        (secret, ""),
    ] {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good);
        let error = PasswordFile::parse(&text).err().unwrap_or_else(|| panic!("accepted {to}"));
        assert!(!error.contains(secret.get(..8).unwrap_or("no secret")), "{error}");
    }
}

#[tokio::test]
async fn others_may_not_read_it_and_an_error_keeps_what_was_read() {
    let (_dir, file) = house();
    let passwords = Passwords::new(&config(&file));
    let missing = passwords.refresh().await.unwrap_err().to_string();
    assert_eq!(missing, format!("passwords: `{}`: entity not found", file.display()));
    let unread = passwords.check("a", Zeroizing::new("pencil".to_owned())).await;
    assert_eq!(unread, Err(Failure::LoginUnavailable));
    set(&file, "a", "pencil");
    passwords.refresh().await.unwrap();
    assert!(passwords.trouble().is_none());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(passwords.refresh().await.unwrap_err().why.contains("mode is 644"));
    assert!(passwords.trouble().is_some());
    assert_eq!(passwords.check("a", Zeroizing::new("pencil".to_owned())).await, Ok(()));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o440)).unwrap();
    passwords.refresh().await.unwrap();
}

/// The same name looks the same after a restart, from another gateway, and when others come and go.
#[tokio::test]
async fn a_name_that_nobody_has_looks_like_the_others_and_the_same_each_time() {
    let (_dir, file) = house();
    set(&file, "a", "pencil");
    let [one, other] = [read(&file).await, read(&file).await];
    set(&file, "b", "pencil");
    let later = read(&file).await;
    for mechanism in MECHANISMS {
        let asked = |passwords: &Passwords, name| {
            let keys = passwords.keys(mechanism, name).unwrap();
            (keys.salt.clone(), keys.iterations, keys.stored.len())
        };
        let nobody = asked(&one, "nobody");
        assert_eq!(nobody, asked(&other, "nobody"));
        assert_eq!(nobody, asked(&later, "nobody"));
        assert_ne!(nobody.0, asked(&one, "nobody-2").0);
        let somebody = asked(&one, "a");
        assert_eq!(
            (nobody.0.len(), nobody.1, nobody.2),
            (somebody.0.len(), somebody.1, somebody.2)
        );
    }
    let another = file.with_extension("other");
    set(&another, "a", "pencil");
    let fresh = read(&another).await;
    let salt =
        |passwords: &Passwords| passwords.keys(Mechanism::Sha256, "nobody").unwrap().salt.clone();
    assert_ne!(salt(&one), salt(&fresh), "another file, another secret");
}

#[test]
fn nobody_has_the_iterations_that_most_have() {
    let random = SystemRandom::new();
    let mut content = PasswordFile::new(&random).unwrap();
    assert_eq!(content.usual_iterations().get(), ITERATIONS);
    for (name, iterations) in [("a", 4096), ("b", 5000), ("c", 5000)] {
        content.set(name, "pencil", NonZeroU32::new(iterations).unwrap(), &random).unwrap();
    }
    assert_eq!(content.usual_iterations().get(), 5000);
}
