//! What a word is, for figures that count words.

use std::sync::LazyLock;

use jieba_rs::Jieba;
use regex::Regex;

use super::porter::porter_stem;

/// How a text is cut into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Words {
    /// As Google's rouge-score does it: runs of `a-z0-9` in lower case. All
    /// other scripts are dropped, so it is for English alone.
    RougeScore {
        /// Whether words of more than three letters lose their endings; see
        /// [`porter_stem`].
        stemmer: bool,
    },
    /// Each Chinese or Japanese character a word, and so is each run of other
    /// letters, marks and numbers, in lower case. The rest is dropped.
    Characters,
    /// The words that `jieba-rs` cuts with its own dictionary and its model for
    /// unknown words, in lower case, without those that have neither letter nor
    /// number. The Python package may cut differently. The first use reads the
    /// dictionary, which takes a while.
    Jieba,
}

impl Default for Words {
    fn default() -> Self {
        Self::RougeScore { stemmer: false }
    }
}

impl Words {
    /// The words of `text`, in order. Forms of compatibility, such as
    /// full-width letters, stay what they are.
    pub fn of(self, text: &str) -> Vec<String> {
        match self {
            Self::RougeScore { stemmer } => ascii_words(text, stemmer),
            Self::Characters => {
                let lower = text.to_lowercase();
                let found = CHARACTER_OR_RUN.find_iter(&lower);
                found.map(|found| found.as_str().to_owned()).collect()
            }
            Self::Jieba => {
                let lower = text.to_lowercase();
                let words = JIEBA.cut(&lower, true).into_iter();
                let words = words.map(|token| token.word);
                let telling = words.filter(|word| word.chars().any(char::is_alphanumeric));
                telling.map(str::to_owned).collect()
            }
        }
    }
}

/// Loaded once, as it takes a while and a lot of memory.
static JIEBA: LazyLock<Jieba> = LazyLock::new(Jieba::new);

/// The prolonged sound mark belongs to kana, but Unicode counts it to no script.
static CHARACTER_OR_RUN: LazyLock<Regex> = LazyLock::new(|| {
    const WRITTEN_WITHOUT_SPACES: &str = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}ー";
    let pattern = format!(
        r"[[{WRITTEN_WITHOUT_SPACES}]&&[\p{{L}}\p{{N}}]]|[\p{{L}}\p{{M}}\p{{N}}--{WRITTEN_WITHOUT_SPACES}]+"
    );
    Regex::new(&pattern).expect("a pattern that compiles")
});

/// Stems only what is longer than this, as the original ROUGE did.
const LONGEST_UNSTEMMED: usize = 3;

fn ascii_words(text: &str, stemmer: bool) -> Vec<String> {
    let lower = text.to_lowercase();
    lower
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| match stemmer && word.len() > LONGEST_UNSTEMMED {
            true => porter_stem(word),
            false => word.to_owned(),
        })
        .collect()
}
