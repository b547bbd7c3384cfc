//! Watches the line ends of HTTP/1.1 request heads as they are read. The HTTP library takes a bare
//! line feed for an end of line, which other readers do not; what follows such a head on its
//! connection may be meant for one of them, so the connection is closed after the answer.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pace::Pace;

/// What is known of the head that is being read.
#[derive(Default)]
pub struct Head {
    /// The line has bytes other than a carriage return at its end.
    in_line: bool,
    after_return: bool,
    /// Empty lines before it do not count.
    begun: bool,
    /// Its empty line was read: what follows is the body.
    ended: bool,
    bare: bool,
}

impl Head {
    /// Whether a line ended without a carriage return.
    pub fn is_bare(&self) -> bool {
        self.bare
    }

    fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                _ if self.ended => return,
                b'\n' => {
                    self.bare |= !self.after_return;
                    self.ended = self.begun && !self.in_line;
                    self.begun |= self.in_line;
                    (self.in_line, self.after_return) = (false, false);
                }
                b'\r' => self.after_return = true,
                _ => (self.in_line, self.after_return) = (true, false),
            }
        }
    }
}

/// A connection whose heads are watched.
pub struct Heads<S> {
    stream: S,
    pace: Arc<Pace>,
}

impl<S> Heads<S> {
    pub fn new(stream: S, pace: Arc<Pace>) -> Self {
        Self { stream, pace }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heads<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let read = buf.filled().get(before..).unwrap_or_default();
        self.pace.heard(|head| head.read(read));
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heads<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_bare(pieces: &[&str]) -> bool {
        let mut head = Head::default();
        pieces.iter().for_each(|piece| head.read(piece.as_bytes()));
        head.is_bare()
    }

    #[test]
    fn bare_line_feeds_are_seen_in_heads_and_not_in_bodies() {
        assert!(!is_bare(&["GET / HTTP/1.1\r\nHost: a\r\n\r\n"]));
        assert!(!is_bare(&["POST / HTTP/1.1\r", "\nHost: a\r\n\r", "\n{}\n{}\n"]));
        assert!(!is_bare(&["\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\n"]));
        assert!(is_bare(&["\r\nGET / HTTP/1.1\nHost: a\r\n\r\n"]));
        assert!(is_bare(&["GET / HTTP/1.1\nHost: a\r\n\r\n"]));
        assert!(is_bare(&["GET / HTTP/1.1\r\nHost: a\n", "\r\n"]));
        assert!(is_bare(&["GET / HTTP/1.1\r\nHost: a\r\n\n"]));
    }
}
