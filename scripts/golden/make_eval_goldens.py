"""Writes reference figures of answers, by sacreBLEU, rouge-score, NLTK, scikit-learn and jieba.

    pip install sacrebleu rouge-score nltk scikit-learn jieba regex xxhash
    python scripts/golden/make_eval_goldens.py                           # --out FILE writes elsewhere

With --random N the sentences and words are drawn, to compare far more of them once:

    python scripts/golden/make_eval_goldens.py --random 3000 --seed 1 --out random.json
    RETUNE_EVAL_GOLDENS=$PWD/random.json cargo test -p retune-eval goldens -- --nocapture

The sentences are made here. The Chinese words are jieba's only for pairs that jieba and jieba-rs cut alike. Bootstrap
samples are drawn as retune draws them (a hash of seed, replicate and draw), and their figures computed by the public
packages and numpy.
"""

import argparse
import importlib.metadata
import json
import logging
import pathlib
import random
import unicodedata
import warnings

import jieba
import numpy as np
import regex
import xxhash
from nltk.stem.porter import PorterStemmer
from rouge_score import rouge_scorer
from sacrebleu.metrics import BLEU, CHRF
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

OUT = pathlib.Path(__file__).parents[2] / "crates/retune-eval/tests/goldens/metrics.json"
PACKAGES = ["sacrebleu", "rouge-score", "nltk", "scikit-learn", "jieba", "numpy"]
TOKENIZERS = ["13a", "zh", "char", "intl", "none"]
ROUGE_TYPES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]

# An answer and its references.
ROWS = [
    ("The cat sat on the mat.", ["The cat sat on the mat."]),
    ("The cat sat on the mat.", ["A cat was sitting on the mat.", "There is a cat on the mat."]),
    ("the the the the the the the", ["The cat is on the mat.", "There is a cat on the mat."]),
    ("", ["Something should have been said."]),
    ("Nothing was asked for, and yet it speaks.", [""]),
    ("", [""]),
    ("Yes", ["Yes"]),
    ("Yes", ["No"]),
    ("Yes.", ["yes"]),
    ("It costs $1,000.50 (about 1.5% more), i.e. 3-4 times as much.", ["It costs 1,000.50 dollars, 1.5 % more: 3 to 4 times."]),
    ("He said: &quot;A &amp; B&quot; &lt;skipped> &gt; C", ['He said: "A & B" < > C']),
    ("a <skipped>word is hyphen-\nated over lines\nhere", ["a word is hyphenated over lines here"]),
    ("Pages 10-12, section 3.2.1; see 4.", ["See pages 10-12 of section 3.2.1."]),
    ("We don't know; they'll say it's John's.", ["We do not know. They will say it is John's."]),
    ("(brackets) [square] {curly} \"quoted\" 'single' `tick`", ["brackets, square, curly, \"quoted\", 'single', `tick`"]),
    ("Visit https://example.org/a?b=c&d=e or write to me@example.org!", ["Write to me@example.org or visit https://example.org/a?b=c&d=e."]),
    ("今天天气很好，我们去公园散步吧。", ["今天天气真好，我们一起去公园走走吧。"]),
    ("今天天气很好，我们去公园散步吧。", ["今天天气很好，我们去公园散步吧。"]),
    ("北京大学位于中国的首都北京。", ["北京大学坐落在北京市海淀区。", "位于首都的北京大学是一所名校。", "北大在北京。"]),
    ("他说：“明天见！”然后——就走了……", ["他说“明天再见”，然后走了。"]),
    ("价格是１２３元，约合￥1,234.56（含税）。", ["价格是123元，约合1234.56元。"]),
    ("ＡＢＣ　ｄｅｆ", ["ABC def"]),
    ("我用Python写了一个retune程序，版本是v0.1.0。", ["我写了个叫retune的Python程序，版本v0.1.0。"]),
    ("学习AI要从线性代数开始，比如SVD和PCA。", ["学AI先学线性代数，例如PCA、SVD。"]),
    ("好的", ["好"]),
    ("哈哈哈哈哈", ["哈哈"]),
    ("重复重复重复重复，重复。", ["重复一次就够了。"]),
    ("𠀀𠮷野家和丂㐀", ["𠮷野家"]),
    ("日本語のテキストはスペースがありません。", ["日本語の文章にはスペースがない。"]),
    ("한국어 문장은 띄어쓰기를 합니다.", ["한국어는 띄어쓰기를 한다."]),
    ("Great 👍🏽 work!! 🎉🎉 ∑ x² ≤ ½ → done © 2024 €5", ["Great work 👍! 🎉 ∑ x² ≤ ½ ⇒ done 2024 € 5"]),
    ("tabs\tand  double  spaces\u00a0and\u3000wide ones ", [" tabs and double spaces and wide ones"]),
    ("first line\nsecond line of text\n\nlast line", ["the first line\nlast line\nsecond text"]),
    ("w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5", ["w1 w2 w3 w4 w5"]),
    ("one two three four five six", ["two three five", "one two three four five six seven", "six"]),
    # ROUGE-Lsum finds one of two subsequences, counts no word twice, and takes the first of two references.
    ("b\nb d", ["d b"]),
    ("a x", ["a b\na c"]),
    ("a b", ["a b c d", "a"]),
    ("ÉCOLE Straße ΣΊΣΥΦΟΣ İstanbul naïve", ["école strasse σίσυφος istanbul naive"]),
    ("The runners were happily running through relational databases.", ["A runner happily ran through the relation of a database."]),
    ("1. 2. 3, 4,5 6.7 8-9 .5 ,5 x.y x,y 5. 5,", ["1 2 3 4 5 6 7 8 9"]),
    ("《红楼梦》·第一回；「甄士隐」〈梦幻〉！？", ["红楼梦第一回：甄士隐梦幻识通灵"]),
    ("\u001cunit\u001fseparators\u0085and\u2028others", ["unit separators and others"]),
]

# Pairs that jieba and jieba-rs cut alike.
JIEBA_ROWS = [
    ("我们今天去北京大学学习数学。", "今天我们在北京大学学习英语和数学。"),
    ("机器学习是人工智能的一个分支。", "人工智能包括机器学习。"),
    ("他来到了上海的图书馆", "她离开了北京的图书馆"),
    ("我喜欢用Python写程序，也喜欢喝咖啡。", "我喜欢喝咖啡，不喜欢写程序。"),
    ("中国的首都是北京。", "北京是中国的首都。"),
]

WORDS = """
caresses ponies ties caress cats feed agreed plastered bled motoring sing conflated troubled sized hopping tanned
falling hissing fizzed failing filing happy sky relational conditional rational valency hesitancy digitizer
conformably radically differently vilely analogously vietnamization predication operator feudalism decisiveness
hopefulness callousness formality sensitivity sensibility triplicate formative formalize electricity electrical hopeful
goodness revival allowance inference airliner gyroscopic adjustable defensible irritant replacement adjustment dependent
adoption homologous communism activate angularity effective bowdlerize probate rate cease controlling rolling roll
controlled skies dying lying tying news innings inning outings outing cannings canning howe proceed exceed succeed
proceeds exceeded succeeding flies dies spied died tried tries cried cries fly flying enjoy enjoys enjoying enjoyment
enjoyed employ employee employer employment play played player playing plays day days boy boys toy say says try spy
apply applied applies application applicable generally generalization generalizations generalize general genuinely
geologically geology geologist theology theological archaeology biology biological technology apology analogies
finally totally usually actually successfully carefully beautifully wonderful wonderfully faithfully fully dully
responsibility responsible responsibly possibility possible possibly ability able abilities probable probably capably
nationality national nation nations nationalism nationalize international internationalization rationality rationalize
activity active actively activities activation activator creation creative creatively creator creativity create
universal universe university universities organization organizations organize organizer organized organizing
running runner runs ran swimmer swimming swims stopped stopping stops planned planning plans begins beginning
making makes maker made taking takes coming comes giving given gives having writing writer written hoping hoped hopes
seeing seen sees freed freeing agree agreeing needed needing speed speeding exceedingly indeed greed bleed
walked walking walks talked asked looking looked wanted waiting visited visiting believed believing achieves achieved
children women people mice geese data criteria analysis analyses hypothesis crisis basis bus buses gas gases glass
glasses process processes processing processed class classes address addresses business businesses lens
quickly slowly early family families country countries city cities story stories party parties lady ladies
easy easier easiest easily busy busier bigger biggest larger largest happier happiest happiness sadness darkness
important importance importantly different difference differences indifferent silence silent patience patient
argument arguments government governmental governor development developer developing develops statement treatment
element cement moment comment document documents documented documentation environment fundamental
decision decisions division television vision passion mission permission discussion nation station relation relations
question questions action actions version onion union million lion region religion religious
serious seriously famous dangerous nervous various variously obvious obviously previous previously
science scientist scientific scientifically physics physical physically chemistry chemical mathematics mathematical
computer computers computing compute computation computational program programs programmer programming programmed
language languages translate translated translation translator translations model models modeling modelled modelling
train trained trainer training trains learn learned learner learning learns evaluate evaluation evaluator evaluating
summaries summary summarize summarization summarizer reference references referee referred referring refer
yyyy yearly yellow syzygy rhythm rhythms crypt cryptic style styles styling type typed typing eye eyes dye dyed
oats trees ivy trouble troubles private oaten orrery a i be is of to x
abc123 1234 2nd 3rds 100s v2 utf8 aed aing bing ring string ied ies eed ing ed s ss logi alli fulli
electriciti formaliti hopefulli geologi bli abli ational izer enci
""".split()

LABELS = [
    ("ABCABCAABBCC", "ABCACBAABCCA", None),
    ("正负中正负正正中", "正正中正负负正负", None),
    ("AABB", "AABB", None),
    ("AAAA", "BBBB", None),
    ("AABBCD", "ABBBEE", None),
    ("AABBCDAB", "AB?BCA?B", ["A", "B", "C", "D"]),
    ("AABB", "ABAB", ["B", "A", "Z"]),
    ("A", "A", None),
]


def streams(pairs):
    """The first references, the second ones, and so on: sacreBLEU takes None for a missing one."""
    width = max(len(references) for _, references in pairs)
    return [[(references + [None] * width)[stream] for _, references in pairs] for stream in range(width)]


def bleu_settings():
    for tokenize in TOKENIZERS:
        for method in ["exp", "none", "floor", "add-k"]:
            yield dict(tokenize=tokenize, smooth_method=method, effective_order=method in ("exp", "floor"))
        yield dict(tokenize=tokenize, lowercase=True)
    yield dict(tokenize="13a", max_ngram_order=2)
    yield dict(tokenize="zh", max_ngram_order=6, effective_order=True)
    yield dict(tokenize="char", max_ngram_order=1, smooth_method="none")
    yield dict(tokenize="13a", smooth_method="floor", smooth_value=0.25)
    yield dict(tokenize="zh", smooth_method="add-k", smooth_value=0.5, effective_order=True, lowercase=True)


def chrf_settings():
    yield dict()
    yield dict(word_order=2)
    yield dict(word_order=1, lowercase=True, beta=1)
    yield dict(whitespace=True, char_order=4, beta=3)
    yield dict(word_order=2, eps_smoothing=True)
    yield dict(char_order=0, word_order=3)


def bleu_figures(score, order, added):
    # sacreBLEU writes smoothed counts back for add-k; ours stay counts.
    plain = lambda counts: [round(count - (added if n > 0 else 0)) for n, count in enumerate(counts)]
    return dict(score=score.score, counts=plain(score.counts), totals=plain(score.totals), bp=score.bp,
                precisions=score.precisions, sys_len=score.sys_len, ref_len=score.ref_len)


def bleu(rows):
    cases = []
    for settings in bleu_settings():
        metric = BLEU(force=True, **settings)
        order, method = metric.max_ngram_order, metric.smooth_method
        value = settings.get("smooth_value", BLEU.SMOOTH_DEFAULTS[method])
        score = metric.corpus_score([hypothesis for hypothesis, _ in rows], streams(rows))
        signature = str(metric.get_signature())
        # Where nothing matches, sacreBLEU returns before it smooths.
        added = value if method == "add-k" and any(score.counts) else 0
        cases.append(dict(
            settings=dict(tokenize=metric.tokenizer_signature, lowercase=metric.lowercase, smooth_method=method,
                          smooth_value=value, max_ngram_order=order, effective_order=metric.effective_order),
            signature=signature, corpus=bleu_figures(score, order, added),
            sentences=[metric.sentence_score(hypothesis, references).score for hypothesis, references in rows]))
    return cases


def chrf(rows):
    cases = []
    for settings in chrf_settings():
        metric = CHRF(**settings)
        score = metric.corpus_score([hypothesis for hypothesis, _ in rows], streams(rows))
        cases.append(dict(
            settings=dict(char_order=metric.char_order, word_order=metric.word_order, beta=metric.beta,
                          lowercase=metric.lowercase, whitespace=metric.whitespace, eps_smoothing=metric.eps_smoothing),
            name=score.name, signature=str(metric.get_signature()), corpus=score.score,
            sentences=[metric.sentence_score(hypothesis, references).score for hypothesis, references in rows]))
    return cases


class Characters:
    """retune's rule: a character of scripts without spaces is a word, and so is a run of other letters and numbers."""

    SCRIPTS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}ー"
    WORD = regex.compile(rf"(?V1)[[{SCRIPTS}]&&[\p{{L}}\p{{N}}]]|[[\p{{L}}\p{{M}}\p{{N}}]--[{SCRIPTS}]]+")

    def tokenize(self, text):
        return self.WORD.findall(text.lower())


class Jieba:
    def tokenize(self, text):
        return [word for word in jieba.lcut(text.lower()) if any(character.isalnum() for character in word)]


def rouge_rows(rows, **options):
    scorer = rouge_scorer.RougeScorer(ROUGE_TYPES, **options)
    scores = [scorer.score_multi(references, hypothesis) for hypothesis, references in rows]
    return [[list(map(float, score[kind])) for kind in ROUGE_TYPES] for score in scores]


def rouge(rows):
    cases = [dict(words="rouge_score", stemmer=stemmer, rows=rouge_rows(rows, use_stemmer=stemmer))
             for stemmer in (False, True)]
    return cases + [dict(words="characters", stemmer=False, rows=rouge_rows(rows, tokenizer=Characters()))]


def segmented():
    rows = [(prediction, [reference]) for prediction, reference in JIEBA_ROWS]
    words = [[Jieba().tokenize(text) for text in pair] for pair in JIEBA_ROWS]
    return dict(pairs=JIEBA_ROWS, words=words, rows=rouge_rows(rows, tokenizer=Jieba()))


def labels(cases):
    reports = []
    for actual, predicted, wanted in cases:
        actual, predicted = list(actual), list(predicted)
        names = wanted or sorted(set(actual) | set(predicted))

        def scores(average):
            parts = precision_recall_fscore_support(actual, predicted, labels=names, average=average, zero_division=0)
            return [np.asarray(part).tolist() for part in parts[:3]]

        reports.append(dict(
            actual=actual, predicted=predicted, labels=wanted, names=names, accuracy=accuracy_score(actual, predicted),
            each=scores(None), support=[actual.count(name) for name in names],
            micro=scores("micro"), macro=scores("macro"), weighted=scores("weighted"),
            confusion=confusion_matrix(actual, predicted, labels=names).tolist()))
    return reports


def draws(seed, replicate, rows):
    """The rows of one replicate."""
    def row(draw):
        key = b"".join(part.to_bytes(8, "little") for part in (seed, replicate, draw))
        return (xxhash.xxh3_64_intdigest(key) * rows) >> 64

    return [row(draw) for draw in range(rows)]


def bootstrap(rows):
    """chrF of the first references, and the difference to that of answers without their last third."""
    seed, replicates, confidence = 7, 100, 0.9
    metric = CHRF()
    references = [references[0] for _, references in rows]
    answers = [hypothesis for hypothesis, _ in rows]
    cut = [hypothesis[: len(hypothesis) * 2 // 3] for hypothesis in answers]

    def score(answers, picked):
        return metric.corpus_score([answers[i] for i in picked], [[references[i] for i in picked]]).score

    samples = [draws(seed, replicate, len(rows)) for replicate in range(replicates)]
    ends = [(1 - confidence) / 2 * 100, 100 - (1 - confidence) / 2 * 100]
    full = np.array([score(answers, picked) for picked in samples])
    difference = full - np.array([score(cut, picked) for picked in samples])
    everything = range(len(rows))
    return dict(seed=seed, replicates=replicates, confidence=confidence, cut=cut,
                interval=np.percentile(full, ends).tolist(),
                difference_interval=np.percentile(difference, ends).tolist(),
                difference=score(answers, everything) - score(cut, everything),
                sign_change=float((difference <= 0).mean()))


def self_bleu(rows):
    answers = [hypothesis for hypothesis, _ in rows][:40]
    cases = []
    for tokenize in ["13a", "zh"]:
        metric = BLEU(tokenize=tokenize, effective_order=True)
        scores = [metric.sentence_score(answer, answers[:i] + answers[i + 1 :]).score
                  for i, answer in enumerate(answers)]
        cases.append(dict(tokenize=tokenize, answers=len(answers), score=float(np.mean(scores))))
    return cases


ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz",
    "ABCdef 0123456789.,-",
    "0123456789.,-/$%",
    "".join(map(chr, range(32, 127))),
    "的一是了我不人在他有这个上们来到时大地为子中你说生国年着就那和要",
    "，。！？：；“”‘’（）《》、…—·　",
    "ａｂｃＡＢＣ１２３，．－ﾊﾟカタカナーひらがな々〇",
    "éÉßİıσςΣ\u0301\u0300ﬁǅ한국어",
    " \t\n\u000b\u001c\u001f\u0085\u00a0\u2003\u2028\u3000",
    "&;<>\"'",
    "👍🏽🎉∑²½≤→©€\u200d\ufe0f",
]
PIECES = ["&quot;", "&amp;", "&lt;", "&gt;", "<skipped>", "-\n", "\n", " ", " ", " ", "the ", "of ", "running ", "我们",
          "1,000.5", "U.S.", "(hi)"]


def any_character(source):
    while True:
        character = chr(source.randrange(source.choice([0x3000, 0x10000, 0x2FFFF])))
        if unicodedata.category(character) not in ("Cn", "Cs"):
            return character


def random_text(source):
    parts = []
    for _ in range(source.choice([0, 1, 2, 3, 6, 12])):
        kind = source.random()
        if kind < 0.3:
            parts.append(source.choice(PIECES))
        elif kind < 0.4:
            parts.append(any_character(source))
        else:
            alphabet = source.choice(ALPHABETS)
            parts.append("".join(source.choice(alphabet) for _ in range(source.randrange(1, 8))))
    return "".join(parts)


def random_rows(source, count):
    """Answers that are drawn, or made of their reference with parts left out, doubled and moved."""
    rows = []
    for _ in range(count):
        references = [random_text(source) for _ in range(source.choice([1, 1, 1, 2, 3]))]
        hypothesis = random_text(source)
        if source.random() < 0.7:
            parts = [references[0][i : i + 3] for i in range(0, len(references[0]), 3)]
            parts = [part for part in parts for _ in range(source.choice([0, 1, 1, 1, 1, 2]))]
            if source.random() < 0.3:
                source.shuffle(parts)
            hypothesis = "".join(parts) + source.choice(["", hypothesis])
        rows.append((hypothesis, references))
    return rows


def random_words(source, count):
    ends = """s es ies sses ed ied eed ing ings y ly ally fully ational tional enci anci izer bli alli entli eli ousli
    ization ation ator alism iveness fulness ousness aliti iviti biliti logi icate ative alize iciti ical ful ness al ance
    ence er ic able ible ant ement ment ent ion sion tion ou ism ate iti ous ive ize e ee ll le ss zz tt at bl iz""".split()
    letters = "aeiouybcdfglmnprstvwxz"
    stem = lambda: "".join(source.choice(letters) for _ in range(source.randrange(0, 7)))
    end = lambda: "".join(source.choice(ends) for _ in range(source.choice([0, 1, 1, 2, 3])))
    return [stem() + end() for _ in range(count)]


def random_labels(source, count):
    cases = []
    for _ in range(count):
        names = "ABCDE"[: source.randrange(1, 6)]
        size = source.randrange(1, 30)
        column = lambda: "".join(source.choice(names) for _ in range(size))
        actual, predicted = column(), column()
        wanted = source.choice([None, None, sorted(source.sample("ABCDEF", 3))])
        # scikit-learn wants one of the labels to occur.
        if wanted and not set(wanted) & set(actual):
            wanted = None
        cases.append((actual, predicted, wanted))
    return cases


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, default=OUT)
    parser.add_argument("--random", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.getLogger("sacrebleu").setLevel(logging.ERROR)
    jieba.setLogLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="sklearn")

    rows, words, cases = ROWS, WORDS, LABELS
    if options.random:
        source = random.Random(options.seed)
        rows = random_rows(source, options.random)
        words = random_words(source, 10 * options.random)
        cases = random_labels(source, options.random // 10)
    texts = sorted({text for hypothesis, references in rows for text in [hypothesis, *references]})
    tokenizers = {name: BLEU(tokenize=name).tokenizer for name in TOKENIZERS}
    stemmer = PorterStemmer()
    goldens = dict(
        made_with={name: importlib.metadata.version(name) for name in PACKAGES},
        rows=[dict(hypothesis=hypothesis, references=references) for hypothesis, references in rows],
        texts=texts,
        tokenized={name: [tokenizer(text) for text in texts] for name, tokenizer in tokenizers.items()},
        bleu=bleu(rows), chrf=chrf(rows), rouge=rouge(rows), jieba=segmented(),
        stems=[[word, stemmer.stem(word)] for word in words],
        labels=labels(cases), bootstrap=bootstrap(rows[:40]), self_bleu=self_bleu(rows))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(goldens, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
