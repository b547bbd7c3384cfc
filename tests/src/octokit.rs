//! GitHub's real-shaped webhook payloads: the records themselves, and every string in them that names a
//! person or a machine. Found by key names and by shape, not by a policy: the policy is what gets judged.

use std::{collections::BTreeMap, fs, net::IpAddr, path::Path};

use serde_json::Value;

/// One webhook delivery.
pub struct Payload {
    /// The event, like `pull_request`.
    pub event: String,
    pub body: Value,
}

/// The strings that must not leave in clear, each with how often it occurs.
#[derive(Debug, Default)]
pub struct Protected {
    pub logins: BTreeMap<String, usize>,
    pub emails: BTreeMap<String, usize>,
    pub names: BTreeMap<String, usize>,
    pub addresses: BTreeMap<String, usize>,
}

/// All payloads, in the file's order. `index` comes from `require!(payloads)`.
pub fn load(index: &Path) -> Vec<Payload> {
    let events: Vec<Value> = serde_json::from_slice(&fs::read(index).unwrap()).unwrap();
    let examples = |event: &Value| {
        let name = event["name"].as_str().unwrap().to_owned();
        let bodies = event["examples"].as_array().unwrap().clone();
        bodies.into_iter().map(move |body| Payload { event: name.clone(), body })
    };
    events.iter().flat_map(examples).collect()
}

impl Protected {
    pub fn of(payloads: &[Payload]) -> Self {
        let mut protected = Self::default();
        for payload in payloads {
            protected.collect(&payload.body);
        }
        protected
    }

    /// All of them, longest first.
    pub fn strings(&self) -> Vec<String> {
        let sets = [&self.logins, &self.emails, &self.names, &self.addresses];
        let mut strings: Vec<String> = sets.into_iter().flat_map(BTreeMap::keys).cloned().collect();
        strings.sort_by_key(|string| (std::cmp::Reverse(string.len()), string.clone()));
        strings.dedup();
        strings
    }

    fn collect(&mut self, value: &Value) {
        match value {
            Value::Object(object) => {
                let person = is_person(object);
                for (key, value) in object {
                    if let Value::String(text) = value {
                        self.keep(key, text, person);
                    }
                    self.collect(value);
                }
            }
            Value::Array(values) => values.iter().for_each(|value| self.collect(value)),
            Value::String(text) if is_address(text) => count(&mut self.addresses, text),
            _scalar => {}
        }
    }

    fn keep(&mut self, key: &str, text: &str, of_a_person: bool) {
        if key.ends_with("email") && text.contains('@') {
            count(&mut self.emails, text);
        } else if key == "login" || (key == "username" && of_a_person) {
            count(&mut self.logins, text);
        } else if key == "name" && of_a_person {
            count(&mut self.names, text);
        }
    }
}

/// A user, or the author, committer or pusher of a commit: what has a login or an e-mail address.
fn is_person(object: &serde_json::Map<String, Value>) -> bool {
    object.get("login").is_some_and(Value::is_string) || object.contains_key("email")
}

/// An IP address, alone, with a prefix length or with a port.
fn is_address(text: &str) -> bool {
    let host = text.split_once('/').map_or(text, |(host, _)| host);
    host.parse::<IpAddr>().is_ok() || text.parse::<std::net::SocketAddr>().is_ok()
}

fn count(set: &mut BTreeMap<String, usize>, text: &str) {
    if !text.is_empty() {
        *set.entry(text.to_owned()).or_default() += 1;
    }
}

#[test]
fn people_are_told_from_things() {
    let body = serde_json::json!({
        "sender": { "login": "octocat", "type": "User" },
        "repository": { "name": "Hello-World", "owner": { "name": "Mona", "email": null, "login": "octocat" } },
        "commits": [{ "author": { "name": "Mona Lisa", "email": "mona@example.com", "username": "monalisa" } }],
        "permissions": { "emails": "read" },
        "hook": { "allowed": ["192.0.2.7/32", "2001:db8::1", "1.2.3"] },
    });
    let protected = Protected::of(&[Payload { event: "push".into(), body }]);
    let keys = |set: &BTreeMap<String, usize>| set.keys().cloned().collect::<Vec<_>>();
    assert_eq!(protected.logins.get("octocat"), Some(&2));
    assert_eq!(keys(&protected.logins), ["monalisa", "octocat"]);
    assert_eq!(keys(&protected.names), ["Mona", "Mona Lisa"]);
    assert_eq!(keys(&protected.emails), ["mona@example.com"]);
    assert_eq!(keys(&protected.addresses), ["192.0.2.7/32", "2001:db8::1"]);
}
