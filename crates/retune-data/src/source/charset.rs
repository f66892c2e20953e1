//! Bytes in any encoding to bytes in UTF-8.
//!
//! As long as a file is ASCII there is nothing to decide. At the first other
//! byte, a window from there on is looked at: UTF-8, UTF-16 and GB18030 are
//! told apart and converted. Bytes that are broken in UTF-8 are passed on as
//! they are, those of other encodings as [`BROKEN`], so that the row which holds
//! them can be named.

use std::io::{self, Read};
use std::sync::{Arc, OnceLock};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Decoder, DecoderResult, Encoding};

/// What is read at a time, and looked at to tell the encoding.
const WINDOW: usize = 256 << 10;
/// Stands for bytes that are broken in an encoding other than UTF-8. It is broken
/// in UTF-8 as well, so that the row which holds it can be named.
pub(super) const BROKEN: u8 = 0xff;

/// The encoding that a name such as `gb18030`, `gbk` or `utf-16le` stands for.
pub fn encoding_for_label(label: &str) -> Option<&'static Encoding> {
    Encoding::for_label(label.as_bytes())
}

enum State {
    /// Nothing was read.
    Start,
    /// All was ASCII so far.
    Ascii,
    /// Bytes go through as they are.
    Utf8,
    Other(Box<Decoder>),
}

/// Reads UTF-8, whatever the encoding of the bytes below.
pub(super) struct Decoded {
    bytes: Box<dyn Read + Send>,
    forced: Option<&'static Encoding>,
    found: Arc<OnceLock<&'static str>>,
    state: State,
    /// Bytes as they were read, from `taken` on not decoded yet.
    raw: Vec<u8>,
    taken: usize,
    ended: bool,
    /// An error behind what was read.
    failed: Option<io::Error>,
    /// Decoded text, from `given` on not handed out yet.
    text: Vec<u8>,
    given: usize,
}

impl Decoded {
    pub(super) fn new(
        bytes: Box<dyn Read + Send>,
        forced: Option<&'static Encoding>,
        found: Arc<OnceLock<&'static str>>,
    ) -> Self {
        Self {
            bytes,
            forced,
            found,
            state: State::Start,
            raw: Vec::new(),
            taken: 0,
            ended: false,
            failed: None,
            text: Vec::new(),
            given: 0,
        }
    }

    /// Reads on until a window lies in `raw` or the file ends.
    fn fill_window(&mut self) -> io::Result<()> {
        self.raw.drain(..self.taken);
        self.taken = 0;
        if self.raw.is_empty()
            && let Some(error) = self.failed.take()
        {
            return Err(error);
        }
        if self.failed.is_some() {
            return Ok(());
        }
        while !self.ended && self.raw.len() < WINDOW {
            let filled = self.raw.len();
            self.raw.resize(filled + WINDOW, 0);
            let read = self.bytes.read(&mut self.raw[filled..]);
            let count = match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => {
                    self.raw.truncate(filled);
                    if filled == 0 {
                        return Err(error);
                    }
                    // What was read before goes out first; whoever asks for more
                    // gets the error.
                    self.failed = Some(error);
                    return Ok(());
                }
                Ok(0) => {
                    self.ended = true;
                    0
                }
                Ok(count) => count,
            };
            self.raw.truncate(filled + count);
        }
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        self.fill_window()?;
        let mark = Encoding::for_bom(&self.raw);
        if let Some((encoding, length)) = mark {
            self.taken = length;
            self.decide(encoding);
        } else if let Some(encoding) = self.forced {
            self.decide(encoding);
        } else if let Some(encoding) = utf16_without_mark(&self.raw) {
            self.decide(encoding);
        } else {
            self.state = State::Ascii;
        }
        Ok(())
    }

    fn decide(&mut self, encoding: &'static Encoding) {
        // Set once: nobody else has the other end before we are asked to read.
        let _ = self.found.set(encoding.name());
        self.state = if encoding == encoding_rs::UTF_8 {
            State::Utf8
        } else if encoding == encoding_rs::GBK {
            // The same, and all of Unicode.
            State::Other(Box::new(
                encoding_rs::GB18030.new_decoder_without_bom_handling(),
            ))
        } else {
            State::Other(Box::new(encoding.new_decoder_without_bom_handling()))
        };
    }

    /// Puts the next decoded bytes into `text`; none at the end.
    fn advance(&mut self) -> io::Result<()> {
        self.text.clear();
        self.given = 0;
        if matches!(self.state, State::Start) {
            self.begin()?;
        }
        if self.taken == self.raw.len() {
            self.fill_window()?;
        }
        if matches!(self.state, State::Ascii) {
            let ascii = Encoding::ascii_valid_up_to(&self.raw[self.taken..]);
            if ascii > 0 || self.taken == self.raw.len() {
                let start = self.taken;
                self.text.extend_from_slice(&self.raw[start..start + ascii]);
                self.taken += ascii;
                return Ok(());
            }
            self.fill_window()?;
            self.decide(guess(&self.raw));
        }
        match &mut self.state {
            State::Other(decoder) => {
                self.text.resize(
                    decoder
                        .max_utf8_buffer_length(self.raw.len() - self.taken)
                        .unwrap_or(4 * WINDOW),
                    0,
                );
                let last = self.ended;
                let mut filled = 0;
                loop {
                    let (result, read, written) = decoder.decode_to_utf8_without_replacement(
                        &self.raw[self.taken..],
                        &mut self.text[filled..],
                        last,
                    );
                    self.taken += read;
                    filled += written;
                    match result {
                        DecoderResult::InputEmpty => break,
                        DecoderResult::OutputFull => self.text.resize(2 * self.text.len() + 16, 0),
                        DecoderResult::Malformed(..) => {
                            if filled == self.text.len() {
                                self.text.push(0);
                            }
                            self.text[filled] = BROKEN;
                            filled += 1;
                        }
                    }
                }
                self.text.truncate(filled);
                if last {
                    // A decoder that has finished must not be asked again.
                    self.state = State::Utf8;
                }
            }
            _ => {
                self.text.extend_from_slice(&self.raw[self.taken..]);
                self.taken = self.raw.len();
            }
        }
        Ok(())
    }
}

impl Read for Decoded {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.given == self.text.len() {
            self.advance()?;
            if self.text.is_empty() && self.ended && self.taken == self.raw.len() {
                return Ok(0);
            }
        }
        let count = out.len().min(self.text.len() - self.given);
        out[..count].copy_from_slice(&self.text[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

/// Data begins with two ASCII characters (`{"`, `[{`, a column's name), of
/// which UTF-16 makes two bytes each, one of them zero.
fn utf16_without_mark(bytes: &[u8]) -> Option<&'static Encoding> {
    let text = |byte: u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    match *bytes {
        [0, first, 0, second, ..] if text(first) && text(second) => Some(encoding_rs::UTF_16BE),
        [first, 0, second, 0, ..] if text(first) && text(second) => Some(encoding_rs::UTF_16LE),
        _ => None,
    }
}

/// The encoding of bytes that are not ASCII: UTF-8 if most of it is valid,
/// else what `chardetng` sees in it, if that decodes without an error.
fn guess(window: &[u8]) -> &'static Encoding {
    let (valid, broken) = utf8_characters(window);
    if valid >= broken {
        return encoding_rs::UTF_8;
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(window, false);
    let encoding = detector.guess(None, Utf8Detection::Deny);
    let east_asian = [
        encoding_rs::GBK,
        encoding_rs::GB18030,
        encoding_rs::BIG5,
        encoding_rs::SHIFT_JIS,
        encoding_rs::EUC_JP,
        encoding_rs::EUC_KR,
    ];
    let candidate = if encoding == encoding_rs::GBK {
        encoding_rs::GB18030
    } else {
        encoding
    };
    // A window may end inside a character.
    let whole = &window[..window.len().saturating_sub(4).max(window.len().min(64))];
    let (text, _) = candidate.decode_without_bom_handling(whole);
    let beyond_ascii = text.chars().filter(|c| !c.is_ascii()).count();
    let broken = text
        .chars()
        .filter(|c| *c == char::REPLACEMENT_CHARACTER)
        .count();
    // A few broken bytes are errors of their rows, and not of the file.
    if east_asian.contains(&encoding) && broken * 20 <= beyond_ascii {
        candidate
    } else {
        encoding_rs::UTF_8
    }
}

/// How many characters beyond ASCII are valid UTF-8, and how many sequences
/// are not.
fn utf8_characters(bytes: &[u8]) -> (usize, usize) {
    let (mut valid, mut broken) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        valid += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        broken += usize::from(!chunk.invalid().is_empty());
    }
    (valid, broken)
}
