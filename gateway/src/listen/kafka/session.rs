//! A connection whose principal is known: requests go to one broker over one connection of ours, and answers come back
//! in the order of the requests, those that we give ourselves among them.
//!
//! Three loops, each in order: requests are read and decided; what is decided is sent; answers are read, changed and
//! written. What takes time, a batch that waits for the ledger, runs on its own between the first and the second. When
//! the first ends, for whatever reason, the others finish what they have.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sluicegate_policies::Operation;
use sluicegate_wire::{
    Api, Direction, Header, Key, Malformed, Name, Node, View, request_header, response_header,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf},
    net::TcpStream,
    sync::{OwnedRwLockReadGuard, mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_rustls::server::TlsStream;

use super::{
    Face, acknowledge, answers,
    authorize::{Asker, Decided},
    fetch,
    homeward::Before,
    login::{Conversation, LoggedIn, Next},
    metadata,
    produce::{self, Prepared},
    versions::{self, Ask, Way},
};
use crate::{
    decide::Snapshot,
    deliver::kafka::{
        Connection,
        frames::{framed, layout, malformed, read_length, read_request, read_rest, write_frame},
    },
    identify::Principal,
    listen::{
        LOGIN_FAILURE_FLOOR,
        accept::{Peer, stopped},
        admission::{Admitted, cost},
        pace::{Open, Pace},
    },
    request::Target,
};

/// Requests that are decided and not sent, and requests that are sent and not answered.
const WAITING: usize = 8;
const UNANSWERED: usize = 32;
/// Bytes of a request that brings no records.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Frames of at most so many bytes are not counted into what a principal has under way.
const FREE_BYTES: usize = 64 * 1024;
/// Bytes of one answer of a broker.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Refusals of one connection that are recorded; the same one is recorded once.
const NOTED_MAX: usize = 1_000;
const READ_BYTES: usize = 64 * 1024;
/// A broker that says nothing for so long, beyond what the request itself lets it wait, is gone.
const SILENCE: Duration = Duration::from_secs(30);
/// A request lets a broker wait for at most so long.
const WAIT_MAX: Duration = Duration::from_secs(30 * 60);
/// Members of a group wait for each other without saying for how long.
const GROUP_WAIT: Duration = Duration::from_secs(6 * 60);
/// What is under way when the client has gone, or must go, ends within this time.
const DRAIN: Duration = Duration::from_secs(30);
/// While there is no memory for a request, it is looked for again this often.
const ROOM_PAUSE: Duration = Duration::from_millis(100);

/// The client's side of a connection.
pub(super) struct Wires {
    reader: BufReader<ReadHalf<TlsStream<TcpStream>>>,
    writer: WriteHalf<TlsStream<TcpStream>>,
    pace: Arc<Pace>,
    write_timeout: Duration,
}

impl Wires {
    pub(super) fn new(stream: TlsStream<TcpStream>, pace: Arc<Pace>) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        let reader = BufReader::with_capacity(READ_BYTES, reader);
        let write_timeout = pace.times().write;
        Self { reader, writer, pace, write_timeout }
    }

    pub(super) async fn read(
        &mut self,
        most: impl Fn(i16) -> usize,
    ) -> io::Result<Option<Vec<u8>>> {
        let frame = read_request(&mut self.reader, most).await;
        // What comes before the login is a request too, for those who look for silent connections.
        drop(self.pace.open());
        frame
    }

    pub(super) async fn write(&mut self, answer: &[u8]) -> io::Result<()> {
        bounded(self.write_timeout, write_frame(&mut self.writer, answer)).await
    }
}

async fn bounded<T>(bound: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(bound, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Who is connected.
#[derive(Clone)]
pub(super) struct Session {
    pub face: Arc<Face>,
    pub who: Principal,
    address: IpAddr,
    pub origin: [u8; 16],
    pub manages: bool,
    noted: Arc<Mutex<HashSet<(i16, String)>>>,
    pub before: Arc<Before>,
}

/// A request while it is under way: its place, its memory, and what a graceful stop waits for.
#[derive(Clone)]
pub(super) struct UnderWay {
    _held: Arc<(Open, Option<Admitted>, OwnedRwLockReadGuard<()>)>,
}

/// A request that is read and decided.
enum Slot {
    /// We answer it ourselves.
    Answer(Vec<u8>, UnderWay),
    Send(Vec<u8>, Box<Owed>),
    /// A batch that is being judged and recorded.
    Batch(JoinHandle<io::Result<Prepared>>, UnderWay),
}

/// An answer that a client waits for, in order.
enum Reply {
    Ours(Vec<u8>, UnderWay),
    Theirs(Box<Owed>),
}

/// What is known of an answer that a broker owes.
struct Owed {
    api: &'static Api,
    version: i16,
    /// As the client counts.
    correlation: i32,
    then: Then,
    /// How long the request lets the broker wait.
    wait: Duration,
    under_way: UnderWay,
}

enum Then {
    /// Addresses and names; with the request's body if elements of it were denied.
    Named {
        snapshot: Arc<Snapshot>,
        ask: Ask,
        purpose: Option<String>,
        denied: Option<Vec<u8>>,
    },
    Metadata {
        snapshot: Arc<Snapshot>,
        asked: metadata::Asked,
    },
    Produce(produce::Sent),
    Fetch {
        snapshot: Arc<Snapshot>,
        asked: fetch::Asked,
    },
}

impl Session {
    pub(super) fn new(face: Arc<Face>, who: Principal, peer: &Peer) -> Self {
        let address = peer.address.ip();
        let origin = face.desk.flow.origin(address);
        let manages = face.managers.iter().any(|name| **name == *who.name);
        Self { face, who, address, origin, manages, noted: Arc::default(), before: Arc::default() }
    }

    pub(super) fn asker<'s>(
        &'s self,
        snapshot: &'s Snapshot,
        purpose: Option<&'s str>,
    ) -> Asker<'s> {
        Asker {
            table: &snapshot.table,
            who: &self.who.name,
            purpose,
            cluster: &self.face.cluster,
            manages: self.manages,
        }
    }

    pub(super) fn snapshot(&self) -> io::Result<Arc<Snapshot>> {
        let flow = &self.face.desk.flow;
        flow.snapshot().map_err(|_| malformed("no policy is in force"))
    }

    /// Serves until one side ends.
    pub(super) async fn run(
        self,
        wires: Wires,
        upstream: Connection,
        login: LoggedIn,
        stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let Wires { reader, mut writer, pace, write_timeout } = wires;
        let (slots, to_send) = mpsc::channel(WAITING);
        let (replies, to_answer) = mpsc::channel(UNANSWERED);
        let Connection { reader: mut answers, writer: mut requests, lifetime, .. } = upstream;
        // Before the broker asks us who we are: the client comes again, and so do we.
        let leave = async {
            match lifetime {
                Some(lifetime) => tokio::time::sleep(lifetime.mul_f64(0.8)).await,
                None => std::future::pending().await,
            }
        };
        let reading = async {
            let ended = tokio::select! {
                ended = self.read(reader, login, slots, &pace, stop) => ended,
                () = leave => Ok(()),
            };
            tokio::time::sleep(DRAIN).await;
            ended
        };
        let sending = send(&self, to_send, &mut requests, replies);
        let answering = self.answer(to_answer, &mut answers, &mut writer, write_timeout);
        tokio::select! {
            ended = async { tokio::try_join!(sending, answering).map(|_| ()) } => ended,
            ended = reading => ended,
        }
    }

    async fn read(
        &self,
        mut reader: BufReader<ReadHalf<TlsStream<TcpStream>>>,
        login: LoggedIn,
        slots: mpsc::Sender<Slot>,
        pace: &Arc<Pace>,
        mut stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let LoggedIn { mut until_ms, mut first, .. } = login;
        let body_bytes = self.face.desk.limits.body_bytes;
        let most = |key| if key == Key::Produce as i16 { body_bytes } else { REQUEST_BYTES_MAX };
        let mut again = Conversation::new(self.address);
        loop {
            let frame = match first.take() {
                Some(frame) => frame,
                None => {
                    // Whoever is told to stop takes no more requests, and answers those that it has.
                    let read = tokio::select! {
                        read = read_request(&mut reader, most) => read?,
                        () = stopped(&mut stop) => None,
                    };
                    let Some(frame) = read else { return Ok(()) };
                    frame
                }
            };
            let under_way = self.enter(pace.open(), frame.len()).await;
            let header = request_header(&frame).map_err(io::Error::other)?;
            let key = Api::find(header.key).map(|api| api.key);
            let slot = match (key, header.api) {
                (Some(Key::ApiVersions), _) => {
                    let spoken = self.face.cluster.spoken().await?;
                    let answer = versions::answer(&spoken, header.correlation, header.version)?;
                    Slot::Answer(answer, under_way)
                }
                (Some(key @ (Key::SaslHandshake | Key::SaslAuthenticate)), Some(_)) => {
                    match self.log_in_again(&mut again, key, &header).await? {
                        (answer, None) => Slot::Answer(answer, under_way),
                        (answer, Some(until)) => {
                            until_ms = until;
                            Slot::Answer(answer, under_way)
                        }
                    }
                }
                (_, api) => {
                    let now_ms = self.face.desk.ambient.clock.now_us().div_euclid(1_000);
                    if until_ms.is_some_and(|until| until <= now_ms) {
                        return Err(malformed("the login has expired"));
                    }
                    let way = versions::way(header.key, header.version);
                    match api.zip(way) {
                        Some((api, way)) => self.request(api, way, frame.into(), under_way).await?,
                        None => {
                            self.note(header.key, "kafka-api").await;
                            return Err(malformed("an API or a version that is not offered"));
                        }
                    }
                }
            };
            if slots.send(slot).await.is_err() {
                return Ok(());
            }
        }
    }

    /// A principal says again who it is (KIP-368); it must be the same. The answer, and with the login's end until
    /// when it holds.
    async fn log_in_again(
        &self,
        again: &mut Conversation,
        key: Key,
        header: &Header<'_>,
    ) -> io::Result<(Vec<u8>, Option<Option<i64>>)> {
        let started = Instant::now();
        match again.take(&self.face, key, header).await? {
            Next::Answer(answer) => Ok((answer, None)),
            Next::Done { answer, who, until_ms } if who.name == self.who.name => {
                Ok((answer, Some(until_ms)))
            }
            Next::Done { .. } => Err(malformed("a login of another principal")),
            Next::Failed { failure, .. } => {
                self.face.desk.flow.login_failed(failure, None).await;
                tokio::time::sleep_until(started + LOGIN_FAILURE_FLOOR).await;
                Err(malformed("a login that failed"))
            }
        }
    }

    /// A client that has more under way than there is room for waits: its next request is not read.
    async fn enter(&self, open: Open, bytes: usize) -> UnderWay {
        let stop_waits = self.face.desk.under_way.clone().read_owned().await;
        let admitted = match bytes > FREE_BYTES {
            true => Some(self.admit(cost(bytes, 0)).await),
            false => None,
        };
        UnderWay { _held: Arc::new((open, admitted, stop_waits)) }
    }

    async fn admit(&self, bytes: usize) -> Admitted {
        let mut admitted = self.face.desk.admission.enter(&self.who.name);
        while admitted.grow_to(bytes).await.is_err() {
            tokio::time::sleep(ROOM_PAUSE).await;
        }
        admitted
    }

    /// Decides over a request that is allowed as such.
    async fn request(
        &self,
        api: &'static Api,
        way: Way,
        frame: bytes::Bytes,
        under_way: UnderWay,
    ) -> io::Result<Slot> {
        let header = request_header(&frame).map_err(io::Error::other)?;
        let (version, correlation) = (header.version, header.correlation);
        let (_, layout) = layout(api.key, Direction::Request, version)?;
        let asked = layout.parse(header.body).map_err(io::Error::other)?;
        let purpose = header.client.and_then(purpose_of).map(str::to_owned);
        let wait = wait(api.key, &asked).map_err(io::Error::other)?;
        let owed =
            |then, under_way| Box::new(Owed { api, version, correlation, then, wait, under_way });
        self.look_up(&asked).await.map_err(io::Error::other)?;
        let snapshot = self.snapshot()?;
        if !snapshot.table.may_come_from(&self.who.name, self.address) {
            self.note(header.key, "kafka-network").await;
            return Err(malformed("the principal may not come from this address any more"));
        }
        match way {
            Way::Here => Err(malformed("an API that is not offered")),
            Way::Produce => {
                let preparing = produce::prepare(self.clone(), api, frame.clone(), purpose);
                Ok(Slot::Batch(tokio::spawn(preparing), under_way))
            }
            Way::Fetch => {
                let (sent, asked) = fetch::ask(self, api, &snapshot, &header, purpose).await?;
                match sent {
                    Some(body) => {
                        let frame = self.onward(api, &header, &body)?;
                        Ok(Slot::Send(frame, owed(Then::Fetch { snapshot, asked }, under_way)))
                    }
                    None => {
                        let asker = self.asker(&snapshot, asked.purpose.as_deref());
                        let answer = asked.nothing(&asker, api, version, correlation)?;
                        Ok(Slot::Answer(answer, under_way))
                    }
                }
            }
            Way::Metadata => {
                let (body, asked) = metadata::ask(&self.asker(&snapshot, None), asked)?;
                let frame = self.onward(api, &header, body.as_deref().unwrap_or(header.body))?;
                Ok(Slot::Send(frame, owed(Then::Metadata { snapshot, asked }, under_way)))
            }
            Way::Named(ask) => {
                let decided =
                    self.asker(&snapshot, purpose.as_deref()).decide(api, &header, &asked, ask)?;
                let (body, denied) = match decided {
                    Decided::Refused(answer) => {
                        self.note(header.key, "kafka-named").await;
                        return Ok(Slot::Answer(answer, under_way));
                    }
                    Decided::Pass { body, denied } => (body, denied),
                };
                if denied > 0 {
                    self.note(header.key, "kafka-named").await;
                }
                let denied = (denied > 0).then(|| header.body.to_vec());
                let frame = self.onward(api, &header, body.as_deref().unwrap_or(header.body))?;
                let then = Then::Named { snapshot, ask, purpose, denied };
                Ok(Slot::Send(frame, owed(then, under_way)))
            }
        }
    }

    /// Learns the names behind ids of topics that a request names and that are not known yet.
    async fn look_up(&self, asked: &View<'_>) -> Result<(), Malformed> {
        for list in [Name::Topics, Name::TopicData] {
            if !answers::has(asked, list) {
                continue;
            }
            let Some(topics) = asked.list(list)? else { continue };
            for topic in topics.nodes() {
                let Node::Struct(topic) = topic? else { break };
                if !answers::has(&topic, Name::TopicId) {
                    break;
                }
                let id = topic.uuid(Name::TopicId)?;
                if id != [0; 16] && self.face.cluster.topic(&id).is_none() {
                    self.face.cluster.refresh_soon().await;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The request as the broker gets it. Correlation ids are counted where it is sent.
    pub(super) fn onward(
        &self,
        api: &Api,
        header: &Header<'_>,
        body: &[u8],
    ) -> io::Result<Vec<u8>> {
        let mut frame = vec![0; 4];
        header.write(api, &mut frame);
        frame.extend(body);
        framed(frame)
    }

    fn is_new(&self, key: i16, what: &str) -> bool {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.len() < NOTED_MAX && noted.insert((key, what.to_owned()))
    }

    /// A refusal is an entry, once for each thing of a connection.
    async fn note(&self, key: i16, action: &'static str) {
        if self.is_new(key, action) {
            self.face.desk.flow.refused_by_face(&self.who, action).await;
        }
    }

    /// Records that a topic was refused.
    pub(super) async fn refused(
        &self,
        key: Key,
        topic: &str,
        operation: Operation,
        purpose: Option<&str>,
    ) {
        if self.is_new(key as i16, &format!("topic {topic}")) {
            let target = Target { topic: topic.to_owned(), purpose: purpose.map(str::to_owned) };
            let _refused = self.face.desk.flow.permit(&self.who, &target, operation).await;
        }
    }

    async fn answer(
        &self,
        mut replies: mpsc::Receiver<Reply>,
        upstream: &mut BufReader<impl AsyncRead + Unpin>,
        client: &mut WriteHalf<TlsStream<TcpStream>>,
        write_timeout: Duration,
    ) -> io::Result<()> {
        let (mut counted, mut gone) = (0_i32, Ok(()));
        while let Some(reply) = replies.recv().await {
            let (answer, _under_way) = match reply {
                Reply::Ours(answer, under_way) => (Some(answer), (under_way, None)),
                Reply::Theirs(owed) => {
                    counted = counted.wrapping_add(1);
                    let bound = owed.wait + SILENCE;
                    let length = bounded(bound, read_length(upstream, ANSWER_BYTES_MAX)).await?;
                    let length = length.ok_or(io::ErrorKind::UnexpectedEof)?;
                    let admitted = match length > FREE_BYTES {
                        true => Some(self.admit(cost(length, 0)).await),
                        false => None,
                    };
                    let frame = bounded(SILENCE, read_rest(upstream, Vec::new(), length)).await?;
                    let (answer, under_way) = self.answered(*owed, counted, &frame).await?;
                    (answer, (under_way, admitted))
                }
            };
            // What brokers say is recorded also when nobody is there any more to be told.
            if let Some(answer) = answer.filter(|_| gone.is_ok()) {
                gone = bounded(write_timeout, write_frame(client, &answer)).await;
            }
        }
        gone?;
        bounded(write_timeout, client.shutdown()).await
    }

    /// A broker's answer as the client gets it; nothing if the client waits for none.
    async fn answered(
        &self,
        owed: Owed,
        counted: i32,
        frame: &[u8],
    ) -> io::Result<(Option<Vec<u8>>, UnderWay)> {
        let Owed { api, version, correlation, then, under_way, .. } = owed;
        let (said, body) = response_header(api, version, frame).map_err(io::Error::other)?;
        if said != counted {
            return Err(malformed("an answer to another request"));
        }
        let place = |view: &View<'_>| self.face.place(view);
        let rewritten = match then {
            Then::Named { snapshot, ask, purpose, denied } => {
                let asker = self.asker(&snapshot, purpose.as_deref());
                asker.answer((api, version), ask, body, denied.as_deref(), &place)?
            }
            Then::Metadata { snapshot, asked } => {
                let asker = self.asker(&snapshot, None);
                metadata::answered(&self.face, &asker, version, body, &asked)?
            }
            Then::Produce(sent) => {
                let answer =
                    acknowledge::answered(self, api, version, correlation, sent, body).await?;
                self.before.answered();
                return Ok((answer, under_way));
            }
            Then::Fetch { snapshot, asked } => {
                fetch::answered(self, api, version, &snapshot, asked, body).await?
            }
        };
        let body = rewritten.as_deref().unwrap_or(body);
        Ok((Some(answers::with_body(api.key, version, correlation, body)?), under_way))
    }
}

/// How long a request lets the broker wait with its answer.
fn wait(key: Key, asked: &View<'_>) -> Result<Duration, Malformed> {
    let mut most = match key {
        Key::SyncGroup => GROUP_WAIT,
        _ => Duration::ZERO,
    };
    for name in [Name::MaxWaitMs, Name::TimeoutMs, Name::SessionTimeoutMs, Name::RebalanceTimeoutMs]
    {
        if answers::has(asked, name) {
            let ms = u64::try_from(asked.int::<i64>(name)?).unwrap_or(0);
            most = most.max(Duration::from_millis(ms));
        }
    }
    Ok(most.min(WAIT_MAX))
}

/// The purpose that a client names by its client id: what is behind `purpose=`.
fn purpose_of(client: &str) -> Option<&str> {
    client.split(';').find_map(|part| part.trim().strip_prefix("purpose="))
}

/// Sends what is decided, in order.
async fn send(
    session: &Session,
    mut slots: mpsc::Receiver<Slot>,
    upstream: &mut WriteHalf<impl AsyncWrite + Unpin>,
    replies: mpsc::Sender<Reply>,
) -> io::Result<()> {
    let mut correlation = 0_i32;
    let mut held = produce::Held(HashMap::new());
    while let Some(slot) = slots.recv().await {
        let reply = match slot {
            Slot::Answer(answer, under_way) => Reply::Ours(answer, under_way),
            Slot::Send(frame, owed) => {
                forward(upstream, frame, &mut correlation).await?;
                Reply::Theirs(owed)
            }
            Slot::Batch(preparing, under_way) => {
                let prepared = preparing.await.map_err(io::Error::other)??;
                match prepared.onward(session, &mut held, &under_way).await? {
                    produce::Onward::Nothing => continue,
                    produce::Onward::Answer(answer) => Reply::Ours(answer, under_way),
                    produce::Onward::Send { frame, api, version, correlation: theirs, sent } => {
                        let wait = sent.wait;
                        forward(upstream, frame, &mut correlation).await?;
                        session.before.sent();
                        let then = Then::Produce(sent.forwarded());
                        let correlation = theirs;
                        let owed = Owed { api, version, correlation, then, wait, under_way };
                        Reply::Theirs(Box::new(owed))
                    }
                }
            }
        };
        if replies.send(reply).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Where the correlation id stands in a request with its length.
const CORRELATION_AT: usize = 8;

async fn forward(
    upstream: &mut WriteHalf<impl AsyncWrite + Unpin>,
    mut frame: Vec<u8>,
    correlation: &mut i32,
) -> io::Result<()> {
    *correlation = correlation.wrapping_add(1);
    if let Some(place) = frame.get_mut(CORRELATION_AT..).and_then(|rest| rest.first_chunk_mut()) {
        *place = correlation.to_be_bytes();
    }
    bounded(SILENCE, write_frame(upstream, &frame)).await
}
