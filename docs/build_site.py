"""What `mkdocs build` runs beside mkdocs.yml: pages made of files outside docs/, links, and what the API pages show.

A link between files of the repository works on the site, too: README.md is its first page, `PAGES` are made of further
files, and a link to a folder leads to a list of its files. Any other link out of docs/ is a warning of MkDocs.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import griffe
import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from twostream.options import Value, conf_folder, read_table
from twostream.options.help import first_comment, read_groups, yaml_text
from twostream.options.table import ROOT as PLAIN

ROOT = Path(__file__).parents[1]
PAGES = {  # file of the repository -> page of the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "conf/config.yaml": "values.md",  # made from the table of values, as are options.md and values-of-options.md
    "docs/example-report/report.md": "example-report/table.md",  # since report.html is there already
    **{f"notebooks/{path.name}": f"notebooks/{path.stem}.md" for path in sorted(ROOT.glob("notebooks/*.ipynb"))},
}
FOLDERS = {  # folder of the repository -> page that lists its files
    "notebooks": "notebooks/index.md",
    "docs/example-report": "example-report/index.md",
    "docs/example-report/wandb-tables": "example-report/wandb-tables/index.md",
}
LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
DOCTEST = re.compile(r"^>>> .*\n(?:.+\n?)*", re.MULTILINE)
SHAPES = ("__init__", "forward", "pool")  # methods that need no docstring: their signatures say the shapes


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made of files outside docs/, and those that list a folder."""
    pages = {page: as_markdown(ROOT / source) for source, page in PAGES.items() if source != "conf/config.yaml"}
    made = {"options.md": options(), "values.md": plain_values(), "values-of-options.md": values_of_options()}
    for page, content in (pages | made).items():
        files.append(File.generated(config, page, content=content))
    for folder, page in FOLDERS.items():
        files.append(File.generated(config, page, content=listing(ROOT / folder)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Points the links of the repository's files to their pages."""
    here = page.file.src_uri
    source = {to: of for of, to in (PAGES | FOLDERS).items()}.get(here, f"docs/{here}")
    start = source if source in FOLDERS else posixpath.dirname(source)

    def there(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(start, link[2]))
        to = (PAGES | FOLDERS).get(target, target.removeprefix("docs/"))
        return link[1] + posixpath.relpath(to, posixpath.dirname(here) or ".") + link[3]

    return LINK.sub(there, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Keeps source code out of the search."""
    return html.replace(
        '<details class="mkdocstrings-source"', '<details data-search-exclude class="mkdocstrings-source"'
    )


def as_markdown(path: Path) -> str:
    """Returns a page of a file: Markdown as it is, or the cells of a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
    return "\n\n".join(source if kind == "markdown" else fenced(source, "python") for kind, source in cells)


def fenced(code: str, language: str) -> str:
    return f"```{language}\n{code.rstrip()}\n```\n"


def listing(folder: Path) -> str:
    """Returns a page with a link to each file and folder of a folder."""
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    return f"# {folder.name}\n\n" + "\n".join(f"- [{name}]({name})" for name in names)


def options() -> str:
    """Returns the page of the groups: what each decides, its options, which of them is taken if none is typed."""
    parts = [
        "# Options\n\nWhat a run does is decided by *groups*, each a question with a few answers, and by *values*. Type them as "
        "words without dashes: `python train.py fusion=conv temporal=conv3d epochs=20`. `python train.py --help` lists all of "
        "them, too.\n\nThis page has the groups and their options. What can be set of each option: [values of "
        "options](values-of-options.md). Values that belong to no group: [plain values](values.md)."
    ]
    for group, (default, comment) in read_groups(conf_folder()).items():
        folder = conf_folder() / group.partition("@")[0]
        rows = [(f"`{group}={file.stem}`", first_comment(file)) for file in sorted(folder.glob("*.yaml"))]
        about = f"{comment[:1].upper()}{comment[1:]}." if comment else ""
        rest = f"Options are those of [`{folder.name}`](#{folder.name})." if "@" in group else table(("", ""), rows)
        parts.append(f"## {group}\n\n{about} Without a word of it: `{group}={default}`.\n\n{rest}")
    return "\n\n".join(parts)


def plain_values() -> str:
    """Returns the page of the values that belong to no group."""
    rows = [row for one in read_table()[PLAIN].values() for row in (row_of(value) for value in leaves(one))]
    about = "Values that belong to no group, as `epochs=20`. `null` means none; in `config.yaml` of a run are those it had."
    return f"---\nhide: [toc]\n---\n\n# Plain values\n\n{about}\n\n{table(VALUES, rows)}"


def values_of_options() -> str:
    """Returns the page of what can be set of each option of each group."""
    parts = [
        "# Values of options\n\nAn option may have values of its own: `flow=tvl1 flow.warps=3`. A value that several options of a "
        "group share stands once, with the options that have it."
    ]
    for group in [group for group in read_groups(conf_folder()) if "@" not in group]:
        of: dict[tuple[str, str], list[tuple[str, str]]] = {}  # (name, comment): options, and their defaults
        for file in sorted((conf_folder() / group).glob("*.yaml")):
            for value in values_of(file, group):
                of.setdefault((value.name, value.comment), []).append((file.stem, value.default))
        rows = [(*row_of(Value(name, defaults(found), comment)), names(found)) for (name, comment), found in of.items()]
        parts += [f"## {group}\n\n{table((*VALUES, 'of'), rows)}"] if rows else []
    return "\n\n".join(parts)


VALUES = ("value", "if not typed", "may be", "what it is")


def values_of(file: Path, group: str) -> Iterator[Value]:
    """Yields the values of an option, named as they are typed, with the defaults of this option."""
    content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    content = (content.get(group) or {}) if "# @package _global_" in file.read_text(encoding="utf-8") else content
    held = {group: content} if "_target_" in content else {f"{group}.{key}": part for key, part in content.items()}
    for prefix, part in held.items():
        if isinstance(part, dict):
            yield from named(part, prefix)


def named(own: Mapping[str, Any], prefix: str) -> Iterator[Value]:
    for key, value in read_table().get(str(own.get("_target_")), {}).items():
        if isinstance(value, Value) and key in own:
            yield Value(f"{prefix}.{key}", yaml_text(own[key]), value.comment)
        elif isinstance(own.get(key), dict):
            yield from named(own[key], f"{prefix}.{key}")


def leaves(value: Value | Mapping[str, Any]) -> Iterator[Value]:
    """Yields a value, or those below a key."""
    if isinstance(value, Value):
        yield value
    else:
        for part in value.values():
            yield from leaves(part)


def row_of(value: Value) -> tuple[str, ...]:
    what = value.comment.partition(";")[2].strip()
    may_be = value.rule.words.removeprefix("must be ").removeprefix("choose from ")
    return (f"`{value.name}`", f"`{value.default}`" if value.default else "", may_be, what)


def defaults(found: Sequence[tuple[str, str]]) -> str:
    """Returns the default that all options share, or nothing."""
    return found[0][1] if len({default for _, default in found}) == 1 else ""


def names(found: Sequence[tuple[str, str]]) -> str:
    """Names options, with their defaults where these differ."""
    return ", ".join(f"`{name}`" if defaults(found) else f"`{name}`: `{default}`" for name, default in found)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


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
