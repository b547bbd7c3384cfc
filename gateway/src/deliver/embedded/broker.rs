//! The embedded pipeline as a broker to Kafka clients, for trying and for one machine. The Kafka interface reaches it
//! within the process, as it reaches a cluster's brokers: requests are decided, protected and recorded before they
//! come here, and what is answered passes the reader's view.
//!
//! What is not in [`SPOKEN`] is not announced: transactions, the newer group protocol, ids of topics.

mod data;
mod group;
mod groups;
mod store;
mod topics;

use std::{io, sync::Arc};

use sluicegate_wire::{Direction, Key, Malformed, Name, Unwritable, Value, codes, request_header};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, DuplexStream};

use self::groups::Groups;
pub(super) use self::store::Change;
use super::Embedded;
use crate::{
    ambient::Ambient,
    deliver::kafka::frames::{framed, layout, malformed, read_frame, write_frame},
    record::DeliverError,
};

/// What is answered, and in which versions. From the next version on, requests name topics by ids, or ask for what
/// is not here.
const SPOKEN: &[(Key, i16, i16)] = &[
    (Key::Produce, 3, 12),
    (Key::Fetch, 4, 12),
    (Key::ListOffsets, 1, 7),
    (Key::Metadata, 4, 9),
    (Key::OffsetCommit, 2, 9),
    (Key::OffsetFetch, 1, 9),
    (Key::FindCoordinator, 0, 5),
    (Key::JoinGroup, 0, 9),
    (Key::Heartbeat, 0, 4),
    (Key::LeaveGroup, 0, 5),
    (Key::SyncGroup, 0, 5),
    (Key::DescribeGroups, 0, 6),
    (Key::ListGroups, 0, 5),
    (Key::ApiVersions, 0, 4),
    (Key::CreateTopics, 2, 6),
    (Key::DeleteTopics, 1, 5),
    (Key::InitProducerId, 0, 5),
    (Key::DescribeConfigs, 1, 4),
    (Key::DeleteGroups, 0, 2),
    (Key::DescribeCluster, 0, 1),
];
/// The Kafka interface asks in this version where brokers are; clients are not offered it.
const METADATA_OWN: i16 = 10;
/// The only broker.
const NODE: i32 = 0;
/// No address: clients are told that of the Kafka interface.
const HOST: &str = "embedded";
const PORT: i64 = 1;
/// What a connection holds in each direction.
const PIPE_BYTES: usize = 64 * 1024;
/// The Kafka interface has a smaller bound for what clients send.
const REQUEST_BYTES_MAX: usize = 512 << 20;
const READ_BYTES: usize = 64 * 1024;

/// What an answer says.
type Set<'a> = Vec<(Name, Value<'a>)>;

/// One region's embedded pipeline, as Kafka clients see it.
pub struct Broker {
    log: Arc<Embedded>,
    groups: Groups,
    ambient: Ambient,
    /// By which clients know that it is the same cluster.
    cluster: String,
}

impl Broker {
    pub fn new(region: &str, log: Arc<Embedded>, ambient: Ambient) -> Self {
        let cluster = format!("sluicegate-embedded-{region}");
        Self { log, groups: Groups::default(), ambient, cluster }
    }

    /// A connection to it.
    pub fn connect(self: &Arc<Self>) -> DuplexStream {
        let (client, server) = tokio::io::duplex(PIPE_BYTES);
        let broker = self.clone();
        tokio::spawn(async move {
            let (reader, writer) = tokio::io::split(server);
            let reader = BufReader::with_capacity(READ_BYTES, reader);
            if let Err(error) = broker.serve(reader, writer).await {
                tracing::debug!(event = "embedded-connection-ended", %error);
            }
        });
        client
    }

    /// Answers requests in their order.
    async fn serve(
        &self,
        mut reader: impl AsyncRead + Unpin,
        mut writer: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        while let Some(frame) = read_frame(&mut reader, REQUEST_BYTES_MAX).await? {
            let answer = self.answer(&frame).await?;
            write_frame(&mut writer, &answer).await?;
        }
        Ok(())
    }

    async fn answer(&self, frame: &[u8]) -> io::Result<Vec<u8>> {
        let header = request_header(frame).map_err(io::Error::other)?;
        let version = header.version;
        let spoken = SPOKEN.iter().find(|(key, ..)| *key as i16 == header.key);
        let spoken = spoken.filter(|(key, first, last)| {
            (*first..=*last).contains(&version) || (*key, version) == (Key::Metadata, METADATA_OWN)
        });
        let (key, ..) = *spoken.ok_or_else(|| malformed("an API that is not spoken"))?;
        let (_, asks) = layout(key, Direction::Request, version)?;
        let asked = asks.parse(header.body).map_err(io::Error::other)?;
        let set = match key {
            Key::Produce => self.produce(&asked).await,
            Key::Fetch => self.fetch(&asked).await,
            Key::ListOffsets => self.list_offsets(&asked).await,
            Key::InitProducerId => self.init_producer_id(&asked).await,
            Key::Metadata => self.metadata(&asked).await,
            Key::CreateTopics => self.create_topics(&asked).await,
            Key::DeleteTopics => self.delete_topics(&asked).await,
            Key::DescribeConfigs => self.describe_configs(&asked).await,
            Key::DescribeCluster => Ok(self.describe_cluster()),
            Key::FindCoordinator => Self::find_coordinator(&asked, version),
            Key::JoinGroup => self.join_group(&asked, header.client, version).await,
            Key::SyncGroup => self.sync_group(&asked, version).await,
            Key::Heartbeat => self.heartbeat(&asked),
            Key::LeaveGroup => self.leave_group(&asked, version),
            Key::OffsetCommit => self.offset_commit(&asked).await,
            Key::OffsetFetch => self.offset_fetch(&asked, version).await,
            Key::DescribeGroups => self.describe_groups(&asked).await,
            Key::ListGroups => self.list_groups(&asked, version).await,
            Key::DeleteGroups => self.delete_groups(&asked).await,
            _ => Ok(spoken_set()),
        };
        let set = set.map_err(io::Error::other)?;
        let (api, answers) = layout(key, Direction::Response, version)?;
        let mut frame = vec![0; 4];
        api.response_header(version, header.correlation, &mut frame);
        answers.write(&set, &mut frame).map_err(io::Error::other)?;
        framed(frame)
    }
}

fn spoken_set() -> Set<'static> {
    let api = |(key, first, last): &(Key, i16, i16)| {
        Value::Struct(vec![
            (Name::ApiKey, int(*key as i16)),
            (Name::MinVersion, int(*first)),
            (Name::MaxVersion, int(*last)),
        ])
    };
    vec![(Name::ApiKeys, Value::List(SPOKEN.iter().map(api).collect()))]
}

/// A request that cannot be read or answered ends its connection.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
    #[error("the embedded pipeline is unavailable")]
    Store(#[from] DeliverError),
    #[error("the operating system's random source failed")]
    Random(#[from] crate::ambient::RngUnavailable),
}

fn int(number: impl Into<i64>) -> Value<'static> {
    Value::Int(number.into())
}

fn text(text: impl Into<String>) -> Value<'static> {
    Value::Str(text.into().into())
}

/// What clients are told when the store does not answer: they try again.
const fn code_of(error: &DeliverError) -> i16 {
    match error {
        DeliverError::UnknownTopic => codes::UNKNOWN_TOPIC_OR_PARTITION,
        _ => codes::KAFKA_STORAGE_ERROR,
    }
}

#[cfg(test)]
mod tests;
