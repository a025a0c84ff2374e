"""A model of characters that writes: an LSTM guesses the next character of a text, then goes on by itself.

    python examples/characters.py [--data FILE] [--minutes 1] [--temperature 0.7] [--device cuda] [--picture characters.png]

Any text will do, a play or a list of names; without one it reads the manual that every Python installation carries. The last
tenth is kept to validate. The text is cut into 32 streams that are read side by side, 64 characters at a time; the state is
carried from one piece to the next but cut off from its past (`detach`), so that gradients reach back 64 characters and
memory does not grow. The yardstick is the best guess from the two characters before, counted on the same text.
"""
import argparse
import json
import sys
import time
from pathlib import Path

from common import BLUE, GREY, add_device, canvas, label_line, save

import numpy as np

import tinygrad_lite as tg
from tinygrad_lite import nn

STREAMS, PIECE, RATE = 32, 64, 0.004


def read(path):
    if path is not None:
        return path.read_text(encoding="utf-8")
    from pydoc_data.topics import topics
    return "\n\n".join(dict.fromkeys(part for name in sorted(topics) for part in topics[name].split("\n\n")))


def pieces(ids, streams, device):
    """[(characters, next characters)], each (PIECE, streams)."""
    length = (len(ids) - 1) // streams
    x, y = (tg.backend.to_device(ids[start:start + length * streams].reshape(streams, length).T, device) for start in (0, 1))
    return [(x[i:i + PIECE], y[i:i + PIECE]) for i in range(0, length, PIECE)]


class Writer(nn.Module):
    """Characters -> vectors -> LSTM -> scores of the next character."""

    def __init__(self, n_chars, hidden):
        self.embedding, self.net, self.score = nn.Embedding(n_chars, 32), nn.LSTM(32, hidden), nn.Linear(hidden, n_chars)

    def forward(self, ids, state=None):
        out, state = self.net(self.embedding(ids), state)
        return self.score(out), tuple(s.detach() for s in state)


def loss_of(model, x, y, state):
    scores, state = model(x, state)
    return tg.losses.cross_entropy(scores.reshape(-1, scores.shape[-1]), y.reshape(-1)), state


def bits(model, batches):
    """Bits a character that the model needs for a text."""
    with tg.no_grad():
        state, total, count = None, 0.0, 0
        for x, y in batches:
            loss, state = loss_of(model, x, y, state)
            total, count = total + loss.item() * y.size, count + y.size
    return total / count / np.log(2)


def bits_of_trigrams(train, valid, n_chars):
    """Bits a character from counts of three characters in a row, to which a quarter of a count is added by single ones."""
    at = lambda ids: (ids[:-2] * n_chars + ids[1:-1]) * n_chars + ids[2:]
    counts = np.bincount(at(train), minlength=n_chars ** 3).reshape(-1, n_chars)
    counts = counts + 0.25 * np.bincount(train, minlength=n_chars) / len(train)
    p = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12)
    return float(-np.log2(p.reshape(-1)[at(valid)] + 1e-12).mean())


def write(model, place, start, count, temperature, rng):
    """Text that the model goes on with: each character drawn by its probability, sharpened by a temperature below 1."""
    chars, text, state = list(place), start, None

    def read(c, state):
        scores, state = model(tg.backend.beside(np.array([[place[c]]]), model.embedding.weight.data), state)
        return scores.numpy()[0, 0], state
    with tg.no_grad():
        for c in start:
            scores, state = read(c, state)
        for _ in range(count):
            p = np.exp((scores - scores.max()).astype(float) / temperature)
            text += chars[rng.choice(len(chars), p=p / p.sum())]
            scores, state = read(text[-1], state)
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FILE", help="a text; default: Python's manual")
    parser.add_argument("--minutes", type=float, default=1.0, help="of training (default 1)")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--temperature", type=float, default=0.7, help="below 1: bolder guesses (default 0.7)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", default="characters.png", metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of text")
    add_device(parser)
    args = parser.parse_args()
    if args.data and not args.data.exists():
        parser.error(f"--data {args.data}: there is no such file")
    if args.minutes <= 0 or args.temperature <= 0:
        parser.error("--minutes and --temperature: expected numbers above 0")
    text = read(args.data)
    place = {c: i for i, c in enumerate(sorted(set(text)))}
    ids = np.array([place[c] for c in text])
    train, valid = ids[:len(ids) * 9 // 10], ids[len(ids) * 9 // 10:]
    batches, tests, start = pieces(train, STREAMS, args.device), pieces(valid, 8, args.device), text[len(train):len(train) + 20]
    if len(batches) < 2 or not tests:
        parser.error(f"--data {args.data}: {len(text)} characters are too few, take {4 * STREAMS * PIECE} or more")

    tg.seed(args.seed)
    model, curve, rng = Writer(len(place), args.hidden).to(args.device), [], np.random.default_rng(args.seed)
    optimizer = tg.optim.Adam(model.parameters(), lr=RATE)
    before, started, steps = write(model, place, start, 60, args.temperature, rng), time.perf_counter(), 0
    curve.append((0, bits(model, tests)))
    while (left := 60 * args.minutes - (time.perf_counter() - started)) > 0:
        state = None
        for x, y in batches:
            used = (time.perf_counter() - started) / (60 * args.minutes)
            if used >= 1:
                break
            optimizer.param_groups[0]["lr"] = RATE * (1 - used)      # falls to 0 when the time is up
            loss, state = loss_of(model, x, y, state)
            optimizer.zero_grad()
            loss.backward()
            tg.clip.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            steps += 1
            if steps % 100 == 0:
                curve.append((steps, bits(model, tests)))
                print(f"step {steps:5d}: {curve[-1][1]:.3f} bits a character, {60 * args.minutes * used:.0f} s", file=sys.stderr)
    curve.append((steps, bits(model, tests)))
    numbers = {"characters": len(text), "different": len(place), "steps": steps, "seconds": round(time.perf_counter() - started, 1),
               "bits": curve[-1][1], "bits of trigrams": bits_of_trigrams(train, valid, len(place)), "untrained": curve[0][1],
               "wrote before": before, "writes": write(model, place, start, 400, args.temperature, rng)}
    if args.json:
        print(json.dumps(numbers))
    else:
        print(f"{len(text):,} characters, {len(place)} different ones; {steps:,} steps in {numbers['seconds']} s\n"
              f"bits a character: {numbers['untrained']:.3f} untrained, {numbers['bits of trigrams']:.3f} by counting trigrams, "
              f"{numbers['bits']:.3f} by the LSTM\n\nuntrained, it wrote:\n{before!r}\n\nnow it writes:\n{numbers['writes']}")
    figure, ax = canvas(args, 1, 1, (8, 4.5))
    if figure is not None:
        ax.plot(*zip(*curve), color=BLUE)
        ax.axhline(numbers["bits of trigrams"], color=GREY, ls="--")
        label_line(ax, steps, numbers["bits of trigrams"], "trigrams", GREY)
        label_line(ax, steps, curve[-1][1], f"LSTM {curve[-1][1]:.2f}", BLUE)
        ax.set(title="bits a character on text it has not seen", xlabel="step")
        ax.margins(x=0.12)
        save(args, figure, "A model of characters")


if __name__ == "__main__":
    main()
