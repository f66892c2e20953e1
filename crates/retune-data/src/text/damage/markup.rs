//! What web pages and templates leave behind.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::{Damage, DamageKind};
use crate::text::any_byte;

/// The elements of HTML, also those of old pages. `s` is left out: `<s>` is a
/// control token. Those of one letter count only where they are also closed.
const ELEMENTS: &[&str] = &[
    "a",
    "abbr",
    "article",
    "aside",
    "audio",
    "b",
    "big",
    "blockquote",
    "body",
    "br",
    "button",
    "canvas",
    "caption",
    "center",
    "cite",
    "code",
    "col",
    "colgroup",
    "dd",
    "del",
    "details",
    "div",
    "dl",
    "dt",
    "em",
    "fieldset",
    "figcaption",
    "figure",
    "font",
    "footer",
    "form",
    "frame",
    "frameset",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "head",
    "header",
    "hr",
    "html",
    "i",
    "iframe",
    "img",
    "input",
    "ins",
    "kbd",
    "label",
    "legend",
    "li",
    "link",
    "main",
    "marquee",
    "meta",
    "nav",
    "nobr",
    "noscript",
    "object",
    "ol",
    "optgroup",
    "option",
    "p",
    "param",
    "picture",
    "pre",
    "q",
    "rp",
    "rt",
    "ruby",
    "samp",
    "script",
    "section",
    "select",
    "small",
    "source",
    "span",
    "strike",
    "strong",
    "style",
    "sub",
    "summary",
    "sup",
    "svg",
    "table",
    "tbody",
    "td",
    "textarea",
    "tfoot",
    "th",
    "thead",
    "title",
    "tr",
    "tt",
    "u",
    "ul",
    "video",
    "wbr",
];

/// Named entities that are found in real texts, of more than two thousand.
const ENTITIES: &[&str] = &[
    "amp", "lt", "gt", "quot", "apos", "nbsp", "ensp", "emsp", "thinsp", "zwj", "zwnj", "copy",
    "reg", "trade", "hellip", "mdash", "ndash", "lsquo", "rsquo", "ldquo", "rdquo", "sbquo",
    "bdquo", "laquo", "raquo", "lsaquo", "rsaquo", "middot", "bull", "deg", "plusmn", "times",
    "divide", "frac12", "frac14", "frac34", "cent", "pound", "yen", "euro", "sect", "para", "shy",
    "larr", "rarr", "uarr", "darr", "harr", "infin", "le", "ge", "ne", "asymp", "alpha", "beta",
    "gamma", "delta", "pi", "mu", "omega", "eacute", "egrave", "ecirc", "agrave", "acirc",
    "ccedil", "ouml", "uuml", "auml", "szlig", "ntilde", "oslash", "aring", "iexcl", "iquest",
    "permil",
];

static PLACEHOLDERS: LazyLock<Regex> = LazyLock::new(|| {
    let forms = [
        // {{name}}; a single letter, or one behind a backslash command, is LaTeX.
        r"\{\{ ?[\p{L}_][\p{L}\p{N}_.]{1,39} ?\}\}",
        // <YOUR_NAME>
        r"<(?:YOUR|INSERT|ENTER|REPLACE)[_ -][A-Z][A-Z0-9_ -]{1,39}>",
        // [Your Name], [Insert date here]
        r"\[(?:[Yy]our|YOUR|[Ii]nsert|INSERT|[Rr]ecipient(?:'s)?|[Cc]ompany|[Ss]ender(?:'s)?) [A-Za-z'/ ]{2,40}\]",
        // [您的姓名]
        r"\[(?:您的|你的|请填写|请输入|在此填写|在此输入|插入)\p{Han}{1,12}\]",
        r"\[(?:姓名|公司名称|公司名|日期|联系方式|联系电话|收件人姓名)\]",
    ];
    Regex::new(&forms.join("|")).expect("the pattern of placeholders is valid")
});

/// Tags, entities and placeholders outside of code.
pub(super) fn find_markup(text: &str, found: &mut Vec<Damage>) {
    if !any_byte(text, |byte| matches!(byte, b'<' | b'&' | b'{' | b'[')) {
        return;
    }
    let code = Code::of(text);
    let mut singles = Singles::new(text);
    for (at, byte) in text.bytes().enumerate() {
        let (kind, len) = match byte {
            b'<' => (DamageKind::HtmlTag, tag(text, at, &mut singles)),
            b'&' => (DamageKind::HtmlEntity, entity(&text[at..])),
            _ => continue,
        };
        if len > 0 && !code.contains(at) {
            let range = at..at + len;
            found.push(Damage { kind, range });
        }
    }
    for placeholder in PLACEHOLDERS.find_iter(text) {
        let range = placeholder.range();
        if is_placeholder(text, &range) && !code.contains(range.start) {
            found.push(Damage {
                kind: DamageKind::Placeholder,
                range,
            });
        }
    }
}

/// Whether what stands around a placeholder lets it be one, rather than a
/// link in Markdown or braces in LaTeX.
fn is_placeholder(text: &str, range: &Range<usize>) -> bool {
    let before = text[..range.start].chars().next_back().unwrap_or(' ');
    let behind = text[range.end..].chars().next().unwrap_or(' ');
    if text[range.clone()].starts_with('[') {
        return !matches!(behind, '(' | '[' | ':');
    }
    let latex = matches!(before, '\\' | '^' | '_' | '}' | '{' | '$');
    let command = text[..range.start]
        .trim_end_matches(|c: char| c.is_ascii_alphabetic())
        .ends_with('\\')
        && before.is_ascii_alphabetic();
    !latex && !command && behind != '}'
}

/// The length of the tag, comment or declaration at `at`, or 0.
fn tag(text: &str, at: usize, singles: &mut Singles<'_>) -> usize {
    let rest = &text[at..];
    for (begin, end) in [("<!--", "-->"), ("<!DOCTYPE", ">"), ("<!doctype", ">")] {
        if let Some(inside) = rest.strip_prefix(begin) {
            let inside = &inside.as_bytes()[..inside.len().min(1000)];
            let found = inside.windows(end.len()).position(|w| w == end.as_bytes());
            return found.map_or(0, |found| begin.len() + found + end.len());
        }
    }
    let bytes = &rest.as_bytes()[1..];
    let slash = usize::from(bytes.first() == Some(&b'/'));
    let name = bytes[slash..].iter().take(11);
    let name_len = name.take_while(|b| b.is_ascii_alphanumeric()).count();
    let name = bytes[slash..slash + name_len].to_ascii_lowercase();
    let is_element = ELEMENTS
        .binary_search_by(|e| e.as_bytes().cmp(&name))
        .is_ok();
    // The next `<` ends the search, so that it is linear in all of them.
    let inside = bytes[slash + name_len..].iter();
    let inside_len = inside.take_while(|b| !matches!(b, b'<' | b'>')).count();
    let inside = &bytes[slash + name_len..slash + name_len + inside_len];
    let end = 1 + slash + name_len + inside_len;
    let closed = rest.as_bytes().get(end) == Some(&b'>');
    if !is_element || !closed || !is_attributes(inside) {
        return 0;
    }
    let pair = name_len > 1 || slash == 1 || !inside.is_empty() || singles.is_closed(name[0]);
    if pair { end + 1 } else { 0 }
}

/// Whether what stands behind a tag's name is nothing, a slash, or space and
/// attributes with values.
fn is_attributes(inside: &[u8]) -> bool {
    let inside = inside.strip_suffix(b"/").unwrap_or(inside);
    let trimmed = inside.trim_ascii();
    trimmed.is_empty() || (inside[0].is_ascii_whitespace() && trimmed.contains(&b'='))
}

/// The length of the entity at the beginning of `text`, or 0.
fn entity(text: &str) -> usize {
    let bytes = &text.as_bytes()[1..];
    let Some(len) = bytes.iter().take(10).position(|b| *b == b';') else {
        return 0;
    };
    let name = &bytes[..len];
    let good = match name {
        [b'#', b'x' | b'X', hex @ ..] => !hex.is_empty() && hex.iter().all(u8::is_ascii_hexdigit),
        [b'#', digits @ ..] => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
        _ => ENTITIES.iter().any(|entity| entity.as_bytes() == name),
    };
    if good { len + 2 } else { 0 }
}

/// Which elements of one letter are closed somewhere in the text, looked for
/// once for each.
struct Singles<'a> {
    text: &'a str,
    closed: [Option<bool>; 26],
}

impl<'a> Singles<'a> {
    fn new(text: &'a str) -> Self {
        let closed = [None; 26];
        Self { text, closed }
    }

    fn is_closed(&mut self, letter: u8) -> bool {
        let closing = |letter: char| self.text.contains(&format!("</{letter}>"));
        let place = &mut self.closed[usize::from(letter - b'a')];
        *place.get_or_insert_with(|| {
            let letter = char::from(letter);
            closing(letter) || closing(letter.to_ascii_uppercase())
        })
    }
}

/// Code in Markdown: fenced blocks, and spans between backticks in a line.
struct Code {
    /// In ascending order.
    ranges: Vec<Range<usize>>,
}

impl Code {
    fn of(text: &str) -> Self {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        let mut fenced = None;
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let is_fence = line.trim_start().starts_with("```");
            match (fenced, is_fence) {
                (None, true) => fenced = Some(at),
                (Some(start), true) => {
                    ranges.push(start..at + line.len());
                    fenced = None;
                }
                (None, false) => {
                    let mut ticks = line.match_indices('`').map(|(tick, _)| at + tick);
                    while let (Some(start), Some(end)) = (ticks.next(), ticks.next()) {
                        ranges.push(start..end);
                    }
                }
                (Some(_), false) => {}
            }
            at += line.len();
        }
        // A block that was cut off is code up to the end.
        ranges.extend(fenced.map(|start| start..text.len()));
        Self { ranges }
    }

    fn contains(&self, at: usize) -> bool {
        let next = self.ranges.partition_point(|range| range.end <= at);
        self.ranges
            .get(next)
            .is_some_and(|range| range.contains(&at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_in_order() {
        assert!(ELEMENTS.is_sorted());
    }
}
