"""What `support-triage` knows without asking a model: signals, a category by rules, queues and deadlines."""

from __future__ import annotations

import re

CATEGORIES = ("outage", "security", "billing", "bug", "account", "question")

# One list a category, the strongest words first; a phrase in the subject counts twice.
PHRASES = {
    "outage": ("is down", "outage", "unreachable", "502", "503", "cannot reach", "nothing loads", "all users"),
    "security": ("breach", "leaked", "phishing", "stranger", "unauthorized", "unauthorised", "vulnerability", "hacked"),
    "billing": ("invoice", "charged", "refund", "payment", "credit card", "price", "subscription", "vat"),
    "bug": ("error", "crash", "exception", "wrong result", "broken", "stopped working", "does not save", "bug"),
    "account": ("password", "log in", "login", "two-factor", "invite", "delete my account", "seat", "email address"),
    "question": ("how do i", "how can", "is it possible", "documentation", "do you support", "question"),
}
URGENT = re.compile(
    r"\b(urgent|asap|immediately|right now|production|deadline|all (?:our )?users|losing)\b", re.IGNORECASE
)
UNHAPPY = re.compile(
    r"\b(unacceptable|ridiculous|furious|disappointed|third time|cancel|worst|lawyer)\b", re.IGNORECASE
)
REFERENCE = re.compile(r"\b(?:INV|ORD|REQ)-\d{3,10}\b")

# Hours to the first answer, by urgency 5 to 1; a plan shortens or stretches them.
HOURS = {5: 1.0, 4: 4.0, 3: 12.0, 2: 24.0, 1: 72.0}
PLAN_FACTOR = {"enterprise": 0.5, "pro": 1.0, "free": 2.0}


def ticket_signals(subject: str, body: str) -> dict[str, object]:
    """What can be seen without understanding: urgency, anger, references, and each category's phrases counted."""
    head, whole = subject.lower(), f"{subject}\n{body}".lower()
    hits = {
        category: sum((phrase in whole) + (phrase in head) for phrase in phrases)
        for category, phrases in PHRASES.items()
    }
    letters = [char for char in subject + body if char.isalpha()]
    return {
        "hits": {category: count for category, count in hits.items() if count},
        "urgent_words": sorted({found.lower() for found in URGENT.findall(f"{subject}\n{body}")}),
        "unhappy_words": sorted({found.lower() for found in UNHAPPY.findall(body)}),
        "shouting": round(sum(map(str.isupper, letters)) / max(1, len(letters)), 2) > 0.4,
        "references": sorted(set(REFERENCE.findall(subject + " " + body))),
    }


def classify_by_rules(signals: dict[str, object]) -> dict[str, object]:
    """The category with most hits; of equals the more serious. Urgency from the words used. No hits: a question."""
    hits = signals["hits"]
    assert isinstance(hits, dict)
    category = max(CATEGORIES, key=lambda each: hits.get(each, 0)) if hits else "question"
    urgency = 2 + bool(signals["urgent_words"]) + bool(signals["unhappy_words"] or signals["shouting"])
    if category in ("outage", "security"):
        urgency = max(4, urgency + 1)
    return {
        "category": category,
        "urgency": min(5, urgency),
        "reason": f"phrases of {category}: {hits.get(category, 0)}",
    }


def route_ticket(category: str, urgency: int, plan: str) -> dict[str, object]:
    """The queue, the hours to the first answer, and whether a person is woken."""
    escalate = urgency >= 5 or (category in ("outage", "security") and plan == "enterprise")
    queue = {"outage": "on-call", "security": "security", "billing": "finance"}.get(category, f"support-{plan}")
    return {"queue": queue, "first_answer_hours": HOURS[urgency] * PLAN_FACTOR[plan], "escalate": escalate}
