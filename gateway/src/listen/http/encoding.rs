//! Encoded bodies (RFC 9110, section 8.4), decoded in memory within the bound of a body.

use std::io::{self, Read};

use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;

use crate::listen::problem::Problem;

/// RFC 9659: a content coding `zstd` has no larger window.
const ZSTD_WINDOW_BYTES_MAX: u64 = 8 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Gzip,
    Zstd,
}

impl Encoding {
    /// `None` is a body as it is.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut found = None;
        for value in headers.get_all(header::CONTENT_ENCODING) {
            for coding in value.to_str().unwrap_or("?").split(',') {
                let coding = match coding.trim().to_ascii_lowercase().as_str() {
                    "" | "identity" => continue,
                    "gzip" | "x-gzip" => Self::Gzip,
                    "zstd" => Self::Zstd,
                    _ => return Err(unknown("the content encoding is not supported")),
                };
                if found.replace(coding).is_some() {
                    return Err(unknown("a body may be encoded only once"));
                }
            }
        }
        Ok(found)
    }

    /// The decoded body; `None` if it has more than `limit` bytes. Decoding takes a thread for
    /// blocking work.
    pub(super) async fn decoded(self, body: Bytes, limit: usize) -> Result<Option<Bytes>, Problem> {
        let decoded = tokio::task::spawn_blocking(move || match self {
            Self::Gzip => bounded(MultiGzDecoder::new(&*body), limit),
            Self::Zstd => frames(&body, limit),
        });
        match decoded.await {
            Ok(Ok(decoded)) => Ok((decoded.len() <= limit).then(|| Bytes::from(decoded))),
            Ok(Err(_)) | Err(_) => {
                Err(Problem::bad_request("the body is not valid for its encoding"))
            }
        }
    }
}

fn unknown(detail: &str) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unknown-encoding", "Unknown encoding")
        .detail(detail)
        .help("send the body as it is, or with one content encoding of `gzip` and `zstd`")
}

/// One byte more than allowed tells that there is too much.
fn bounded(reader: impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut decoded = Vec::new();
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    reader.take(limit.saturating_add(1)).read_to_end(&mut decoded)?;
    Ok(decoded)
}

/// Zstandard frames, one after the other.
fn frames(mut body: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    let mut decoded = Vec::new();
    while !body.is_empty() && decoded.len() <= limit {
        let mut frame =
            StreamingDecoder::new_with_max_window_size(&mut body, ZSTD_WINDOW_BYTES_MAX)
                .map_err(io::Error::other)?;
        decoded.append(&mut bounded(&mut frame, limit - decoded.len())?);
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::http::HeaderValue;
    use flate2::{Compression, write::GzEncoder};
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        compress_to_vec(text, CompressionLevel::Fastest)
    }

    #[test]
    fn one_known_encoding_or_none() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            Encoding::of(&headers).map_err(|problem| problem.status)
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["identity"]), Ok(None));
        assert_eq!(of(&["identity, GZip"]), Ok(Some(Encoding::Gzip)));
        assert_eq!(of(&["zstd"]), Ok(Some(Encoding::Zstd)));
        for twice in [&["gzip, gzip"][..], &["gzip", "zstd"], &["br"], &["gzip;q=1"]] {
            assert_eq!(of(twice), Err(415), "{twice:?}");
        }
    }

    #[tokio::test]
    async fn bodies_are_decoded_within_the_bound() {
        let text = [b'a'; 10_000];
        for (encoding, encode) in
            [(Encoding::Gzip, gzip as fn(&[u8]) -> Vec<u8>), (Encoding::Zstd, zstd)]
        {
            let decoded = async |body: Vec<u8>, limit| {
                let decoded = encoding.decoded(Bytes::from(body), limit).await;
                decoded.map(|bytes| bytes.map(|b| b.len())).map_err(|problem| problem.status)
            };
            let whole = encode(&text);
            assert!(whole.len() < 1_000);
            assert_eq!(decoded(whole.clone(), 10_000).await, Ok(Some(10_000)));
            assert_eq!(decoded(whole.clone(), 9_999).await, Ok(None), "{encoding:?}");
            let twice = [whole.clone(), whole.clone()].concat();
            assert_eq!(decoded(twice.clone(), 20_000).await, Ok(Some(20_000)), "{encoding:?}");
            assert_eq!(decoded(twice, 15_000).await, Ok(None), "{encoding:?}");
            assert_eq!(
                decoded(Vec::new(), 1).await,
                if encoding == Encoding::Gzip { Err(400) } else { Ok(Some(0)) }
            );
            assert_eq!(decoded(whole[..whole.len() - 5].to_vec(), 10_000).await, Err(400));
            assert_eq!(decoded([&whole[..], b"junk"].concat(), 10_000).await, Err(400));
        }
        // A frame that asks for a window of 1 GB allocates none.
        let window = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xA0, 0x01, 0x00, 0x00];
        let decoded = Encoding::Zstd.decoded(Bytes::from(window.to_vec()), 1).await;
        assert_eq!(decoded.unwrap_err().status, 400);
    }
}
