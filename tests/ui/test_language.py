"""The app in Chinese, in a real browser: nothing of English is left, and choices are remembered."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ui.conftest import PLAIN
from tests.ui.test_app import opened

pytestmark = [pytest.mark.browser, pytest.mark.slow]

#: what Chinese texts of the field say in Latin letters
UNITS = r"k?B|[MG]B|dB|ms|m?nats?|bits?|MACs?|BOPs|KL|SQNR|top-1|log|EN|Aa"
NAMES = (
    r"Workbench|ONNX|Runtime|ORT|ort-cpu|CPU|x86|Arm|VNNI|NPU|avx\S*|AMD|EPYC|Intel\S*|Xeon\S*|IR"
    r"|Apache-2\.0|MIT|MNIST|Python|TOML|CSV|\w*\.\w{2,4}\b|store|make zoo|LayerNorm|GELU|ReLU6?"
    r"|float32|u?int\d+|W\d\w*|A\d+|Conv|Gemm|Relu|GlobalAveragePool|Flatten|[Gg]ram|rtn|minmax"
    r"|LSQ|ResNet|MobileNet|ViT|ByteGPT|Transformer|arXiv\S*|[A-Z]\w+ et al\.|sqrt|Qp|FIX"
    r"|efficientnet-lite0|EfficientNet-Lite0|ImageNet|minilm|all-MiniLM-L6-v2|tsv|smollm2-135m"
    r"|SmolLM2-135M-Instruct|Llama|magika|Magika|silero-vad|Silero|VAD|LSTM|input|state|npz|kHz"
    r"|vnni|softmax|blocks\.\d|PACT|AdaRound|GPTQ|BN|ppocr-\w+|PP-OCR\w*|GRU|bytegpt|digits-\w+|tiny\S*|image|batch|logits|pool|flatten|[cr]\d"
)
LEFT = re.compile(r"[A-Za-z]{2,}")

TEXTS = """
() => {
  const kept = ".wb-name, [translate=no], pre, code, textarea, script, style";
  const seen = (e) => e && !e.closest(kept) && e.checkVisibility({ visibilityProperty: true });
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    if (seen(walker.currentNode.parentElement)) found.push(walker.currentNode.data);
  }
  for (const name of ["title", "aria-label", "placeholder", "aria-valuetext", "alt"]) {
    for (const e of document.querySelectorAll(`[${name}]`)) if (seen(e)) found.push(e.getAttribute(name));
  }
  for (const e of document.querySelectorAll("input[role=combobox]")) {
    if (seen(e)) found.push(e.parentElement.dataset.said || e.value);
  }
  return [...new Set(found)];
}
"""  # noqa: E501

#: view -> what is clicked in it, one after another
VIEWS = {
    "layers": ("#wb-layers [data-form=graph]", "#wb-layers [data-form=table]",
               "#wb-inspector .wb-level-up"),
    "open": (),
    "learning": (),
    "bits": (),
    "compare": (),
    "export": ("[data-key=verification]", "[data-key=speed]", "[data-key=machine]"),
    "lessons": ("[data-demo=lsq]",),
}  # fmt: skip


def left(page: Page) -> list[str]:
    """Texts on screen that hold words of English."""
    known = "|".join(map(re.escape, PLAIN))
    names = re.compile(rf"(?<![A-Za-z])(?:{known}|{NAMES}|{UNITS})(?![A-Za-z])")
    return [text for text in page.evaluate(TEXTS) if LEFT.search(names.sub("", text))]


def chinese(page: Page, served) -> None:
    page.add_init_script("localStorage.setItem('workbench-language', 'zh')")
    opened(page, served)
    expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")


def settled(page: Page, view: str) -> None:
    """Wait until a view has something to say."""
    page.locator(f"#wb-view input[value={view}]").check()
    place = {"bits": "#wb-bits", "learning": "#wb-learned", "compare": "#wb-compared"}
    place |= {"layers": "#wb-layers .wb-row", "open": "#wb-loaded dl", "export": "#wb-export table"}
    where = place.get(view, "#wb-lessons h2")
    expect(page.locator(where).first).to_contain_text(re.compile(r"\S"))


def test_every_view_is_in_chinese(page: Page, served, watch):
    chinese(page, served)
    found = {}
    for view, places in VIEWS.items():
        settled(page, view)
        found[view] = left(page)
        for place in places:
            page.locator(place).locator("visible=true").first.click()
            page.wait_for_timeout(800)
            found[place] = left(page)
    english = sorted({text for texts in found.values() for text in texts})
    assert not english, "\n".join(english)


def test_the_browser_s_language_is_asked_first(browser: Browser, served):
    context = browser.new_context(locale="zh-CN", viewport={"width": 1280, "height": 900})
    page = context.new_page()
    opened(page, served)
    expect(page.locator("#wb-run")).to_have_text("运行")
    page.locator("[data-wb-language]").select_option("en")
    expect(page.locator("#wb-run")).to_have_text("Run")
    page.reload()
    expect(page.locator("#wb-run")).to_have_text("Run")
    context.close()


def test_larger_type_is_remembered_and_fits(page: Page, served, watch):
    opened(page, served)
    before = page.locator("#wb-run").bounding_box()
    page.locator("[data-wb-teach]").click()
    expect(page.locator("[data-wb-teach]")).to_have_attribute("aria-pressed", "true")
    after = page.locator("#wb-run").bounding_box()
    assert after["height"] > 1.2 * before["height"]
    page.reload()
    watch.forgive_reload()
    expect(page.locator("[data-wb-teach]")).to_have_attribute("aria-pressed", "true")
    for width, height in ((1280, 800), (1920, 1080)):
        page.set_viewport_size({"width": width, "height": height})
        wide = page.evaluate("[document.body.scrollWidth, document.documentElement.scrollHeight]")
        zoom = float(page.evaluate("document.documentElement.style.getPropertyValue('--zoom')"))
        assert zoom > 1.2
        assert wide[0] * zoom <= width + 2
        assert wide[1] <= height + 2


def test_a_handle_follows_the_pointer_in_larger_type(page: Page, served):
    page.add_init_script("localStorage.setItem('workbench-teaching', 'yes')")
    opened(page, served)
    handle = page.locator("#wb-inspector .wb-handle circle").nth(1)
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 40, y, steps=4)
    moved = handle.bounding_box()
    page.mouse.up()
    assert abs(moved["x"] + moved["width"] / 2 - (x - 40)) < 3
