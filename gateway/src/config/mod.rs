//! The configuration file: one struct a section; a field's comment is its manual.
//!
//! Strict YAML: unknown keys are refused, secrets are in files of their own and are only named
//! here, and every mistake is reported at once with its place. Relative paths are relative to the
//! configuration file.

mod check;
mod kafka;
mod parse;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use serde::Deserialize;

use crate::files::{self, SMALL_FILE_BYTES_MAX};

pub use kafka::{Brokers, KafkaFace, Ports};
pub use parse::{Mistake, load, load_as, parse};

/// A whole configuration, checked.
#[derive(Clone)]
pub struct Config {
    /// BLAKE3 of the text, in hexadecimal.
    pub digest: String,
    pub mode: Mode,
    pub node: String,
    pub tenant: String,
    pub policies: PathBuf,
    pub keys: Keys,
    pub ledger: LedgerConfig,
    pub listen: Listener,
    pub admin: Listener,
    pub regions: BTreeMap<String, Region>,
    pub kafka: BTreeMap<String, KafkaFace>,
    pub identify: Identify,
    pub roles: Roles,
    pub limits: Limits,
    pub releases: Releases,
}

/// How careful the gateway is with conveniences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// File keys and embedded pipelines are fine.
    #[default]
    Development,
    /// File keys, embedded pipelines and anonymous principals are refused.
    Production,
}

/// Where token master keys come from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Keys {
    /// A file keyring: `keys: { NAME: BASE64 }`, 32 bytes each, readable by its owner only.
    pub file: PathBuf,
}

/// The ledger's store and name.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LedgerConfig {
    /// `sqlite:FILE`. A PostgreSQL URL holds a password, so it goes into `store-file`.
    pub store: Option<String>,
    /// A file whose only line is the store's URL, such as `postgres://…`.
    pub store_file: Option<PathBuf>,
    /// The ledger's name in the world; it is part of every row, so that rows of one ledger cannot
    /// be passed off as rows of another.
    pub origin: String,
    /// How long another node must be silent before this one ends its chains and settles its open
    /// intents, seconds (20 to 86,400).
    #[serde(default = "takeover")]
    pub takeover_s: u32,
}

/// One TLS listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Listener {
    /// IP address and port; port 0 takes a free one and says which.
    pub address: SocketAddr,
    pub tls: ServerTls,
}

/// Certificates of a listener. The files are watched: a new certificate, key or CA is used for
/// new connections at once, and existing connections continue.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ServerTls {
    /// PEM, leaf first.
    pub certificate: PathBuf,
    /// PEM, PKCS#8, PKCS#1 or SEC 1.
    pub key: PathBuf,
    /// PEM; the authorities whose client certificates are accepted.
    pub client_ca: Option<PathBuf>,
    /// `none` (default), `optional` or `required`.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// `1.3` (default) or `1.2`, where a client needs it.
    #[serde(default)]
    pub min_version: TlsVersion,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuth {
    #[default]
    None,
    Optional,
    Required,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum TlsVersion {
    #[serde(rename = "1.2")]
    Tls12,
    #[default]
    #[serde(rename = "1.3")]
    Tls13,
}

/// Where a region's records go: exactly one of the two.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Region {
    /// A durable topic log inside the gateway: for trying, and for one machine.
    pub embedded: Option<Embedded>,
    /// An Apache Kafka cluster.
    pub kafka: Option<KafkaCluster>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Embedded {
    pub file: PathBuf,
    /// Partitions of each topic; fixed once a topic exists (1 to 256).
    #[serde(default = "four")]
    pub partitions: u16,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KafkaCluster {
    /// `host:port` of some brokers.
    pub bootstrap: Vec<String>,
    /// Absent means plaintext, which `mode: production` refuses.
    pub tls: Option<ClientTls>,
    pub sasl: Option<Sasl>,
    /// How long a record may wait for its acknowledgement, seconds. Longer than a broker's
    /// restart; the publisher waits as long.
    #[serde(default = "delivery_timeout")]
    pub delivery_timeout_s: u32,
    /// Bytes of one produce batch; keep it below the smallest `max.message.bytes` of the topics.
    #[serde(default = "batch_bytes")]
    pub batch_bytes: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClientTls {
    /// PEM; the authorities of the brokers' certificates.
    pub ca: PathBuf,
    /// PEM; our own certificate and key, for mutual TLS.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Sasl {
    pub mechanism: SaslMechanism,
    pub username: String,
    /// A file whose only line is the password.
    pub password_file: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum SaslMechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// How a connection or request becomes a principal.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Identify {
    #[serde(default)]
    pub certificates: Vec<CertificateRule>,
    #[serde(default)]
    pub tokens: Vec<TokenIssuer>,
    /// Passwords of Kafka clients (SCRAM and PLAIN). Absent: no client logs in by one.
    pub passwords: Option<Passwords>,
    /// The principal for callers without a credential. Absent: nobody.
    pub anonymous: Option<String>,
}

/// A name in a client certificate and the principal it stands for; exact match, one name per rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CertificateRule {
    pub uri: Option<String>,
    pub dns: Option<String>,
    pub email: Option<String>,
    pub common_name: Option<String>,
    pub principal: String,
}

/// An issuer of JSON Web Tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TokenIssuer {
    /// The `iss` claim.
    pub issuer: String,
    /// What the `aud` claim must contain.
    pub audience: String,
    /// A JSON web key set on disk (watched), or…
    pub jwks_file: Option<PathBuf>,
    /// …at an https URL, or…
    pub jwks_url: Option<String>,
    /// …where the issuer's `/.well-known/openid-configuration` says. Key sets are read again every
    /// five minutes, and when a token names an unknown key.
    #[serde(default)]
    pub discovery: bool,
    /// PEM; the authorities of the server that gives the key set, instead of the system's.
    pub ca: Option<PathBuf>,
    /// Seconds that keys are used after their set was last read.
    #[serde(default = "jwks_max_age")]
    pub jwks_max_age_s: u32,
    /// Asymmetric algorithms only: EdDSA, ES256, ES384, RS256…512, PS256…512.
    pub algorithms: Vec<Algorithm>,
    /// What the `typ` header must be, such as `at+jwt`; absent: anything.
    pub token_type: Option<String>,
    /// Seconds of tolerance on `exp` and `nbf`.
    #[serde(default = "clock_skew")]
    pub clock_skew_s: u32,
    /// The claim that names the principal.
    #[serde(default = "sub")]
    pub principal_claim: String,
    /// Claim value to principal; absent: the claim is the principal's name.
    #[serde(default)]
    pub principals: BTreeMap<String, String>,
}

/// The passwords of Kafka clients. Their names are the policy's principals.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Passwords {
    /// Written by `sluicegate credential`, readable by its owner and group only. Watched.
    pub file: PathBuf,
    /// Whether the last message of SCRAM may repeat the client's nonce, as librdkafka before 2.6.1
    /// does.
    #[serde(default)]
    pub lenient_scram_nonce: bool,
}

/// Who may use the admin listener, by principal name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Roles {
    /// May read lineage and verify the ledger; each read is itself a ledger entry.
    #[serde(default)]
    pub auditor: Vec<String>,
    /// May read metrics and reload.
    #[serde(default)]
    pub operator: Vec<String>,
    /// May make and remove the policy's topics, and add partitions, at the Kafka listeners.
    #[serde(default)]
    pub topics: Vec<String>,
}

/// Bounds. Every queue, body and wait of the gateway has one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Limits {
    /// Bytes of one request body that is not streamed.
    pub body_bytes: usize,
    /// Records of one request that is not streamed; more: 413.
    pub request_records: usize,
    /// Bytes of one record: value, key and headers.
    pub record_bytes: usize,
    /// Bytes of one answer to a read, though it has one record at least.
    pub read_bytes: usize,
    /// Memory of all requests that are worked on and all answers that are not written. More waits
    /// for `admission_wait_ms`, then is answered 503. A principal that would hold more than it
    /// leaves free is answered 429.
    pub in_flight_bytes: usize,
    pub admission_wait_ms: u64,
    /// Records per second that a principal may publish, averaged, with a burst of twice that; 0: no
    /// quota. Above it: 429.
    pub principal_records_per_s: u32,
    /// Connections of the data listener, as far as the process may have so many open files. When
    /// all are taken, the one that has waited longest without a request is closed for a new one.
    pub connections: usize,
    /// The same for the admin listener; its files are set aside.
    pub admin_connections: usize,
    /// Connections of one address (IPv6: of one /64) at one listener, at most half of all.
    pub connections_per_address: usize,
    /// A connection's first request must arrive within this time.
    pub header_timeout_ms: u64,
    /// A connection without a request is closed after this time.
    pub idle_timeout_ms: u64,
    /// Each 32 KiB of a body must arrive within this time, and its rest too.
    pub body_idle_timeout_ms: u64,
    /// How long lines of a stream wait for more lines, at most 1000; 0: only while earlier ones are
    /// in progress. A line that arrives while nothing of its stream is in progress does not wait.
    pub stream_wait_ms: u64,
    /// Each 32 KiB of an answer must be taken within this time, or the connection is closed.
    pub write_timeout_ms: u64,
    /// How long a graceful stop waits for requests in flight.
    pub shutdown_ms: u64,
    /// How long readiness is off before the listener closes, so that balancers notice.
    pub shutdown_delay_ms: u64,
    /// How long an idempotency key is remembered.
    pub idempotency_hours: u32,
}

/// What releases may use of this machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Releases {
    /// Where state goes that does not fit in memory. Emptied at each start: it is made again from
    /// the contributions.
    pub directory: PathBuf,
    /// Subjects that one partition of a release keeps in memory; more are spilled.
    pub resident_subjects: usize,
    /// Bytes that one partition may spill; with more, its open windows are aborted.
    pub spill_bytes: u64,
    /// Where it is witnessed what was spent: a folder on another disk than the ledger's, which all
    /// gateways of the ledger share.
    pub witness: PathBuf,
    /// `run --restored`.
    #[serde(skip)]
    pub restored: bool,
}

impl Default for Releases {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("releases"),
            resident_subjects: 1_000_000,
            spill_bytes: 8 << 30,
            witness: PathBuf::from("witness"),
            restored: false,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 16 << 20,
            request_records: 10_000,
            record_bytes: 1_000_000,
            read_bytes: 4 << 20,
            in_flight_bytes: 256 << 20,
            admission_wait_ms: 2_000,
            principal_records_per_s: 0,
            connections: 10_000,
            admin_connections: 256,
            connections_per_address: 1_000,
            header_timeout_ms: 10_000,
            idle_timeout_ms: 60_000,
            body_idle_timeout_ms: 30_000,
            stream_wait_ms: 5,
            write_timeout_ms: 30_000,
            shutdown_ms: 30_000,
            shutdown_delay_ms: 0,
            idempotency_hours: 24,
        }
    }
}

fn four() -> u16 {
    4
}
fn takeover() -> u32 {
    120
}
fn delivery_timeout() -> u32 {
    60
}
fn batch_bytes() -> u32 {
    262_144
}
fn clock_skew() -> u32 {
    60
}
fn jwks_max_age() -> u32 {
    86_400
}
fn sub() -> String {
    "sub".to_owned()
}

/// A signature algorithm, by its name in RFC 7518 and RFC 8037.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    // RFC 9864 gives EdDSA with this curve a name of its own.
    #[serde(rename = "EdDSA", alias = "Ed25519")]
    EdDsa,
    Es256,
    Es384,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
}

/// Why the ledger's store is not known.
#[derive(Debug, thiserror::Error)]
pub enum StoreUrlError {
    #[error("couldn't read the ledger's `store-file` `{file}`: {why}")]
    StoreFile { file: String, why: String },
    #[error(transparent)]
    Url(#[from] sluicegate_audit::StoreError),
}

impl LedgerConfig {
    /// The store; a URL with a password is in a file of its own.
    pub fn url(&self) -> Result<sluicegate_audit::Url, StoreUrlError> {
        let text = match (&self.store, &self.store_file) {
            (Some(store), _) => store.clone(),
            (None, Some(file)) => files::read_text(file, SMALL_FILE_BYTES_MAX).map_err(|why| {
                StoreUrlError::StoreFile { file: file.display().to_string(), why }
            })?,
            (None, None) => String::new(),
        };
        Ok(text.trim().parse()?)
    }
}
