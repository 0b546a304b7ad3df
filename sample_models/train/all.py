"""Train and export every sample model: `python -m sample_models.train.all`."""

from __future__ import annotations

from sample_models.train import (
    bytegpt,
    digits_gru,
    digits_mobilenet,
    digits_resnet,
    digits_vit,
)


def main() -> None:
    """One model after the other; it took 50 minutes on two busy CPU cores."""
    for script in (digits_resnet, digits_mobilenet, digits_vit, digits_gru, bytegpt):
        script.main()


if __name__ == "__main__":
    main()
