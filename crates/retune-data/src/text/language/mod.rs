//! Script and language of a text.

mod chinese;

pub(super) use chinese::is_common_han;
pub use chinese::{Chinese, chinese_of};

/// What a text is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Script {
    /// Chinese characters.
    Han,
    /// Latin letters.
    Latin,
    /// Kana; also Japanese as a whole, in which kana stand among Han.
    Kana,
    /// Korean.
    Hangul,
    /// Russian and others.
    Cyrillic,
    /// Arabic, Persian, Urdu and others.
    Arabic,
    /// Hebrew, Yiddish.
    Hebrew,
    /// Greek.
    Greek,
    /// Thai.
    Thai,
    /// Hindi, Marathi, Nepali.
    Devanagari,
    /// Letters of another script.
    Other,
    /// No script has two thirds of the text.
    Mixed,
    /// No letters.
    None,
}

/// Scripts that a letter can have, in the order of the enum, so that a script
/// as a number is its place among [`Scripts::counts`].
const SCRIPTS: [Script; 11] = [
    Script::Han,
    Script::Latin,
    Script::Kana,
    Script::Hangul,
    Script::Cyrillic,
    Script::Arabic,
    Script::Hebrew,
    Script::Greek,
    Script::Thai,
    Script::Devanagari,
    Script::Other,
];

/// Letters from which on a language is told from others of the same script.
const ENOUGH: usize = 20;

/// What `whatlang` must be sure of. Of 873 short English sentences it took 43
/// for another language without a limit, two with this one, and was silent on
/// one in eight.
const SURE: f64 = 0.3;

/// Characters of a text that are looked at; the rest rarely changes the
/// language, and only costs time.
const LOOKED_AT: usize = 4000;

/// The scripts of a text: how many characters (Han, kana, Hangul) and words
/// (other scripts) are written in each. A word says about as much as a Chinese
/// character or two, and a letter far less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scripts {
    counts: [usize; SCRIPTS.len()],
    letters: usize,
}

impl Scripts {
    /// Counts the scripts of `text`, of which the first few thousand
    /// characters are looked at.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut scripts = Self {
            counts: [0; SCRIPTS.len()],
            letters: 0,
        };
        let mut word = None;
        for c in text.chars().take(LOOKED_AT) {
            let script = script_of_char(c);
            let alone = matches!(script, Some(Script::Han | Script::Kana | Script::Hangul));
            if let Some(script) = script
                && (alone || word != Some(script))
            {
                scripts.counts[script as usize] += 1;
            }
            scripts.letters += usize::from(script.is_some());
            word = script;
        }
        scripts
    }

    /// The share of `script`, 0 to 1; 0 for [`Script::Mixed`] and
    /// [`Script::None`].
    #[must_use]
    pub fn share(&self, script: Script) -> f64 {
        let all: usize = self.counts.iter().sum();
        let count = self.counts.get(script as usize).copied().unwrap_or(0);
        count as f64 / all.max(1) as f64
    }

    /// The script of the text as a whole. Han among which at least one
    /// character in ten is kana are Japanese.
    #[must_use]
    pub fn main(&self) -> Script {
        if self.letters == 0 {
            return Script::None;
        }
        let kana = self.share(Script::Kana);
        let japanese = kana + self.share(Script::Han);
        if kana >= 0.1 * japanese && japanese >= 2.0 / 3.0 {
            return Script::Kana;
        }
        let main = SCRIPTS.into_iter().find(|s| self.share(*s) >= 2.0 / 3.0);
        main.unwrap_or(Script::Mixed)
    }
}

/// The script of `text` as a whole.
#[must_use]
pub fn script_of(text: &str) -> Script {
    Scripts::of(text).main()
}

/// The language of a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Language {
    /// The BCP 47 tag: `en`, `ja`; for Chinese `zh-Hans`, `zh-Hant`, or `zh`
    /// where nothing tells them apart.
    pub code: &'static str,
    /// How sure it is, 0 to 1.
    pub confidence: f64,
}

/// The language of `text`, or none if it cannot be told.
///
/// A script that one language has decides by itself. Languages that share a
/// script are told apart by `whatlang` (trigrams), and only in texts with 20
/// letters or more, since it guesses on shorter ones.
#[must_use]
pub fn language_of(text: &str) -> Option<Language> {
    let scripts = Scripts::of(text);
    let main = scripts.main();
    let japanese = scripts.share(Script::Kana) + scripts.share(Script::Han);
    let (code, confidence) = match main {
        Script::None | Script::Mixed => return None,
        Script::Han => (chinese_of(text).code(), scripts.share(main)),
        Script::Kana => ("ja", japanese),
        Script::Hangul => ("ko", scripts.share(main)),
        Script::Greek => ("el", scripts.share(main)),
        Script::Thai => ("th", scripts.share(main)),
        _ => {
            if scripts.letters < ENOUGH {
                return None;
            }
            let sample: String = text.chars().take(LOOKED_AT).collect();
            let info = whatlang::detect(&sample).filter(|info| info.confidence() >= SURE)?;
            (bcp_47(info.lang().code()), info.confidence())
        }
    };
    Some(Language { code, confidence })
}

fn script_of_char(c: char) -> Option<Script> {
    if c.is_ascii() {
        return c.is_ascii_alphabetic().then_some(Script::Latin);
    }
    if matches!(c, '\u{4e00}'..='\u{9fff}') {
        return Some(Script::Han);
    }
    if !c.is_alphabetic() {
        return None;
    }
    Some(match c {
        '\u{3005}'..='\u{3007}'
        | '\u{3400}'..='\u{4dbf}'
        | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{323af}' => Script::Han,
        '\u{aa}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' | '\u{ff21}'..='\u{ff5a}' => Script::Latin,
        '\u{3040}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{ff66}'..='\u{ff9d}' => Script::Kana,
        '\u{1100}'..='\u{11ff}' | '\u{3130}'..='\u{318f}' | '\u{ac00}'..='\u{d7af}' => {
            Script::Hangul
        }
        '\u{400}'..='\u{52f}' => Script::Cyrillic,
        '\u{600}'..='\u{6ff}' | '\u{750}'..='\u{77f}' | '\u{fb50}'..='\u{fefc}' => Script::Arabic,
        '\u{590}'..='\u{5ff}' => Script::Hebrew,
        '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => Script::Greek,
        '\u{e00}'..='\u{e7f}' => Script::Thai,
        '\u{900}'..='\u{97f}' => Script::Devanagari,
        _ => Script::Other,
    })
}

/// The BCP 47 tag of a language that `whatlang` names in ISO 639-3: two letters
/// where there are.
fn bcp_47(code: &'static str) -> &'static str {
    const SHORTER: &[(&str, &str)] = &[
        ("epo", "eo"),
        ("eng", "en"),
        ("rus", "ru"),
        ("cmn", "zh"),
        ("spa", "es"),
        ("por", "pt"),
        ("ita", "it"),
        ("ben", "bn"),
        ("fra", "fr"),
        ("deu", "de"),
        ("ukr", "uk"),
        ("kat", "ka"),
        ("ara", "ar"),
        ("hin", "hi"),
        ("jpn", "ja"),
        ("heb", "he"),
        ("yid", "yi"),
        ("pol", "pl"),
        ("amh", "am"),
        ("jav", "jv"),
        ("kor", "ko"),
        ("nob", "nb"),
        ("dan", "da"),
        ("swe", "sv"),
        ("fin", "fi"),
        ("tur", "tr"),
        ("nld", "nl"),
        ("hun", "hu"),
        ("ces", "cs"),
        ("ell", "el"),
        ("bul", "bg"),
        ("bel", "be"),
        ("mar", "mr"),
        ("kan", "kn"),
        ("ron", "ro"),
        ("slv", "sl"),
        ("hrv", "hr"),
        ("srp", "sr"),
        ("mkd", "mk"),
        ("lit", "lt"),
        ("lav", "lv"),
        ("est", "et"),
        ("tam", "ta"),
        ("vie", "vi"),
        ("urd", "ur"),
        ("tha", "th"),
        ("guj", "gu"),
        ("uzb", "uz"),
        ("pan", "pa"),
        ("aze", "az"),
        ("ind", "id"),
        ("tel", "te"),
        ("pes", "fa"),
        ("mal", "ml"),
        ("ori", "or"),
        ("mya", "my"),
        ("nep", "ne"),
        ("sin", "si"),
        ("khm", "km"),
        ("tuk", "tk"),
        ("aka", "ak"),
        ("zul", "zu"),
        ("sna", "sn"),
        ("afr", "af"),
        ("lat", "la"),
        ("slk", "sk"),
        ("cat", "ca"),
        ("tgl", "tl"),
        ("hye", "hy"),
        ("cym", "cy"),
    ];
    let shorter = SHORTER.iter().find(|(long, _)| *long == code);
    shorter.map_or(code, |(_, short)| *short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_of_whatlang_has_a_tag() {
        for language in whatlang::Lang::all() {
            assert_eq!(bcp_47(language.code()).len(), 2, "{language:?}");
        }
    }
}
