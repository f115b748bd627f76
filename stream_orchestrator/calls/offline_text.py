"""What the offline models know of prose: sentences, leading words, a small lexicon. Pure and deterministic."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

from stream_orchestrator.calls.tokens import CHARACTERS_PER_TOKEN

_WORD = re.compile(r"[^\W\d_]{3,}")
# A full stop after a title ends nothing.
_SENTENCE = re.compile(r"(?<=[.!?])(?<!\bMr\.)(?<!\bMrs\.)(?<!\bDr\.)(?<!\bSt\.)[\"')\]]*\s+|\n\s*\n|\n(?=\s*[-*•]\s)")


def _lexicon(text: str) -> frozenset[str]:
    return frozenset(text.split())


_STOP = _lexicon(
    "the and for that this with are was were has have had not but you your from they them their his her its our "
    "all any can will would could should shall may might been being more most some such than then there these "
    "those into onto over under about after before again each other only own same what which who whom when where "
    "why how does did doing just also very out off one two upon said please text following summarize summarise "
    "summary classify sentence sentences"
)
POSITIVE = _lexicon(
    "good great excellent amazing love loved loves like liked happy pleased perfect wonderful fantastic best "
    "thank thanks awesome nice helpful fast easy recommend recommended delighted brilliant superb enjoy enjoyed "
    "satisfied works"
)
NEGATIVE = _lexicon(
    "bad terrible awful horrible hate hated worst poor broken angry disappointed disappointing slow late damaged "
    "refund wrong useless fail failed fails failure never problem problems complaint annoying waste unhappy "
    "missing cancel crash error errors"
)
URGENT = _lexicon(
    "urgent urgently immediately asap emergency critical outage down now today deadline fraud stolen danger breach"
)
# Which lexicon speaks for which option: an option of this name is chosen when its words weigh most.
_LEXICONS = {
    "positive": POSITIVE, "negative": NEGATIVE, "urgent": URGENT, "high": URGENT, "critical": URGENT,
    "praise": POSITIVE, "complaint": NEGATIVE, "good": POSITIVE, "bad": NEGATIVE,
}  # fmt: skip
_UNDECIDED = ("neutral", "other", "unknown", "none", "general", "normal", "medium")

# A list that holds one of these is prose.
_NO_OPTION = (_STOP | {"he", "she", "it", "is", "so", "in", "at", "us", "we", "mr", "mrs"}) - set(_UNDECIDED)
_INSTRUCTION = 250  # characters: longer lines are what is talked about

_WORDS = r"[A-Za-z][\w -]{0,38}"
_LISTS = (
    re.compile(rf"\b(?:one of|either|among|between)(?: the (?:following|categories|labels|options))?:?\s+"
               rf"((?:[\"'`]?{_WORDS}?[\"'`]?\s*,\s*)+(?:and|or)?\s*[\"'`]?[\w-]+[\"'`]?)", re.I),
    re.compile(rf"\b(?:categories|labels|options|classes|choices|intents)[^\n:]{{0,40}}:\s*"
               rf"((?:[\"'`]?{_WORDS}?[\"'`]?\s*[,|/]\s*)+(?:and|or)?\s*[\"'`]?[\w-]+[\"'`]?)", re.I),
    re.compile(r"\b(?:as|is|be|one of|either|answer|respond|reply)(?: with| it| only)*:?\s+"
               r"((?:[\"'`]?[\w-]+[\"'`]?\s*,\s*)*[\"'`]?[\w-]+[\"'`]?,?\s+or\s+[\"'`]?[\w-]+[\"'`]?)", re.I),
    re.compile(r"[\[(<{]\s*((?:[\"'`]?[A-Za-z][\w-]*[\"'`]?\s*[|/,]\s*)+[\"'`]?[A-Za-z][\w-]*[\"'`]?)\s*[\])>}]"),
    re.compile(r"\b((?:[A-Za-z][\w-]*\s*[|/]\s*){2,}[A-Za-z][\w-]*)\b"),
)  # fmt: skip
_SPLIT = re.compile(r"\s*(?:[,|/]|\bor\b|\band\b)\s*", re.I)


def words(text: str) -> list[str]:
    """Words of three letters and more, lower case, in order."""
    return [word.lower() for word in _WORD.findall(text)]


def sentences(text: str) -> list[str]:
    """The sentences of a text, each on one line, in order."""
    return [flat for part in _SENTENCE.split(text) if (flat := " ".join(part.split()))]


def keywords(text: str, limit: int = 5) -> list[str]:
    """The most frequent words that mean something, most frequent first, then in order of appearance."""
    return [word for word, _ in Counter(w for w in words(text) if w not in _STOP).most_common(limit)]


def summary(text: str, *, limit: int = 2) -> str:
    """The leading sentences by word frequency, in the order of the text. Every sentence of it is one of the text."""
    all_of_them = sentences(text)
    if len(all_of_them) <= limit:
        return " ".join(all_of_them)
    weight = Counter(w for w in words(text) if w not in _STOP)

    def score(index: int) -> float:
        said = [w for w in words(all_of_them[index]) if w not in _STOP]
        # Long sentences win by length alone otherwise; very short ones (headings) by one frequent word.
        return sum(weight[w] for w in said) / (len(said) + 3)

    best = sorted(range(len(all_of_them)), key=lambda index: (-score(index), index))[:limit]
    return " ".join(all_of_them[index] for index in sorted(best))


def sentiment(text: str) -> str:
    """`positive`, `negative` or `neutral`, by the lexicon; a negation turns the word after it round."""
    score = _tone(text)
    return "positive" if score > 0 else "negative" if score < 0 else "neutral"


def options(prompt: str) -> tuple[list[str], str]:
    """The options that a prompt names (as it writes them), and the prompt without that list; ([], prompt) when none."""
    asked = _instructions(prompt)
    for pattern in _LISTS:
        for match in pattern.finditer(asked):
            parts = [part.strip(" \"'`.") for part in _SPLIT.split(match[1])]
            found = list(dict.fromkeys(part for part in parts if part))
            if len(found) >= 2 and not _NO_OPTION.intersection(option.lower() for option in found):
                return found, prompt.replace(match[1], " ", 1)
    return [], prompt


def _instructions(prompt: str) -> str:
    """Where a prompt says what to do: its first lines and its last, unless they are long. A text between them may say
    `one of them, or neither` without offering a choice."""
    lines = [line for line in prompt.splitlines() if line.strip()]
    return "\n".join(line for line in [*lines[:3], *lines[3:][-1:]] if len(line) <= _INSTRUCTION)


def classify(prompt: str) -> str:
    """One of the options that the prompt names, or "" when it names none."""
    found, rest = options(prompt)
    return choose(found, rest) if found else ""


def choose(found: list[str], text: str) -> str:
    """The option that the text speaks for most; without any sign the undecided one (`neutral`), else the first."""
    said = Counter(words(text))
    tone = _tone(text)
    scores = [(_overlap(option, said) + _lexical(option, said, tone), option) for option in found]
    best, option = max(scores, key=lambda pair: pair[0])  # max keeps the first of equals
    if best > 0:
        return option
    undecided = [option for name in _UNDECIDED for option in found if option.lower() == name]
    return (undecided or found)[0]


def first_tokens(text: str, limit: int) -> str:
    """The start of a text that is at most `limit` estimated tokens."""
    return text[: int(limit * CHARACTERS_PER_TOKEN)]


def _tone(text: str) -> int:
    said = ["", *re.findall(r"[^\W\d_]+(?:'t)?", text.lower())]
    score = 0
    for before, word in pairwise(said):
        value = (word in POSITIVE) - (word in NEGATIVE)
        score += -value if before in {"not", "no"} or before.endswith("n't") else value
    return score


def _overlap(option: str, said: Counter[str]) -> float:
    """How often the option's own words occur; a common stem counts half (`billing` and `billed`)."""
    score = 0.0
    for word in words(option.replace("_", " ").replace("-", " ")):
        stem = word[: max(4, len(word) - 3)]
        score += 1.0 * said[word] + 0.5 * sum(
            n for other, n in said.items() if other != word and other.startswith(stem)
        )
    return score


def _lexical(option: str, said: Counter[str], tone: int) -> float:
    lexicon = _LEXICONS.get(option.lower())
    if lexicon is None:
        return 0.0
    if lexicon in (POSITIVE, NEGATIVE):
        return max(0.0, float(tone if lexicon is POSITIVE else -tone))
    return float(sum(said[word] for word in lexicon))
