//! Who is there: until that is known, a connection says nothing but what it speaks and who it is.

use std::{io, net::IpAddr, time::Duration};

use sluicegate_wire::{Api, Direction, Header, Key, Name, Value, codes, request_header};
use tokio::time::Instant;

use super::{Face, answers, session::Wires, versions};
use crate::{
    deliver::kafka::frames::{layout, malformed},
    identify::{Credentials, Failure, Login, Principal, REFUSED, Step},
    listen::{LOGIN_FAILURE_FLOOR, accept::Peer},
};

/// Bytes of a stranger's request: a token fits.
const STRANGER_BYTES_MAX: usize = 128 * 1024;
/// Requests before the login is over.
const REQUESTS_MAX: usize = 16;

/// A principal that has logged in.
pub(super) struct LoggedIn {
    pub who: Principal,
    /// When it must have said again who it is.
    pub until_ms: Option<i64>,
    /// The first request that is none of a login.
    pub first: Option<Vec<u8>>,
}

/// One conversation about who is there, at the beginning or again later.
pub(super) struct Conversation {
    address: IpAddr,
    login: Option<Login>,
}

/// What a request of a login leads to.
pub(super) enum Next {
    Answer(Vec<u8>),
    Done {
        answer: Vec<u8>,
        who: Principal,
        until_ms: Option<i64>,
    },
    /// Answer, wait until the time that failures take, close.
    Failed {
        answer: Vec<u8>,
        failure: Failure,
    },
}

impl Conversation {
    pub(super) fn new(address: IpAddr) -> Self {
        Self { address, login: None }
    }

    /// Takes a request of a login.
    pub(super) async fn take(
        &mut self,
        face: &Face,
        key: Key,
        header: &Header<'_>,
    ) -> io::Result<Next> {
        let (version, correlation) = (header.version, header.correlation);
        let (_, layout) = layout(key, Direction::Request, version)?;
        let asked = layout.parse(header.body).map_err(io::Error::other)?;
        if key == Key::SaslHandshake {
            let mechanism = asked.str(Name::Mechanism).map_err(io::Error::other)?;
            let identifier = &face.desk.identifier;
            // With version 0 messages would follow without a request around them.
            self.login = identifier.login(mechanism).filter(|_| version > 0);
            let code = match &self.login {
                Some(_) => codes::NONE,
                None => codes::UNSUPPORTED_SASL_MECHANISM,
            };
            let offered = identifier.mechanisms().into_iter().map(Value::from).collect();
            let set = [
                (Name::ErrorCode, Value::Int(code.into())),
                (Name::Mechanisms, Value::List(offered)),
            ];
            let answer = answers::whole(key, version, correlation, &set)?;
            return Ok(match code {
                codes::NONE => Next::Answer(answer),
                _ => Next::Failed { answer, failure: Failure::SaslMechanism },
            });
        }
        let message = asked.data(Name::AuthBytes).map_err(io::Error::other)?.unwrap_or_default();
        let Some(mut login) = self.login.take() else {
            let answer = authenticated(version, correlation, codes::ILLEGAL_SASL_STATE, b"", 0)?;
            return Ok(Next::Failed { answer, failure: Failure::SaslMalformed });
        };
        let step = match login.step(message).await {
            Step::Done { principal, answer, until_ms } => {
                match face.desk.flow.welcome(principal, self.address) {
                    Ok(principal) => Step::Done { principal, answer, until_ms },
                    Err(failure) => Step::Failed(failure),
                }
            }
            step => step,
        };
        Ok(match step {
            Step::Challenge(challenge) => {
                self.login = Some(login);
                Next::Answer(authenticated(version, correlation, codes::NONE, &challenge, 0)?)
            }
            Step::Done { principal, answer, until_ms } => {
                let now_ms = face.desk.ambient.clock.now_us().div_euclid(1_000);
                let lifetime = until_ms.map_or(0, |until| until.saturating_sub(now_ms).max(1));
                let answer = authenticated(version, correlation, codes::NONE, &answer, lifetime)?;
                Next::Done { answer, who: principal, until_ms }
            }
            Step::Failed(failure) => {
                let code = codes::SASL_AUTHENTICATION_FAILED;
                Next::Failed { answer: authenticated(version, correlation, code, b"", 0)?, failure }
            }
        })
    }
}

fn authenticated(
    version: i16,
    correlation: i32,
    code: i16,
    message: &[u8],
    lifetime: i64,
) -> io::Result<Vec<u8>> {
    let said = if code == codes::NONE { Value::Null } else { REFUSED.into() };
    let set = [
        (Name::ErrorCode, Value::Int(code.into())),
        (Name::ErrorMessage, said),
        (Name::AuthBytes, message.into()),
        (Name::SessionLifetimeMs, Value::Int(lifetime)),
    ];
    answers::whole(Key::SaslAuthenticate, version, correlation, &set)
}

/// Finds out who is there; nothing if nobody is let in.
pub(super) async fn log_in(
    face: &Face,
    wires: &mut Wires,
    peer: &Peer,
) -> io::Result<Option<LoggedIn>> {
    let given = Credentials { certificate: peer.certificate.as_deref(), authorization: None };
    // Who is known without saying more may begin with records.
    let address = peer.address.ip();
    let known = face.desk.identifier.identify(&given).await;
    let known = known.and_then(|who| face.desk.flow.welcome(who, address));
    let body_bytes = face.desk.limits.body_bytes;
    let most = |key| match known.is_ok() && key == Key::Produce as i16 {
        true => body_bytes,
        false => STRANGER_BYTES_MAX,
    };
    let mut conversation = Conversation::new(address);
    for _ in 0..REQUESTS_MAX {
        let Some(frame) = wires.read(most).await? else { return Ok(None) };
        let started = Instant::now();
        let header = request_header(&frame).map_err(io::Error::other)?;
        let (failure, answer) = match Api::find(header.key).map(|api| api.key) {
            Some(Key::ApiVersions) => {
                let spoken = face.cluster.spoken().await?;
                let answer = versions::answer(&spoken, header.correlation, header.version)?;
                wires.write(&answer).await?;
                continue;
            }
            Some(key @ (Key::SaslHandshake | Key::SaslAuthenticate)) => {
                match conversation.take(face, key, &header).await? {
                    Next::Answer(answer) => {
                        wires.write(&answer).await?;
                        continue;
                    }
                    Next::Done { answer, who, until_ms } => {
                        wires.write(&answer).await?;
                        return Ok(Some(LoggedIn { who, until_ms, first: None }));
                    }
                    Next::Failed { answer, failure } => (failure, Some(answer)),
                }
            }
            _ => match known {
                Ok(who) => return Ok(Some(LoggedIn { who, until_ms: None, first: Some(frame) })),
                Err(failure) => (failure, None),
            },
        };
        face.desk.flow.login_failed(failure, Some(address)).await;
        tokio::time::sleep_until(started + LOGIN_FAILURE_FLOOR).await;
        if let Some(answer) = answer {
            wires.write(&answer).await?;
            // A client that is still sending must get the answer before the end.
            let _gone = tokio::time::timeout(LINGER, wires.read(|_| STRANGER_BYTES_MAX)).await;
        }
        return Ok(None);
    }
    Err(malformed("too many requests before a login"))
}

const LINGER: Duration = Duration::from_millis(500);
