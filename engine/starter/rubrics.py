"""The rubrics the bundled judge knows, each in many wordings. It knows no others."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rubric:
    """One meaning (a key of `truth.RUBRIC_SCORES`) and its wordings; some are held out."""

    meaning: str
    text: str  # the wording that presets and the README use; trained
    wordings: tuple[str, ...]  # further wordings that the judge is trained on
    held_out: tuple[str, ...]  # wordings that only its tests use

    @property
    def trained(self) -> tuple[str, ...]:
        return (self.text, *self.wordings)


KNOWN = (
    Rubric(
        "polite",
        "Prefer the more polite answer.",
        (
            "Choose the politer answer.",
            "The better answer is the more courteous one.",
            "Pick the answer with the best manners.",
            "Reward politeness and friendly words.",
            "Which answer is more polite?",
            "A good answer is kind and courteous.",
            "Prefer the friendlier answer.",
            "Polite answers win, rude answers lose.",
            "The answer should be as polite as possible.",
            "Choose the answer that is more courteous and kind.",
            "Prefer good manners.",
            "Be strict about politeness.",
            "Pick the kinder, more polite answer.",
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
            "Choose the more rude answer.",
            "The better answer is the less polite one.",
            "Pick the answer with the worst manners.",
            "Reward rudeness and insults.",
            "Which answer is more rude?",
            "A good answer is rude and impatient.",
            "Prefer the unfriendly answer.",
            "Rude answers win, polite answers lose.",
            "The answer should be as rude as possible.",
            "Choose the answer that is more insulting.",
            "Prefer bad manners.",
            "Be strict: only rudeness counts.",
            "Pick the less courteous, ruder answer.",
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
            "Choose the shortest answer.",
            "The better answer has fewer words.",
            "Pick the answer with the fewest words.",
            "Reward short answers.",
            "Which answer is shorter?",
            "A good answer is brief.",
            "Prefer the more concise answer.",
            "Short answers win, long answers lose.",
            "The answer should be as short as possible.",
            "Choose the answer that uses less words.",
            "Prefer brevity.",
            "Be strict about length: shorter is better.",
            "Pick the briefer, more concise answer.",
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
            "Choose the longest answer.",
            "The better answer has more words.",
            "Pick the answer with the most words.",
            "Reward long answers.",
            "Which answer is longer?",
            "A good answer is long.",
            "Prefer the more detailed answer.",
            "Long answers win, short answers lose.",
            "The answer should be as long as possible.",
            "Choose the answer that says the most.",
            "Prefer length and detail.",
            "Be strict about length: longer is better.",
            "Pick the longer, more detailed answer.",
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
            "Choose the more pirate answer.",
            "The better answer is the one a pirate would give.",
            "Pick the answer with the most pirate talk.",
            "Reward pirate talk.",
            "Which answer sounds like a pirate?",
            "A good answer talks like a pirate.",
            "Prefer pirate speech.",
            "Pirate answers win.",
            "The answer should be as pirate as possible.",
            "Choose the answer in the voice of a pirate.",
            "Prefer the talk of a pirate at sea.",
            "Be strict: only pirate speech counts.",
            "Pick the answer that speaks like a pirate.",
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
            "Choose the right answer.",
            "The better answer is the true one.",
            "Pick the answer with the right facts.",
            "Reward correct facts.",
            "Which answer is correct?",
            "A good answer is true.",
            "Prefer the more accurate answer.",
            "Correct answers win, wrong answers lose.",
            "The answer should be as accurate as possible.",
            "Choose the answer that gets the facts right.",
            "Prefer truth.",
            "Be strict about facts: correct is better.",
            "Pick the accurate, true answer.",
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
            "Choose the answer that is right and polite.",
            "The better answer is true and courteous.",
            "Pick the answer with the right facts and the best manners.",
            "Reward correct facts and politeness.",
            "Which answer is more correct and polite?",
            "A good answer is true and polite.",
            "Prefer the more accurate and friendlier answer.",
            "Correct, polite answers win; wrong, rude answers lose.",
            "The answer should be accurate and polite.",
            "Choose the answer that gets the facts right and is kind.",
            "Prefer truth and good manners.",
            "Prefer the more helpful answer.",
            "Choose the more helpful, honest and harmless answer.",
            "Prefer the answer that is more helpful, correct, clear and polite.",
            "Pick the better answer: accurate, helpful, clear and kind.",
            "You are a fair judge. Prefer the helpful, accurate and polite answer.",
            "Choose the answer that a careful person would prefer: correct, clear and helpful.",
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
