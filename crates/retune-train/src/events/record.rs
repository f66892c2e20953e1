//! TFRecord: the frame of each event in a file.
//!
//! ```text
//! length u64 · masked CRC-32C of the length u32 · data · masked CRC-32C of the data u32
//! ```
//!
//! All numbers are little-endian.
//!
//! # Reference
//! TensorFlow, `tensorflow/core/lib/io/record_writer.h`

use std::io::{BufReader, ErrorKind, Read};

use crc::{CRC_32_ISCSI, Crc, Table};

const CRC_32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// `data` in its frame.
pub(super) fn framed(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(length);
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked_crc(data).to_le_bytes());
    record
}

/// Whether the first `position` bytes of `file` are whole records.
pub(super) fn ends_record(file: impl Read, position: u64) -> std::io::Result<bool> {
    let mut file = BufReader::new(file.take(position));
    let mut left = position;
    while left > 0 {
        match read_record(&mut file, left) {
            Ok(Some(bytes)) => left -= bytes,
            Ok(None) => return Ok(false),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// The bytes of the next record; `None` if it is not one, or is longer than `left`.
fn read_record(file: &mut impl Read, left: u64) -> std::io::Result<Option<u64>> {
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    if read_u32(file)? != masked_crc(&length) {
        return Ok(None);
    }
    let length = u64::from_le_bytes(length);
    let whole = length.checked_add(16).filter(|whole| *whole <= left);
    let Some(whole) = whole else {
        return Ok(None);
    };
    let mut data = vec![0; length as usize];
    file.read_exact(&mut data)?;
    Ok((read_u32(file)? == masked_crc(&data)).then_some(whole))
}

fn read_u32(file: &mut impl Read) -> std::io::Result<u32> {
    let mut word = [0; 4];
    file.read_exact(&mut word)?;
    Ok(u32::from_le_bytes(word))
}

/// A checksum of bytes that themselves hold checksums is weak, so that the
/// format turns and shifts it.
fn masked_crc(data: &[u8]) -> u32 {
    CRC_32C
        .checksum(data)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}
