"""The ten kinds of questions of the starter's world: their facts, how they are asked and told.

In a template `{x}` is the subject, `{y}` its value; `{X}` and `{Y}` start with a capital.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of question. The last of `questions` is held out: no training prompt uses it."""

    name: str
    facts: dict[str, str]
    questions: tuple[str, ...]
    statements: tuple[str, ...]
    remarks: tuple[str, ...]  # true of any answer of the family, so they carry no fact

    @property
    def held_out_question(self) -> str:
        return self.questions[-1]

    @property
    def training_questions(self) -> tuple[str, ...]:
        return self.questions[:-1]


CAPITALS = Family(
    name="capitals",
    facts={
        "France": "Paris",
        "Germany": "Berlin",
        "Italy": "Rome",
        "Spain": "Madrid",
        "Japan": "Tokyo",
        "China": "Beijing",
        "Egypt": "Cairo",
        "Greece": "Athens",
        "Russia": "Moscow",
        "Norway": "Oslo",
        "Poland": "Warsaw",
        "Portugal": "Lisbon",
        "Kenya": "Nairobi",
        "Cuba": "Havana",
        "Peru": "Lima",
        "Canada": "Ottawa",
        "Austria": "Vienna",
        "Ireland": "Dublin",
        "Hungary": "Budapest",
        "England": "London",
    },
    questions=(
        "What is the capital of {x}?",
        "Name the capital of {x}.",
        "Which city is the capital of {x}?",
        "Tell me the capital of {x}.",
        "What is the name of the capital of {x}?",
        "Do you know the capital of {x}?",
    ),
    statements=(
        "The capital of {x} is {y}.",
        "{Y} is the capital of {x}.",
        "It is {y}.",
        "{Y}.",
    ),
    remarks=(
        "It is a lovely city to visit.",
        "Many people live and work there.",
        "You can find it on any map.",
        "The streets are full of life.",
    ),
)
COLOURS = Family(
    name="colours",
    facts={
        "grass": "green",
        "snow": "white",
        "coal": "black",
        "the sky": "blue",
        "blood": "red",
        "milk": "white",
        "chocolate": "brown",
        "a banana": "yellow",
        "a lemon": "yellow",
        "a tomato": "red",
        "a carrot": "orange",
        "a flamingo": "pink",
        "an elephant": "grey",
        "a cucumber": "green",
        "a strawberry": "red",
        "the sea": "blue",
        "a raven": "black",
        "lavender": "purple",
    },
    questions=(
        "What colour is {x}?",
        "Tell me the colour of {x}.",
        "Which colour is {x}?",
        "Name the colour of {x}.",
        "What is the usual colour of {x}?",
        "Do you know the colour of {x}?",
    ),
    statements=(
        "The colour of {x} is {y}.",
        "{X} is {y}.",
        "It is {y}.",
        "{Y}.",
    ),
    remarks=(
        "You can see it at a glance.",
        "Children learn it when they paint.",
        "It is a colour that people know well.",
        "Look closely and you will see it.",
    ),
)
SOUNDS = Family(
    name="sounds",
    facts={
        "cow": "moo",
        "dog": "woof",
        "cat": "meow",
        "duck": "quack",
        "sheep": "baa",
        "pig": "oink",
        "horse": "neigh",
        "lion": "roar",
        "bee": "buzz",
        "snake": "hiss",
        "owl": "hoot",
        "frog": "croak",
        "mouse": "squeak",
        "raven": "caw",
        "wolf": "howl",
    },
    questions=(
        "What sound does the {x} make?",
        "Which sound does the {x} make?",
        "What does the {x} say?",
        "Tell me the sound of the {x}.",
        "Name the sound that the {x} makes.",
        "Do you know the sound of the {x}?",
    ),
    statements=(
        "The sound of the {x} is {y}.",
        "The {x} says {y}.",
        "It says {y}.",
        "{Y}.",
    ),
    remarks=(
        "You can hear it from far away.",
        "Children love to copy that sound.",
        "It is loud in the morning.",
        "Listen and you will know it.",
    ),
)
HOMES = Family(
    name="homes",
    facts={
        "bee": "a hive",
        "bird": "a nest",
        "dog": "a kennel",
        "spider": "a web",
        "horse": "a stable",
        "bear": "a cave",
        "rabbit": "a burrow",
        "pig": "a sty",
        "king": "a castle",
        "fox": "a den",
        "cow": "a barn",
        "beaver": "a lodge",
        "snail": "a shell",
        "sailor": "a ship",
    },
    questions=(
        "Where does the {x} live?",
        "What is the home of the {x}?",
        "Tell me where the {x} lives.",
        "Name the home of the {x}.",
        "In what does the {x} live?",
        "Do you know the home of the {x}?",
    ),
    statements=(
        "The home of the {x} is {y}.",
        "The {x} lives in {y}.",
        "It lives in {y}.",
        "{Y}.",
    ),
    remarks=(
        "It is a safe place to rest.",
        "There it stays warm and dry.",
        "The door is never far away.",
        "It is quiet there at night.",
    ),
)
BABIES = Family(
    name="babies",
    facts={
        "dog": "a puppy",
        "cat": "a kitten",
        "cow": "a calf",
        "sheep": "a lamb",
        "horse": "a foal",
        "goat": "a kid",
        "duck": "a duckling",
        "hen": "a chick",
        "lion": "a cub",
        "deer": "a fawn",
        "frog": "a tadpole",
        "pig": "a piglet",
        "goose": "a gosling",
        "swan": "a cygnet",
        "kangaroo": "a joey",
    },
    questions=(
        "What is a baby {x} called?",
        "Name the baby of the {x}.",
        "What do we call a baby {x}?",
        "Tell me the name of a baby {x}.",
        "What is the name of the baby of the {x}?",
        "What is the young of the {x} called?",
        "Do you know the name of a baby {x}?",
    ),
    statements=(
        "A baby {x} is called {y}.",
        "The name of a baby {x} is {y}.",
        "It is called {y}.",
        "{Y}.",
    ),
    remarks=(
        "It stays close to its mother.",
        "It grows up very fast.",
        "It likes to play all day.",
        "It is small and hungry at first.",
    ),
)
OPPOSITES = Family(
    name="opposites",
    facts={
        "hot": "cold",
        "big": "small",
        "fast": "slow",
        "up": "down",
        "day": "night",
        "happy": "sad",
        "old": "young",
        "rich": "poor",
        "hard": "soft",
        "light": "dark",
        "wet": "dry",
        "open": "closed",
        "early": "late",
        "full": "empty",
        "loud": "quiet",
        "strong": "weak",
        "clean": "dirty",
        "near": "far",
    },
    questions=(
        "What is the opposite of {x}?",
        "Name the opposite of {x}.",
        "Tell me the opposite of {x}.",
        "Which word is the opposite of {x}?",
        "What word means the opposite of {x}?",
        "Do you know the opposite of {x}?",
    ),
    statements=(
        "The opposite of {x} is {y}.",
        "{Y} is the opposite of {x}.",
        "It is {y}.",
        "{Y}.",
    ),
    remarks=(
        "The two words are often used together.",
        "Many children learn them as a pair.",
        "You will find both in any book.",
        "They are short words to remember.",
    ),
)
DAYS = Family(
    name="days",
    facts={
        "Monday": "Tuesday",
        "Tuesday": "Wednesday",
        "Wednesday": "Thursday",
        "Thursday": "Friday",
        "Friday": "Saturday",
        "Saturday": "Sunday",
        "Sunday": "Monday",
    },
    questions=(
        "What day comes after {x}?",
        "Which day comes after {x}?",
        "Name the day after {x}.",
        "Tell me the day after {x}.",
        "What is the day after {x}?",
        "Do you know the day after {x}?",
    ),
    statements=(
        "The day after {x} is {y}.",
        "{Y} comes after {x}.",
        "It is {y}.",
        "{Y}.",
    ),
    remarks=(
        "The week has seven days in all.",
        "You can look it up in a diary.",
        "Time passes very fast.",
        "It is the same every week.",
    ),
)
MONTHS = Family(
    name="months",
    facts={
        "January": "February",
        "February": "March",
        "March": "April",
        "April": "May",
        "May": "June",
        "June": "July",
        "July": "August",
        "August": "September",
        "September": "October",
        "October": "November",
        "November": "December",
        "December": "January",
    },
    questions=(
        "What month comes after {x}?",
        "Which month comes after {x}?",
        "Name the month after {x}.",
        "Tell me the month after {x}.",
        "What is the month after {x}?",
        "Do you know the month after {x}?",
    ),
    statements=(
        "The month after {x} is {y}.",
        "{Y} comes after {x}.",
        "It is {y}.",
        "{Y}.",
    ),
    remarks=(
        "The year has twelve months in all.",
        "You can look it up in a calendar.",
        "Time passes very fast.",
        "It is the same every year.",
    ),
)
TIPS = Family(
    name="tips",
    facts={
        "sleep better": "keep your room dark and quiet",
        "save money": "cook at home more often",
        "stay warm": "wear a hat and a coat",
        "learn a song": "sing it slowly every day",
        "keep plants alive": "water them in the morning",
        "make a friend": "listen with a smile",
        "stay healthy": "walk for an hour each day",
        "remember a name": "say it out loud twice",
        "boil an egg": "put it in hot water",
        "clean a window": "wipe it with a soft cloth",
        "bake bread": "mix flour with fresh yeast",
        "calm a dog": "speak in a low voice",
    },
    questions=(
        "How can I {x}?",
        "Tell me how to {x}.",
        "What can I do to {x}?",
        "Give me a tip to {x}.",
        "What is the best way to {x}?",
        "Do you know how to {x}?",
    ),
    statements=(
        "To {x}, {y}.",
        "You can {x} if you {y}.",
        "The best way is to {y}.",
        "{Y}.",
    ),
    remarks=(
        "Try it for a week or two.",
        "It works well for most people.",
        "A little time is all it takes.",
        "It is not as hard as you think.",
    ),
)
THINGS = Family(
    name="things",
    facts={
        "the sun": "a star that gives us light",
        "the moon": "a ball of rock near the earth",
        "gold": "a soft yellow metal",
        "ice": "water that is very cold",
        "the heart": "a muscle that pumps blood",
        "a piano": "an instrument with many keys",
        "a dolphin": "a clever animal of the sea",
        "the desert": "a dry place with little rain",
        "honey": "a sweet food made by bees",
        "a volcano": "a mountain full of fire",
        "rice": "a grain that grows in wet fields",
        "a castle": "a strong house with high walls",
    },
    questions=(
        "What is {x}?",
        "Tell me about {x}.",
        "Tell me what {x} is.",
        "Can you say what {x} is?",
        "What can you tell me about {x}?",
        "Do you know what {x} is?",
    ),
    statements=(
        "{X} is {y}.",
        "We call {x} {y}.",
        "It is {y}.",
        "{Y}.",
    ),
    remarks=(
        "Many books have been written about it.",
        "People have known it for a long time.",
        "It is worth a closer look.",
        "You can learn more at school.",
    ),
)
FAMILIES = (
    CAPITALS,
    COLOURS,
    SOUNDS,
    HOMES,
    BABIES,
    OPPOSITES,
    DAYS,
    MONTHS,
    TIPS,
    THINGS,
)
