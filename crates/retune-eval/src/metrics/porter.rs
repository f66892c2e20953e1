//! Porter's stemmer, as NLTK extends it.

/// The stem of an English word, as `PorterStemmer` of NLTK gives it by default.
/// The word is taken in lower case; one with other characters than ASCII's is
/// no English word and stays.
///
/// # Reference
/// Porter 1980, An algorithm for suffix stripping; NLTK's mode `NLTK_EXTENSIONS`
pub fn porter_stem(word: &str) -> String {
    let word = word.to_lowercase();
    if let Some((_, stem)) = IRREGULAR.iter().find(|(form, _)| *form == word) {
        return (*stem).to_owned();
    }
    if word.len() <= 2 || !word.is_ascii() {
        return word;
    }
    let word = plural(word);
    let word = past_or_gerund(word);
    let word = final_y(word);
    let word = double_suffix(word);
    let word = simple_suffix(word);
    let word = last_suffix(word);
    final_double_l(final_e(word))
}

/// Forms that the rules get wrong, each with its stem.
const IRREGULAR: [(&str, &str); 16] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

/// Whether each letter is a consonant: none of `aeiou`, nor a `y` behind one.
fn consonants(word: &str) -> Vec<bool> {
    let mut consonants: Vec<bool> = Vec::with_capacity(word.len());
    for letter in word.bytes() {
        let consonant = match letter {
            b'a' | b'e' | b'i' | b'o' | b'u' => false,
            b'y' => consonants.last().is_none_or(|&before| !before),
            _ => true,
        };
        consonants.push(consonant);
    }
    consonants
}

/// Porter's `m`: how many times a vowel is followed by a consonant.
fn measure(stem: &str) -> usize {
    let consonants = consonants(stem);
    let pairs = consonants.windows(2);
    pairs.filter(|pair| !pair[0] && pair[1]).count()
}

/// Porter's `*v*`.
fn contains_vowel(stem: &str) -> bool {
    consonants(stem).contains(&false)
}

/// Porter's `*d`.
fn ends_double_consonant(word: &str) -> bool {
    let letters = word.as_bytes();
    letters.len() >= 2
        && letters[letters.len() - 1] == letters[letters.len() - 2]
        && consonants(word).last() == Some(&true)
}

/// Porter's `*o`: a short syllable at the end, not on `w`, `x` or `y`. NLTK
/// takes a vowel and a consonant alone for one, too.
fn ends_short_syllable(word: &str) -> bool {
    match consonants(word)[..] {
        [.., true, false, true] => !word.ends_with(['w', 'x', 'y']),
        [false, true] => true,
        _ => false,
    }
}

/// Applies the first rule whose suffix fits, if the stem has a measure above
/// `above`. Later rules are not tried.
fn replaced(word: String, rules: &[(&str, &str)], above: usize) -> String {
    for (suffix, replacement) in rules {
        if let Some(stem) = word.strip_suffix(suffix) {
            return match measure(stem) > above {
                true => format!("{stem}{replacement}"),
                false => word,
            };
        }
    }
    word
}

/// Step 1a.
fn plural(word: String) -> String {
    if let Some(stem) = word.strip_suffix("ies") {
        // NLTK: `dies` is to `die` as `flies` is to `fli`.
        let ending = if word.len() == 4 { "ie" } else { "i" };
        return format!("{stem}{ending}");
    }
    if word.ends_with("sses") {
        return word[..word.len() - 2].to_owned();
    }
    match word.strip_suffix('s') {
        Some(stem) if !word.ends_with("ss") => stem.to_owned(),
        _ => word,
    }
}

/// Step 1b.
fn past_or_gerund(word: String) -> String {
    if let Some(stem) = word.strip_suffix("ied") {
        let ending = if word.len() == 4 { "ie" } else { "i" };
        return format!("{stem}{ending}");
    }
    if word.ends_with("eed") {
        return replaced(word, &[("eed", "ee")], 0);
    }
    let without = ["ed", "ing"].iter().find_map(|suffix| {
        let stem = word.strip_suffix(suffix)?;
        contains_vowel(stem).then(|| stem.to_owned())
    });
    match without {
        Some(stem) => mended(stem),
        None => word,
    }
}

/// What is left when `ed` or `ing` is gone, with the ending it would have alone.
fn mended(stem: String) -> String {
    if ["at", "bl", "iz"].iter().any(|end| stem.ends_with(end)) {
        return stem + "e";
    }
    if ends_double_consonant(&stem) {
        return match stem.ends_with(['l', 's', 'z']) {
            true => stem,
            false => stem[..stem.len() - 1].to_owned(),
        };
    }
    match measure(&stem) == 1 && ends_short_syllable(&stem) {
        true => stem + "e",
        false => stem,
    }
}

/// Step 1c. NLTK wants a consonant before the `y`, and not only that.
fn final_y(word: String) -> String {
    match word.strip_suffix('y') {
        Some(stem) if stem.len() > 1 && consonants(stem).last() == Some(&true) => {
            format!("{stem}i")
        }
        _ => word,
    }
}

/// Step 2.
fn double_suffix(word: String) -> String {
    const RULES: [(&str, &str); 21] = [
        ("ational", "ate"),
        ("tional", "tion"),
        ("enci", "ence"),
        ("anci", "ance"),
        ("izer", "ize"),
        ("bli", "ble"),
        ("alli", "al"),
        ("entli", "ent"),
        ("eli", "e"),
        ("ousli", "ous"),
        ("ization", "ize"),
        ("ation", "ate"),
        ("ator", "ate"),
        ("alism", "al"),
        ("iveness", "ive"),
        ("fulness", "ful"),
        ("ousness", "ous"),
        ("aliti", "al"),
        ("iviti", "ive"),
        ("biliti", "ble"),
        ("fulli", "ful"),
    ];
    match word.strip_suffix("alli") {
        // NLTK: what is left may have another of the suffixes.
        Some(stem) if measure(stem) > 0 => return double_suffix(format!("{stem}al")),
        _ => {}
    }
    match word.strip_suffix("logi") {
        // NLTK counts the `l` to the stem, so that `geologi` becomes `geolog`.
        Some(stem) if measure(&word[..stem.len() + 1]) > 0 => format!("{stem}log"),
        Some(_) => word,
        None => replaced(word, &RULES, 0),
    }
}

/// Step 3.
fn simple_suffix(word: String) -> String {
    const RULES: [(&str, &str); 7] = [
        ("icate", "ic"),
        ("ative", ""),
        ("alize", "al"),
        ("iciti", "ic"),
        ("ical", "ic"),
        ("ful", ""),
        ("ness", ""),
    ];
    replaced(word, &RULES, 0)
}

/// Step 4.
fn last_suffix(word: String) -> String {
    const RULES: [(&str, &str); 18] = [
        ("al", ""),
        ("ance", ""),
        ("ence", ""),
        ("er", ""),
        ("ic", ""),
        ("able", ""),
        ("ible", ""),
        ("ant", ""),
        ("ement", ""),
        ("ment", ""),
        ("ent", ""),
        ("ou", ""),
        ("ism", ""),
        ("ate", ""),
        ("iti", ""),
        ("ous", ""),
        ("ive", ""),
        ("ize", ""),
    ];
    match word.strip_suffix("ion") {
        Some(stem) if measure(stem) > 1 && stem.ends_with(['s', 't']) => stem.to_owned(),
        Some(_) => word,
        None => replaced(word, &RULES, 1),
    }
}

/// Step 5a.
fn final_e(word: String) -> String {
    match word.strip_suffix('e') {
        Some(stem) if measure(stem) > 1 => stem.to_owned(),
        Some(stem) if measure(stem) == 1 && !ends_short_syllable(stem) => stem.to_owned(),
        _ => word,
    }
}

/// Step 5b.
fn final_double_l(word: String) -> String {
    match word.strip_suffix('l') {
        Some(stem) if stem.ends_with('l') && measure(stem) > 1 => stem.to_owned(),
        _ => word,
    }
}
