"""A page of clusters one can read: their names and members, a field that searches them, a map to click on. One HTML file."""
import html
import json

import numpy as np

from .scores import exemplars

COLORS = ("#1f77b4", "#e07b00", "#2a9d55", "#c8202f", "#7a3fb0", "#8c564b", "#d05fa8", "#6b7682", "#8a8b00", "#0f9fb0")

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  :root {{ color-scheme: light dark; --ink: #1d2733; --paper: #fbfaf7; --soft: #6b7682; --line: #d9d6cd; --card: #fff; }}
  @media (prefers-color-scheme: dark) {{
    :root {{ --ink: #e6e3dc; --paper: #191c20; --soft: #98a2ad; --line: #383d44; --card: #22262b; }}
  }}
  body {{ margin: 0 auto; padding: 1.5rem 1.2rem 4rem; max-width: 80rem; background: var(--paper); color: var(--ink);
         font: 1rem/1.45 system-ui, sans-serif; }}
  h1 {{ margin: 0; font-size: 1.5rem; }}
  p {{ color: var(--soft); margin: .3rem 0 1rem; }}
  canvas {{ width: 100%; border: 1px solid var(--line); border-radius: 6px; background: var(--card); cursor: crosshair; }}
  input {{ font: inherit; padding: .35rem .6rem; width: 18rem; max-width: 90%; margin: 1rem 0; border: 1px solid var(--line);
          border-radius: 6px; background: var(--card); color: inherit; }}
  main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: .8rem; align-items: start; }}
  section {{ border: 1px solid var(--line); border-left: 5px solid var(--color); border-radius: 6px; background: var(--card);
            padding: .5rem .8rem; }}
  section:target {{ outline: 2px solid var(--color); }}
  h2 {{ font-size: 1rem; margin: 0; overflow-wrap: anywhere; }}
  h2 small {{ color: var(--soft); font-weight: normal; }}
  section div {{ max-height: 11rem; overflow-y: auto; font-size: .9rem; overflow-wrap: anywhere; }}
  mark {{ background: #ffd54d; color: #000; }}
  [hidden] {{ display: none; }}
</style>
<h1>{title}</h1>
<p>{summary}</p>
{map}
<input type="search" placeholder="search the members" aria-label="search the members">
<main>
{sections}
</main>
<script>
const field = document.querySelector("input"), cards = [...document.querySelectorAll("section")];
const members = cards.map(card => card.querySelector("div").textContent.split(" \\u00b7 "));
field.addEventListener("input", () => {{
  const asked = field.value.trim().toLowerCase();
  cards.forEach((card, i) => {{
    const hits = members[i].map(m => asked !== "" && m.toLowerCase().includes(asked));
    card.hidden = asked !== "" && !hits.includes(true);
    const box = card.querySelector("div");
    box.replaceChildren(...members[i].flatMap((m, j) => {{
      const node = document.createElement(hits[j] ? "mark" : "span");
      node.textContent = m;
      return j ? [" \\u00b7 ", node] : [node];
    }}));
  }});
}});
{script}
</script>
</html>
"""

SCRIPT = """
const points = {points}, labels = {labels}, names = {names}, colors = {colors};
const canvas = document.querySelector("canvas"), pen = canvas.getContext("2d"), hint = document.querySelector("#hint");
const x = i => 12 + points[i][0] * (canvas.width - 24), y = i => 12 + (1 - points[i][1]) * (canvas.height - 24);
labels.forEach((c, i) => {{
  pen.fillStyle = c < 0 ? "#bbb" : colors[c % colors.length];
  pen.fillRect(x(i) - 2, y(i) - 2, c < 0 ? 3 : 5, c < 0 ? 3 : 5);
}});
function nearest(event) {{
  const box = canvas.getBoundingClientRect();
  const a = (event.clientX - box.left) * canvas.width / box.width, b = (event.clientY - box.top) * canvas.height / box.height;
  let best = 0, least = Infinity;
  for (let i = 0; i < labels.length; i++) {{
    const d = (x(i) - a) ** 2 + (y(i) - b) ** 2;
    if (d < least) [best, least] = [i, d];
  }}
  return best;
}}
canvas.addEventListener("mousemove", event => {{
  const i = nearest(event);
  hint.textContent = names[i] + (labels[i] < 0 ? " (noise)" : ", cluster " + labels[i]);
}});
canvas.addEventListener("click", event => {{ location.hash = "c" + labels[nearest(event)]; }});
"""


def clusters_page(path, items, X, labels, title="Clusters", points=None, metric="cosine", most=300):
    """Write an HTML page of clusters: for each its exemplars as its name, and its members (at most `most`), the most typical first.

    items: n names, of the rows of X (n, d); labels (n,); points (n, 2), from pca or neighbour_layout, add a map to click
    on. The page needs no network and nothing beside it.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("r", suffix=".html", encoding="utf-8") as file:
    ...     clusters_page(file.name, ["tea", "rum", "<b>"], np.eye(3), np.array([0, 0, -1]))
    ...     text = file.read()
    >>> "2 of 3 in 1 cluster, 1 noise" in text, "&lt;b&gt;" in text, "<b>" in text
    (True, True, False)
    """
    items, labels = [str(item) for item in items], np.asarray(labels)
    if not len(items) == len(X) == len(labels) == len(labels if points is None else points):
        raise ValueError(f"got {len(items)} items, {len(X)} rows, {len(labels)} labels"
                         + ("" if points is None else f", {len(points)} points") + ": expected as many of each")
    sections = []
    groups = [(c, rows) for c, rows in enumerate(exemplars(X, labels, max(len(X), 1), metric))]
    for c, rows in [*groups, (-1, np.flatnonzero(labels == -1))]:
        if not len(rows):
            continue
        name = "noise" if c == -1 else ", ".join(items[i] for i in rows[:3])
        members = " \u00b7 ".join(items[i] for i in rows[:most])
        members += f" \u00b7 \u2026 and {len(rows) - most} more" if len(rows) > most else ""
        color = "#bbb" if c == -1 else COLORS[c % len(COLORS)]
        sections.append(f'<section id="c{c}" style="--color: {color}"><h2>{html.escape(name)} <small>{len(rows)}</small></h2>'
                        f"<div>{html.escape(members)}</div></section>")
    k, clustered = len(groups), int((labels != -1).sum())
    summary = f"{clustered:,} of {len(items):,} in {k} cluster{'s' * (k != 1)}, {len(items) - clustered:,} noise"
    drawing = script = ""
    if points is not None:
        points = np.asarray(points, float)
        low, high = points.min(axis=0, initial=np.inf), points.max(axis=0, initial=-np.inf)
        scaled = ((points - low) / np.where(high > low, high - low, 1)).round(4).tolist()
        drawing = '<canvas width="1200" height="640"></canvas><p id="hint">Point at the map; click to see the cluster.</p>'
        script = SCRIPT.format(points=json.dumps(scaled), labels=json.dumps(labels.tolist()), colors=json.dumps(COLORS),
                               names=json.dumps(items).replace("<", "\\u003c"))
    page = PAGE.format(title=html.escape(title), summary=summary, map=drawing, sections="\n".join(sections), script=script)
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(page)
