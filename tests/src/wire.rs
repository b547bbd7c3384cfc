//! A Kafka client of frames made by hand: it says what no client library would, and shows each answer as it came.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use sluicegate_wire::{
    Api, Direction, Header, Key, Name, Value, View, batch, compress::Codec, response_header,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::ca::{Ca, Identity};

/// One connection to a Kafka listener.
pub struct Wire {
    stream: TlsStream<TcpStream>,
    correlation: i32,
}

/// An answer as it came.
pub struct Answer {
    pub api: &'static Api,
    pub version: i16,
    pub correlation: i32,
    body: Vec<u8>,
}

impl Answer {
    pub fn view(&self) -> View<'_> {
        self.api.layout(Direction::Response, self.version).unwrap().parse(&self.body).unwrap()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.body
    }
}

impl Wire {
    /// Connects to a listener of this machine under a name; with a certificate or none.
    pub async fn connect(port: u16, name: &str, ca: &Ca, identity: Option<&Identity>) -> Self {
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain.map(Result::unwrap).collect(), key).unwrap()
            }
        };
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        Self { stream, correlation: 0 }
    }

    /// Sends a frame as it is.
    pub async fn send_frame(&mut self, frame: &[u8]) {
        let length = i32::try_from(frame.len()).unwrap();
        self.stream.write_all(&length.to_be_bytes()).await.unwrap();
        self.stream.write_all(frame).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Sends a request under a correlation id.
    pub async fn send(
        &mut self,
        (key, version): (Key, i16),
        correlation: i32,
        set: &[(Name, Value<'_>)],
    ) {
        let api = Api::find(key as i16).unwrap();
        let layout = api.layout(Direction::Request, version).unwrap();
        let mut frame = Vec::new();
        let client = Some("wire");
        let key = key as i16;
        Header { key, version, correlation, client, api: Some(api), body: &[] }
            .write(api, &mut frame);
        layout.write(set, &mut frame).unwrap();
        self.send_frame(&frame).await;
    }

    /// The next frame; nothing if the gateway closes the connection.
    pub async fn next_frame(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).await.ok()?;
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut frame).await.ok()?;
        Some(frame)
    }

    /// The next answer, to a request of this API.
    pub async fn next(&mut self, (key, version): (Key, i16)) -> Option<Answer> {
        let frame = self.next_frame().await?;
        let api = Api::find(key as i16).unwrap();
        let (correlation, body) = response_header(api, version, &frame).unwrap();
        Some(Answer { api, version, correlation, body: body.to_vec() })
    }

    /// Asks, and waits for the answer.
    pub async fn ask(&mut self, what: (Key, i16), set: &[(Name, Value<'_>)]) -> Option<Answer> {
        self.correlation += 1;
        let correlation = self.correlation;
        self.send(what, correlation, set).await;
        let answer = self.next(what).await?;
        assert_eq!(answer.correlation, correlation);
        Some(answer)
    }
}

/// A batch of records, each with a key, a value and headers.
pub struct Batch {
    pub head: batch::Head,
    pub codec: Codec,
    pub records: Vec<Record>,
    /// Other offsets than 0, 1, …
    pub deltas: Vec<i32>,
}

#[derive(Clone, Default)]
pub struct Record {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    pub fn of(value: impl Into<Vec<u8>>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }
    }
}

impl Batch {
    /// As a producer without idempotence makes it.
    pub fn of(records: Vec<Record>) -> Self {
        let last = i32::try_from(records.len()).unwrap() - 1;
        let head = batch::Head {
            base_offset: 0,
            leader_epoch: -1,
            attributes: batch::Attributes(0),
            last_offset_delta: last,
            base_timestamp: 1_795_000_000_000,
            max_timestamp: 1_795_000_000_000 + i64::from(last),
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
        };
        Self { head, codec: Codec::None, records, deltas: Vec::new() }
    }

    /// The same of an idempotent producer.
    #[must_use]
    pub fn from_producer(mut self, id: i64, epoch: i16, sequence: i32) -> Self {
        self.head.producer_id = id;
        self.head.producer_epoch = epoch;
        self.head.base_sequence = sequence;
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let (mut out, mut space) = (Vec::new(), Vec::new());
        let mut list = batch::HeaderList::default();
        let mut writer = batch::Writer::new(self.head, self.codec, &mut out, &mut space);
        for (n, record) in (0..).zip(&self.records) {
            list.clear();
            for (name, value) in &record.headers {
                list.push(name.as_bytes(), value.as_deref());
            }
            writer.push(&batch::Record {
                attributes: 0,
                timestamp_delta: i64::from(n),
                offset_delta: self.deltas.get(n as usize).copied().unwrap_or(n),
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: list.headers(),
            });
        }
        writer.finish().unwrap();
        out
    }
}

/// The body of a Produce request for partitions of topics by their names.
pub fn produce<'a>(acks: i64, parts: &[(&'a str, i32, Vec<u8>)]) -> Vec<(Name, Value<'a>)> {
    let topic = |(topic, partition, records): &(&'a str, i32, Vec<u8>)| {
        Value::Struct(vec![
            (Name::Name, (*topic).into()),
            (
                Name::PartitionData,
                Value::List(vec![Value::Struct(vec![
                    (Name::Index, Value::from(*partition)),
                    (Name::Records, Value::Bytes(records.clone().into())),
                ])]),
            ),
        ])
    };
    vec![
        (Name::TransactionalId, Value::Null),
        (Name::Acks, Value::Int(acks)),
        (Name::TimeoutMs, Value::Int(10_000)),
        (Name::TopicData, Value::List(parts.iter().map(topic).collect())),
    ]
}

/// The body of a Fetch request for partitions of topics by their names, from an offset on.
pub fn fetch<'a>(parts: &[(&'a str, i32, i64)]) -> Vec<(Name, Value<'a>)> {
    let topic = |(topic, partition, offset): &(&'a str, i32, i64)| {
        Value::Struct(vec![
            (Name::Topic, (*topic).into()),
            (
                Name::Partitions,
                Value::List(vec![Value::Struct(vec![
                    (Name::Partition, Value::from(*partition)),
                    (Name::FetchOffset, Value::from(*offset)),
                    (Name::PartitionMaxBytes, Value::Int(1 << 20)),
                ])]),
            ),
        ])
    };
    vec![
        (Name::ReplicaId, Value::Int(-1)),
        (Name::MaxWaitMs, Value::Int(1_000)),
        (Name::MinBytes, Value::Int(1)),
        (Name::MaxBytes, Value::Int(1 << 20)),
        (Name::Topics, Value::List(parts.iter().map(topic).collect())),
    ]
}
