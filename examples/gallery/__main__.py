"""Draw every picture of the gallery, print every number, and write a page to look at: gallery/index.html

    python -m examples.gallery [--out gallery] [--only NAME,..] [--seeds 5]

With --seeds the claims are checked on so many seeds, 0 for the picture. Works without a network: the page refers to the pictures beside it and to nothing else.
"""
import argparse
import contextlib
import html
import importlib
import inspect
import io
import pkgutil
import re
import sys
import time
from pathlib import Path

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>tinygrad_lite: the gallery</title>
<style>
  :root {{ color-scheme: light dark; --ink: #1d2733; --paper: #fbfaf7; --soft: #6b7682; --line: #d9d6cd; --accent: #1f6fb4; }}
  @media (prefers-color-scheme: dark) {{ :root {{ --ink: #e6e3dc; --paper: #191c20; --soft: #98a2ad; --line: #383d44; --accent: #74b3e8; }} }}
  body {{ margin: 0 auto; padding: 2rem 1.2rem 4rem; max-width: 76rem; background: var(--paper); color: var(--ink);
         font: 1.05rem/1.55 Georgia, "Times New Roman", serif; }}
  h1, h2, nav, summary, footer {{ font-family: system-ui, sans-serif; }}
  h1 {{ margin-bottom: 0; }}
  nav a {{ color: var(--accent); margin-right: 1.2em; }}
  section {{ border-top: 1px solid var(--line); margin-top: 2.5rem; padding-top: .5rem; }}
  p {{ max-width: 46rem; }}
  img {{ display: block; width: 100%; height: auto; background: white; border-radius: 6px; border: 1px solid var(--line); }}
  summary {{ cursor: pointer; color: var(--soft); margin: .8rem 0; }}
  pre {{ overflow-x: auto; font-size: .8rem; line-height: 1.35; padding: .8rem; border: 1px solid var(--line); border-radius: 6px; }}
  .broken {{ color: #c8202f; font-weight: bold; }}
  footer {{ color: var(--soft); font-size: .85rem; margin-top: 3rem; }}
</style>
<h1>The gallery</h1>
<p>One idea, one picture. Every claim below was checked when this page was made: a script whose numbers do not bear out what it
says fails.</p>
<nav>{links}</nav>
{sections}
<footer>Made by <code>python -m examples.gallery</code>. Click a picture for its full size.</footer>
</html>
"""

SECTION = """<section id="{name}">
<h2>{title}</h2>
{text}
<a href="{name}.png"><img src="{name}.png" alt="{title}"></a>
{verdict}<details><summary>the numbers, and how to make them: <code>python examples/gallery/{name}.py</code></summary>
<pre>{numbers}</pre></details>
</section>"""


def scripts():
    """The names of the gallery's scripts: every module beside this one."""
    return [m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)]) if not m.name.startswith("_")]


def title_and_text(module):
    """The first line of the docstring, and its paragraphs but for the commands, which are indented."""
    first, *paragraphs = module.__doc__.strip().split("\n\n")
    return first, [" ".join(p.split()) for p in paragraphs if not p.startswith("    ")]


def as_paragraph(text):
    return "<p>" + re.sub("`(.+?)`", r"<code>\1</code>", html.escape(text)) + "</p>"


def section(name, module, numbers, error):
    title, paragraphs = title_and_text(module)
    verdict = f'<p class="broken">{html.escape(error)}</p>\n' if error else ""
    text = "\n".join(map(as_paragraph, paragraphs))
    return SECTION.format(name=name, title=html.escape(title), text=text, numbers=html.escape(numbers), verdict=verdict)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="gallery", metavar="DIR", help="folder for the pictures and index.html (default gallery)")
    parser.add_argument("--only", default="", metavar="NAME,..", help="scripts whose name contains one of these")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="check the claims on so many seeds (default 1)")
    args = parser.parse_args(argv)
    names = [n for n in scripts() if any(part in n for part in args.only.split(","))]
    if not names:
        parser.error(f"--only {args.only}: no script's name contains it; there are {', '.join(scripts())}")
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    sections, links, broken = [], [], []
    for name in names:
        module = importlib.import_module(f"{__package__}.{name}")
        print(f"\n=== {title_and_text(module)[0]} ({name})", flush=True)
        printed, error, started = io.StringIO(), None, time.perf_counter()
        try:
            with contextlib.redirect_stdout(printed):
                module.main(["--picture", str(out / f"{name}.png")])
                for seed in range(1, args.seeds if "seed" in inspect.signature(module.measure).parameters else 1):
                    module.check(module.measure(seed))
                    print(f"seed {seed}: every claim holds")
        except AssertionError as claim:         # what the script says of its numbers
            error = f"This claim does not hold: {claim}"
            broken.append(name)
        print(printed.getvalue(), end="")
        print(error or f"{time.perf_counter() - started:.1f} s")
        numbers = "\n".join(line for line in printed.getvalue().splitlines() if not line.startswith("picture "))
        sections.append(section(name, module, numbers, error))
        links.append(f'<a href="#{name}">{html.escape(title_and_text(module)[0])}</a>')
    (out / "index.html").write_text(PAGE.format(links="\n".join(links), sections="\n".join(sections)), encoding="utf-8")
    print(f"\n{len(names)} pictures, {len(broken)} with a claim that does not hold: {(out / 'index.html').resolve()}")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
