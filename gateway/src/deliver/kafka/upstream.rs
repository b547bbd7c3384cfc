//! Connections to the brokers of a cluster that carry a client's requests, one for each of its own, and what is
//! learned on the way: where brokers are, what they speak, and the names behind topic ids.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use sluicegate_wire::{Direction, Key, Name, Value, View, codes, response_header, sasl::client};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader, ReadHalf, WriteHalf},
    net::TcpStream,
    time::Instant,
};
use tokio_rustls::TlsConnector;

use super::frames::{self, read_frame, write_frame};
use crate::{
    ambient::Ambient,
    config::{ClientTls, KafkaCluster, Sasl, SaslMechanism},
    deliver::Broker,
    files::{self, SMALL_FILE_BYTES_MAX},
};

/// A broker that has not let us in by then is unavailable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer to a question of our own.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Topics whose ids are remembered.
const TOPICS_MAX: usize = 100_000;
/// Unknown topics are not asked for more often than this.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);
/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;

/// A cluster as clients reach it through us.
pub struct Cluster {
    upstream: Upstream,
    client_id: String,
    ambient: Ambient,
    known: Mutex<Known>,
}

/// What is behind it.
pub enum Upstream {
    Kafka(KafkaCluster),
    Embedded(Arc<Broker>),
}

#[derive(Default)]
struct Known {
    nodes: BTreeMap<i32, (String, u16)>,
    topics: HashMap<[u8; 16], Arc<str>>,
    spoken: Option<Arc<Spoken>>,
    /// When topics were last asked for because one was not known.
    refreshed: Option<Instant>,
    /// Of the bootstrap addresses, where the next connection begins.
    next: usize,
}

/// What brokers speak: the versions of each API by its key, and the body of their answer (ApiVersions 3).
pub struct Spoken {
    pub versions: BTreeMap<i16, (i16, i16)>,
    pub body: Vec<u8>,
}

/// What a connection runs over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection to a broker, logged in.
pub struct Connection {
    pub reader: BufReader<ReadHalf<Box<dyn Stream>>>,
    pub writer: WriteHalf<Box<dyn Stream>>,
    /// How long the broker takes requests from us before it asks who we are again.
    pub lifetime: Option<Duration>,
    client_id: String,
}

/// Spoken by all brokers since 2.4.
const API_VERSIONS: i16 = 3;
/// Spoken by all brokers since 1.0 and 2.2.
const SASL: i16 = 1;
/// Spoken by all brokers since 2.8; the first with ids of topics.
const METADATA: i16 = 10;

impl Cluster {
    pub fn new(upstream: Upstream, client_id: String, ambient: Ambient) -> Self {
        Self { upstream, client_id, ambient, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects to a broker, or to any.
    pub async fn connect(&self, node: Option<i32>) -> io::Result<Connection> {
        let (Some(node), Upstream::Kafka(cluster)) = (node, &self.upstream) else {
            return self.connect_to_any().await;
        };
        let mut place = self.known().nodes.get(&node).cloned();
        if place.is_none() {
            self.refresh().await?;
            place = self.known().nodes.get(&node).cloned();
        }
        let (host, port) = place.ok_or_else(|| unavailable("the cluster has no such broker"))?;
        self.connect_to(cluster, &host, port).await
    }

    async fn connect_to_any(&self) -> io::Result<Connection> {
        let cluster = match &self.upstream {
            Upstream::Kafka(cluster) => cluster,
            Upstream::Embedded(broker) => return self.greet(Box::new(broker.connect())).await,
        };
        let addresses = &cluster.bootstrap;
        let first = {
            let mut known = self.known();
            known.next = known.next.wrapping_add(1);
            known.next
        };
        let mut error = unavailable("no bootstrap address");
        for n in 0..addresses.len() {
            let Some(address) = addresses.get(first.wrapping_add(n) % addresses.len()) else {
                continue;
            };
            let Some((host, port)) = address.rsplit_once(':') else { continue };
            let Ok(port) = port.parse() else { continue };
            match self.connect_to(cluster, host, port).await {
                Ok(connection) => return Ok(connection),
                Err(failed) => error = failed,
            }
        }
        Err(error)
    }

    async fn connect_to(
        &self,
        cluster: &KafkaCluster,
        host: &str,
        port: u16,
    ) -> io::Result<Connection> {
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, self.log_in(cluster, host, port));
        connected.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn log_in(
        &self,
        cluster: &KafkaCluster,
        host: &str,
        port: u16,
    ) -> io::Result<Connection> {
        let stream = TcpStream::connect((host, port)).await?;
        let _works_without = stream.set_nodelay(true);
        let stream: Box<dyn Stream> = match &cluster.tls {
            None => Box::new(stream),
            Some(tls) => {
                let tls = tls.clone();
                let read = move || client_config(&tls).map_err(|error| error.to_string());
                let config = files::blocking(read).await.map_err(io::Error::other)?;
                let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
                Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
            }
        };
        let mut connection = self.greet(stream).await?;
        if let Some(sasl) = &cluster.sasl {
            connection.authenticate(sasl, &self.ambient).await?;
        }
        Ok(connection)
    }

    /// A connection that has said what it speaks.
    async fn greet(&self, stream: Box<dyn Stream>) -> io::Result<Connection> {
        let (reader, writer) = tokio::io::split(stream);
        let reader = BufReader::with_capacity(READ_BYTES, reader);
        let client_id = self.client_id.clone();
        let mut connection = Connection { reader, writer, lifetime: None, client_id };
        let software = [
            (Name::ClientSoftwareName, "sluicegate".into()),
            (Name::ClientSoftwareVersion, env!("CARGO_PKG_VERSION").into()),
        ];
        let body = connection.ask((Key::ApiVersions, API_VERSIONS), &software).await?;
        let spoken = spoken(body)?;
        self.known().spoken = Some(Arc::new(spoken));
        Ok(connection)
    }

    /// What the cluster's brokers speak, as far as one has told.
    pub async fn spoken(&self) -> io::Result<Arc<Spoken>> {
        if let Some(spoken) = &self.known().spoken {
            return Ok(spoken.clone());
        }
        self.connect_to_any().await?;
        self.known()
            .spoken
            .clone()
            .ok_or_else(|| unavailable("the cluster does not say what it speaks"))
    }

    /// Asks where brokers are and which topics there are.
    pub async fn refresh(&self) -> io::Result<()> {
        let mut connection = self.connect_to_any().await?;
        let all = (Name::Topics, Value::Null);
        let asked = [all, (Name::AllowAutoTopicCreation, Value::Bool(false))];
        let body = connection.ask((Key::Metadata, METADATA), &asked).await?;
        let (_, layout) = frames::layout(Key::Metadata, Direction::Response, METADATA)?;
        self.learn(&layout.parse(&body).map_err(io::Error::other)?).map_err(io::Error::other)
    }

    /// [`Cluster::refresh`], unless somebody just did.
    pub async fn refresh_soon(&self) {
        {
            let mut known = self.known();
            if known.refreshed.is_some_and(|at| at.elapsed() < REFRESH_PAUSE) {
                return;
            }
            known.refreshed = Some(Instant::now());
        }
        if let Err(error) = self.refresh().await {
            tracing::debug!(event = "kafka-metadata-unavailable", %error);
        }
    }

    /// What an answer to Metadata says of brokers and topics.
    pub fn learn(&self, metadata: &View<'_>) -> Result<(), sluicegate_wire::Malformed> {
        let mut known = self.known();
        for broker in metadata.structs(Name::Brokers)? {
            let broker = broker?;
            let port = broker.int::<u16>(Name::Port)?;
            let place = (broker.str(Name::Host)?.to_owned(), port);
            known.nodes.insert(broker.int(Name::NodeId)?, place);
        }
        for topic in metadata.structs(Name::Topics)? {
            let topic = topic?;
            let (id, name) = (topic.uuid(Name::TopicId)?, topic.text(Name::Name)?);
            if let Some(name) = name.filter(|_| id != [0; 16]) {
                if known.topics.len() >= TOPICS_MAX {
                    known.topics.clear();
                }
                known.topics.insert(id, Arc::from(name));
            }
        }
        Ok(())
    }

    /// A broker that an answer names.
    pub fn learn_node(&self, node: i32, host: &str, port: u16) {
        self.known().nodes.insert(node, (host.to_owned(), port));
    }

    /// The topic of an id, as far as it has been learned.
    pub fn topic(&self, id: &[u8; 16]) -> Option<Arc<str>> {
        self.known().topics.get(id).cloned()
    }
}

impl Connection {
    /// Asks and waits for the answer's body; nothing else is under way.
    pub async fn ask(
        &mut self,
        (key, version): (Key, i16),
        set: &[(Name, Value<'_>)],
    ) -> io::Result<Vec<u8>> {
        let request = frames::request((key, version), 0, &self.client_id, set)?;
        write_frame(&mut self.writer, &request).await?;
        let frame = read_frame(&mut self.reader, ANSWER_BYTES_MAX).await?;
        let frame = frame.ok_or(io::ErrorKind::UnexpectedEof)?;
        let (api, _) = frames::layout(key, Direction::Response, version)?;
        let (_, body) = response_header(api, version, &frame).map_err(io::Error::other)?;
        Ok(body.to_vec())
    }

    async fn authenticate(&mut self, sasl: &Sasl, ambient: &Ambient) -> io::Result<()> {
        let file = sasl.password_file.clone();
        let password = files::blocking(move || files::read_text(&file, SMALL_FILE_BYTES_MAX)).await;
        let password = password.map_err(io::Error::other)?;
        let password = password.trim_end();
        let mechanism = match sasl.mechanism {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        };
        let handshake = [(Name::Mechanism, mechanism.into())];
        let body = self.ask((Key::SaslHandshake, SASL), &handshake).await?;
        let (_, layout) = frames::layout(Key::SaslHandshake, Direction::Response, SASL)?;
        let answer = layout.parse(&body).map_err(io::Error::other)?;
        if answer.int::<i16>(Name::ErrorCode).map_err(io::Error::other)? != codes::NONE {
            return Err(denied("the broker does not take the SASL mechanism"));
        }
        let scram = match sasl.mechanism {
            SaslMechanism::Plain => {
                self.say(&client::plain(&sasl.username, password)).await?;
                return Ok(());
            }
            SaslMechanism::ScramSha256 => sluicegate_wire::sasl::scram::Mechanism::Sha256,
            SaslMechanism::ScramSha512 => sluicegate_wire::sasl::scram::Mechanism::Sha512,
        };
        let nonce = ambient.id().map_err(io::Error::other)?;
        let nonce = u128::from_be_bytes(nonce).to_string();
        let (first, mut scram) = client::Scram::new(scram, &sasl.username, &nonce);
        let challenge = self.say(&first).await?;
        let proof = scram.proof(&challenge, password).map_err(io::Error::other)?;
        let last = self.say(&proof).await?;
        scram.verify(&last).map_err(io::Error::other)
    }

    /// One message of a login, and the broker's answer to it.
    async fn say(&mut self, message: &[u8]) -> io::Result<Vec<u8>> {
        let set = [(Name::AuthBytes, message.into())];
        let body = self.ask((Key::SaslAuthenticate, SASL), &set).await?;
        let (_, layout) = frames::layout(Key::SaslAuthenticate, Direction::Response, SASL)?;
        let answer = layout.parse(&body).map_err(io::Error::other)?;
        if answer.int::<i16>(Name::ErrorCode).map_err(io::Error::other)? != codes::NONE {
            return Err(denied("the broker does not accept our credential"));
        }
        let lifetime = answer.int::<i64>(Name::SessionLifetimeMs).map_err(io::Error::other)?;
        self.lifetime =
            u64::try_from(lifetime).ok().filter(|ms| *ms > 0).map(Duration::from_millis);
        Ok(answer.data(Name::AuthBytes).map_err(io::Error::other)?.unwrap_or_default().to_vec())
    }
}

fn spoken(body: Vec<u8>) -> io::Result<Spoken> {
    let (_, layout) = frames::layout(Key::ApiVersions, Direction::Response, API_VERSIONS)?;
    let read = || {
        let answer = layout.parse(&body)?;
        let mut versions = BTreeMap::new();
        for api in answer.structs(Name::ApiKeys)? {
            let api = api?;
            let range = (api.int(Name::MinVersion)?, api.int(Name::MaxVersion)?);
            versions.insert(api.int(Name::ApiKey)?, range);
        }
        Ok::<_, sluicegate_wire::Malformed>(versions)
    };
    let versions = read().map_err(io::Error::other)?;
    match versions.is_empty() {
        true => Err(unavailable("the broker does not say what it speaks")),
        false => Ok(Spoken { versions, body }),
    }
}

fn unavailable(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, why)
}

fn denied(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

fn client_config(tls: &ClientTls) -> io::Result<ClientConfig> {
    let read = |file: &Path| files::read(file, SMALL_FILE_BYTES_MAX).map_err(io::Error::other);
    let chain = |file: &Path| {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(file)?).collect();
        chain.map_err(io::Error::other)
    };
    let mut roots = RootCertStore::empty();
    for authority in chain(&tls.ca)? {
        roots.add(authority).map_err(io::Error::other)?;
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(io::Error::other)?;
            builder.with_client_auth_cert(chain(certificate)?, key).map_err(io::Error::other)
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}
