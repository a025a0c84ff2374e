"""Words never seen have neighbours

A net that reads characters gives a vector to any word. It is trained on the words of Python's own documentation, each beside a
copy of itself in which letters are swapped, dropped, doubled or changed, or which has a few random letters more at its
end: the two vectors should be nearer to each other than to those of all other words of the batch (InfoNCE).

400 words were kept from it. Of their misspelt copies more than 85 % find the right one among all 2800 words,
more than before the training. And among words that the net has never read, the nearest of beers is beer, and of
awesomeness, awesome. A table with a row for each word, trained the same way, has nothing to say about a new one.

    python examples/gallery/charcnn_neighbours.py [--picture charcnn_neighbours.png] [--seed 0] [--text YOUR.txt]
"""
import argparse
import re
from pathlib import Path
from zlib import crc32

import numpy as np
from _shared import claim

import tinygrad_lite as tg
from tinygrad_lite.progress import progress

STEPS, BATCH, HELD_OUT = 200, 96, 400
LETTERS = "abcdefghijklmnopqrstuvwxyz"
NEW = {"beers": "beer", "awesomeness": "awesome", "beeer": "beer", "awsome": "awesome", "elephnat": "elephant", "winery": "wine"}
OTHERS = "beard bear peers wiser wind wine beer awesome awful some lonesome elephant elevator".split()


def vocabulary(path=None):
    """The words of four letters and more in a text: Python's documentation of itself, or a file."""
    if path is None:
        from pydoc_data.topics import topics
        text = " ".join(topics.values())
    else:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    return sorted({w for w in re.findall(r"[a-z]{4,}", text.lower())} - {*NEW, *OTHERS})


def misspelt(word, rng):
    """Up to four letters added at the end (every other time), or two swapped, one dropped, doubled or changed."""
    i, kind, letter = int(rng.integers(len(word) - 1)), rng.integers(8), LETTERS[rng.integers(26)]
    if kind == 0:
        return word[:i] + word[i + 1] + word[i] + word[i + 2:]
    if kind > 3:
        return word + "".join(LETTERS[k] for k in rng.integers(26, size=rng.integers(1, 5)))
    return word[:i] + ("", 2 * word[i], letter)[kind - 1] + word[i + 1:]


class WholeWords(tg.nn.Module):
    """What CharCNN is compared with: a row of a table for each word."""

    def __init__(self, dim, rows=1 << 13):
        self.rows, self.embedding = rows, tg.nn.Embedding(rows, dim)

    def forward(self, words):
        return self.embedding(np.array([crc32(word.encode()) % self.rows for word in words]))


class Characters(tg.nn.Module):
    def __init__(self):
        self.alphabet = tg.nn.Alphabet(LETTERS)
        self.net = tg.nn.CharCNN(len(self.alphabet), dim=12, filters=32, widths=(1, 2, 3, 4))

    def forward(self, words):
        return self.net(self.alphabet.encode(words))


READERS = {"characters": Characters, "whole words": lambda: WholeWords(128)}


def taught(reader, words, rng, seed):
    """The reader after STEPS batches of words and misspelt copies."""
    tg.seed(seed)
    net = reader()
    optimizer = tg.optim.Adam(net.parameters(), lr=0.005)
    for _ in progress(range(STEPS), "training", lines=2):
        batch = rng.choice(words, BATCH, replace=False).tolist()
        loss = tg.losses.info_nce_loss(net([misspelt(word, rng) for word in batch]), net(batch), temperature=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def cosines(net, words, others):
    with tg.no_grad():
        a, b = net(words).numpy(), net(others).numpy()
    return (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T


def measure(seed, path=None):
    rng = np.random.default_rng(seed)
    words = rng.permutation(vocabulary(path)).tolist()
    held_out, known = words[:HELD_OUT], words[HELD_OUT:]
    all_words, typed = words + OTHERS, [misspelt(word, rng) for word in held_out]
    nets = {name: taught(reader, known, rng, seed) for name, reader in READERS.items()}
    tg.seed(seed)
    nets["before training"] = READERS["characters"]()
    found = {name: cosines(net, typed, all_words).argmax(axis=1) for name, net in nets.items()}
    scores = cosines(nets["characters"], list(NEW), all_words)
    best = np.argsort(-scores, axis=1)[:, :4]
    return {"precision": {name: float(np.mean([all_words[i] == w for i, w in zip(f, held_out)])) for name, f in found.items()},
            "neighbours": {w: [(all_words[i], float(row[i])) for i in near] for w, row, near in zip(NEW, scores, best)},
            "near": cosines(nets["characters"], [*NEW, *OTHERS], [*NEW, *OTHERS]), "words": len(all_words),
            "examples": [(t, w, all_words[i]) for t, w, i in zip(typed, held_out, found["characters"])][:12]}


def report(n):
    for name, share in n["precision"].items():
        print(f"{name:16s} finds {100 * share:5.1f} % of {HELD_OUT} misspelt words it was not trained on, among {n['words']}")
    for word, near in n["neighbours"].items():
        print(f"{word:12s} {'  '.join(f'{other} {score:.2f}' for other, score in near)}")


def check(n):
    """Every claim of the docstring."""
    share = n["precision"]
    for word, right in NEW.items():
        claim(n["neighbours"][word][0][0] == right, f"the nearest of {word} should be {right}, is {n['neighbours'][word][0][0]}")
    claim(share["characters"] > 0.85, f"characters should find 85 % of the misspelt words, found {100 * share['characters']:.0f} %")
    claim(share["characters"] > share["before training"] + 0.05, "training should help to find misspelt words")
    claim(share["whole words"] < 0.1, "a table should know nothing of new words")


def draw(n, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure, (bars, square) = plt.subplots(1, 2, figsize=(17, 8.5), layout="constrained", width_ratios=(2, 3))
    names = ["whole words", "before training", "characters"]
    bars.barh(names, [100 * n["precision"][name] for name in names], color=["0.6", "#8fb8de", "#1f6fb4"])
    for i, name in enumerate(names):
        bars.text(100 * n["precision"][name] + 1, i, f"{100 * n['precision'][name]:.1f} %", va="center")
    bars.set(title=f"Misspelt copies of {HELD_OUT} words kept from the training:\nhow many find their word among {n['words']}", xlim=(0, 112),
             xlabel="%", ylim=(-0.6, 5.5))
    lines = "\n".join(f"{typed:>18s}  ->  {got}{'' if got == word else f'   (was {word})'}" for typed, word, got in n["examples"])
    bars.text(2, 5.35, lines, va="top", family="monospace", fontsize=10)
    labels = [*NEW, *OTHERS]
    image = square.imshow(n["near"], cmap="magma", vmin=0, vmax=1)
    square.set_xticks(range(len(labels)), labels, rotation=90)
    square.set_yticks(range(len(labels)), labels)
    for tick in [*square.get_xticklabels()[:len(NEW)], *square.get_yticklabels()[:len(NEW)]]:
        tick.set_color("#c8202f")
    for i, word in enumerate(NEW):
        square.plot(labels.index(n["neighbours"][word][0][0]) if n["neighbours"][word][0][0] in labels else [], i, "wo", markersize=6)
    square.set_title("Cosine of words that the net has never read (red: new or misspelt;\nwhite dot: the nearest of all others)")
    figure.colorbar(image, ax=square, shrink=0.7)
    figure.suptitle("Vectors from characters: CharCNN", fontsize=15)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", default="charcnn_neighbours.png", metavar="PATH", help="default charcnn_neighbours.png")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and typing errors (default 0)")
    parser.add_argument("--text", metavar="FILE", help="take the words of this text, instead of those of Python's documentation")
    args = parser.parse_args(argv)
    n = measure(args.seed) if args.text is None else measure(args.seed, args.text)
    report(n)
    check(n)
    draw(n, args.picture)
    print(f"picture  {Path(args.picture).resolve()}")
    return n


if __name__ == "__main__":
    main()
