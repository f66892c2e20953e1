//! Text as it comes: whole characters only, and nothing of a stop text.

use retune_data::Tokenizer;

/// An answer's text on its way.
#[derive(Debug)]
pub(crate) struct TextStream {
    ids: Vec<u32>,
    /// Tokens of which the text was taken are decoded again from here, since how a
    /// token reads may depend on the one before it.
    context: usize,
    /// Tokens of which the text was taken.
    read: usize,
    /// Text that may be the beginning of a stop text.
    held: String,
    stop: Vec<String>,
}

impl TextStream {
    pub(crate) fn new(stop: &[String]) -> Self {
        Self {
            ids: Vec::new(),
            context: 0,
            read: 0,
            held: String::new(),
            stop: stop.to_vec(),
        }
    }

    /// Takes a token. Returned is the text that is certain now, and whether a stop text
    /// was reached.
    pub(crate) fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> (String, bool) {
        self.ids.push(id);
        let before = tokenizer.decode_text(&self.ids[self.context..self.read]);
        let now = tokenizer.decode_text(&self.ids[self.context..]);
        // A character that is not whole yet.
        if now.ends_with('\u{fffd}') || now.len() <= before.len() {
            return (String::new(), false);
        }
        self.context = self.read;
        self.read = self.ids.len();
        self.add(now.get(before.len()..).unwrap_or_default())
    }

    /// The rest, when no more tokens come.
    pub(crate) fn finish(&mut self, tokenizer: &Tokenizer) -> String {
        let before = tokenizer.decode_text(&self.ids[self.context..self.read]);
        let now = tokenizer.decode_text(&self.ids[self.context..]);
        let (mut text, stopped) = self.add(now.get(before.len()..).unwrap_or_default());
        if !stopped {
            text.push_str(&std::mem::take(&mut self.held));
        }
        text
    }

    fn add(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        let found = self.stop.iter().filter_map(|stop| self.held.find(stop));
        if let Some(at) = found.min() {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let begun = |at: &usize| {
            self.stop
                .iter()
                .any(|stop| stop.starts_with(&self.held[*at..]))
        };
        let places = self.held.char_indices().map(|(at, _)| at);
        let keep = places.into_iter().find(begun).unwrap_or(self.held.len());
        let rest = self.held.split_off(keep);
        (std::mem::replace(&mut self.held, rest), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_stop_text_is_said_and_nothing_else_is_held_back() {
        let mut stream = TextStream::new(&["END".to_owned(), "。。".to_owned()]);
        assert_eq!(stream.add("good E"), ("good ".to_owned(), false));
        assert_eq!(stream.add("N"), (String::new(), false));
        assert_eq!(stream.add("ough 。"), ("ENough ".to_owned(), false));
        assert_eq!(stream.add("x"), ("。x".to_owned(), false));
        assert_eq!(stream.add("then EEND and"), ("then E".to_owned(), true));
    }
}
