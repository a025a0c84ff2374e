"""Words of one stem lie together: a GRU reads words from right to left and learns from triplets what belongs to one stem.

    python examples/stems.py [--data FOLDER] [--compare] [--steps 600] [--device cuda] [--picture stems.png]

With a folder it reads voc.txt (words) and output.txt (their stems), as Snowball's test vocabulary comes. Without one it takes
the words in the files of Python's library, and calls those a family that differ by an ending (call, calls, called, calling).

Characters -> vectors -> dropout 0.1 -> GRU -> a linear map without bounds. A batch holds two words of each of 64 stems; for each
the hardest negative is the nearest word of another stem: loss = mean max(0, 0.3 - cos(a, p) + cos(a, n)). A fifth of the stems
is never trained on. Their words are asked for their 10 nearest among all those words: precision at 10 is the share that has
the same stem (small families cannot fill ten places: `possible` is the best there can be). The baseline needs no training:
the mean of random vectors of the word's n-grams, fastText's way. With --compare: without dropout, left to right, Elman's net.
"""
import argparse
import json
import os
import re
import sys
import time
import zlib
from collections import defaultdict
from pathlib import Path

from common import BLUE, GREEN, GREY, ORANGE, RED, add_device, canvas, label_line, percent, save

import numpy as np

import tinygrad_lite as tg
from tinygrad_lite import nn
from tinygrad_lite.progress import progress

STEMS, MARGIN, NEAREST = 64, 0.3, 10        # stems in a batch, the triplets' margin, neighbours looked at
ENDINGS = "s", "es", "d", "ed", "ing", "er", "ers", "ly", "able", "ion", "ions", "al", "ally", "ment", "ness", "ity"


# ---------------------------------------------------------------- words and their stems

def snowball(folder):
    """[(word, stem)] of voc.txt and output.txt."""
    words, stems = [(folder / name).read_text(encoding="utf-8").split("\n") for name in ("voc.txt", "output.txt")]
    return [(word, stem) for word, stem in zip(words, stems) if len(word) > 2 and word.isalpha()]


def library():
    """[(word, stem)] of Python's library: a word with an ending belongs to the word without it, if that one occurs too."""
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(Path(os.__file__).parent.glob("*.py"))]
    words = {w for text in texts for w in re.findall("[a-z]{3,}", text.lower())}

    def stem(word):
        for end in ENDINGS:
            for base in (word[:-len(end)], word[:-len(end)] + "e"):
                if word.endswith(end) and len(base) > 2 and base in words and base != word:
                    return stem(base)
        return word
    return [(word, stem(word)) for word in sorted(words)]


class Words:
    """Families of two words or more, as rows of character ids; a fifth of the stems is held out."""

    def __init__(self, pairs, seed, device):
        self.device, families = device, defaultdict(list)
        for word, stem in pairs:
            families[stem].append(word)
        families = [words for _, words in sorted(families.items()) if len(words) > 1]
        order = np.random.default_rng(seed).permutation(len(families))
        self.held, self.trained = [families[i] for i in order[:len(order) // 5]], [families[i] for i in order[len(order) // 5:]]
        self.place = {c: i for i, c in enumerate(sorted({c for words in families for word in words for c in word}), 1)}

    def ids(self, words):
        """(ids, 0 where a word has ended, on the device of the nets; lengths)."""
        lengths = np.array([len(word) for word in words])
        ids = np.zeros((len(words), lengths.max()), np.int64)
        for row, word in zip(ids, words):
            row[:len(word)] = [self.place[c] for c in word]
        return tg.backend.to_device(ids, self.device), lengths


# ---------------------------------------------------------------- the model and its training

class Speller(nn.Module):
    """(B, T) characters -> (B, 64), read from the end of each word (`reverse`) or from its beginning."""

    def __init__(self, n_chars, cell="GRU", dropout=0.1, reverse=True, hidden=96):
        self.embedding, self.dropout, self.reverse = nn.Embedding(n_chars, 24, padding_idx=0), nn.Dropout(dropout), reverse
        self.net, self.out = getattr(nn, cell)(24, hidden, batch_first=True), nn.Linear(hidden, 64)

    def forward(self, ids, lengths):
        _, h = self.net(self.dropout(self.embedding(ids)), lengths=lengths, reverse=self.reverse)
        return self.out(h[0])


def hardest_negatives(a, p):
    """For each anchor the row of the most similar word of another stem; row i of both is stem i."""
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, p)]
    similar = unit[0] @ unit[1].T
    np.fill_diagonal(similar, -np.inf)
    return similar.argmax(axis=1)


def train(words, families, args, steps, name, **options):
    """(model, loss at each step)."""
    tg.seed(args.seed)
    rng, model, losses = np.random.default_rng(args.seed), Speller(len(words.place) + 1, **options).to(args.device), []
    optimizer = tg.optim.Adam(model.parameters(), lr=tg.schedules.OneCycleLR(0.01, total_steps=steps))
    note = lambda: f"loss {np.mean(losses[-50:]):.3f}"
    for _ in progress(range(steps), name, note=note, lines=2, file=sys.stderr):
        chosen = [families[i] for i in rng.choice(len(families), min(STEMS, len(families)), replace=False)]
        pairs = [[family[i] for i in rng.choice(len(family), 2, replace=False)] for family in chosen]
        both = model(*words.ids([pair[0] for pair in pairs] + [pair[1] for pair in pairs]))
        a, p = both[:len(pairs)], both[len(pairs):]
        loss = tg.losses.triplet_cosine_loss(a, p, p[hardest_negatives(a.data, p.data)], margin=MARGIN)
        optimizer.zero_grad()
        loss.backward()
        tg.clip.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return model, losses


def vectors(model, words, listed):
    model.eval()
    with tg.no_grad():
        parts = [model(*words.ids(listed[i:i + 512])).numpy() for i in range(0, len(listed), 512)]
    return np.concatenate(parts)


def n_gram_means(listed, size=256):
    """The mean of random vectors of a word's 3- to 6-grams, each n-gram always the same one."""
    rows = []
    for word in listed:
        word = f"<{word}>"
        grams = [word[i:i + n] for n in range(3, 7) for i in range(len(word) - n + 1)]
        rows.append(np.mean([np.random.default_rng(zlib.crc32(g.encode())).standard_normal(size) for g in grams], axis=0))
    return np.array(rows, np.float32)


# ---------------------------------------------------------------- what came of it

def precision(x, families):
    """The share of the NEAREST neighbours that has the same stem."""
    stem = np.repeat(np.arange(len(families)), [len(f) for f in families])
    near = tg.vectors.knn_graph(x, NEAREST, metric="cosine").indices.reshape(len(x), -1)
    return float((stem[near] == stem[:, None]).mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FOLDER",
                        help="with voc.txt and output.txt; default: words of Python's library")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--compare", action="store_true", help="also without dropout, left to right, and Elman's net")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", default="stems.png", metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")
    add_device(parser)
    args = parser.parse_args()
    if args.data and not (args.data / "voc.txt").exists():
        parser.error(f"--data {args.data}: there is no voc.txt in it")
    words = Words(snowball(args.data) if args.data else library(), args.seed, args.device)
    held = [word for family in words.held for word in family]
    sizes = np.repeat([len(f) for f in words.held], [len(f) for f in words.held])
    numbers = {"stems trained on": len(words.trained), "stems held out": len(words.held), "words held out": len(held),
               "possible": float((np.minimum(sizes - 1, NEAREST) / NEAREST).mean())}

    few = words.trained[:20]                # first of all: can it learn a handful by heart?
    _, losses = train(words, few, args, 150, "overfit 20 stems")
    numbers["overfit"] = {"first loss": losses[0], "last loss": float(np.mean(losses[-10:]))}

    kinds = {"GRU, right to left": {}}
    if args.compare:
        kinds |= {"without dropout": dict(dropout=0.0), "left to right": dict(reverse=False), "Elman's net": dict(cell="RNN")}
    numbers["precision at 10"] = {"means of n-grams": precision(n_gram_means(held), words.held)}
    curves = {}
    for name, options in kinds.items():
        started = time.perf_counter()
        model, curves[name] = train(words, words.trained, args, args.steps, name, **options)
        numbers["precision at 10"][name] = precision(vectors(model, words, held), words.held)
        if not options:
            numbers["seconds"], best = round(time.perf_counter() - started, 1), vectors(model, words, held)
    near = tg.vectors.knn_graph(best, 4, metric="cosine").indices.reshape(len(best), -1)
    shown = {held[i]: [held[j] for j in near[i]] for i in np.random.default_rng(args.seed).choice(len(held), 6, replace=False)}
    if args.json:
        print(json.dumps({**numbers, "neighbours": shown}))
    else:
        print(f"{numbers['stems trained on']:,} stems to train on; {len(held):,} words of {len(words.held):,} other stems to test")
        print("20 stems by heart: loss {first loss:.3f} -> {last loss:.3f}".format(**numbers["overfit"]))
        print(f"\nprecision at 10 on stems never seen (possible {numbers['possible']:.3f}), {numbers['seconds']} s of training")
        for name, value in numbers["precision at 10"].items():
            print(f"  {name:22s}{value:.3f}  {value / numbers['possible']:6.1%} of what is possible")
        print("\nnearest of words never seen:")
        for word, others in shown.items():
            print(f"  {word:16s}" + "  ".join(others))
    draw(args, numbers, curves)


def draw(args, numbers, curves):
    figure, axes = canvas(args, 1, 2, (11, 4.6))
    if figure is None:
        return
    colors = dict(zip(["means of n-grams", *curves], (GREY, BLUE, ORANGE, GREEN, RED)))
    for name, losses in curves.items():
        smooth = np.convolve(losses, np.ones(25) / 25, "valid")
        axes[0].plot(np.arange(len(smooth)) + 25, smooth, color=colors[name])
        label_line(axes[0], len(losses), smooth[-1], name, colors[name])
    axes[0].set(title="triplet loss against the hardest negative", xlabel="step (mean of 25)")
    axes[0].set_xlim(0, 1.35 * args.steps)
    rows = list(numbers["precision at 10"].items())[::-1]
    axes[1].barh([name for name, _ in rows], [value for _, value in rows], color=[colors[name] for name, _ in rows], height=0.6)
    for i, (_, value) in enumerate(rows):
        axes[1].text(value, i, f"{value:.3f} ", va="center", ha="right", color="white")
    axes[1].axvline(numbers["possible"], color="0.3", ls="--")
    axes[1].text(numbers["possible"], len(rows) - 0.5, " possible", va="center", fontsize=9, color="0.3")
    axes[1].set(title="precision at 10, stems never seen", xlim=(0, numbers["possible"] * 1.15))
    percent(axes[1].xaxis)
    save(args, figure, "Words of one stem lie together")


if __name__ == "__main__":
    main()
