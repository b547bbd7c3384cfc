//! NDJSON in, NDJSON out: stretches of what has arrived are published one after the other, and
//! their reports are sent on before the next is read. A reader that is slow slows the whole
//! stream; nothing piles up.

use std::time::Duration;

use axum::{
    body::Body,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};
use tokio::{sync::mpsc, time::Instant};

use super::{
    problems::{cut_off, stopped, too_large, unavailable, unreadable},
    publish::Publish,
    report,
};
use crate::{
    listen::{
        body::{self, Unreadable},
        problem::Problem,
    },
    record::Record,
};

/// Records and bytes of one stretch of a streamed body: one ledger intent, one delivery.
const STRETCH_RECORDS: usize = 500;
const STRETCH_BYTES: usize = 1 << 20;
/// Stretches of report lines that may wait for a slow reader.
const REPORTS_WAITING: usize = 16;

/// Relays a body; the answer is the stream of its reports.
pub(super) fn relay(request: Publish, body: Body) -> Response {
    let (reports, waiting) = mpsc::channel::<Result<Bytes, std::io::Error>>(REPORTS_WAITING);
    tokio::spawn(async move {
        let mut stream = Stream { request, reports, seq: 0 };
        stream.run(body).await;
    });
    let lines = futures_util::stream::unfold(waiting, |mut waiting| async move {
        waiting.recv().await.map(|line| (line, waiting))
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (StatusCode::OK, kind, Body::from_stream(lines)).into_response()
}

/// Why a stretch ended.
enum Cut {
    /// It has as many records as a stretch takes.
    Full,
    /// The buffer has no more lines.
    Empty,
    /// The next line is not a record.
    Bad(Box<Problem>),
}

/// A streamed publish under way.
struct Stream {
    request: Publish,
    reports: mpsc::Sender<Result<Bytes, std::io::Error>>,
    seq: u32,
}

impl Stream {
    async fn run(&mut self, body: Body) {
        if let Err(problem) = self.relay(body).await {
            // The status line is long gone: the stream ends with the problem as its last line.
            let line = serde_json::to_vec(&problem).unwrap_or_default();
            self.send(line).await;
        }
    }

    async fn relay(&mut self, body: Body) -> Result<(), Problem> {
        let face = self.request.face.clone();
        let idle = Duration::from_millis(face.limits.body_idle_timeout_ms);
        let reserve = STRETCH_BYTES + face.limits.record_bytes;
        let _admitted = face
            .admission
            .bytes(reserve)
            .await
            .ok_or_else(|| unavailable("full", "too much is in flight"))?;
        let mut frames = body.into_data_stream();
        let mut buffer = BytesMut::new();
        loop {
            let Some(frame) = next(&mut frames, idle).await? else { break };
            buffer.extend_from_slice(&frame);
            // Take along what has arrived already, up to one stretch.
            while buffer.len() < STRETCH_BYTES {
                match frames.next().now_or_never() {
                    Some(Some(Ok(more))) => buffer.extend_from_slice(&more),
                    Some(Some(Err(_))) => return Err(cut_off()),
                    Some(None) | None => break,
                }
            }
            self.lines(&mut buffer, false).await?;
            if buffer.len() > face.limits.record_bytes {
                return Err(too_large(face.limits.record_bytes));
            }
        }
        self.lines(&mut buffer, true).await
    }

    /// Publishes the complete lines of the buffer; at the end, also one without line end.
    async fn lines(&mut self, buffer: &mut BytesMut, end: bool) -> Result<(), Problem> {
        loop {
            let (records, cut) = self.stretch(buffer, end);
            // What was readable is published, also before a line that is not.
            if !records.is_empty() {
                self.publish(records).await?;
            }
            match cut {
                Cut::Full => {}
                Cut::Empty => return Ok(()),
                Cut::Bad(problem) => return Err(*problem),
            }
        }
    }

    fn stretch(&self, buffer: &mut BytesMut, end: bool) -> (Vec<Record>, Cut) {
        let limit = self.request.face.limits.record_bytes;
        let mut records = Vec::new();
        while records.len() < STRETCH_RECORDS {
            let line = match buffer.iter().position(|byte| *byte == b'\n') {
                Some(newline) => buffer.split_to(newline + 1).freeze(),
                None if end && !buffer.is_empty() => buffer.split().freeze(),
                None => return (records, Cut::Empty),
            };
            let Some(parsed) = body::line(&line) else { continue };
            let n = self.seq as usize + records.len();
            let problem = match parsed {
                Ok(record) if record.bytes() <= limit => {
                    records.push(record);
                    continue;
                }
                Ok(_) => {
                    too_large(limit).detail(format!("record {n} is larger than {limit} bytes"))
                }
                Err(e) => unreadable(Unreadable { record: Some(n), ..e }),
            };
            return (records, Cut::Bad(Box::new(problem)));
        }
        (records, Cut::Full)
    }

    async fn publish(&mut self, records: Vec<Record>) -> Result<(), Problem> {
        let started = Instant::now();
        let count = u32::try_from(records.len()).unwrap_or(u32::MAX);
        let face = self.request.face.clone();
        while let Err(wait) =
            face.admission.records(&self.request.principal.name, records.len(), Instant::now())
        {
            // A stream is slowed to its quota instead of being cut.
            tokio::time::sleep(wait).await;
        }
        // The policy may have changed since the stream began.
        let permitted = self.request.permit().await?;
        let received = self.request.received(self.seq, records);
        let reports = face.flow.publish(&permitted, received).await.map_err(stopped)?;
        self.seq = self.seq.saturating_add(count);
        face.metrics.publish_seconds.observe(started.elapsed().as_secs_f64());
        self.send(report::lines(self.request.id, &reports)).await;
        Ok(())
    }

    async fn send(&self, lines: Vec<u8>) {
        // A publisher that hung up gets no reports; what it sent is published all the same.
        let _hung_up = self.reports.send(Ok(Bytes::from(lines))).await;
    }
}

type Frames = axum::body::BodyDataStream;

pub(super) async fn next(frames: &mut Frames, idle: Duration) -> Result<Option<Bytes>, Problem> {
    match tokio::time::timeout(idle, frames.next()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(frame))) => Ok(Some(frame)),
        Ok(Some(Err(_))) => Err(cut_off()),
        Err(_) => {
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", "The body stood still"))
        }
    }
}
