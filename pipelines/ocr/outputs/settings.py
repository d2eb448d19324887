"""What may be chosen of the outputs"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Mode = Literal["skip", "redo", "force"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSettings:
    """How a document's outputs are written."""

    mode: Mode = "skip"  # with text that is there already: leave it; replace earlier readings; draw the page anew
    min_score: float = 0.5  # lines below it are in the JSON and hOCR alone
    upright: bool = True  # turn sideways pages of the searchable PDF; their content stays as it is
    dpi: float = 200.0  # of pages that are drawn anew
    engine: Mapping[str, Any] = field(default_factory=dict)  # name, version, models, settings: told in the JSON
