//! Telephone, identity and bank card numbers.
//!
//! A text is cut into groups of digits. At each group every kind of number is
//! tried in the ways in which it is written, which looks at a bounded number of
//! groups and digits.

use std::ops::Range;

use super::{Personal, PersonalKind};

/// More digits than the longest number has.
const MOST_DIGITS: usize = 19;

/// The kinds in the order in which they are tried: an identity number can
/// look like a card of the same length, but not the other way round.
const KINDS: [Finder; 6] = [
    identity_number,
    mobile_number,
    bank_card,
    international_number,
    north_american_number,
    landline,
];

/// Finds a number of its kind at the first of the groups of digits.
type Finder = fn(bytes: &[u8], groups: &[Range<usize>]) -> Option<Found>;

struct Found {
    kind: PersonalKind,
    range: Range<usize>,
    /// Groups that it takes.
    groups: usize,
}

pub(super) fn find_numbers(text: &str, found: &mut Vec<Personal>) {
    let bytes = text.as_bytes();
    let groups = digit_groups(bytes);
    let mut at = 0;
    while at < groups.len() {
        let number = KINDS.iter().find_map(|kind| kind(bytes, &groups[at..]));
        at += number.as_ref().map_or(1, |number| number.groups);
        found.extend(number.map(|Found { kind, range, .. }| Personal { kind, range }));
    }
}

/// The runs of ASCII digits.
fn digit_groups(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for (at, _) in bytes.iter().enumerate().filter(|(_, b)| b.is_ascii_digit()) {
        match groups.last_mut() {
            Some(group) if group.end == at => group.end += 1,
            _ => groups.push(at..at + 1),
        }
    }
    groups
}

/// Digits that are written in groups of given lengths.
struct Written {
    digits: Vec<u8>,
    range: Range<usize>,
    /// What stands between the groups.
    separator: Option<u8>,
}

/// The first groups, if they have these lengths and one and the same separator
/// between them, a space or a hyphen.
fn written(bytes: &[u8], groups: &[Range<usize>], lengths: &[usize]) -> Option<Written> {
    let groups = groups.get(..lengths.len())?;
    let mut separators = groups.windows(2).map(|pair| {
        let between = &bytes[pair[0].end..pair[1].start];
        (between.len() == 1 && b" -".contains(&between[0])).then(|| between[0])
    });
    let separator = match separators.next() {
        Some(first) => Some(first?),
        None => None,
    };
    let same = separators.all(|other| other == separator);
    let fits = groups.iter().zip(lengths).all(|(g, len)| g.len() == *len);
    (same && fits).then(|| Written {
        digits: groups
            .iter()
            .flat_map(|g| &bytes[g.clone()])
            .copied()
            .collect(),
        range: groups[0].start..groups[groups.len() - 1].end,
        separator,
    })
}

/// Whether what stands before `start` lets a number begin there: no letter or
/// digit, no part of a decimal or a longer number, no path of an address.
fn begins(bytes: &[u8], start: usize, separator: Option<u8>) -> bool {
    let before = |n: usize| start.checked_sub(n).map_or(0, |at| bytes[at]);
    let digit_before = before(2).is_ascii_digit();
    match before(1) {
        b'.' => !digit_before,
        // A minus: digits before make a longer number, space a negative one.
        b'-' => !digit_before && !b" =(".contains(&before(2)),
        b' ' => separator != Some(b' ') || !digit_before,
        b'/' => !before(2).is_ascii_alphabetic() && before(2) != b'/',
        byte => !byte.is_ascii_alphanumeric() && byte != b'_',
    }
}

/// The same for what stands behind.
fn ends(bytes: &[u8], end: usize, separator: Option<u8>) -> bool {
    let behind = |n: usize| bytes.get(end + n).copied().unwrap_or(0);
    let digit_behind = behind(1).is_ascii_digit();
    match behind(0) {
        b'.' | b'-' => !digit_behind,
        b' ' => separator != Some(b' ') || !digit_behind,
        byte => !byte.is_ascii_alphanumeric() && byte != b'_' && byte != b'%',
    }
}

fn is_alone(bytes: &[u8], number: &Written) -> bool {
    begins(bytes, number.range.start, number.separator)
        && ends(bytes, number.range.end, number.separator)
}

/// Region, date of birth and check character of GB 11643-1999.
fn identity_number(bytes: &[u8], groups: &[Range<usize>]) -> Option<Found> {
    let shapes: [&[usize]; 4] = [&[18], &[17], &[6, 8, 4], &[6, 8, 3]];
    shapes.iter().find_map(|shape| {
        let mut number = written(bytes, groups, shape)?;
        if number.digits.len() == 17 {
            let x = bytes.get(number.range.end)?;
            number.digits.push(x.to_ascii_uppercase());
            number.range.end += 1;
        }
        let good = is_identity(&number.digits) && is_alone(bytes, &number);
        good.then_some(Found {
            kind: PersonalKind::IdentityNumber,
            range: number.range,
            groups: shape.len(),
        })
    })
}

fn is_identity(digits: &[u8]) -> bool {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let value = |range: Range<usize>| {
        let digits = digits[range].iter();
        digits.fold(0, |value, d| value * 10 + u32::from(d - b'0'))
    };
    let region = matches!(
        value(0..2),
        11..=15 | 21..=23 | 31..=37 | 41..=46 | 50..=54 | 61..=65 | 71 | 81..=83 | 91
    );
    let (year, month, day) = (value(6..10), value(10..12), value(12..14));
    let leap = year % 4 == 0 && year != 1900;
    let days = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let date =
        (1900..2100).contains(&year) && (1..=12).contains(&month) && (1..=days).contains(&day);
    let sum: u32 = (0..17).map(|i| WEIGHTS[i] * value(i..i + 1)).sum();
    region && date && digits[17] == b"10X98765432"[sum as usize % 11]
}

fn mobile_number(bytes: &[u8], groups: &[Range<usize>]) -> Option<Found> {
    let found = |range: Range<usize>, groups| Found {
        kind: PersonalKind::MobileNumber,
        range,
        groups,
    };
    let first = groups.first()?;
    let prefix = prefix_86(bytes, first);
    // The prefix and the number in one run, as in +8613….
    if let Some((start, len)) = prefix
        && first.len() == len + 11
        && is_mobile(&bytes[first.start + len..first.end])
        && ends(bytes, first.end, None)
    {
        return Some(found(start..first.end, 1));
    }
    let shapes: [&[usize]; 2] = [&[11], &[3, 4, 4]];
    shapes.iter().find_map(|shape| {
        if let Some((start, len)) = prefix
            && first.len() == len
            && let Some(number) = written(bytes, &groups[1..], shape)
            && let Some(start) = joined(bytes, start..first.end, number.range.start)
            && is_mobile(&number.digits)
            && ends(bytes, number.range.end, number.separator)
        {
            return Some(found(start..number.range.end, shape.len() + 1));
        }
        let number = written(bytes, groups, shape)?;
        // Behind a `+` the first digits are the code of another country.
        let plus = first.start > 0 && bytes[first.start - 1] == b'+';
        (!plus && is_mobile(&number.digits) && is_alone(bytes, &number))
            .then(|| found(number.range, shape.len()))
    })
}

/// Where a number with the country code in `prefix` begins if it goes on at
/// `next`: `+86 138…`, `+86-138…`, `(+86) 138…`.
fn joined(bytes: &[u8], prefix: Range<usize>, next: usize) -> Option<usize> {
    let bracket = prefix.start > 0 && bytes[prefix.start - 1] == b'(';
    match &bytes[prefix.end..next] {
        b" " | b"-" => Some(prefix.start),
        b")" | b") " if bracket => Some(prefix.start - 1),
        _ => None,
    }
}

/// Where the country code of China begins in front of a mobile number, and how
/// many digits it has: `+86`, `0086`, or `86` with something behind it.
fn prefix_86(bytes: &[u8], group: &Range<usize>) -> Option<(usize, usize)> {
    let digits = &bytes[group.clone()];
    let plus = group.start > 0 && bytes[group.start - 1] == b'+';
    let (start, len) = if digits.starts_with(b"0086") {
        (group.start, 4)
    } else if digits.starts_with(b"86") && (plus || digits.len() == 2) {
        (group.start - usize::from(plus), 2)
    } else {
        return None;
    };
    begins(bytes, start, None).then_some((start, len))
}

fn is_mobile(digits: &[u8]) -> bool {
    digits.len() == 11 && digits[0] == b'1' && digits[1] >= b'3' && !has_few_digits(digits)
}

/// Fillers such as 13000000000 stand for no one.
fn has_few_digits(digits: &[u8]) -> bool {
    digits[3..].iter().all(|d| *d == digits[3])
}

fn bank_card(bytes: &[u8], groups: &[Range<usize>]) -> Option<Found> {
    let whole = [groups.first()?.len()];
    let shapes: &[&[usize]] = match whole[0] {
        4 => &[&[4, 4, 4, 4, 3], &[4, 4, 4, 4], &[4, 6, 5]],
        14..=MOST_DIGITS => &[&whole],
        _ => &[],
    };
    shapes.iter().find_map(|shape| {
        let card = written(bytes, groups, shape)?;
        let good = is_network(&card.digits) && luhn(&card.digits) && is_alone(bytes, &card);
        good.then_some(Found {
            kind: PersonalKind::BankCard,
            range: card.range,
            groups: shape.len(),
        })
    })
}

/// Whether a card network gives out numbers of this length with this
/// beginning. Times in milliseconds (1…) and book numbers (978…) are none.
fn is_network(digits: &[u8]) -> bool {
    let head = digits[..4].iter();
    let head = head.fold(0, |head, d| head * 10 + u32::from(d - b'0'));
    let len = digits.len();
    match head {
        // UnionPay, and the older cards of a Chinese bank.
        6200..=6299 => len >= 16,
        9558 => len == 19,
        // Visa, Mastercard, American Express.
        4000..=4999 => matches!(len, 16 | 19),
        2221..=2720 | 5100..=5599 => len == 16,
        3400..=3499 | 3700..=3799 => len == 15,
        // JCB, Discover, Diners Club.
        3528..=3589 | 6011 | 6440..=6599 => len >= 16,
        3000..=3059 | 3600..=3699 | 3800..=3899 => len == 14,
        _ => false,
    }
}

/// The check digit of ISO/IEC 7812-1: from the right, every second digit is
/// doubled, and the sum of all digits ends in 0.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(digit - b'0') << (place % 2);
            value / 10 + value % 10
        })
        .sum();
    sum.is_multiple_of(10)
}

/// `+`, a country code and groups: 9 to 15 digits (ITU-T E.164).
fn international_number(bytes: &[u8], groups: &[Range<usize>]) -> Option<Found> {
    let first = groups.first()?;
    let start = first.start.checked_sub(1)?;
    if bytes[start] != b'+' || bytes[first.start] == b'0' || !begins(bytes, start, Some(b' ')) {
        return None;
    }
    let mut digits = first.len();
    let mut taken = 1;
    for pair in groups.windows(2) {
        let between = &bytes[pair[0].end..pair[1].start];
        let joined = between.len() <= 2 && between.iter().all(|b| b" -.()".contains(b));
        if !joined || digits > 15 || pair[1].len() < 2 {
            break;
        }
        digits += pair[1].len();
        taken += 1;
    }
    let end = groups[taken - 1].end;
    // Without separators only a full number is told from a sum.
    let fits = if taken > 1 {
        first.len() <= 4 && (9..=15).contains(&digits)
    } else {
        (11..=15).contains(&digits)
    };
    (fits && ends(bytes, end, None)).then(|| phone(start..end, taken))
}

/// `415-555-2671`, `415.555.2671` or `(415) 555-2671`; not the area codes
/// that are free of charge, which are of companies.
fn north_american_number(bytes: &[u8], groups: &[Range<usize>]) -> Option<Found> {
    let [area, exchange, line] = groups.get(..3)? else {
        return None;
    };
    let lengths = (area.len(), exchange.len(), line.len()) == (3, 3, 4);
    let code = &bytes[area.clone()];
    let free = [
        b"800", b"888", b"877", b"866", b"855", b"844", b"833", b"400",
    ];
    if !lengths || code[0] < b'2' || bytes[exchange.start] < b'2' || free.iter().any(|f| *f == code)
    {
        return None;
    }
    let first = &bytes[area.end..exchange.start];
    let second = &bytes[exchange.end..line.start];
    let bracket = area.start > 0 && bytes[area.start - 1] == b'(';
    let start = match (first, second) {
        (b"-", b"-") | (b".", b".") => area.start,
        (b") " | b")", b"-" | b" ") if bracket => area.start - 1,
        _ => return None,
    };
    (begins(bytes, start, None) && ends(bytes, line.end, None)).then(|| phone(start..line.end, 3))
}

/// A Chinese area code, a hyphen and seven or eight digits: `010-62781234`.
fn landline(bytes: &[u8], groups: &[Range<usize>]) -> Option<Found> {
    let shapes: [&[usize]; 3] = [&[3, 8], &[4, 7], &[4, 8]];
    shapes.iter().find_map(|shape| {
        let number = written(bytes, groups, shape)?;
        let (area, line) = number.digits.split_at(shape[0]);
        let short = area.starts_with(b"010") || area.starts_with(b"02");
        let good = number.separator == Some(b'-')
            && area[0] == b'0'
            && area[1] != b'0'
            && short == (shape[0] == 3)
            && (b'2'..=b'8').contains(&line[0])
            && is_alone(bytes, &number);
        good.then(|| phone(number.range, 2))
    })
}

fn phone(range: Range<usize>, groups: usize) -> Found {
    Found {
        kind: PersonalKind::PhoneNumber,
        range,
        groups,
    }
}
