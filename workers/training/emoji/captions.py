"""The ways to ask for an item: bare, with an article, filler words or a tag, by a common name, on a background."""

import random

from workers.training.emoji.items import Item

TEMPLATES = (
    ("{bare}", 30),
    ("{article}", 22),
    ("a photo of {article}", 12),
    ("a picture of {article}", 5),
    ("a drawing of {article}", 5),
    ("emoji of {article}", 6),
    ("{cute}", 12),
    ("{bare}, {tag}", 8),
)
"""Wordings and how often each is used, in percent."""

ALIASES = {
    "automobile": "car",
    "hot beverage": "cup of coffee",
    "locomotive": "steam train",
    "bullet train": "train",
    "evergreen tree": "pine tree",
    "deciduous tree": "tree",
    "honeybee": "bee",
    "lady beetle": "ladybug",
    "ear of corn": "corn",
    "mobile phone": "phone",
    "closed book": "book",
    "teacup without handle": "cup of tea",
    "wrapped gift": "gift",
    "t-rex": "dinosaur",
    "red apple": "apple",
    "french fries": "fries",
    "soccer ball": "football",
    "gem stone": "diamond",
    "doughnut": "donut",
    "birthday cake": "cake",
    "hamburger": "burger",
    "jack-o-lantern": "halloween pumpkin",
    "running shoe": "shoe",
    "spouting whale": "whale with water",
    "cheese wedge": "cheese",
    "glass of milk": "milk",
    "beer mug": "beer",
    "wine glass": "wine",
    "red heart": "heart",
    "grinning face": "happy face",
    "crying face": "sad face",
    "pile of poo": "poop",
    "potted plant": "plant",
    "snow-capped mountain": "mountain",
    "desert island": "island",
    "old key": "rusty key",
    "high voltage": "lightning bolt",
    "magnifying glass tilted left": "magnifying glass",
    "carpentry saw": "saw",
    "dollar banknote": "dollar",
    "flying saucer": "ufo",
    "soft ice cream": "ice cream cone",
    "alarm clock": "clock",
    "top hat": "hat",
    "television": "tv",
    "cup with straw": "soda",
    "sailboat": "boat",
    "baby chick": "chick",
    "violin": "fiddle",
    "straight ruler": "ruler",
    "1st place medal": "gold medal",
    "graduation cap": "graduation hat",
    "game die": "dice",
}
"""What people call an item when they do not use its label; the alias stands in for the name every sixth time."""

ALIAS_SHARE = 1 / 6
BACKGROUND_WORDINGS = ("{caption}, {colour} background", "{caption} on a {colour} background")


def caption(item: Item, background: str | None, rng: random.Random) -> str:
    """One caption for an item on a background (None: white, which is said as rarely as people say it)."""
    name = item.name
    if name in ALIASES and rng.random() < ALIAS_SHARE:
        name = ALIASES[name]
    template = rng.choices([wording for wording, _ in TEMPLATES], [share for _, share in TEMPLATES])[0]
    if "{tag}" in template and not item.tags:
        template = "{article}"
    tag = rng.choice(item.tags) if item.tags else ""
    text = template.format(bare=name, article=with_article(name), cute=with_article(f"cute {name}", name), tag=tag)
    if background is None:
        return f"{text}, white background" if rng.random() < 0.03 else text
    return rng.choice(BACKGROUND_WORDINGS).format(caption=text, colour=background)


def with_article(phrase: str, name: str | None = None) -> str:
    """ "a cat", "an apple", "grapes": no article before a plural."""
    head = (name or phrase).split(",")[0]
    if head.endswith("s") and not head.endswith(("ss", "us")):
        return phrase
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
