//! The bytes of one token, which may be no whole character.

use std::sync::LazyLock;

use tokenizers::DecoderWrapper;

use super::Tokenizer;

/// Byte-level vocabularies write each byte as a character that can be seen: those that can
/// stand for themselves, and the others as U+0100 and on, in their order.
static BYTE_OF_CHARACTER: LazyLock<[Option<u8>; 324]> = LazyLock::new(|| {
    let mut table = [None; 324];
    let mut unseen = 256..;
    for byte in u8::MIN..=u8::MAX {
        let itself = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
        let character = match itself {
            true => Some(usize::from(byte)),
            false => unseen.next(),
        };
        if let Some(character) = character {
            table[character] = Some(byte);
        }
    }
    table
});

impl Tokenizer {
    /// Bytes of the longest token: a text of more than so many times `n` has more than `n`
    /// tokens, if the tokenizer does not shorten it first.
    pub fn longest_token_bytes(&self) -> usize {
        *self.longest.get_or_init(|| {
            let ids = 0..self.vocab_size() as u32;
            ids.map(|id| self.token_bytes(id).len())
                .max()
                .unwrap_or(1)
                .max(1)
        })
    }

    /// What a token adds to a text, in UTF-8 together with its neighbours; none if there is
    /// no such token.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        let Some(token) = self.inner.id_to_token(id) else {
            return Vec::new();
        };
        if self.is_added(&token) {
            return token.into_bytes();
        }
        let is_byte_level = match self.inner.get_decoder() {
            Some(DecoderWrapper::ByteLevel(_)) => true,
            Some(DecoderWrapper::Sequence(parts)) => parts
                .get_decoders()
                .iter()
                .any(|part| matches!(part, DecoderWrapper::ByteLevel(_))),
            _ => false,
        };
        if is_byte_level {
            let byte = |c: char| BYTE_OF_CHARACTER.get(c as usize).copied().flatten();
            let bytes: Option<Vec<u8>> = token.chars().map(byte).collect();
            return bytes.unwrap_or_else(|| token.into_bytes());
        }
        // SentencePiece's: a byte as <0x0A>, a space as a low line.
        let byte = token
            .strip_prefix("<0x")
            .and_then(|rest| rest.strip_suffix('>'))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte {
            Some(byte) => vec![byte],
            None => token.replace('\u{2581}', " ").into_bytes(),
        }
    }
}
