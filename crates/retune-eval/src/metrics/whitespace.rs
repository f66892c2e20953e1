//! Whitespace as Python's `str.split` sees it, which the reference tools use.

/// Whether Python's `str.isspace` holds for `character`. Unicode's White_Space
/// lacks the four separators of ASCII that Python counts.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// The parts of `text` between whitespace, without empty ones.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|part| !part.is_empty())
}

/// `text` without any whitespace.
pub(super) fn without(text: &str) -> String {
    text.chars().filter(|&c| !is_space(c)).collect()
}

/// `text` with one space between its parts, and none around them.
pub(super) fn squeezed(text: &str) -> String {
    let mut squeezed = String::with_capacity(text.len());
    for part in split(text) {
        if !squeezed.is_empty() {
            squeezed.push(' ');
        }
        squeezed.push_str(part);
    }
    squeezed
}
