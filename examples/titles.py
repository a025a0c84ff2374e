"""Titles -> genre, character by character: a GRU reads short texts of any length and says what kind they are.

    python examples/titles.py [--data FILE.csv] [--compare] [--epochs 6] [--device cuda] [--picture titles.png]

Without --data it reads the names that Unicode gives its characters, which every Python installation carries ("GREEK SMALL
LETTER ALPHA WITH TONOS" is a lower-case letter). With a CSV it reads the columns --text (title and the beginning of
description) and --label (the first word list of listed_in), as the Netflix titles come, gzip or not.

Every fifth text is kept for the test. Precision of a label: of the texts that are said to be of it, the share that are; and
the same for those texts only of which the model is sure. With --compare: Elman, GRU and LSTM side by side, and hidden sizes 16, 64, 256.
"""
import argparse
import csv
import gzip
import io
import json
import sys
import time
import unicodedata
from collections import Counter
from pathlib import Path

from common import BLUE, GREEN, GREY, ORANGE, add_device, canvas, label_line, percent, save

import numpy as np

import tinygrad_lite as tg
from tinygrad_lite import nn
from tinygrad_lite.progress import progress

BATCH, RATE, LONGEST = 64, 0.006, 100       # texts, Adam's highest rate, characters
SURE = 0.7                                  # a probability
KINDS = {"Lu": "capital letter", "Ll": "small letter", "Lo": "other letter", "Mn": "mark", "Nd": "digit", "No": "number",
         "So": "symbol", "Sm": "operator", "Po": "punctuation"}


# ---------------------------------------------------------------- texts

def unicode_names(count, seed):
    """[(name, kind)] of some Unicode characters; the thousands that are only numbered through are left out."""
    numbered = "CJK", "HANGUL", "EGYPTIAN", "CUNEIFORM", "ANATOLIAN", "BAMUM", "TANGUT", "KHITAN"
    names = [(name, KINDS[unicodedata.category(c)]) for c in map(chr, range(0x20000))
             if (name := unicodedata.name(c, "")) and unicodedata.category(c) in KINDS and not name.startswith(numbered)]
    chosen = np.random.default_rng(seed).permutation(len(names))[:count]
    return [names[i] for i in chosen]


def read_csv(path, columns, label):
    """[(text, label)] of a CSV file: the columns joined by ": ", and the first of the labels that a comma separates."""
    data = path.read_bytes()
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    rows = csv.DictReader(io.StringIO(data.decode("utf-8-sig")))
    missing = {*columns, label} - set(rows.fieldnames or ())
    if missing:
        sys.exit(f"{path}: no column {min(missing)!r}; there are {', '.join(rows.fieldnames or ['none'])}")
    return [(": ".join(row[c] for c in columns)[:LONGEST], row[label].split(",")[0].strip()) for row in rows if row[label]]


class Texts:
    """Texts as rows of character ids (0: nothing, 1: a character not seen in training), their lengths and labels."""

    def __init__(self, pairs, most, device):
        common = [label for label, _ in Counter(label for _, label in pairs).most_common(most)]
        pairs = [(text, label) for text, label in pairs if label in common and text]
        test = np.arange(len(pairs)) % 5 == 0
        seen = sorted(set("".join(text for (text, _), held in zip(pairs, test) if not held)))
        place = {c: i for i, c in enumerate(seen, 2)}
        self.labels, self.n_chars, self.device = common, len(seen) + 2, device
        self.texts, self.lengths = [text for text, _ in pairs], np.array([len(text) for text, _ in pairs])
        self.ids = np.zeros((len(pairs), self.lengths.max()), np.int64)
        for row, (text, _) in zip(self.ids, pairs):
            row[:len(text)] = [place.get(c, 1) for c in text]
        self.y = np.array([common.index(label) for _, label in pairs])
        self.train, self.test = np.flatnonzero(~test), np.flatnonzero(test)

    def batch(self, rows):
        """(ids, lengths, labels) of some rows, no wider than the longest of them."""
        ids, y = (tg.backend.to_device(part, self.device) for part in (self.ids[rows, :self.lengths[rows].max()], self.y[rows]))
        return ids, self.lengths[rows], y


# ---------------------------------------------------------------- the model and its training

class Reader(nn.Module):
    """Characters -> vectors -> a recurrent net; its largest outputs along the text, and its last state, are scored."""

    def __init__(self, n_chars, labels, cell="GRU", hidden=64):
        self.embedding, self.net = nn.Embedding(n_chars, 32, padding_idx=0), getattr(nn, cell)(32, hidden, batch_first=True)
        self.dropout, self.score = nn.Dropout(0.2), nn.Linear(2 * hidden, labels)

    def forward(self, ids, lengths):
        out, last = self.net(self.embedding(ids), lengths=lengths)         # packed inside, each text ends where it ends
        h = last[0] if isinstance(last, tuple) else last
        return self.score(self.dropout(tg.concatenate([out.max(axis=1), h[0]], axis=1)))


def train(texts, args, cell="GRU", hidden=64):
    """(model, test accuracy after each epoch, seconds of training)."""
    tg.seed(args.seed)
    model, rng = Reader(texts.n_chars, len(texts.labels), cell, hidden).to(args.device), np.random.default_rng(args.seed)
    steps = -(-len(texts.train) // BATCH)
    optimizer = tg.optim.Adam(model.parameters(), lr=tg.schedules.OneCycleLR(RATE, total_steps=steps * args.epochs))
    curve, seconds = [], 0.0
    for i in range(args.epochs):
        started, order = time.perf_counter(), rng.permutation(texts.train)
        for rows in progress(np.array_split(order, steps), f"{cell} {hidden}, epoch {i + 1}", lines=1, file=sys.stderr):
            ids, lengths, y = texts.batch(rows)
            loss = tg.losses.cross_entropy(model(ids, lengths), y)
            optimizer.zero_grad()
            loss.backward()
            tg.clip.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        seconds += time.perf_counter() - started
        curve.append(float((probabilities(model, texts).argmax(axis=1) == texts.y[texts.test]).mean()))
    return model, curve, seconds


def probabilities(model, texts):
    """What the model says of the test's texts: (texts, labels)."""
    model.eval()
    with tg.no_grad():
        groups = np.array_split(texts.test, -(-len(texts.test) // 256))
        parts = [tg.softmax(model(*texts.batch(rows)[:2]), -1).numpy() for rows in groups]
    model.train()
    return np.concatenate(parts)


def seconds_an_item(model, texts, batch):
    """Forward and backward for 128 texts of all lengths, `batch` at a time."""
    rows = texts.train[:128]
    for count in (batch, len(rows)):        # the first round warms up
        started = time.perf_counter()
        for start in range(0, count, batch):
            ids, lengths, y = texts.batch(rows[start:start + batch])
            model.zero_grad()
            tg.losses.cross_entropy(model(ids, lengths), y).backward()
    model.zero_grad()
    return (time.perf_counter() - started) / len(rows)


def share(right):
    return float(right.mean()) if right.size else 0.0


# ---------------------------------------------------------------- what came of it

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FILE.csv", help="texts and labels; default: names of Unicode characters")
    parser.add_argument("--text", default="title,description", metavar="COLUMN,..", help="columns to read (title,description)")
    parser.add_argument("--label", default="listed_in", metavar="COLUMN", help="column of the label (listed_in)")
    parser.add_argument("--labels", type=int, default=9, metavar="N", help="keep the N commonest labels (default 9)")
    parser.add_argument("--count", type=int, default=6000, metavar="N", help="so many Unicode names (default 6000)")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--compare", action="store_true", help="Elman, GRU and LSTM; hidden sizes 16, 64, 256")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", default="titles.png", metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of tables")
    add_device(parser)
    args = parser.parse_args()
    if args.data and not args.data.exists():
        parser.error(f"--data {args.data}: there is no such file")
    pairs = read_csv(args.data, args.text.split(","), args.label) if args.data else unicode_names(args.count, args.seed)
    texts = Texts(pairs, args.labels, args.device)
    model, curve, seconds = train(texts, args, hidden=args.hidden)
    sure, truth = probabilities(model, texts), texts.y[texts.test]
    said, sure = sure.argmax(axis=1), sure.max(axis=1) >= SURE
    numbers = {"texts": len(texts.train), "test texts": len(texts.test), "accuracy": curve[-1], "seconds": round(seconds, 1),
               "always the commonest": float((truth == np.bincount(truth).argmax()).mean()), "labels": {}}
    for i, label in enumerate(texts.labels):
        its, here = truth == i, said == i
        numbers["labels"][label] = {"precision": share(its[here]), "recall": share(here[its]), "test texts": int(its.sum()),
                                    "precision where sure": share(its[here & sure]), "sure": int((here & sure).sum())}
    for name, batch in ("ms an item, one at a time", 1), ("ms an item, packed 64", 64):
        numbers[name] = 1e3 * seconds_an_item(model, texts, batch)
    runs = {f"GRU {args.hidden}": (model, curve, seconds)}
    if args.compare:
        for cell, hidden in ("RNN", 64), ("LSTM", 64), ("GRU", 16), ("GRU", 64), ("GRU", 256):
            if f"{cell} {hidden}" not in runs:
                runs[f"{cell} {hidden}"] = train(texts, args, cell, hidden)
    numbers["runs"] = {name: {"parameters": sum(p.data.size for p in model.parameters()), "accuracy": curve,
                              "seconds": round(seconds, 1)} for name, (model, curve, seconds) in runs.items()}
    print(json.dumps(numbers)) if args.json else tell(numbers)
    draw(args, numbers, list(zip([texts.texts[i] for i in texts.test], said, truth)), texts.labels)


def tell(numbers):
    print(f"{numbers['texts']:,} texts to learn from, {numbers['test texts']:,} to test; accuracy {numbers['accuracy']:.1%} in "
          f"{numbers['seconds']} s (always saying the commonest label: {numbers['always the commonest']:.1%})\n")
    print(f"{'label':34s}precision   recall  test texts   precision where it is {SURE:.0%} sure (texts)")
    for label, row in numbers["labels"].items():
        print(f"{label[:32]:34s}{row['precision']:9.1%}{row['recall']:9.1%}{row['test texts']:12d}"
              + (f"{row['precision where sure']:12.1%} ({row['sure']})" if row["sure"] else ""))
    one, packed = numbers["ms an item, one at a time"], numbers["ms an item, packed 64"]
    print(f"\na text forward and back: {one:.2f} ms one at a time, {packed:.3f} ms in packed batches of 64: {one / packed:.0f}x")
    print(f"\n{'':12s}parameters  seconds  accuracy by epoch")
    for name, run in numbers["runs"].items():
        print(f"{name:12s}{run['parameters']:10,d}{run['seconds']:9.1f}  " + " ".join(f"{a:.1%}" for a in run["accuracy"]))


def draw(args, numbers, tested, labels):
    figure, axes = canvas(args, 1, 2, (12, 5))
    if figure is None:
        return
    for (name, run), color in zip(numbers["runs"].items(), (BLUE, ORANGE, GREEN, GREY, GREY)):
        x = range(1, len(run["accuracy"]) + 1)
        axes[0].plot(x, run["accuracy"], "o-", color=color, ms=4)
        label_line(axes[0], len(x), run["accuracy"][-1], f"{name}, {run['seconds']:.0f} s", color)
    axes[0].set(title="right on texts it has not seen", xlabel="epoch", xticks=list(x))
    axes[0].margins(x=0.25)
    percent(axes[0].yaxis)
    rows = list(numbers["labels"].items())[::-1]
    names = [f"{label[:30]} ({row['test texts']})" for label, row in rows]
    axes[1].barh(names, [row["precision"] for _, row in rows], color=BLUE, height=0.6)
    for i, (_, row) in enumerate(rows):
        axes[1].text(row["precision"] + 0.01, i, f"{row['precision']:.0%}", va="center", fontsize=9)
    axes[1].set(title="precision by label", xlim=(0, 1.1))
    percent(axes[1].xaxis)
    wrong = [f"'{text[:60]}' is {labels[y]}, not {labels[s]}" for text, s, y in tested if s != y][:3]
    axes[1].set_xlabel("mistakes: " + "\n".join(wrong), fontsize=8, color="0.4")
    save(args, figure, "What kind of text is it? A GRU reads characters")


if __name__ == "__main__":
    main()
