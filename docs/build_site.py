"""What `mkdocs build` runs beside mkdocs.yml: pages made of files outside docs/, links, and what the API pages show.

A link between files of the repository works on the site, too: README.md is its first page, `PAGES` are made of further
files, and a link to a folder leads to a list of its files. Any other link out of docs/ is a warning of MkDocs.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {  # file of the repository -> page of the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "docs/example-report/report.md": "example-report/table.md",  # since report.html is there already
    **{f"notebooks/{path.name}": f"notebooks/{path.stem}.md" for path in sorted(ROOT.glob("notebooks/*.ipynb"))},
}
FOLDERS = {  # folder of the repository -> page that lists its files
    "notebooks": "notebooks/index.md",
    "docs/example-report": "example-report/index.md",
    "docs/example-report/wandb-tables": "example-report/wandb-tables/index.md",
}
PLACES = PAGES | FOLDERS | {"conf/config.yaml": "values.md"}  # the last is made by docs/build_options.py
LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
BASH = re.compile(r"```bash\n.*?```", re.DOTALL)
BADGE = re.compile(r"\[!\[([^]]*)\]\(https://[^)]*\)\]\(([^)]*)\)")  # its picture is from elsewhere
DOCTEST = re.compile(r"^>>> .*\n(?:.+\n?)*", re.MULTILINE)
SHAPES = ("__init__", "forward", "pool")  # methods that need no docstring: their signatures say the shapes


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made of files outside docs/, and those that list a folder."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=as_markdown(ROOT / source)))
    for folder, page in FOLDERS.items():
        files.append(File.generated(config, page, content=listing(ROOT / folder)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Points the links of the repository's files to their pages; comments stand beside commands: lines are wrapped."""
    here = page.file.src_uri
    source = {to: of for of, to in PLACES.items()}.get(here, f"docs/{here}")
    start = source if source in FOLDERS else posixpath.dirname(source)

    def there(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(start, link[2]))
        to = PLACES.get(target, target.removeprefix("docs/"))
        return link[1] + posixpath.relpath(to, posixpath.dirname(here) or ".") + link[3]

    return BASH.sub(lambda block: re.sub(r"(?<=\S) {2,}# ", "  # ", block[0]), LINK.sub(there, markdown))


def on_page_content(html: str, **_: Any) -> str:
    """Keeps source code out of the search."""
    return html.replace(
        '<details class="mkdocstrings-source"', '<details data-search-exclude class="mkdocstrings-source"'
    )


def as_markdown(path: Path) -> str:
    """Returns a page of a file: Markdown as it is, or a notebook with its outputs."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    return "\n\n".join(part for cell in json.loads(text)["cells"] for part in parts(cell))


def parts(cell: dict[str, Any]) -> Iterator[str]:
    """Yields a cell of a notebook, then what it printed and drew."""
    source = "".join(cell["source"])
    yield BADGE.sub(r"[\1](\2)", source) if cell["cell_type"] == "markdown" else fenced(source, "python")
    for output in cell.get("outputs", []):
        data = {kind: "".join(lines) for kind, lines in output.get("data", {}).items()}
        if "text" in output:
            yield fenced("".join(output["text"]), "text")
        elif "image/png" in data:
            yield f'<img alt="What the cell above draws" src="data:image/png;base64,{data["image/png"].strip()}">'
        elif "text/markdown" in data:
            yield data["text/markdown"]


def fenced(code: str, language: str) -> str:
    return f"```{language}\n{code.rstrip()}\n```\n"


def listing(folder: Path) -> str:
    """Returns a page with a link to each file and folder of a folder."""
    names = sorted(path.name for path in folder.iterdir() if path.name[0] not in "._" and path.suffix != ".py")
    return f"# {folder.name}\n\n" + "\n".join(f"- [{name}]({name})" for name in names)


class PublicNames(griffe.Extension):
    """Leaves out members of classes without a docstring, and makes docstrings and shapes ready to be shown."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        if pkg.name == "twostream":
            self.visit(pkg)

    def visit(self, parent: griffe.Module | griffe.Class) -> None:
        for name, one in list(parent.members.items()):
            if one.is_alias:
                continue
            if one.docstring:
                one.docstring.value = as_text(one.docstring.value)
            elif parent.is_class and name not in SHAPES and "NamedTuple" not in map(str, parent.bases):
                parent.del_member(name)
            if isinstance(one, griffe.Module | griffe.Class):
                self.visit(one)
            elif isinstance(one, griffe.Function):
                quote([one.returns, *(parameter.annotation for parameter in one.parameters)])
            elif isinstance(one, griffe.Attribute):
                quote([one.annotation])


def quote(annotations: Sequence[Any]) -> None:
    """Writes shapes alike: "n c h w" instead of 'n c h w', "k" instead of ' k'."""
    for one in annotations:
        if isinstance(one, griffe.ExprTuple):
            one.elements = [f'"{part[1:-1].strip()}"' if str(part).startswith("'") else part for part in one.elements]
        if isinstance(one, griffe.Expr):
            quote([part for part in one.iterate(flat=False) if part is not one])


def as_text(docstring: str) -> str:
    """Fences the examples of a docstring, and escapes what Markdown would take for an HTML tag: `<class>`."""
    examples = DOCTEST.sub(lambda example: fenced(example[0], "pycon"), docstring)
    return re.sub(r"(```.*?```|`[^`]*`)|<(?=\w)", lambda part: part[1] or "&lt;", examples, flags=re.DOTALL)
