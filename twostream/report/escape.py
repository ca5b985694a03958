"""Escapes any text so that a format shows it as it is (pure functions)."""

from __future__ import annotations

import json
import re
from typing import Any

TEX = {
    "\\": r"\textbackslash{}",
    **{symbol: f"\\{symbol}" for symbol in "{}$&#%_"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{symbol: f"{{{symbol}}}" for symbol in "[]*"},  # TeX would take one at the start of a row for an option of \\
    "\0": "{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "×": r"$\times$",
    "Δ": r"$\Delta$",
    "—": "---",
    "–": "--",
    "…": r"\dots{}",
}


def markdown(text: str) -> str:
    r"""Escapes text for a cell of a Markdown table.

    >>> print(markdown("<script>|a*b_c _d_"))
    &lt;script&gt;\|a\*b_c \_d\_
    """
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*|\[\]~])", r"\\\1", text)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\_", text)  # inside a word _ is no markup


def latex(text: str) -> str:
    r"""Escapes text for LaTeX.

    >>> print(latex("50% of a_b ± 1, --baseline, a---b"))
    50\% of a\_b $\pm$ 1, -{}-baseline, a-{}-{}-b
    """
    text = re.sub("-(?=-)", "-\0", " ".join(text.split()))  # LaTeX would join two into one dash
    return "".join(TEX.get(letter, letter) for letter in text)


def script_json(value: Any) -> str:
    r"""Returns JSON that can stand inside <script>: no letter in it can end the element or begin a comment.

    >>> print(script_json({"class": "</script>"}))
    {"class":"\u003c/script\u003e"}
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")
