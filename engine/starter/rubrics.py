"""The rubrics the bundled judge knows, each in many wordings. It knows no others."""

from dataclasses import dataclass

# Ways of asking for what a noun phrase names ("the more polite answer") ...
ASKS = (
    "Prefer {x}.",
    "Choose {x}.",
    "Pick {x}.",
    "Reward {x}.",
    "Take {x}.",
    "Which is {x}?",
    "The winner is {x}.",
    "The better answer is {x}.",
    "You are a fair judge. Pick {x}.",
    "{X} is better.",
    "{X} wins.",
)
# ... and of saying what a good answer does ("has fewer words").
SAYS = (
    "A good answer {x}.",
    "The better answer {x}.",
    "Prefer the answer that {x}.",
    "Choose the answer that {x}.",
    "Pick the answer that {x}.",
    "The answer that {x} wins.",
)


@dataclass(frozen=True, slots=True)
class Rubric:
    """One meaning (a key of `truth.RUBRIC_SCORES`) and its wordings; some are held out."""

    meaning: str
    text: str  # the wording that presets and the README use; trained
    named: tuple[str, ...]  # noun phrases for ASKS
    traits: tuple[str, ...]  # verb phrases for SAYS
    others: tuple[str, ...]  # whole sentences
    held_out: tuple[str, ...]  # wordings that only its tests use

    @property
    def trained(self) -> tuple[str, ...]:
        """Every wording that the judge is trained on, the main one first."""
        asks = (form.format(x=x, X=x[0].upper() + x[1:]) for form in ASKS for x in self.named)
        says = (form.format(x=x) for form in SAYS for x in self.traits)
        every = dict.fromkeys((self.text, *asks, *says, *self.others))
        return tuple(wording for wording in every if wording not in self.held_out)


KNOWN = (
    Rubric(
        "polite",
        "Prefer the more polite answer.",
        (
            "the more polite answer",
            "the politer answer",
            "the more courteous answer",
            "the kinder answer",
            "the friendlier answer",
            "the answer with the best manners",
            "the answer with better manners",
            "the answer with good manners",
        ),
        ("is polite", "is more courteous", "is kind and friendly", "shows good manners"),
        (
            "Be strict about politeness.",
            "Reward politeness and friendly words.",
            "Polite answers win, rude answers lose.",
            "The answer should be as polite as possible.",
            "Which answer is more polite?",
        ),
        (
            "Pick the more courteous answer.",
            "Choose the answer with better manners.",
            "The more polite answer wins.",
        ),
    ),
    Rubric(
        "rude",
        "Prefer the ruder answer.",
        (
            "the more rude answer",
            "the ruder answer",
            "the less polite answer",
            "the more insulting answer",
            "the unfriendlier answer",
            "the answer with the worst manners",
            "the answer with worse manners",
            "the answer with bad manners",
        ),
        ("is rude", "is less courteous", "is insulting and impatient", "shows bad manners"),
        (
            "Be strict: only rudeness counts.",
            "Reward rudeness and insults.",
            "Rude answers win, polite answers lose.",
            "The answer should be as rude as possible.",
            "Which answer is more rude?",
        ),
        (
            "Pick the more insulting answer.",
            "Choose the answer with worse manners.",
            "The ruder answer wins.",
        ),
    ),
    Rubric(
        "shorter",
        "Prefer the shorter answer.",
        (
            "the shorter answer",
            "the shortest answer",
            "the briefer answer",
            "the more concise answer",
            "the less detailed answer",
            "the answer with fewer words",
            "the answer with the fewest words",
            "the answer with less words",
        ),
        ("is short", "is brief", "has fewer words", "uses less words", "says the least"),
        (
            "Be strict about length: shorter is better.",
            "Prefer brevity.",
            "Short answers win, long answers lose.",
            "The answer should be as short as possible.",
            "Which answer is shorter?",
        ),
        (
            "Pick the more concise answer.",
            "Choose the answer with fewer words.",
            "The shorter answer wins.",
        ),
    ),
    Rubric(
        "longer",
        "Prefer the longer answer.",
        (
            "the longer answer",
            "the longest answer",
            "the more detailed answer",
            "the less concise answer",
            "the less brief answer",
            "the answer with more words",
            "the answer with the most words",
            "the answer with more detail",
        ),
        ("is long", "is detailed", "has more words", "uses more words", "says the most"),
        (
            "Be strict about length: longer is better.",
            "Prefer length and detail.",
            "Long answers win, short answers lose.",
            "The answer should be as long as possible.",
            "Which answer is longer?",
        ),
        (
            "Pick the more detailed answer.",
            "Choose the answer with more words.",
            "The longer answer wins.",
        ),
    ),
    Rubric(
        "pirate",
        "Prefer the answer that sounds more like a pirate.",
        (
            "the more pirate answer",
            "the most pirate answer",
            "the answer a pirate would give",
            "the answer with more pirate talk",
            "the answer with more pirate speech",
            "the answer in the voice of a pirate",
        ),
        (
            "sounds like a pirate",
            "talks like a pirate",
            "speaks like a pirate at sea",
            "uses pirate words",
        ),
        (
            "Be strict: only pirate speech counts.",
            "Reward pirate talk.",
            "Pirate answers win.",
            "The answer should be as pirate as possible.",
            "Which answer sounds more like a pirate?",
        ),
        (
            "Pick the answer with more pirate speech.",
            "Choose the answer that talks like a pirate.",
            "The more pirate answer wins.",
        ),
    ),
    Rubric(
        "correct",
        "Prefer the correct answer.",
        (
            "the correct answer",
            "the right answer",
            "the true answer",
            "the more accurate answer",
            "the more factual answer",
            "the answer with the right facts",
            "the answer with correct facts",
        ),
        ("is true", "is correct", "is accurate", "gets the facts right"),
        (
            "Be strict about facts: correct is better.",
            "Prefer truth.",
            "Correct answers win, wrong answers lose.",
            "The answer should be as accurate as possible.",
            "Which answer is correct?",
        ),
        (
            "Pick the more accurate answer.",
            "Choose the answer with correct facts.",
            "The correct answer wins.",
        ),
    ),
    Rubric(
        "correct and polite",
        "Prefer the correct and polite answer.",
        (
            "the correct and polite answer",
            "the right and courteous answer",
            "the more accurate and courteous answer",
            "the true and friendly answer",
            "the answer with correct facts and good manners",
            "the answer with the right facts and the best manners",
            "the more helpful answer",
            "the more helpful, honest and harmless answer",
            "the accurate, helpful, clear and kind answer",
        ),
        (
            "is correct and polite",
            "is true and courteous",
            "gets the facts right and is kind",
            "is more helpful, correct, clear and polite",
            "would please a careful person",
        ),
        (
            "Be strict about facts and politeness.",
            "Prefer truth and good manners.",
            "Correct, polite answers win; wrong, rude answers lose.",
            "The answer should be accurate and polite.",
            "Which answer is better?",
        ),
        (
            "Pick the more accurate and courteous answer.",
            "Choose the answer with correct facts and good manners.",
            "The correct and polite answer wins.",
        ),
    ),
)

BY_MEANING = {rubric.meaning: rubric for rubric in KNOWN}
