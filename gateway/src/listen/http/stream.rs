//! NDJSON in, NDJSON out: lines are collected into stretches, and the stretches pass through four
//! stages in their order: judged, recorded, delivered, reported. While one waits for the pipeline,
//! the next is in the ledger and the one after it is judged.
//!
//! INVARIANT: each stage works on one stretch at a time, so records reach a partition in the order
//! of their lines. Only a few stretches are under way, and only a report waits for the publisher: a
//! slow reader slows the whole stream, and what is judged is recorded and delivered without it.

use std::time::Duration;

use axum::{
    body::Body,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};
use sluicegate_audit::Recorded;
use tokio::{
    sync::{OwnedRwLockReadGuard, mpsc, watch},
    time::Instant,
};

use super::{
    problems::{cut_off, full, not_taken, stopped, timed_out, too_large, unreadable},
    publish::{Publish, worst},
    report,
};
use crate::{
    flow::{Head, Permitted},
    listen::{
        admission::{Admitted, cost},
        body::{self, Unreadable},
        pace::PIECE_BYTES,
        problem::Problem,
    },
    record::{Record, Verdict},
};

/// Records and bytes of one stretch of a streamed body: one ledger intent, one delivery.
const STRETCH_RECORDS: usize = 500;
const STRETCH_BYTES: usize = 1 << 20;
/// Stretches that are judged and not reported yet.
const STRETCHES_UNDER_WAY: usize = 3;
/// Stretches of report lines that may wait for a slow reader.
const REPORTS_WAITING: usize = 1;
/// What a stream holds for as long as it lasts: reports on their way.
const STREAM_BYTES: usize = 512 * 1024;

/// Relays a body; the answer is the stream of its reports.
pub(super) fn relay(request: Publish, body: Body) -> Response {
    let (reports, waiting) = mpsc::channel(REPORTS_WAITING);
    tokio::spawn(async move {
        let stream = Stream { request, under_way: watch::Sender::new(0) };
        let (judged, to_record) = mpsc::channel(STRETCHES_UNDER_WAY);
        let (recorded, to_deliver) = mpsc::channel(STRETCHES_UNDER_WAY);
        let (delivered, to_report) = mpsc::channel(STRETCHES_UNDER_WAY);
        tokio::join!(
            stream.judge(body, judged, delivered.clone()),
            stream.record(to_record, recorded),
            stream.deliver(to_deliver, delivered),
            stream.report(to_report, reports),
        );
    });
    let lines = futures_util::stream::unfold(waiting, |mut waiting| async move {
        waiting.recv().await.map(|line| (line, waiting))
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (StatusCode::OK, kind, Body::from_stream(lines)).into_response()
}

/// A streamed publish under way.
struct Stream {
    request: Publish,
    /// Stretches that are judged and not reported yet.
    under_way: watch::Sender<usize>,
}

/// A stretch on its way.
struct Stretch<T> {
    started: Instant,
    permitted: Permitted,
    head: Head,
    of: T,
    admitted: Admitted,
}

/// A graceful stop waits for what is recorded.
type ToDeliver = (Stretch<Recorded<Verdict>>, OwnedRwLockReadGuard<()>);
/// Report lines, and the memory of their stretch.
type ToReport = (Vec<u8>, Admitted);

/// What a stage hands on: stretches, and last, why the stream ends early.
type Handed<T> = mpsc::Sender<Result<T, Problem>>;
type Taken<T> = mpsc::Receiver<Result<T, Problem>>;

impl Stream {
    async fn judge(
        &self,
        body: Body,
        judged: Handed<Stretch<Verdict>>,
        delivered: Handed<ToReport>,
    ) {
        let judging = async {
            if let Err(problem) = self.collect(body, &judged).await {
                let _ended = judged.send(Err(problem)).await;
            }
        };
        // Where nothing is reported any more, the stream has ended.
        tokio::select! {
            () = judging => {}
            () = delivered.closed() => {}
        }
    }

    async fn collect(&self, body: Body, judged: &Handed<Stretch<Verdict>>) -> Result<(), Problem> {
        let mut lines = Lines::of(self, body).await?;
        loop {
            let collected = lines.collect().await;
            // What was readable is published, also before a line that is not.
            if !lines.records.is_empty() {
                self.fewer_than(STRETCHES_UNDER_WAY).await;
                let _ended = judged.send(Ok(lines.judge().await?)).await;
            }
            if let Collected::Body = collected? {
                return Ok(());
            }
        }
    }

    async fn record(&self, mut judged: Taken<Stretch<Verdict>>, recorded: Handed<ToDeliver>) {
        while let Some(next) = judged.recv().await {
            let next = match next {
                Ok(stretch) => self.recorded(stretch).await,
                Err(problem) => Err(problem),
            };
            let ends = next.is_err();
            let _ended = recorded.send(next).await;
            if ends {
                return;
            }
        }
    }

    async fn recorded(&self, stretch: Stretch<Verdict>) -> Result<ToDeliver, Problem> {
        let state = &self.request.state;
        let guard = state.under_way.clone().read_owned().await;
        let Stretch { started, permitted, head, of, admitted } = stretch;
        let of = state.flow.record(&permitted, &head, of).await.map_err(stopped)?;
        Ok((Stretch { started, permitted, head, of, admitted }, guard))
    }

    async fn deliver(&self, mut recorded: Taken<ToDeliver>, delivered: Handed<ToReport>) {
        while let Some(next) = recorded.recv().await {
            let next = match next {
                Ok((stretch, _guard)) => Ok(self.delivered(stretch).await),
                Err(problem) => Err(problem),
            };
            let _unreported = delivered.send(next).await;
        }
    }

    async fn delivered(&self, stretch: Stretch<Recorded<Verdict>>) -> ToReport {
        let Publish { id, state, .. } = &self.request;
        let Stretch { started, permitted, head, of, admitted } = stretch;
        let answer = state.flow.deliver(&permitted, &head, of).await;
        state.metrics.publish_seconds.observe(started.elapsed().as_secs_f64());
        (report::lines(*id, &answer), admitted)
    }

    async fn report(&self, mut delivered: Taken<ToReport>, reports: Reports) {
        while let Some(next) = delivered.recv().await {
            let sent = match next {
                Ok((lines, _admitted)) => self.send(&reports, lines).await,
                Err(problem) => Err(problem),
            };
            if let Err(problem) = sent {
                // The status line is long gone: the stream ends with the problem as its last line.
                let line = serde_json::to_vec(&problem).unwrap_or_default();
                let _not_taken = self.send(&reports, line).await;
                return;
            }
            self.under_way.send_modify(|stretches| *stretches -= 1);
        }
    }

    /// A publisher that hung up gets no reports; what it sent is published all the same. One that
    /// stays and takes none ends its stream.
    async fn send(&self, reports: &Reports, lines: Vec<u8>) -> Result<(), Problem> {
        let wait = Duration::from_millis(self.request.state.limits.write_timeout_ms);
        let sent = tokio::time::timeout(wait, reports.send(Ok(Bytes::from(lines)))).await;
        sent.map(|_hung_up| ()).map_err(|_| not_taken())
    }

    fn is_idle(&self) -> bool {
        *self.under_way.borrow() == 0
    }

    /// Until a stretch that is not full is due, and those before it are reported.
    async fn closes(&self, due: Option<Instant>) {
        if let Some(due) = due.filter(|due| *due > Instant::now()) {
            tokio::time::sleep_until(due).await;
        }
        self.fewer_than(1).await;
    }

    /// Until fewer stretches are under way.
    async fn fewer_than(&self, max: usize) {
        let mut under_way = self.under_way.subscribe();
        let _open = under_way.wait_for(|stretches| *stretches < max).await.is_ok();
    }
}

type Reports = mpsc::Sender<Result<Bytes, std::io::Error>>;

/// The lines of a body, and those of them that are the next stretch.
struct Lines<'a> {
    stream: &'a Stream,
    frames: Frames,
    buffer: BytesMut,
    /// So much of the buffer is known to have no line end.
    searched: usize,
    /// The body has ended.
    ended: bool,
    records: Vec<Record>,
    /// Of the lines of the records.
    bytes: usize,
    /// The number of the first of the records.
    first: u32,
    admitted: Admitted,
}

/// What is collected.
enum Collected {
    Stretch,
    /// The rest of the body.
    Body,
}

impl<'a> Lines<'a> {
    async fn of(stream: &'a Stream, body: Body) -> Result<Self, Problem> {
        let (state, principal) = (&stream.request.state, &stream.request.principal);
        let mut admitted = state.admission.enter(&principal.name);
        admitted.grow_to(STREAM_BYTES).await.map_err(full)?;
        let frames = Frames::new(body, Duration::from_millis(state.limits.body_idle_timeout_ms));
        let (buffer, records) = Default::default();
        let (searched, ended, bytes, first) = (0, false, 0, 0);
        Ok(Self { stream, frames, buffer, searched, ended, records, bytes, first, admitted })
    }

    /// Collects records until their stretch closes: when it is full, at the end of the body, and
    /// when it has waited a moment and for the stretches before it. One that begins while nothing
    /// is under way does not wait: its publisher may be waiting for its report.
    async fn collect(&mut self) -> Result<Collected, Problem> {
        let limits = &self.stream.request.state.limits;
        let mut due = None;
        loop {
            if !self.admit().await? || self.take()? {
                return Ok(Collected::Stretch);
            }
            if self.ended {
                return Ok(Collected::Body);
            }
            if self.buffer.len() > limits.record_bytes {
                return Err(too_large(limits.record_bytes));
            }
            if self.buffer.is_empty() {
                // Between records a stream may take its time; only silence ends it.
                self.buffer = BytesMut::new();
                self.frames.begin();
            }
            let idle = self.stream.is_idle();
            let begun = !self.records.is_empty();
            if begun && due.is_none() {
                let wait_ms = if idle { 0 } else { limits.stream_wait_ms };
                due = Some(Instant::now() + Duration::from_millis(wait_ms));
            }
            // Nor is it silence to wait for reports.
            let waits = !idle && self.buffer.is_empty();
            tokio::select! {
                biased;
                frame = self.frames.next_of(waits) => match frame? {
                    Some(frame) => self.buffer.extend_from_slice(&frame),
                    None => self.ended = true,
                },
                () = self.stream.closes(due), if begun => return Ok(Collected::Stretch),
                () = self.stream.fewer_than(1), if waits => {}
            }
        }
    }

    /// Memory for what is in the buffer. A stream is slowed down before it is cut, and what is
    /// collected does not wait for what follows: `false` closes the stretch.
    async fn admit(&mut self) -> Result<bool, Problem> {
        let bytes = STREAM_BYTES + worst(self.bytes + self.buffer.len(), STRETCH_RECORDS);
        if !self.records.is_empty() {
            return Ok(matches!(self.admitted.grow_to(bytes).now_or_never(), Some(Ok(()))));
        }
        let wait = Duration::from_millis(self.stream.request.state.limits.body_idle_timeout_ms);
        let mut deadline = Instant::now() + wait;
        while let Err(error) = self.admitted.grow_to(bytes).await {
            if !self.stream.is_idle() {
                deadline = Instant::now() + wait;
            } else if Instant::now() >= deadline {
                return Err(full(error));
            }
        }
        Ok(true)
    }

    /// Takes the complete lines of the buffer, until the stretch is full: then `true`.
    fn take(&mut self) -> Result<bool, Problem> {
        let limit = self.stream.request.state.limits.record_bytes;
        while self.records.len() < STRETCH_RECORDS && self.bytes < STRETCH_BYTES {
            let Some(line) = self.line() else { return Ok(false) };
            let Some(parsed) = body::line(&line) else { continue };
            let n = self.first as usize + self.records.len();
            let record = parsed.map_err(|e| unreadable(Unreadable { record: Some(n), ..e }))?;
            if record.bytes() > limit {
                let detail = format!("record {n} is larger than {limit} bytes");
                return Err(too_large(limit).detail(detail));
            }
            self.records.push(record);
            self.bytes += line.len();
        }
        Ok(true)
    }

    /// The next line, with its end; at the end of the body, also what has none.
    fn line(&mut self) -> Option<Bytes> {
        let unknown = self.buffer.get(self.searched..).unwrap_or_default();
        let line = match unknown.iter().position(|byte| *byte == b'\n') {
            Some(newline) => self.buffer.split_to(self.searched + newline + 1),
            None if self.ended && !self.buffer.is_empty() => self.buffer.split(),
            None => {
                self.searched = self.buffer.len();
                return None;
            }
        };
        self.searched = 0;
        Some(line.freeze())
    }

    /// Closes the stretch, and decides over its records.
    async fn judge(&mut self) -> Result<Stretch<Verdict>, Problem> {
        let started = Instant::now();
        let (stream, request) = (self.stream, &self.stream.request);
        let records = std::mem::take(&mut self.records);
        let count = u32::try_from(records.len()).unwrap_or(u32::MAX);
        let admitted =
            self.admitted.split_off(cost(std::mem::take(&mut self.bytes), records.len()));
        self.admitted.shrink_to(STREAM_BYTES + self.buffer.len());
        while let Err(wait) =
            request.state.admission.records(&request.principal.name, records.len(), Instant::now())
        {
            // A stream is slowed to its quota instead of being cut.
            tokio::time::sleep(wait).await;
        }
        // The policy may have changed since the stream began.
        let permitted = request.permit().await?;
        let batch = request.received(self.first, records);
        let (head, of) = request.state.flow.judge(&permitted, batch).map_err(stopped)?;
        self.first = self.first.saturating_add(count);
        stream.under_way.send_modify(|stretches| *stretches += 1);
        Ok(Stretch { started, permitted, head, of, admitted })
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
        let left = self.timeout.saturating_sub(self.waited);
        // Also when this future is dropped.
        let waiting = Waiting { waited: &mut self.waited, since: Instant::now() };
        let frame = tokio::time::timeout(left, self.frames.next()).await;
        drop(waiting);
        self.taken(frame.map_err(|_| timed_out())?)
    }

    /// The next one; when `patient`, however long it takes.
    async fn next_of(&mut self, patient: bool) -> Result<Option<Bytes>, Problem> {
        if !patient {
            return self.next().await;
        }
        let frame = self.frames.next().await;
        self.taken(frame)
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

struct Waiting<'a> {
    waited: &'a mut Duration,
    since: Instant,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *self.waited += self.since.elapsed();
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

    #[tokio::test]
    async fn time_counts_also_when_the_wait_is_given_up() {
        let mut frames = Frames::new(drip(1, 1, 10_000), Duration::from_millis(200));
        for _ in 0..20 {
            let wait = tokio::time::timeout(Duration::from_millis(20), frames.next());
            if let Ok(ended) = wait.await {
                return assert_eq!(ended.map_err(|problem| problem.status), Err(408));
            }
        }
        panic!("it waits forever");
    }
}
