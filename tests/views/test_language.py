"""Catalogues: no dead entries, the same holes on both sides, and what the browser makes of them."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path

import pytest

from workbench.views.assets import script
from workbench.views.language import Language, catalogues, languages

ROOT = Path(__file__).resolve().parents[2]
HOLE = re.compile(r"\{\w+\}")
MOST = 4000  # letters of a text; longer ones are code, or tables
#: joints of parts, and words of the stock components
ELSEWHERE = ("joints", "gradio")


def literals(path: Path) -> Iterator[str]:
    """All texts of a source file, `{}` for what is put in."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        yield text
    elif path.suffix == ".js":
        for plain, template in re.findall(r'"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`', text):
            yield plain or re.sub(r"\$\{(?:[^{}]|\{[^{}]*\})*\}", "{}", template)
    else:
        yield from map(text_of, ast.walk(ast.parse(text)))


def text_of(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"\{[^{}]*\}", "{}", node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(n.value if isinstance(n, ast.Constant) else "{}" for n in node.values)
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return ast.get_docstring(node) or ""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "arg", None) or ""


@cache
def sources() -> str:
    places = [*(ROOT / "workbench").rglob("*.py"), *(ROOT / "workbench").rglob("*.js")]
    places += (ROOT / "sample_models" / "cards").glob("*.json")
    texts = {text.lower() for path in places for text in literals(path) if len(text) < MOST}
    return "\n".join(sorted(texts))


def used(key: str) -> bool:
    """Whether the sources can say it: in one piece, or put together from few pieces they have."""
    if HOLE.sub("{}", key).lower() in sources():
        return True
    parts = [part for piece in HOLE.split(key) for part in re.split(r"[.:;,·()]\s+|\n", piece)]
    words = [re.findall(r"[\w'.+-]*\w", part) for part in parts]
    runs = [pieces(each) for each in words if each]
    return None not in runs and sum(filter(None, runs)) <= len(runs) + len(HOLE.findall(key))


def pieces(words: list[str]) -> int | None:
    """In how many pieces the sources hold these words; None if one is nowhere."""
    count, at = 0, 0
    while at < len(words):
        ends = range(len(words), at, -1)
        end = next((end for end in ends if found(" ".join(words[at:end]))), None)
        if end is None:
            return None
        count, at = count + 1, end
    return count


def found(piece: str) -> bool:
    """Plurals are made, and underscores of options are blanks."""
    forms = (piece.lower(), piece.lower().removesuffix("s"), piece.lower().replace(" ", "_"))
    return any(form in sources() for form in forms)


@pytest.fixture(params=languages(), ids=lambda language: language.code)
def language(request: pytest.FixtureRequest) -> Language:
    return request.param


def tables(language: Language) -> dict[str, dict[str, str]]:
    import tomllib

    folder = resources.files("workbench.views") / "languages"
    return tomllib.loads((folder / f"{language.code}.toml").read_text(encoding="utf-8"))["texts"]


def test_no_entry_is_dead(language: Language):
    own = [
        key for name, table in tables(language).items() if name not in ELSEWHERE for key in table
    ]
    assert [key for key in own if not used(key)] == []


def test_no_entry_is_there_twice(language: Language):
    counts = Counter(key for table in tables(language).values() for key in table)
    assert [key for key, count in counts.items() if count > 1] == []


def test_holes_are_the_same_on_both_sides(language: Language):
    wrong = [
        k for k, v in language.texts.items() if sorted(HOLE.findall(k)) != sorted(HOLE.findall(v))
    ]
    assert wrong == []


def test_a_page_can_hold_the_catalogues():
    assert "<" not in catalogues()
    assert json.loads(catalogues())["zh"]["texts"]["Open"] == "打开"


def test_a_made_up_entry_would_be_found():
    assert used("Let gram learn at 3 bits")
    assert not used("Let gram learn at 3 bytes")
    assert not used("{n} sheep in {m} fields")


# --- in the browser -------------------------------------------------------------------------------

TEXTS = {
    "Open": "打开",
    "float": "浮点",
    "{n} calibrate, {m} others judge": "{n} 校准 {m} 评判",
    "{n} bits": "{n} 位",
    "size of {name}": "{name} 的大小",
    "on {kind}": "在{kind}上",
    "The model as it came.": "原始模型。",
    "Two. Sentences.": "两句。",
    "; ": "；",
    ", ": "、",
    ".": "。",
}
SAID = {
    "Open": "打开",
    " Open ": " 打开 ",
    "1,000 calibrate, 3,000 others judge": "1,000 校准 3,000 评判",
    "x calibrate, 3,000 others judge": "x calibrate, 3,000 others judge",
    "size of float": "float 的大小",
    "on float": "在浮点上",
    "3 bits; float": "3 位；浮点",
    "3 bits; layer": "3 位；layer",
    "3 bits, layer": "3 bits, layer",
    "3 bits, 2.5 kB": "3 位、2.5 kB",
    "float · 3 bits": "浮点 · 3 位",
    "The model as it came. top-1": "原始模型。top-1",
    "float. Two. Sentences.": "浮点。两句。",
    "An error, float; of the engine. It stays": "An error, float; of the engine. It stays",
    "12.5 %": "12.5 %",
    "<b>${x}</b>": "<b>${x}</b>",
}


@pytest.mark.browser
def test_texts_are_found_filled_and_put_together(page):
    page.set_content("<p></p>")
    code = f"([texts, all]) => {{ {script('language')}\nreturn all.map(translator(texts)); }}"
    told = page.evaluate(code, [TEXTS, list(SAID)])
    assert dict(zip(SAID, told, strict=True)) == SAID


PAGE = """
<p id=a title="Open">Open <span class="wb-name">float</span><code>float</code></p>
<div translate="no" id=b title="float">float</div><input id=c placeholder="Open" value="Open">
<div><input id=d role="combobox" value="float"></div>
"""


@pytest.mark.browser
def test_what_comes_later_is_translated_and_names_stay(page):
    page.set_content(PAGE)
    page.evaluate(
        f"(texts) => {{ {script('language')}\nkeepTranslated(document.body, translator(texts)); }}",
        TEXTS,
    )
    assert page.inner_text("#a") == "打开 floatfloat"
    assert page.get_attribute("#a", "title") == "打开"
    assert page.inner_text("#b") == "float"
    assert page.get_attribute("#b", "title") == "float"
    assert page.get_attribute("#c", "placeholder") == "打开"
    assert page.input_value("#c") == "Open"
    field = "() => [d.value, d.parentElement.dataset.said]"
    assert page.evaluate(field) == ["float", "浮点"]
    page.evaluate("() => { d.value = 'Open'; a.firstChild.data = '4 bits'; a.title = 'float'; }")
    page.evaluate("() => a.append('Open')")
    assert page.evaluate(field) == ["Open", "打开"]
    assert page.inner_text("#a") == "4 位floatfloat打开"
    assert page.get_attribute("#a", "title") == "浮点"
