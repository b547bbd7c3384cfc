//! The payloads are the ones we think they are, and what is protected in them is found.

use sluicegate_tests::{
    canary::Search,
    components::tell,
    octokit::{Protected, load},
    require,
};

#[test]
fn the_payloads_name_people() {
    let payloads = load(&require!(payloads));
    assert_eq!(payloads.len(), 329);
    let protected = Protected::of(&payloads);
    let Protected { logins, emails, names, addresses } = &protected;
    tell(&format!(
        "webhook payloads: {} logins, {} e-mail addresses, {} names, {} IP addresses",
        logins.len(),
        emails.len(),
        names.len(),
        addresses.len()
    ));
    assert!(logins.contains_key("Codertocat") && logins.contains_key("octocat"));
    assert!(emails.contains_key("21031067+Codertocat@users.noreply.github.com"));
    assert!(names.contains_key("Mona Lisa"));
}

/// The search that later finds nothing in the outputs does find everything in the input.
#[test]
fn every_protected_string_is_found_in_the_input() {
    let payloads = load(&require!(payloads));
    let strings = Protected::of(&payloads).strings();
    let search = Search::new(strings.clone());
    let input: String = payloads.iter().map(|payload| payload.body.to_string()).collect();
    let found = search.bytes("input", input.as_bytes());
    for string in &strings {
        assert!(found.iter().any(|finding| finding.string == *string), "`{string}` is not found");
    }
}
