"""How the app looks: a plain theme with the system's fonts, and one style sheet."""

from __future__ import annotations

from importlib import resources

import gradio as gr

from workbench.views.assets import script, style
from workbench.views.language import catalogues

_FONTS = ("Inter", "system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def theme() -> gr.themes.Base:
    """Fonts of the system only: nothing is fetched."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.indigo,
        neutral_hue=gr.themes.colors.slate,
        font=[gr.themes.Font(name) for name in _FONTS],
        font_mono=[gr.themes.Font(name) for name in _MONO],
        text_size=gr.themes.sizes.text_sm,
        spacing_size=gr.themes.sizes.spacing_sm,
        radius_size=gr.themes.sizes.radius_md,
    )


def head() -> str:
    """The style of pictures and page, languages, and what the page remembers for itself.

    In the head, so that nothing is drawn before it is there.
    """
    texts = f'<script type="application/json" id="wb-languages">{catalogues()}</script>'
    code = f"<script>(() => {{\n{script('language')}\n{_file('page.js')}}})();</script>"
    return f"<style>{style()}{_file('app.css')}</style>{texts}{code}"


def _file(name: str) -> str:
    return (resources.files("workbench.ui.gradio") / name).read_text(encoding="utf-8")
