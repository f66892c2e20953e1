//! Email addresses, keys and tokens.

use std::sync::LazyLock;

use regex::Regex;

use super::{Personal, PersonalKind};

/// The last labels of a domain that make `@` something else: file names such
/// as `icon@2x.png`, and what RFC 2606 and RFC 6761 reserve.
const NO_TOP_LEVEL: &[&str] = &[
    "png",
    "jpg",
    "jpeg",
    "gif",
    "svg",
    "webp",
    "js",
    "css",
    "html",
    "json",
    "example",
    "test",
    "invalid",
    "localhost",
    "local",
];

/// Domains that are reserved for examples (RFC 2606), and those that examples
/// use all the same.
const EXAMPLES: &[&str] = &[
    "example.com",
    "example.org",
    "example.net",
    "example.cn",
    "domain.com",
    "mydomain.com",
    "yourdomain.com",
    "company.com",
    "yourcompany.com",
];

/// The longest local part and domain (RFC 5321), which also bound the search.
const LOCAL_PART: usize = 64;
const DOMAIN: usize = 253;

static KEYS: LazyLock<Regex> = LazyLock::new(|| {
    let keys = [
        r"sk-[A-Za-z0-9_-]{20,}",
        r"(?:AKIA|ASIA)[0-9A-Z]{16}",
        r"gh[pousr]_[A-Za-z0-9]{36,}",
        r"github_pat_[A-Za-z0-9_]{22,}",
        r"glpat-[A-Za-z0-9_-]{20,}",
        r"AIza[A-Za-z0-9_-]{35}",
        r"xox[abeprs]-[A-Za-z0-9-]{10,}",
        r"hf_[A-Za-z0-9]{30,}",
        r"LTAI[A-Za-z0-9]{12,20}",
        r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}",
    ];
    let pattern = format!(r"(?-u:\b)(?:{})", keys.join("|"));
    Regex::new(&pattern).expect("the pattern of keys is valid")
});

/// Keys and JSON web tokens.
pub(super) fn find_keys(text: &str, found: &mut Vec<Personal>) {
    for key in KEYS.find_iter(text) {
        let kind = if key.as_str().starts_with("eyJ") {
            PersonalKind::JsonWebToken
        } else {
            PersonalKind::ApiKey
        };
        let goes_on = text.as_bytes().get(key.end());
        let goes_on = goes_on.is_some_and(u8::is_ascii_alphanumeric);
        if !goes_on && looks_random(key.as_str()) {
            let range = key.range();
            found.push(Personal { kind, range });
        }
    }
}

/// Whether a key has a long part of letters mixed with digits, as a random one
/// has, and words joined by hyphens or a row of x do not. Amazon's own example
/// says that it is one.
fn looks_random(key: &str) -> bool {
    let mut parts = key.split(|c: char| !c.is_ascii_alphanumeric());
    let mixed = parts.any(|part| {
        part.len() >= 10
            && part.bytes().any(|b| b.is_ascii_digit())
            && part.bytes().any(|b| b.is_ascii_alphabetic())
    });
    mixed && !key.ends_with("EXAMPLE")
}

/// The first lines of private keys: `-----BEGIN … PRIVATE KEY-----`.
pub(super) fn find_private_keys(text: &str, found: &mut Vec<Personal>) {
    const BEGIN: &str = "-----BEGIN ";
    for (start, _) in text.match_indices(BEGIN) {
        // The longest name in use is `ENCRYPTED`.
        let rest = &text.as_bytes()[start + BEGIN.len()..];
        let rest = &rest[..rest.len().min(48)];
        let name = rest
            .iter()
            .take_while(|b| b.is_ascii_uppercase() || **b == b' ')
            .count();
        if rest[..name].ends_with(b"PRIVATE KEY") && rest[name..].starts_with(b"-----") {
            let end = start + BEGIN.len() + name + 5;
            found.push(Personal {
                kind: PersonalKind::PrivateKey,
                range: start..end,
            });
        }
    }
}

/// Email addresses. Each `@` looks a bounded way to both sides.
pub(super) fn find_emails(text: &str, found: &mut Vec<Personal>) {
    let bytes = text.as_bytes();
    let ats = bytes.iter().enumerate().filter(|(_, b)| **b == b'@');
    for (at, _) in ats {
        let local = bytes[..at].iter().rev().take(LOCAL_PART + 1);
        let local = local.take_while(|b| b.is_ascii_alphanumeric() || b"._%+-".contains(b));
        let mut start = at - local.count();
        // A dot or a hyphen before an address belongs to the sentence.
        while start < at && !bytes[start].is_ascii_alphanumeric() {
            start += 1;
        }
        let domain = bytes[at + 1..].iter().take(DOMAIN + 1);
        let domain = domain.take_while(|b| b.is_ascii_alphanumeric() || b".-".contains(b));
        let domain = &text[at + 1..at + 1 + domain.count()];
        let domain = domain.trim_end_matches(['.', '-']);
        let local = &text[start..at];
        if is_local_part(local) && is_domain(domain) {
            found.push(Personal {
                kind: PersonalKind::EmailAddress,
                range: start..at + 1 + domain.len(),
            });
        }
    }
}

/// `git` is the user of every Git server, not a person.
fn is_local_part(local: &str) -> bool {
    (1..=LOCAL_PART).contains(&local.len())
        && !local.contains("..")
        && !local.ends_with('.')
        && local != "git"
}

fn is_domain(domain: &str) -> bool {
    let domain = domain.to_ascii_lowercase();
    let mut labels = domain.rsplit('.');
    let top = labels.next().unwrap_or("");
    let mut others = labels.peekable();
    others.peek().is_some()
        && others.all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'))
        && domain.len() <= DOMAIN
        && (2..=24).contains(&top.len())
        && top.bytes().all(|b| b.is_ascii_alphabetic())
        && !NO_TOP_LEVEL.contains(&top)
        && !EXAMPLES.iter().any(|example| {
            let before = domain.strip_suffix(example);
            before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
        })
}
