"""How the app looks: a plain theme with the system's fonts, and one style sheet."""

from __future__ import annotations

from importlib import resources

import gradio as gr

from workbench.views.assets import style

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
    """The pictures' style and the page's; in the head, so that nothing is drawn without it."""
    page = (resources.files("workbench.ui.gradio") / "app.css").read_text(encoding="utf-8")
    return f"<style>{style()}{page}</style>"
