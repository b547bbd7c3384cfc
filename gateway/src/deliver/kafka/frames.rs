//! Frames of Kafka's protocol over a connection.

use std::io;

use sluicegate_wire::{Api, Direction, Key, Layout, Name, Value, frame_length};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A frame without its length; nothing at the end of the stream. Memory grows with what has come, not with what the
/// length promises.
pub async fn read_frame(
    reader: &mut (impl AsyncRead + Unpin),
    most: usize,
) -> io::Result<Option<Vec<u8>>> {
    match read_length(reader, most).await? {
        Some(length) => read_rest(reader, Vec::new(), length).await.map(Some),
        None => Ok(None),
    }
}

/// A request, of which so many bytes are allowed as its key says.
pub async fn read_request(
    reader: &mut (impl AsyncRead + Unpin),
    most: impl Fn(i16) -> usize,
) -> io::Result<Option<Vec<u8>>> {
    let Some(length) = read_length(reader, usize::MAX).await? else { return Ok(None) };
    let mut key = [0; 2];
    if length < key.len() {
        return Err(malformed("a request without a header"));
    }
    reader.read_exact(&mut key).await?;
    if length > most(i16::from_be_bytes(key)) {
        return Err(malformed("a request of a length that is not allowed"));
    }
    read_rest(reader, key.to_vec(), length).await.map(Some)
}

/// The length of the next frame; nothing at the end of the stream.
pub async fn read_length(
    reader: &mut (impl AsyncRead + Unpin),
    most: usize,
) -> io::Result<Option<usize>> {
    let mut length = [0; 4];
    match reader.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    match frame_length(&length, most) {
        Ok(Some(length)) => Ok(Some(length)),
        _ => Err(malformed("a frame of a length that is not allowed")),
    }
}

/// The frame of this length, of which `frame` has been read.
pub async fn read_rest(
    reader: &mut (impl AsyncRead + Unpin),
    mut frame: Vec<u8>,
    length: usize,
) -> io::Result<Vec<u8>> {
    let left = length - frame.len();
    frame.reserve(left.min(FIRST_BYTES));
    reader.take(left as u64).read_to_end(&mut frame).await?;
    match frame.len() == length {
        true => Ok(frame),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Of a frame, what is allocated before it is there.
const FIRST_BYTES: usize = 64 * 1024;

pub fn malformed(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Puts the length before a frame that was made behind four empty bytes.
pub fn framed(mut frame: Vec<u8>) -> io::Result<Vec<u8>> {
    let length = i32::try_from(frame.len().saturating_sub(4)).map_err(io::Error::other)?;
    match frame.first_chunk_mut() {
        Some(place) => *place = length.to_be_bytes(),
        None => return Err(malformed("a frame without a place for its length")),
    }
    Ok(frame)
}

pub async fn write_frame(writer: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
    writer.write_all(frame).await?;
    writer.flush().await
}

/// How bodies of an API are laid out in a version.
pub fn layout(key: Key, direction: Direction, version: i16) -> io::Result<(&'static Api, Layout)> {
    let api = Api::find(key as i16);
    let found = api.and_then(|api| Some((api, api.layout(direction, version)?)));
    found.ok_or_else(|| malformed("an API in a version that is not known"))
}

/// A whole request of our own.
pub fn request(
    (key, version): (Key, i16),
    correlation: i32,
    client: &str,
    set: &[(Name, Value<'_>)],
) -> io::Result<Vec<u8>> {
    let (api, layout) = layout(key, Direction::Request, version)?;
    let mut frame = vec![0; 4];
    let key = key as i16;
    let client = Some(client);
    let header =
        sluicegate_wire::Header { key, version, correlation, client, api: Some(api), body: &[] };
    header.write(api, &mut frame);
    layout.write(set, &mut frame).map_err(io::Error::other)?;
    framed(frame)
}
