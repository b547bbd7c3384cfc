//! The codecs of record batches. What comes out is counted while it comes, and never exceeds what the caller allows.

use std::io::{Read, Write};

use ruzstd::{
    decoding::{
        BlockDecodingStrategy, FrameDecoder,
        errors::{FrameDecoderError, ReadFrameHeaderError},
    },
    encoding::{CompressionLevel, compress_to_vec},
};

/// How the records of a batch are compressed, as far as it can be told from the bytes: so that a batch leaves with
/// what it came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    None,
    Gzip,
    /// One block, as librdkafka writes it.
    Snappy,
    /// Blocks behind a header, as Java writes them.
    SnappyXerial,
    Lz4,
    Zstd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incompressible {
    #[error("the batch inflates to more than is allowed")]
    TooLarge,
    #[error("the compressed bytes are not what their codec says")]
    Corrupt,
}

use Incompressible::{Corrupt, TooLarge};

const XERIAL: &[u8] = b"\x82SNAPPY\0";
/// Version, and the oldest one that can read it.
const XERIAL_VERSIONS: &[u8] = &[0, 0, 0, 1, 0, 0, 0, 1];
const XERIAL_BLOCK: usize = 32 * 1024;

const LZ4_MAGIC: &[u8] = &[0x04, 0x22, 0x4d, 0x18];
/// Version 1, independent blocks of 64 KiB, no checksums, and the checksum of these two bytes.
const LZ4_DESCRIPTOR: &[u8] = &[0x60, 0x40, 0x82];
const LZ4_BLOCK: usize = 64 * 1024;
/// Set in the size of a block that is not compressed.
const LZ4_STORED: u32 = 1 << 31;

const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Magic, descriptor, and the window's size unless the frame is a single segment.
const ZSTD_HEAD: usize = 6;

/// A literal or copy of snappy gives at most 64 bytes for 3, one of LZ4 255 for a byte.
const SNAPPY_RATIO: usize = 22;
const LZ4_RATIO: usize = 255;

impl Codec {
    /// By the number in a batch's attributes, and the first of its bytes.
    pub(crate) fn of(number: i16, bytes: &[u8]) -> Option<Self> {
        Some(match number {
            0 => Self::None,
            1 => Self::Gzip,
            2 if bytes.starts_with(XERIAL) => Self::SnappyXerial,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            _ => return None,
        })
    }

    pub(crate) const fn number(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy | Self::SnappyXerial => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Appends what `bytes` inflate to, at most so that `out` has `most` bytes.
    pub fn inflate(
        self,
        bytes: &[u8],
        most: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Incompressible> {
        match self {
            Self::None if bytes.len() > most.saturating_sub(out.len()) => Err(TooLarge),
            Self::None => {
                out.extend(bytes);
                Ok(())
            }
            Self::Gzip => gunzip(bytes, most, out),
            Self::Snappy => unsnap(bytes, most, out),
            Self::SnappyXerial => unsnap_blocks(bytes, most, out),
            Self::Lz4 => unlz4(bytes, most, out),
            Self::Zstd => unzstd(bytes, most, out),
        }
    }

    /// Appends `bytes` compressed.
    pub fn deflate(self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Incompressible> {
        match self {
            Self::None => out.extend(bytes),
            Self::Gzip => {
                let level = flate2::Compression::default();
                let mut encoder = flate2::write::GzEncoder::new(out, level);
                encoder.write_all(bytes).map_err(|_| Corrupt)?;
                encoder.finish().map_err(|_| Corrupt)?;
            }
            Self::Snappy => snap(bytes, out)?,
            Self::SnappyXerial => {
                out.extend([XERIAL, XERIAL_VERSIONS].concat());
                for block in bytes.chunks(XERIAL_BLOCK) {
                    let start = out.len();
                    out.extend([0; 4]);
                    snap(block, out)?;
                    let length = (out.len() - start - 4) as u32;
                    patch(out, start, length.to_be_bytes());
                }
            }
            Self::Lz4 => lz4(bytes, out)?,
            Self::Zstd => out.extend(compress_to_vec(bytes, CompressionLevel::Fastest)),
        }
        Ok(())
    }
}

pub(crate) fn patch<const N: usize>(out: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = bytes;
    }
}

fn gunzip(bytes: &[u8], most: usize, out: &mut Vec<u8>) -> Result<(), Incompressible> {
    // One more than allowed, to see that there is more.
    let room = (most.saturating_sub(out.len()) as u64).saturating_add(1);
    let decoder = flate2::bufread::MultiGzDecoder::new(bytes);
    decoder.take(room).read_to_end(out).map_err(|_| Corrupt)?;
    if out.len() > most { Err(TooLarge) } else { Ok(()) }
}

fn unsnap(bytes: &[u8], most: usize, out: &mut Vec<u8>) -> Result<(), Incompressible> {
    let length = snap::raw::decompress_len(bytes).map_err(|_| Corrupt)?;
    if length > bytes.len().saturating_mul(SNAPPY_RATIO) {
        return Err(Corrupt);
    }
    if length > most.saturating_sub(out.len()) {
        return Err(TooLarge);
    }
    let start = out.len();
    out.resize(start + length, 0);
    let place = out.get_mut(start..).unwrap_or_default();
    snap::raw::Decoder::new().decompress(bytes, place).map_err(|_| Corrupt)?;
    Ok(())
}

fn unsnap_blocks(bytes: &[u8], most: usize, out: &mut Vec<u8>) -> Result<(), Incompressible> {
    let mut rest = bytes.get(XERIAL.len() + XERIAL_VERSIONS.len()..).ok_or(Corrupt)?;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk().ok_or(Corrupt)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) = after.split_at_checked(length).ok_or(Corrupt)?;
        unsnap(block, most, out)?;
        rest = after;
    }
    Ok(())
}

fn snap(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Incompressible> {
    let start = out.len();
    out.resize(start + snap::raw::max_compress_len(bytes.len()), 0);
    let place = out.get_mut(start..).unwrap_or_default();
    let length = snap::raw::Encoder::new().compress(bytes, place).map_err(|_| TooLarge)?;
    out.truncate(start + length);
    Ok(())
}

/// The frame format. Its checksums are not looked at: the batch has one over all of it. Blocks that need the one
/// before them are refused, as by brokers.
fn unlz4(bytes: &[u8], most: usize, out: &mut Vec<u8>) -> Result<(), Incompressible> {
    let rest = bytes.strip_prefix(LZ4_MAGIC).ok_or(Corrupt)?;
    let ([flags, sizes], rest) = rest.split_first_chunk().ok_or(Corrupt)?;
    let has = |bit: u8| flags & 1 << bit != 0;
    let (version, independent, dictionary) = (flags >> 6, has(5), has(0));
    if version != 1 || !independent || dictionary || has(1) {
        return Err(Corrupt);
    }
    let block_most = match sizes {
        0x40 => LZ4_BLOCK,
        0x50 => LZ4_BLOCK << 2,
        0x60 => LZ4_BLOCK << 4,
        0x70 => LZ4_BLOCK << 6,
        _ => return Err(Corrupt),
    };
    let content_size = if has(3) { 8 } else { 0 };
    let mut rest = rest.get(content_size + 1..).ok_or(Corrupt)?;
    loop {
        let (size, after) = rest.split_first_chunk().ok_or(Corrupt)?;
        let size = u32::from_le_bytes(*size);
        if size == 0 {
            let after = after.get(if has(2) { 4 } else { 0 }..).ok_or(Corrupt)?;
            return if after.is_empty() { Ok(()) } else { Err(Corrupt) };
        }
        let length = (size & !LZ4_STORED) as usize;
        let (block, after) = after.split_at_checked(length).ok_or(Corrupt)?;
        rest = after.get(if has(4) { 4 } else { 0 }..).ok_or(Corrupt)?;
        let (start, left) = (out.len(), most.saturating_sub(out.len()));
        if size & LZ4_STORED != 0 {
            if length > block_most {
                return Err(Corrupt);
            }
            if length > left {
                return Err(TooLarge);
            }
            out.extend(block);
            continue;
        }
        let room = block_most.min(length.saturating_mul(LZ4_RATIO));
        out.resize(start + room.min(left), 0);
        let place = out.get_mut(start..).unwrap_or_default();
        let written = lz4_flex::block::decompress_into(block, place);
        out.truncate(start + written.map_err(|_| if left < room { TooLarge } else { Corrupt })?);
    }
}

fn lz4(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Incompressible> {
    out.extend([LZ4_MAGIC, LZ4_DESCRIPTOR].concat());
    for block in bytes.chunks(LZ4_BLOCK) {
        let start = out.len() + 4;
        out.resize(start + lz4_flex::block::get_maximum_output_size(block.len()), 0);
        let place = out.get_mut(start..).unwrap_or_default();
        let length = lz4_flex::block::compress_into(block, place).map_err(|_| TooLarge)?;
        let size = if length < block.len() {
            out.truncate(start + length);
            length as u32
        } else {
            out.truncate(start);
            out.extend(block);
            block.len() as u32 | LZ4_STORED
        };
        patch(out, start - 4, size.to_le_bytes());
    }
    out.extend([0; 4]);
    Ok(())
}

/// Frames, of which there may be several. A decoder is made for each: one that is used again takes memory for the
/// window that a frame asks for before there is anything to put into it.
fn unzstd(mut bytes: &[u8], most: usize, out: &mut Vec<u8>) -> Result<(), Incompressible> {
    if bytes.is_empty() {
        return Err(Corrupt);
    }
    while !bytes.is_empty() {
        let (head, rest) = zstd_head(bytes, most);
        let mut source = head.chain(rest);
        let mut decoder = FrameDecoder::new();
        match decoder.reset(&mut source) {
            Ok(()) if decoder.content_size() > most as u64 => return Err(TooLarge),
            Ok(()) => {}
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let (_, rest) = source.into_inner();
                bytes = rest.get(length as usize..).ok_or(Corrupt)?;
                continue;
            }
            Err(FrameDecoderError::WindowSizeTooBig { .. }) => return Err(TooLarge),
            Err(_) => return Err(Corrupt),
        }
        while !decoder.is_finished() {
            let blocks = BlockDecodingStrategy::UptoBlocks(1);
            decoder.decode_blocks(&mut source, blocks).map_err(|_| Corrupt)?;
            if decoder.can_collect() > most.saturating_sub(out.len()) {
                return Err(TooLarge);
            }
            decoder.collect_to_writer(&mut *out).map_err(|_| Corrupt)?;
        }
        (_, bytes) = source.into_inner();
    }
    Ok(())
}

/// The head of a frame, as far as it is at hand, and what is behind. A decoder keeps back a whole window of what it
/// has decoded, and a frame may ask for one of any size; nobody needs more than all that may come out.
fn zstd_head(bytes: &[u8], most: usize) -> (std::io::Cursor<[u8; ZSTD_HEAD]>, &[u8]) {
    let Some((head, rest)) = bytes.split_first_chunk() else {
        // Too short for a frame with a window: all that is there, behind nothing.
        let mut nothing = std::io::Cursor::new([0; ZSTD_HEAD]);
        nothing.set_position(ZSTD_HEAD as u64);
        return (nothing, bytes);
    };
    let mut head: [u8; ZSTD_HEAD] = *head;
    let [a, b, c, d, descriptor, window] = &mut head;
    let single_segment = *descriptor & 1 << 5 != 0;
    if [*a, *b, *c, *d] == *ZSTD_MAGIC && !single_segment {
        // Powers of two from 1 KiB on, in the upper five bits.
        let enough = most.next_power_of_two().ilog2().saturating_sub(10).min(31) as u8;
        *window = (*window).min(enough << 3);
    }
    (std::io::Cursor::new(head), rest)
}
