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
    problems::{cut_off, full, not_taken, stopped, timed_out, too_large, unreadable},
    publish::{Publish, worst},
    report,
};
use crate::{
    listen::{
        admission::Admitted,
        body::{self, Unreadable},
        pace::PIECE_BYTES,
        problem::Problem,
    },
    record::Record,
};

/// Records and bytes of one stretch of a streamed body: one ledger intent, one delivery.
const STRETCH_RECORDS: usize = 500;
const STRETCH_BYTES: usize = 1 << 20;
/// Stretches of report lines that may wait for a slow reader.
const REPORTS_WAITING: usize = 1;
/// What a stream holds for as long as it lasts: reports on their way.
const STREAM_BYTES: usize = 512 * 1024;

/// Relays a body; the answer is the stream of its reports.
pub(super) fn relay(request: Publish, body: Body) -> Response {
    let (reports, waiting) = mpsc::channel::<Result<Bytes, std::io::Error>>(REPORTS_WAITING);
    tokio::spawn(async move {
        let mut stream = Stream { request, reports, seq: 0, searched: 0 };
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
    /// So much of the buffer is known to have no line end.
    searched: usize,
}

impl Stream {
    async fn run(&mut self, body: Body) {
        if let Err(problem) = self.relay(body).await {
            // The status line is long gone: the stream ends with the problem as its last line.
            let line = serde_json::to_vec(&problem).unwrap_or_default();
            let _not_taken = self.send(line).await;
        }
    }

    async fn relay(&mut self, body: Body) -> Result<(), Problem> {
        let state = self.request.state.clone();
        let limits = &state.limits;
        let mut admitted = state.admission.enter(&self.request.principal.name);
        admitted.grow_to(STREAM_BYTES).await.map_err(full)?;
        let mut frames = Frames::new(body, Duration::from_millis(limits.body_idle_timeout_ms));
        let mut buffer = BytesMut::new();
        while let Some(frame) = frames.next().await? {
            buffer.extend_from_slice(&frame);
            // Take along what has arrived already, up to one stretch.
            while buffer.len() < STRETCH_BYTES {
                match frames.arrived()? {
                    Some(more) => buffer.extend_from_slice(&more),
                    None => break,
                }
            }
            let needed = worst(buffer.len(), STRETCH_RECORDS.min(limits.request_records));
            self.admit(&mut admitted, STREAM_BYTES + needed).await?;
            self.lines(&mut buffer, false).await?;
            if buffer.len() > limits.record_bytes {
                return Err(too_large(limits.record_bytes));
            }
            admitted.shrink_to(STREAM_BYTES + buffer.len());
            if buffer.is_empty() {
                // Between records a stream may take its time; only silence ends it.
                buffer = BytesMut::new();
                frames.begin();
            }
        }
        self.lines(&mut buffer, true).await
    }

    /// Memory for a stretch. A stream is slowed down before it is cut.
    async fn admit(&self, admitted: &mut Admitted, bytes: usize) -> Result<(), Problem> {
        let wait = Duration::from_millis(self.request.state.limits.body_idle_timeout_ms);
        let deadline = Instant::now() + wait;
        while let Err(error) = admitted.grow_to(bytes).await {
            if Instant::now() >= deadline {
                return Err(full(error));
            }
        }
        Ok(())
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

    /// The next line, with its end; at the end of the body, also what has none.
    fn line(&mut self, buffer: &mut BytesMut, end: bool) -> Option<Bytes> {
        let unknown = buffer.get(self.searched..).unwrap_or_default();
        let line = match unknown.iter().position(|byte| *byte == b'\n') {
            Some(newline) => buffer.split_to(self.searched + newline + 1),
            None if end && !buffer.is_empty() => buffer.split(),
            None => {
                self.searched = buffer.len();
                return None;
            }
        };
        self.searched = 0;
        Some(line.freeze())
    }

    fn stretch(&mut self, buffer: &mut BytesMut, end: bool) -> (Vec<Record>, Cut) {
        let limit = self.request.state.limits.record_bytes;
        let mut records = Vec::new();
        while records.len() < STRETCH_RECORDS {
            let Some(line) = self.line(buffer, end) else { return (records, Cut::Empty) };
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
        let state = self.request.state.clone();
        while let Err(wait) =
            state.admission.records(&self.request.principal.name, records.len(), Instant::now())
        {
            // A stream is slowed to its quota instead of being cut.
            tokio::time::sleep(wait).await;
        }
        // The policy may have changed since the stream began.
        let permitted = self.request.permit().await?;
        let received = self.request.received(self.seq, records);
        let reports = state.flow.publish(&permitted, received).await.map_err(stopped)?;
        self.seq = self.seq.saturating_add(count);
        state.metrics.publish_seconds.observe(started.elapsed().as_secs_f64());
        self.send(report::lines(self.request.id, &reports)).await
    }

    /// A publisher that hung up gets no reports; what it sent is published all the same. One that
    /// stays and takes none ends its stream.
    async fn send(&self, lines: Vec<u8>) -> Result<(), Problem> {
        let wait = Duration::from_millis(self.request.state.limits.write_timeout_ms);
        let sent = tokio::time::timeout(wait, self.reports.send(Ok(Bytes::from(lines)))).await;
        sent.map(|_hung_up| ()).map_err(|_| not_taken())
    }
}

/// A body as it arrives: each piece of [`PIECE_BYTES`] within the timeout, however few bytes come
/// at a time. Only waiting for the peer counts.
pub(super) struct Frames {
    frames: axum::body::BodyDataStream,
    timeout: Duration,
    waited: Duration,
    bytes: usize,
}

impl Frames {
    pub(super) fn new(body: Body, timeout: Duration) -> Self {
        Self { frames: body.into_data_stream(), timeout, waited: Duration::ZERO, bytes: 0 }
    }

    /// The timeout begins anew.
    fn begin(&mut self) {
        (self.waited, self.bytes) = (Duration::ZERO, 0);
    }

    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        let started = Instant::now();
        let left = self.timeout.saturating_sub(self.waited);
        let frame = tokio::time::timeout(left, self.frames.next()).await;
        self.waited += started.elapsed();
        self.taken(frame.map_err(|_| timed_out())?)
    }

    /// What is here without waiting.
    fn arrived(&mut self) -> Result<Option<Bytes>, Problem> {
        match self.frames.next().now_or_never() {
            Some(frame) => self.taken(frame),
            None => Ok(None),
        }
    }

    fn taken(
        &mut self,
        frame: Option<Result<Bytes, axum::Error>>,
    ) -> Result<Option<Bytes>, Problem> {
        let frame = frame.transpose().map_err(|_| cut_off())?;
        self.bytes += frame.as_ref().map_or(0, Bytes::len);
        if self.bytes >= PIECE_BYTES {
            self.begin();
        }
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drip(pieces: usize, bytes: usize, pause_ms: u64) -> Body {
        let drip = futures_util::stream::unfold(0, move |n| async move {
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            (n < pieces).then(|| (Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; bytes])), n + 1))
        });
        Body::from_stream(drip)
    }

    async fn read(body: Body) -> Result<usize, u16> {
        let mut frames = Frames::new(body, Duration::from_millis(200));
        let mut bytes = 0;
        while let Some(frame) = frames.next().await.map_err(|problem| problem.status)? {
            bytes += frame.len();
        }
        Ok(bytes)
    }

    #[tokio::test]
    async fn a_body_has_a_smallest_rate() {
        assert_eq!(read(drip(1_000, 1, 20)).await, Err(408), "it never stalls for long");
        assert_eq!(read(drip(20, PIECE_BYTES, 20)).await, Ok(20 * PIECE_BYTES));
    }
}
