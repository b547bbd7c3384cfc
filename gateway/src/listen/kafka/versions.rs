//! What a client may ask at all: one list of APIs and their versions. What is not in it is not offered, and refused if
//! it comes.

use std::io;

use sluicegate_wire::{Direction, Key, Malformed, Name, Value, codes};

use super::answers;
use crate::deliver::kafka::{Spoken, frames};

/// What becomes of requests of an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Says who the client is, or what we speak: answered here.
    Here,
    Metadata,
    Produce,
    Fetch,
    /// Passes, but for what the principal may not name.
    Named(Ask),
}

/// What a principal needs to be permitted for a topic that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// To publish to it or read from it.
    See,
    Publish,
    Read,
    /// The role of those who manage topics.
    Manage,
}

const fn allow(key: Key, first: i16, last: i16, way: Way) -> Allowed {
    Allowed { key, versions: (first, last), way }
}

pub(super) struct Allowed {
    pub key: Key,
    pub versions: (i16, i16),
    pub way: Way,
}

/// INVARIANT: this list is complete. A version is in it because somebody has read what it can name.
pub(super) const ALLOWED: &[Allowed] = &[
    allow(Key::Produce, 3, 13, Way::Produce),
    allow(Key::Fetch, 4, 18, Way::Fetch),
    allow(Key::ListOffsets, 1, 11, Way::Named(Ask::See)),
    // Before 4, asking for a topic makes it.
    allow(Key::Metadata, 4, 13, Way::Metadata),
    allow(Key::OffsetCommit, 2, 10, Way::Named(Ask::Read)),
    allow(Key::OffsetFetch, 1, 10, Way::Named(Ask::See)),
    allow(Key::FindCoordinator, 0, 5, Way::Named(Ask::See)),
    allow(Key::JoinGroup, 0, 9, Way::Named(Ask::Read)),
    allow(Key::Heartbeat, 0, 4, Way::Named(Ask::Read)),
    allow(Key::LeaveGroup, 0, 5, Way::Named(Ask::Read)),
    allow(Key::SyncGroup, 0, 5, Way::Named(Ask::Read)),
    allow(Key::DescribeGroups, 0, 6, Way::Named(Ask::See)),
    allow(Key::ListGroups, 0, 5, Way::Named(Ask::See)),
    allow(Key::SaslHandshake, 0, 1, Way::Here),
    allow(Key::ApiVersions, 0, 4, Way::Here),
    allow(Key::CreateTopics, 2, 7, Way::Named(Ask::Manage)),
    allow(Key::DeleteTopics, 1, 6, Way::Named(Ask::Manage)),
    allow(Key::InitProducerId, 0, 5, Way::Named(Ask::Publish)),
    allow(Key::OffsetForLeaderEpoch, 2, 4, Way::Named(Ask::See)),
    // From 4 on it is what brokers ask each other.
    allow(Key::AddPartitionsToTxn, 0, 3, Way::Named(Ask::Publish)),
    allow(Key::AddOffsetsToTxn, 0, 4, Way::Named(Ask::Read)),
    allow(Key::EndTxn, 0, 5, Way::Named(Ask::Publish)),
    allow(Key::TxnOffsetCommit, 0, 5, Way::Named(Ask::Read)),
    allow(Key::DescribeConfigs, 1, 4, Way::Named(Ask::See)),
    allow(Key::SaslAuthenticate, 0, 2, Way::Here),
    allow(Key::CreatePartitions, 0, 3, Way::Named(Ask::Manage)),
    allow(Key::DeleteGroups, 0, 2, Way::Named(Ask::Read)),
    allow(Key::OffsetDelete, 0, 0, Way::Named(Ask::Read)),
    allow(Key::DescribeCluster, 0, 2, Way::Named(Ask::See)),
    allow(Key::DescribeProducers, 0, 0, Way::Named(Ask::Read)),
    allow(Key::DescribeTransactions, 0, 0, Way::Named(Ask::See)),
    allow(Key::ListTransactions, 0, 1, Way::Named(Ask::See)),
    // From 1 on the broker looks for topics itself, by a regular expression, and knows nothing of who may see them.
    allow(Key::ConsumerGroupHeartbeat, 0, 0, Way::Named(Ask::Read)),
    allow(Key::ConsumerGroupDescribe, 0, 1, Way::Named(Ask::See)),
];

/// What becomes of a request; nothing if it is not allowed.
pub(super) fn way(key: i16, version: i16) -> Option<Way> {
    let allowed = ALLOWED.iter().find(|allowed| allowed.key as i16 == key)?;
    let (first, last) = allowed.versions;
    (first <= version && version <= last).then_some(allowed.way)
}

/// What both we and the cluster's brokers speak.
fn offered(spoken: &Spoken) -> impl Iterator<Item = (Key, i16, i16)> {
    ALLOWED.iter().filter_map(|allowed| {
        let (first, last) = allowed.versions;
        if allowed.way == Way::Here {
            return Some((allowed.key, first, last));
        }
        let (theirs_first, theirs_last) = *spoken.versions.get(&(allowed.key as i16))?;
        let (first, last) = (first.max(theirs_first), last.min(theirs_last));
        // librdkafka takes a broker whose Produce does not begin at 0 for one that cannot compress.
        let told = if allowed.key == Key::Produce { 0 } else { first };
        (first <= last).then_some((allowed.key, told, last))
    })
}

/// The answer to ApiVersions, also to one of a version that we do not know.
pub(super) fn answer(spoken: &Spoken, correlation: i32, version: i16) -> io::Result<Vec<u8>> {
    let known = way(Key::ApiVersions as i16, version).is_some();
    let version = if known { version } else { 0 };
    let api = |(key, first, last): (Key, i16, i16)| {
        Value::Struct(vec![
            (Name::ApiKey, Value::Int((key as i16).into())),
            (Name::MinVersion, Value::Int(first.into())),
            (Name::MaxVersion, Value::Int(last.into())),
        ])
    };
    let apis = offered(spoken).map(api).collect();
    let code = if known { codes::NONE } else { codes::UNSUPPORTED_VERSION };
    let mut set =
        vec![(Name::ErrorCode, Value::Int(code.into())), (Name::ApiKeys, Value::List(apis))];
    // Old clients of version 3 stumble over tagged fields, and none of them needs these.
    if version >= 4 {
        set.extend(features(spoken).map_err(io::Error::other)?);
    }
    answers::whole(Key::ApiVersions, version, correlation, &set)
}

/// Features of the cluster that clients decide by.
const FEATURES: [&str; 2] = ["group.version", "transaction.version"];

fn features(spoken: &Spoken) -> Result<Vec<(Name, Value<'_>)>, Malformed> {
    let Ok((_, layout)) = frames::layout(Key::ApiVersions, Direction::Response, 3) else {
        return Ok(vec![]);
    };
    let theirs = layout.parse(&spoken.body)?;
    let list = |list: Name, numbers: [Name; 2]| {
        let mut kept = Vec::new();
        for feature in theirs.structs(list)? {
            let feature = feature?;
            let name = feature.str(Name::Name)?;
            if FEATURES.contains(&name) {
                let mut set = vec![(Name::Name, Value::from(name))];
                for number in numbers {
                    set.push((number, Value::Int(feature.int(number)?)));
                }
                kept.push(Value::Struct(set));
            }
        }
        Ok::<_, Malformed>((list, Value::List(kept)))
    };
    Ok(vec![
        list(Name::SupportedFeatures, [Name::MinVersion, Name::MaxVersion])?,
        list(Name::FinalizedFeatures, [Name::MinVersionLevel, Name::MaxVersionLevel])?,
        (Name::FinalizedFeaturesEpoch, Value::Int(theirs.int(Name::FinalizedFeaturesEpoch)?)),
    ])
}

#[cfg(test)]
mod tests {
    use sluicegate_wire::APIS;

    use super::*;

    /// Versions that exist in Kafka and are not offered, by intent. A new release of Kafka adds to the tables of
    /// `wire`, and this fails until somebody has read what the new version can name.
    const LEFT_OUT: &[(Key, i16)] = &[
        (Key::ApiVersions, 5),
        (Key::FindCoordinator, 6),
        (Key::AddPartitionsToTxn, 5),
        (Key::TxnOffsetCommit, 6),
        (Key::DeleteGroups, 3),
        (Key::ListTransactions, 2),
        (Key::ConsumerGroupHeartbeat, 1),
    ];

    #[test]
    fn each_version_that_exists_is_allowed_or_left_out_by_intent() {
        for allowed in ALLOWED {
            let api = APIS.iter().find(|api| api.key == allowed.key).unwrap();
            let left_out = LEFT_OUT.iter().find(|(key, _)| *key == api.key);
            let last = left_out.map_or(allowed.versions.1, |(_, last)| *last);
            assert_eq!(api.versions.1, last, "{:?} has a version that nobody has read", api.key);
            assert!(left_out.is_none_or(|(_, last)| *last > allowed.versions.1));
            assert!(api.versions.0 <= allowed.versions.0, "{:?}", api.key);
        }
    }

    #[test]
    fn what_is_not_in_the_list_has_no_way() {
        assert_eq!(way(0, 9), Some(Way::Produce));
        for (key, version) in
            [(0, 2), (0, 14), (4, 0), (38, 0), (58, 0), (68, 1), (72, 0), (78, 1), (10_000, 0)]
        {
            assert_eq!(way(key, version), None, "{key} {version}");
        }
    }
}
