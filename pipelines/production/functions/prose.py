"""What `literature-digest` computes about a text: words, sentences, how hard it reads, what it is about, who is quoted.

Plain functions of plain values: import them in a notebook, test them alone. English only.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise

# Words that carry no subject matter: the commonest of English, and the narrator's furniture.
_COMMON = """
    a about above after again all almost alone along already also although always am among an and another any
    anything are as at away be because been before being below best better between both brought but by came can
    cannot come comes could day dear did do does done down each either enough even ever every first for found
    from gave give given go good got great had half has have having he hear heard her here hers herself him
    himself his how however i if in indeed into is it its itself just knew know last least less let like little
    long look looked made make man many may me mean men might mind mine miss more most mr mrs much must my
    myself neither never no nor not nothing now of off often on once one only or other others ought our
    ourselves out over own part perhaps put quite rather said same saw say says see seemed seen shall she should
    since sir so some something soon still such take taken tell than that the thee their them themselves then
    there therefore these they thing things think this those thou though thought three through thus thy till
    time to together told too took two under until up upon us use used very was way we well went were what
    whatever when where whether which while who whole whom whose why will with within without would year years
    yes yet you your yourself
"""
STOP_WORDS = frozenset(_COMMON.split())

WORD = re.compile(r"[A-Za-z]+(?:['’][a-z]+)?")
# A full stop ends a sentence unless it follows a title or an initial.
SENTENCE_END = re.compile(r"(?<!\bMr)(?<!\bMrs)(?<!\bDr)(?<!\bSt)(?<!\b[A-Z])[.!?][\"”']?\s+(?=[\"“A-Z])")
QUOTED = re.compile(r"[\"“]([^\"”]{2,}?)[\"”]")
SPEECH_VERBS = "said|cried|replied|answered|asked|exclaimed|added|continued|returned|whispered|observed"
NAME = r"(?:(?:Mr|Mrs|Miss|Lady|Sir|Captain)\.?\s)?[A-Z][a-z]+"
SPEAKER = re.compile(rf"(?:{SPEECH_VERBS})\s({NAME})|({NAME})\s(?:{SPEECH_VERBS})\b")
PRONOUNS = frozenset({"He", "She", "They", "We", "You", "It", "And", "But", "The", "His", "Her"})


def words(text: str) -> list[str]:
    """The words of a text as they stand, apostrophes included."""
    return WORD.findall(text)


def sentences(text: str) -> list[str]:
    """The sentences of a text, in order; `Mr. Darcy` does not end one, the end of a paragraph does."""
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        flat, start = " ".join(paragraph.split()), 0
        for end in SENTENCE_END.finditer(flat):
            found.append(flat[start : end.end()])
            start = end.end()
        found.append(flat[start:])
    return [each.strip() for each in found if WORD.search(each)]


def syllables(word: str) -> int:
    """How many syllables a word has, by its groups of vowels; a silent final e does not count. At least one."""
    lowered = word.lower()
    groups = len(re.findall(r"[aeiouy]+", lowered))
    silent = lowered.endswith("e") and not lowered.endswith(("le", "ee")) and groups > 1
    return max(1, groups - silent)


def readability(text: str) -> dict[str, float]:
    """Flesch reading ease (100 easy, 0 hard) and the Flesch-Kincaid school grade."""
    tokens, parts = words(text), sentences(text)
    if not tokens:
        return {"ease": 100.0, "grade": 0.0, "words_per_sentence": 0.0}
    length = len(tokens) / len(parts)
    weight = sum(map(syllables, tokens)) / len(tokens)
    return {
        "ease": round(206.835 - 1.015 * length - 84.6 * weight, 1),
        "grade": round(0.39 * length + 11.8 * weight - 15.59, 1),
        "words_per_sentence": round(length, 1),
    }


def vocabulary(text: str) -> dict[str, float]:
    """How rich the vocabulary is: distinct words, those used once, and the entropy of the choice of words in bits."""
    counts = Counter(word.lower() for word in words(text))
    total = sum(counts.values()) or 1
    entropy = -sum(n / total * math.log2(n / total) for n in counts.values())
    once = sum(n == 1 for n in counts.values())
    return {"words": sum(counts.values()), "distinct": len(counts), "once": once, "entropy": round(entropy, 2)}


def keywords(text: str, count: int = 8) -> list[str]:
    """The words and pairs of words a text is about, the weightiest first.

    A pair that occurs again counts for more than its words. Equal weights keep the order of the text.
    """
    lowered = [word.lower().removesuffix("'s") for word in words(text)]
    telling = [len(word) > 3 and word not in STOP_WORDS for word in lowered]
    singles = Counter(word for word, tells in zip(lowered, telling, strict=True) if tells)
    neighbours = zip(pairwise(lowered), pairwise(telling), strict=True)
    pairs = Counter(" ".join(pair) for pair, both in neighbours if all(both))
    weights = {word: n * (1 + len(word) / 20) for word, n in singles.items()}
    weights.update({pair: n * 2.5 for pair, n in pairs.items() if n > 1})
    ranked = sorted(weights, key=lambda each: -weights[each])
    chosen: list[str] = []
    for candidate in ranked:
        if not any(candidate in taken.split() for taken in chosen if " " in taken):
            chosen.append(candidate)
    return chosen[:count]


def quotations(text: str) -> dict[str, object]:
    """Direct speech: how much of the text it is, who is named as speaking, and its longest piece."""
    quoted = [" ".join(found.split()) for found in QUOTED.findall(text)]
    spoken = sum(len(words(each)) for each in quoted)
    speakers = Counter(
        name for groups in SPEAKER.findall(text) for name in groups if name and name.split()[0] not in PRONOUNS
    )
    return {
        "count": len(quoted),
        "share": round(spoken / max(1, len(words(text))), 3),
        "speakers": [name for name, _ in speakers.most_common(5)],
        "longest": max(quoted, key=len, default=""),
    }


def telling_sentences(text: str, count: int = 2) -> str:
    """A summary in the text's own words: the sentences that hold most of its keywords, in their order."""
    wanted = set(" ".join(keywords(text, 12)).split())
    parts = sentences(text)

    def weight(sentence: str) -> float:
        held = [word.lower() for word in words(sentence)]
        return sum(word in wanted for word in held) / (8 + len(held))  # long sentences must earn their length

    best = sorted(sorted(range(len(parts)), key=lambda at: -weight(parts[at]))[:count])
    return " ".join(parts[at] for at in best)
