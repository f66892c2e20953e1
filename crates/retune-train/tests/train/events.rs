//! Event files, read by a reader of their own: nothing of the writer's is used
//! to decode what it wrote. `scripts/check-tensorboard.py` shows the golden file
//! to TensorBoard itself.

use std::fs;
use std::path::{Path, PathBuf};

use retune_train::events::{Clock, EventWriter, Histogram, verbatim};

const GOLDEN: &[u8] = include_bytes!("golden/events.out.tfevents.1700000000.golden.1.0");

/// A clock that moves on by half a second at each look.
fn clock() -> Clock {
    let mut time = 1_700_000_000.0 - 0.5;
    Box::new(move || {
        time += 0.5;
        time
    })
}

/// CRC-32C, bit by bit.
fn crc_32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
        }
    }
    !crc
}

fn masked(bytes: &[u8]) -> u32 {
    let crc = crc_32c(bytes);
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// The records of a file, with their checksums verified.
fn records(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        assert_eq!(
            u32_at(bytes, 8),
            masked(&bytes[..8]),
            "checksum of a length"
        );
        let data = &bytes[12..12 + length];
        assert_eq!(u32_at(bytes, 12 + length), masked(data), "checksum of data");
        records.push(data);
        bytes = &bytes[16 + length..];
    }
    records
}

/// The fields of a message: number, and the bytes of the value. Numbers that
/// are not of a fixed width become eight bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                fields.push((key >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, bytes[..length].to_vec()));
        bytes = &bytes[length..];
    }
    fields
}

/// The one field `number` of a message.
fn field(message: &[u8], number: u64) -> Vec<u8> {
    let mut found = fields(message);
    found.retain(|(found, _)| *found == number);
    assert_eq!(found.len(), 1, "field {number}");
    found.remove(0).1
}

fn doubles(bytes: &[u8]) -> Vec<f64> {
    let words = bytes.chunks_exact(8);
    words
        .map(|word| f64::from_le_bytes(word.try_into().expect("eight bytes")))
        .collect()
}

fn number(message: &[u8], field_number: u64) -> f64 {
    doubles(&field(message, field_number))[0]
}

/// A summary's value in an event.
fn value(event: &[u8]) -> Vec<u8> {
    field(&field(event, 5), 1)
}

fn write_golden(folder: &Path) -> PathBuf {
    let mut writer = EventWriter::create_with_clock(folder, clock()).expect("a file");
    writer.scalar("train/loss", 1, 2.5).expect("a scalar");
    writer
        .scalar("train/loss", 1_000_000, 0.1)
        .expect("a scalar");
    writer
        .scalar("train/loss", 1_000_001, f64::NAN)
        .expect("a scalar");
    writer
        .text("samples/0", 7, "你好 <b>&amp;</b>\n\n    fn main() {}")
        .expect("a text");
    let mut histogram = Histogram::default();
    histogram.add(&[-3.0, -0.25, 0.0, 0.0]);
    histogram.add(&[1.0, 1.1, 1.2, 100.0]);
    writer
        .histogram("gradients/lora_A", 7, &histogram)
        .expect("a histogram");
    writer.flush().expect("flushed");
    writer.path().to_path_buf()
}

#[test]
fn the_readers_checksum_is_the_published_one() {
    assert_eq!(crc_32c(b"123456789"), 0xe306_9283);
}

#[test]
fn the_bytes_of_an_event_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let written = fs::read(write_golden(folder.path())).expect("the file");
    // To renew it on purpose, write `written` to the golden file, and show that
    // to TensorBoard.
    assert!(written == GOLDEN, "written: {written:02x?}");
}

#[test]
fn each_event_says_what_was_written() {
    let events = records(GOLDEN);
    let times: Vec<f64> = events.iter().map(|event| number(event, 1)).collect();
    // The first look at the clock was for the file's name.
    let expected: Vec<f64> = (1..7).map(|look| 1.7e9 + 0.5 * f64::from(look)).collect();
    assert_eq!(times, expected);
    assert_eq!(field(events[0], 3), b"brain.Event:2");

    for (event, step, loss) in [(1, 1, 2.5_f32), (2, 1_000_000, 0.1)] {
        let event = events[event];
        assert_eq!(field(event, 2), i64::to_le_bytes(step));
        assert_eq!(field(&value(event), 1), b"train/loss");
        assert_eq!(field(&value(event), 2), loss.to_le_bytes());
    }
    assert!(f32::from_bits(u32_at(&field(&value(events[3]), 2), 0)).is_nan());

    let text = value(events[4]);
    assert_eq!(field(&text, 1), b"samples/0");
    let plugin = field(&field(&text, 9), 1);
    assert_eq!(field(&plugin, 1), b"text");
    let tensor = field(&text, 8);
    assert_eq!(
        field(&tensor, 1),
        7_u64.to_le_bytes(),
        "a tensor of strings"
    );
    assert_eq!(
        field(&tensor, 8),
        "你好 <b>&amp;</b>\n\n    fn main() {}".as_bytes()
    );
}

#[test]
fn a_histogram_counts_each_value_in_its_bucket() {
    let histogram = field(&value(records(GOLDEN)[5]), 5);
    assert_eq!(number(&histogram, 1), -3.0);
    assert_eq!(number(&histogram, 2), 100.0);
    assert_eq!(number(&histogram, 3), 8.0);
    let sum = -3.25 + 1.0 + f64::from(1.1_f32) + f64::from(1.2_f32) + 100.0;
    assert_eq!(number(&histogram, 4), sum);
    let edges = doubles(&field(&histogram, 6));
    let counts = doubles(&field(&histogram, 7));
    let tiniest = f64::from(f32::from_bits(1 << 20));
    assert_eq!(
        edges,
        [
            -3.0, -0.28125, -0.25, 0.0, tiniest, 1.0, 1.125, 1.25, 96.0, 104.0
        ]
    );
    assert_eq!(counts, [1.0, 0.0, 1.0, 0.0, 2.0, 0.0, 2.0, 1.0, 0.0, 1.0]);
}

/// Values of both signs over all magnitudes, from a small generator.
fn scattered(count: usize) -> Vec<f32> {
    let mut state = 1_u32;
    let next = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from_bits(state)
    });
    next.filter(|value| value.is_finite()).take(count).collect()
}

#[test]
fn buckets_are_narrow_and_hold_what_lies_between_their_edges() {
    let values = scattered(10_000);
    let folder = tempfile::tempdir().expect("a folder");
    let mut writer = EventWriter::create(folder.path()).expect("a file");
    let mut histogram = Histogram::default();
    for tensor in values.chunks(77) {
        histogram.add(tensor);
    }
    let mut at_once = Histogram::default();
    at_once.add(&values);
    assert_eq!(histogram, at_once);
    writer.histogram("all", 1, &histogram).expect("a histogram");
    writer.flush().expect("flushed");

    let bytes = fs::read(writer.path()).expect("the file");
    let message = field(&value(records(&bytes)[1]), 5);
    let edges = doubles(&field(&message, 6));
    let counts = doubles(&field(&message, 7));
    let mut left = f64::NEG_INFINITY;
    for (right, count) in edges.iter().zip(&counts) {
        let inside = values.iter().filter(|value| {
            // What stands on an edge belongs to the side away from zero.
            let value = f64::from(**value);
            if value < 0.0 {
                left < value && value <= *right
            } else {
                left <= value && (value < *right || *right == f64::from(f32::MAX))
            }
        });
        assert_eq!(inside.count() as f64, *count, "from {left} to {right}");
        let narrow = (right - left).abs() <= 0.125 * left.abs().max(right.abs()) * 1.000_001;
        assert!(
            narrow || *count == 0.0 || !left.is_finite() || left.abs() < 1e-37,
            "from {left} to {right}"
        );
        left = *right;
    }
    assert_eq!(counts.iter().sum::<f64>(), 10_000.0);
}

#[test]
fn values_that_are_not_finite_are_counted_apart() {
    let mut histogram = Histogram::default();
    histogram.add(&[1.0, f32::NAN, f32::INFINITY]);
    histogram.add(&[f32::NEG_INFINITY, -0.0]);
    assert_eq!(histogram.non_finite(), 3);

    let folder = tempfile::tempdir().expect("a folder");
    let mut writer = EventWriter::create(folder.path()).expect("a file");
    writer
        .histogram("some", 1, &histogram)
        .expect("a histogram");
    let mut empty = Histogram::default();
    empty.add(&[f32::NAN]);
    writer.histogram("none", 1, &empty).expect("a histogram");
    writer.flush().expect("flushed");
    let bytes = fs::read(writer.path()).expect("the file");
    let events = records(&bytes);
    let some = field(&value(events[1]), 5);
    assert_eq!(doubles(&field(&some, 7)), [1.0, 0.0, 1.0]);
    assert_eq!(doubles(&field(&some, 6)), [0.0, 1.0, 1.125]);
    assert!(fields(&field(&value(events[2]), 5)).is_empty());
}

#[test]
fn a_resumed_file_is_the_uninterrupted_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |writer: &mut EventWriter, steps: std::ops::Range<u64>| {
        for step in steps {
            writer
                .scalar("loss", step, 1.0 / (step + 1) as f64)
                .expect("a scalar");
            writer
                .text("text", step, "x".repeat(step as usize).as_str())
                .expect("a text");
        }
    };
    let still = || -> Clock { Box::new(|| 1.7e9) };
    let mut whole = EventWriter::create_with_clock(folder.path(), still()).expect("a file");
    write(&mut whole, 0..20);
    whole.flush().expect("flushed");
    let expected = fs::read(whole.path()).expect("the file");

    let mut first = EventWriter::create_with_clock(folder.path(), still()).expect("a file");
    let path = first.path().to_path_buf();
    assert_ne!(
        path,
        whole.path(),
        "a file of its own within the same second"
    );
    write(&mut first, 0..12);
    let position = first.sync().expect("synced");
    assert_eq!(position, fs::metadata(&path).expect("the file").len());
    write(&mut first, 12..15);
    drop(first);
    // A kill in the middle of a record.
    let mut torn = fs::read(&path).expect("the file");
    torn.truncate(torn.len() - 5);
    fs::write(&path, torn).expect("torn");

    let mut second = EventWriter::resume_with_clock(&path, position, still()).expect("resumed");
    assert_eq!(second.position(), position);
    write(&mut second, 12..20);
    second.flush().expect("flushed");
    assert!(fs::read(&path).expect("the file") == expected);

    let mut from_zero = EventWriter::resume_with_clock(&path, 0, still()).expect("resumed");
    write(&mut from_zero, 0..20);
    from_zero.flush().expect("flushed");
    assert!(fs::read(&path).expect("the file") == expected);
}

#[test]
fn only_the_ends_of_records_can_be_gone_back_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("copy.tfevents");
    let mut ends = vec![0];
    for record in records(GOLDEN) {
        ends.push(ends[ends.len() - 1] + 16 + record.len());
    }
    for position in 0..=GOLDEN.len() + 1 {
        fs::write(&path, GOLDEN).expect("written");
        let resumed = EventWriter::resume(&path, position as u64);
        assert_eq!(resumed.is_ok(), ends.contains(&position), "byte {position}");
        if let Err(error) = resumed {
            let error = error.to_string();
            assert!(
                error.contains("copy.tfevents") && error.contains("hint: "),
                "{error}"
            );
            assert!(
                fs::read(&path).expect("the file") == GOLDEN,
                "it was left as it is"
            );
        }
    }
}

#[test]
fn a_damaged_file_is_not_gone_on_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("copy.tfevents");
    for byte in 0..GOLDEN.len() {
        let mut damaged = GOLDEN.to_vec();
        damaged[byte] ^= 0x10;
        fs::write(&path, &damaged).expect("written");
        let resumed = EventWriter::resume(&path, GOLDEN.len() as u64);
        assert!(resumed.is_err(), "byte {byte}");
    }
    // A length that is checksummed and still absurd asks for no memory.
    let length = (u64::MAX - 20).to_le_bytes();
    let mut absurd = length.to_vec();
    absurd.extend(masked(&length).to_le_bytes());
    absurd.extend([0; 64]);
    fs::write(&path, &absurd).expect("written");
    assert!(EventWriter::resume(&path, absurd.len() as u64).is_err());
    assert!(EventWriter::resume(&folder.path().join("missing"), 0).is_err());
}

#[test]
fn tensorboard_finds_the_file_by_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("runs/one");
    let writer = EventWriter::create_with_clock(&inner, clock()).expect("a file");
    let name = writer.path().file_name().expect("a name").to_string_lossy();
    let process = std::process::id();
    assert!(
        name.starts_with("events.out.tfevents.1700000000."),
        "{name}"
    );
    assert!(name.ends_with(&format!(".{process}.0")), "{name}");
}

#[test]
fn text_is_indented_line_by_line_to_be_shown_as_it_is() {
    assert_eq!(
        verbatim("a\r\n# b\r*c*\n\n"),
        "    a\n    # b\n    *c*\n    \n    "
    );
}

/// The clock looks at the times of the events of a file, and at the first one
/// once more for the file's name.
fn times_of(events: &[&[u8]]) -> Clock {
    let mut times: Vec<f64> = events.iter().map(|event| number(event, 1)).collect();
    times.insert(0, times[0]);
    let mut times = times.into_iter();
    Box::new(move || times.next().expect("a time for each event"))
}

#[test]
fn public_curves_are_written_with_the_same_bytes() {
    for path in [
        "tensorboard/strict/run_1/events.out.tfevents.1622543341.janoshs-mbp.lan.86862.0",
        "tensorboard/lax/run_1/events.out.tfevents.1622543341.janoshs-mbp.lan.86862.3",
        "tensorboard/duplicate_steps/run_1/events.out.tfevents.1622966509.janoshs-mbp.lan.86059.0",
    ] {
        let Some(folder) = std::env::var_os("RETUNE_TEST_FILES") else {
            eprintln!("skipped: RETUNE_TEST_FILES names no folder with {path}");
            return;
        };
        let file = Path::new(&folder).join(path);
        let Ok(public) = fs::read(&file) else {
            eprintln!("skipped: {} is missing", file.display());
            continue;
        };
        let events = records(&public);
        let folder = tempfile::tempdir().expect("a folder");
        let mut writer =
            EventWriter::create_with_clock(folder.path(), times_of(&events)).expect("a file");
        for event in &events[1..] {
            let step = fields(event).into_iter().find(|(number, _)| *number == 2);
            let step = step.map_or(0, |(_, bytes)| {
                u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
            });
            let value = value(event);
            let tag = String::from_utf8(field(&value, 1)).expect("a tag");
            let loss = f32::from_bits(u32_at(&field(&value, 2), 0));
            writer
                .scalar(&tag, step, f64::from(loss))
                .expect("a scalar");
        }
        writer.flush().expect("flushed");
        assert!(
            fs::read(writer.path()).expect("the file") == public,
            "{path}"
        );
    }
}
