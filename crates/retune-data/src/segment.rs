//! Words of a text for classic models: segmented, normalised, without stop
//! words. Chat models read text as it is and do want this.

use jieba_rs::Jieba;

use crate::text::normal::normal;

/// Words that stand in every text and tell nothing of what it is about:
/// pronouns, particles, prepositions, conjunctions, auxiliaries.
const STOP_WORDS: &str = "\
的 了 着 过 地 得 之 者 所 与 和 及 或 而 且 但 但是 可是 不过 然而 因为 所以 因此 如果 若 虽然 即使 \
我 你 您 他 她 它 我们 你们 他们 她们 它们 咱们 自己 这 那 哪 这个 那个 这些 那些 这样 那样 这里 那里 \
什么 怎么 怎样 为什么 谁 哪里 哪个 多少 几 是 在 有 也 都 就 还 又 再 才 只 很 太 更 最 非常 十分 \
把 被 让 给 对 对于 从 到 向 往 由 于 以 为 为了 比 跟 同 按 按照 关于 通过 \
吗 呢 吧 啊 呀 哦 嗯 哈 嘛 啦 哎 唉 一 一个 一些 一样 个 们 上 下 里 中 时 时候 后 前 \
会 能 能够 可以 可 要 想 应该 就是 还是 已经 曾经 正在 将 \
a an the and or but if then else so of in on at by for with from to into as is are was were be been being \
am do does did have has had i you he she it we they me him her us them my your his its our their this that \
these those there here what which who whom whose when where why how nor can could will would shall \
should may might must just very too also than more most some any all each such only own same s t";

/// Segments texts. Making one reads jieba's dictionary, which takes a while.
pub struct Segmenter {
    jieba: Jieba,
    stop_words: std::collections::HashSet<&'static str>,
}

impl Default for Segmenter {
    fn default() -> Self {
        Self {
            jieba: Jieba::new(),
            stop_words: STOP_WORDS.split_whitespace().collect(),
        }
    }
}

impl Segmenter {
    /// The words of `text` in NFKC and lower case, separated by spaces, without
    /// punctuation and stop words.
    pub fn segment(&self, text: &str) -> String {
        let normal = normal(text);
        let words = self.jieba.cut(&normal, true);
        let telling: Vec<&str> = words
            .into_iter()
            .map(|token| token.word)
            .filter(|word| word.chars().any(char::is_alphanumeric))
            .filter(|word| !self.stop_words.contains(word))
            .collect();
        telling.join(" ")
    }
}

impl std::fmt::Debug for Segmenter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segmenter").finish_non_exhaustive()
    }
}
