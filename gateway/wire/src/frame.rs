//! Frames and the headers in them.

use crate::{
    read::{Malformed, Reader, What},
    schema::{Api, Layout},
    tables::Key,
    write::varuint,
};

/// The length of the frame that `bytes` begin with, without the four bytes that say it; nothing if they are not all
/// there. A length that is negative or above `most` is refused before anything is read, let alone allocated.
pub fn frame_length(bytes: &[u8], most: usize) -> Result<Option<usize>, Malformed> {
    let Some(length) = bytes.first_chunk() else { return Ok(None) };
    match usize::try_from(i32::from_be_bytes(*length)) {
        Ok(length) if length <= most => Ok(Some(length)),
        _ => Err(What::Length.into()),
    }
}

/// What a request says about itself.
pub struct Header<'a> {
    pub key: i16,
    pub version: i16,
    pub correlation: i32,
    /// Nothing if the client gave none, or if the request is not one of a known version.
    pub client: Option<&'a str>,
    /// The API, if key and version are known.
    pub api: Option<&'static Api>,
    /// What is behind the header. Of an unknown request: what is behind its correlation id, because nobody can tell
    /// where its header ends.
    pub body: &'a [u8],
}

/// The header of a request, which is a frame without its length.
pub fn request_header(frame: &[u8]) -> Result<Header<'_>, Malformed> {
    let mut reader = Reader::new(frame);
    let (key, version) = (reader.i16()?, reader.i16()?);
    let correlation = reader.i32()?;
    let api = Api::find(key).filter(|api| api.versions.has(version));
    let mut client = None;
    if let Some(api) = api {
        // Never of the compact kind, not even in a header with tagged fields.
        client = match reader.i16()? {
            -1 => None,
            length => {
                let length = usize::try_from(length).map_err(|_| What::Length)?;
                let text = str::from_utf8(reader.take(length)?);
                Some(text.map_err(|_| What::Text)?)
            }
        };
        if version >= api.flexible {
            // None is defined; whatever is there is as long as it says.
            let layout = Layout { fields: &[], version, flexible: true };
            reader.skip_struct::<true>(layout)?;
        }
    }
    Ok(Header { key, version, correlation, client, api, body: reader.rest() })
}

impl Header<'_> {
    /// The header of this request under another correlation id or client id, behind what is in `out`. Tagged fields
    /// that it had are left out: none is defined.
    pub fn write(&self, api: &Api, out: &mut Vec<u8>) {
        out.extend(self.key.to_be_bytes());
        out.extend(self.version.to_be_bytes());
        out.extend(self.correlation.to_be_bytes());
        // A longer name than the length can say is no name that a client could have sent.
        let client = self.client.and_then(|name| Some((name, i16::try_from(name.len()).ok()?)));
        let (name, length) = client.unwrap_or(("", -1));
        out.extend(length.to_be_bytes());
        out.extend(name.as_bytes());
        if self.version >= api.flexible {
            varuint(out, 0);
        }
    }
}

/// Whether responses have tagged fields in their headers. That of ApiVersions never does, so that a client can read it
/// before it knows what the broker speaks.
const fn flexible_response(api: &Api, version: i16) -> bool {
    version >= api.flexible && !matches!(api.key, Key::ApiVersions)
}

/// The correlation id of a response, which is a frame without its length, and its body.
pub fn response_header<'a>(
    api: &Api,
    version: i16,
    frame: &'a [u8],
) -> Result<(i32, &'a [u8]), Malformed> {
    let mut reader = Reader::new(frame);
    let correlation = reader.i32()?;
    if flexible_response(api, version) {
        reader.skip_struct::<true>(Layout { fields: &[], version, flexible: true })?;
    }
    Ok((correlation, reader.rest()))
}

impl Api {
    /// The header of a response, behind what is in `out`.
    pub fn response_header(&self, version: i16, correlation: i32, out: &mut Vec<u8>) {
        out.extend(correlation.to_be_bytes());
        if flexible_response(self, version) {
            varuint(out, 0);
        }
    }
}
