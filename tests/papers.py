"""Documents made for the tests: pages with known text in real fonts, then scanned, faxed, photographed or turned"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from darkroom.pipelines.ocr.picture import Picture

FONTS = {  # of packages in the extra "dev"
    "serif": ("font-caladea", "font_caladea/files/Caladea-Regular.ttf"),
    "bold": ("font-caladea", "font_caladea/files/Caladea-Bold.ttf"),
    "italic": ("font-caladea", "font_caladea/files/Caladea-Italic.ttf"),
    "sans": ("pylopdf-fonts-zh-cn", "pylopdf_fonts_zh_cn/NotoSansSC-Regular.otf"),
    "song": ("pylopdf-fonts-zh-cn", "pylopdf_fonts_zh_cn/NotoSerifSC-Regular.otf"),
}

ENGLISH = """The keeper of the lighthouse wrote every evening in a narrow book,
and he began each entry with the state of the wind. On clear nights
he counted the ships; on dark ones he counted the hours until dawn.
His brother, who sold rope and lamps in the town below, came up the
path on Sundays with bread, tobacco and whatever news was worth the
climb. "Nothing happens here," the keeper used to say, "and it takes
all of my time." In the spring of 1893 the old lens was replaced: it
weighed 2,450 pounds and cost $7,318.60, more than the house itself.
Fourteen men were needed to carry the crates from the quay, and two
of them never forgave the engineer for choosing the steepest way up."""

GERMAN = """Der Bäcker öffnete früh am Morgen die schwere Tür zur Straße und
grüßte die ersten Kunden, die schon ungeduldig draußen warteten. Auf
dem großen Tisch lagen süße Brötchen, Mohnschnecken und ein Kuchen
mit Äpfeln. Über der Kasse hing ein Schild: „Heute frisch für Sie!“
Eine ältere Dame zählte ihre Münzen, während ihr Enkel die Nase an
die Scheibe drückte. Um zehn Uhr war alles verkauft, nur drei Brote
blieben übrig, und die schenkte der Bäcker wie immer dem Müller."""

ITALIAN = """La vecchia stazione si trova alla fine del paese, dove la strada
comincia a salire verso le colline. Da più di vent'anni non passa un
treno, perché la linea è stata chiusa quando l'autostrada ha portato
via i viaggiatori. Però il capostazione abita ancora lì: ogni mattina
lava i vetri, dà da mangiare ai gatti e regola l'orologio. Chi gli
chiede il motivo riceve sempre la stessa risposta, cioè che un giorno
qualcuno scenderà dal treno delle sette e vorrà sapere che ora è."""

CHINESE = """清晨的市场总是最热闹的地方，卖菜的老人把新鲜的白菜
整齐地摆在木板上，旁边的年轻人正在称刚刚捞上来的鱼。
一位妇女问价钱，老人笑着说：今天便宜，三块五一斤。
孩子们背着书包从摊位之间跑过，空气里有豆浆和烤饼的
香味。到了中午，太阳升高，人群慢慢散去，街道又恢复了
平静，只有几只麻雀在地上寻找剩下的米粒。"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """A page and what is written on it, in the order people read."""

    image: Image.Image
    text: str
    dpi: float = 150.0

    @property
    def picture(self) -> Picture:
        """As the engines want it."""
        return Picture(rgb=np.array(self.image.convert("RGB")), dpi=self.dpi)


@cache
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Give a font of FONTS; its package must be installed."""
    return ImageFont.truetype(str(font_file(name)), size)


def font_file(name: str) -> Path:
    """Give the file of a font of FONTS."""
    package, path = FONTS[name]
    return Path(str(distribution(package).locate_file(path)))


def blank(width: int = 1240, height: int = 877, color: str = "white") -> Image.Image:
    """Give an empty page: A5 lying at 150 dpi."""
    return Image.new("RGB", (width, height), color)


def write(
    image: Image.Image,
    text: str,
    at: tuple[int, int] = (90, 80),
    size: int = 30,
    name: str = "serif",
    ink: str = "black",
) -> int:
    """Write the lines of `text` on `image`; give the y below the last."""
    draw, (x, y) = ImageDraw.Draw(image), at
    for line in text.splitlines():
        draw.text((x, y), line, font=font(name, size), fill=ink)
        y += round(size * 1.4)
    return y


def clean(text: str, *, size: int = 30, name: str = "serif") -> Paper:
    """Give `text` as it comes from a printer."""
    image = blank()
    write(image, text, size=size, name=name)
    return Paper(image=image, text=text)


def printed(text: str, points: float, name: str = "serif", dpi: float = 200) -> Paper:
    """Give `text` in letters of a size in points, on a page that has room for it."""
    size = round(points * dpi / 72)
    width = max(font(name, size).getlength(line) for line in text.splitlines())
    image = blank(round(width) + 4 * size, round(1.4 * size) * len(text.splitlines()) + 4 * size)
    write(image, text, at=(2 * size, 2 * size), size=size, name=name)
    return Paper(image=image, text=text, dpi=dpi)


def downwards(text: str, *, size: int = 36, name: str = "song") -> Paper:
    """Give a Chinese page written in columns from the right."""
    lines = text.splitlines()
    image = blank(120 + 2 * size * len(lines), 160 + round(1.1 * size * max(map(len, lines))))
    draw = ImageDraw.Draw(image)
    for column, line in enumerate(lines):
        for row, character in enumerate(line):
            at = image.width - 60 - size - 2 * size * column, 80 + round(1.1 * size * row)
            draw.text(at, character, font=font(name, size), fill="black")
    return Paper(image=image, text=text)


def turned(paper: Paper, degrees: int) -> Paper:
    """Give the page lying on the scanner turned clockwise."""
    return replace(paper, image=paper.image.rotate(-degrees, expand=True))


def skewed(paper: Paper, degrees: float) -> Paper:
    """Give the page drawn in a little crooked."""
    return replace(paper, image=paper.image.rotate(-degrees, Image.Resampling.BICUBIC, expand=True, fillcolor="white"))


def faxed(paper: Paper) -> Paper:
    """Give the page as a fax: few pixels, black or white, specks."""
    width, height = paper.image.size
    gray = np.array(paper.image.convert("L").resize((width * 4 // 5, height * 4 // 5), Image.Resampling.BOX))
    random = np.random.default_rng(7)
    black = gray < 140
    black |= random.random(gray.shape) < 0.002
    black &= random.random(gray.shape) > 0.01
    return replace(paper, image=Image.fromarray(np.where(black, 0, 255).astype(np.uint8)).convert("RGB"))


def photographed(paper: Paper) -> Paper:
    """Give the page as a photo: seen aslant, unevenly lit, a little out of focus, noise, hard JPEG."""
    width, height = paper.image.size
    corners = (-30, -10, -60, height + 30, width + 50, height + 10, width + 10, -40)
    image = paper.image.transform(
        (width, height), Image.Transform.QUAD, corners, Image.Resampling.BICUBIC, fillcolor="white"
    )
    pixels = np.array(image.filter(ImageFilter.GaussianBlur(0.9)), dtype=np.float32)
    light = np.linspace(1.0, 0.6, width)[None, :, None] * np.linspace(0.95, 0.8, height)[:, None, None]
    noise = np.random.default_rng(11).normal(0, 4, pixels.shape)
    return replace(paper, image=Image.fromarray((pixels * light + noise).clip(0, 255).astype(np.uint8)))


def two_columns() -> Paper:
    """Give a page with a heading over two columns of prose."""
    image = blank(1240, 1000)
    write(image, "A Short History of Two Trades", at=(340, 60), size=44, name="bold")
    left, right = folded(ENGLISH, 36), folded(ENGLISH.replace("lighthouse", "windmill").replace("ships", "sacks"), 36)
    write(image, left, at=(80, 160), size=28)
    write(image, right, at=(660, 160), size=28)
    return Paper(image=image, text="\n".join(("A Short History of Two Trades", left, right)))


def brochure() -> Paper:
    """Give a page of all sorts: a title, points across the page, two narrow-set columns, and more across below them."""
    image = blank(1240, 1140)
    title, heading = "The Harbour Almanac", "For Those Who Stay Longer"
    write(image, title, at=(380, 50), size=48, name="bold")
    points = "\n".join(f"• {line}" for line in ITALIAN.splitlines()[:5])
    below = write(image, points, at=(90, 130), size=32)
    left, right = folded(GERMAN, 38), folded(ENGLISH, 38)
    left = "\n".join(left.splitlines()[:11])
    right = "\n".join(right.splitlines()[:10])
    end = write(image, left, at=(90, below + 40), size=27)
    write(image, right, at=(648, below + 40), size=27)
    across = "\n".join(ENGLISH.splitlines()[:4])
    below = write(image, heading, at=(90, end + 30), size=32, name="bold")
    write(image, across, at=(90, below), size=32)
    return Paper(image=image, text="\n".join((title, points, left, right, heading, across)))


def folded(text: str, width: int) -> str:
    """Give `text` in lines of at most `width` characters."""
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "\n".join((*lines, line))


FOLDS = str.maketrans(
    {"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "−": "-"}
    | {"，": ",", "：": ":", "；": ";", "（": "(", "）": ")", "！": "!", "？": "?"}
)


def cer(found: str, truth: str, *, spaces: bool = False) -> float:
    """Give the character error rate, 0 to 1 and more: edits to make `found` of `truth`, by the length of `truth`.

    White space is left out unless `spaces`, where any run of it is one space; quotes, dashes and full-width
    punctuation count as their plain form.
    """
    joint = " " if spaces else ""
    a, b = (joint.join(text.translate(FOLDS).split()) for text in (found, truth))
    return distance(a, b) / max(1, len(b))


def distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Give Levenshtein's distance, a row at a time: an insertion is a running minimum."""
    codes = {item: index for index, item in enumerate(dict.fromkeys((*a, *b)))}
    target = np.array([codes[item] for item in b], dtype=np.int64)
    steps = np.arange(len(b) + 1)
    row = steps.copy()
    for index, item in enumerate(a, 1):
        changed = np.minimum(row[1:] + 1, row[:-1] + (target != codes[item]))
        row = np.minimum.accumulate(np.concatenate(([index], changed)) - steps) + steps
    return int(row[-1])
