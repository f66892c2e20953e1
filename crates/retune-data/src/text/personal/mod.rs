//! What looks like personal data or a secret.
//!
//! Every kind is held to more than its shape, so that prices, dates, book
//! numbers and identifiers do not count: check digits, known prefixes, and what
//! stands before and behind.

mod numbers;
mod secrets;

use std::ops::Range;

use super::{any_byte, without_overlaps};

/// A span that looks like personal data or a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Personal {
    /// What it looks like.
    pub kind: PersonalKind,
    /// Where it stands, in bytes.
    pub range: Range<usize>,
}

/// A kind of personal data or secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PersonalKind {
    /// A Chinese mobile number: eleven digits from 13 to 19, with or without
    /// +86.
    MobileNumber,
    /// Another telephone number: international with `+`, Chinese landline with
    /// area code, or North American with separators.
    PhoneNumber,
    /// A Chinese resident identity number (GB 11643-1999) whose region, date
    /// and check character are right.
    IdentityNumber,
    /// An email address, other than one reserved for examples.
    EmailAddress,
    /// A bank card number: the prefix of a card network, and the check digit
    /// of Luhn (ISO/IEC 7812-1).
    BankCard,
    /// A key to an API: OpenAI, Anthropic, AWS, GitHub, GitLab, Google, Slack,
    /// Hugging Face, Alibaba Cloud.
    ApiKey,
    /// The first line of a private key in PEM.
    PrivateKey,
    /// A signed JSON web token (RFC 7519).
    JsonWebToken,
}

impl PersonalKind {
    /// What it is called in a report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MobileNumber => "mobile number",
            Self::PhoneNumber => "phone number",
            Self::IdentityNumber => "identity number",
            Self::EmailAddress => "email address",
            Self::BankCard => "bank card number",
            Self::ApiKey => "API key",
            Self::PrivateKey => "private key",
            Self::JsonWebToken => "JSON web token",
        }
    }
}

/// Everything in `text` that looks like personal data or a secret, in order
/// and without overlaps.
///
/// A text without digits, `@` or the head of a private key costs a look at
/// its bytes.
#[must_use]
pub fn find_personal(text: &str) -> Vec<Personal> {
    let mut found = Vec::new();
    secrets::find_private_keys(text, &mut found);
    if any_byte(text, |byte| byte == b'@') {
        secrets::find_emails(text, &mut found);
    }
    if any_byte(text, |byte| byte.is_ascii_digit()) {
        secrets::find_keys(text, &mut found);
        numbers::find_numbers(text, &mut found);
    }
    without_overlaps(&mut found, |personal| personal.range.clone());
    found
}

/// The span `range` of `text` for a report: its beginning and its end, and
/// stars for what lies between. At most three characters in front and two at the
/// end are shown, and never more than three in eight. Empty if `range` is no
/// span of `text`.
#[must_use]
pub fn mask(text: &str, range: Range<usize>) -> String {
    let chars: Vec<char> = text.get(range).unwrap_or("").chars().collect();
    let front = (chars.len() / 4).min(3);
    let end = (chars.len() / 8).min(2);
    let hidden = chars.len() - front - end;
    let shown = chars.iter().take(front);
    // Long secrets do not need a star for each character.
    let stars = std::iter::repeat_n(&'*', hidden.min(8));
    shown
        .chain(stars)
        .chain(&chars[chars.len() - end..])
        .collect()
}
