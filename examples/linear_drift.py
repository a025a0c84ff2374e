"""Drift: will the electricity price rise? A learner that never stops learning beside one that did.

    python examples/linear_drift.py [--data elec.csv.gz] [--picture linear_drift.png] [--json]

--data is the elec2 stream (New South Wales, half-hours from May 1996 to December 1998, every input scaled to 0..1):
columns period, nswprice, nswdemand, vicprice, vicdemand, transfer, class. Without it the script makes up a market of
8,000 half-hours whose rule turns round in the middle. As in every published result on elec2 the present price is among
the inputs. Labels come in long runs: saying "the same as last time" is right on 85.3 % of elec2, so a useful learner
has to know the last labels (lags) and still find more. Each half-hour is predicted, scored, and then learned.
"""
import csv
import gzip
import random

from common import BLUE, GREEN, GREY, ORANGE, RED, Hits, canvas, command_line, label_line, percent, save, tell

import linear

NUMBERS = ("nswprice", "nswdemand", "vicprice", "vicdemand", "transfer")
CROSSES = ("period*last,hour*lasts,lasts*day,last*same,last*step_nswdemand,last*step_nswprice,hour*step_nswdemand,"
           "last*nswprice,last*nswdemand")
DAY = 48                       # half-hours
WINDOW = 14 * DAY
WATCHED = ("last=up", "nswprice=10", "nswprice=4", "step_nswprice=+6", "step_nswdemand=+6")


def read(path):
    """[(numbers of a half-hour, whether the price rose)] of the file."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", newline="") as file:
        return [({name: float(row[name]) for name in NUMBERS} | {"period": round(float(row["period"]) * (DAY - 1))},
                 row["class"] == "1") for row in csv.DictReader(file)]


def made_up(seed, count=8000):
    """A market where a high price foretells a fall, until in the middle of the stream it foretells a rise."""
    chance, rows, price, up = random.Random(seed), [], 0.5, True
    for number in range(count):
        demand = 0.5 + 0.3 * (1 if 16 <= number % DAY < 40 else -1) + chance.gauss(0, 0.1)
        price = min(max(price + (0.04 if up else -0.04) + chance.gauss(0, 0.03), 0.0), 1.0)
        rises = (price < 0.5) if number < count // 2 else (price > 0.5)
        up = rises if chance.random() < 0.85 else demand > 0.5
        rows.append(({"period": number % DAY, "nswprice": price, "nswdemand": demand, "vicprice": price, "vicdemand": demand,
                      "transfer": 0.5}, up))
    return rows


def fields(rows, number):
    """The fields of one half-hour: the hour, the numbers in buckets, their steps since the last, the labels before."""
    now, before = rows[number][0], rows[number - 1][0] if number else rows[number][0]

    def lag(steps):
        return "?" if number < steps else "up" if rows[number - steps][1] else "down"
    x = {"hour": str(now["period"] // 2), "period": str(now["period"]), "last": lag(1), "lasts": lag(1) + lag(2) + lag(3),
         "day": lag(DAY), "week": lag(7 * DAY), "same": lag(DAY) + lag(DAY - 1)}
    for name in NUMBERS:
        fine = 30 * now[name] ** 0.5 if name.endswith("price") else 20 * now[name]      # prices crowd near 0
        x[name] = str(int(fine))
        x[f"step_{name}"] = f"{round(max(-6, min(6, 100 * (now[name] - before[name])))):+d}"
    return x


def run(rows):
    """Accuracies, {name: Hits}, and the weights of some features at the end of every window."""
    # Short examples, one call each: Python's dictionaries do that faster than the engine for long streams of lines.
    online, frozen = (linear.HingeSVM(crosses=CROSSES, engine="dict", dtype="float64") for _ in range(2))
    hits = {name: Hits(WINDOW) for name in ("online", "frozen", "same as last")}
    stop, weights = len(rows) // 10, {name: [] for name in WATCHED}
    for number, (_, up) in enumerate(rows):
        x = fields(rows, number)
        hits["online"].add((online.margin_one(x) > 0) == up)
        hits["frozen"].add((frozen.margin_one(x) > 0) == up)
        hits["same as last"].add(rows[max(number - 1, 0)][1] == up)
        online.learn_one(x, up)
        if number < stop:
            frozen.learn_one(x, up)
        if (number + 1) % WINDOW == 0:
            for name in WATCHED:
                weights[name].append(online.weights.get(name, 0.0))
    return online, hits, weights, stop


def draw(args, rows, hits, weights, stop):
    figure, axes = canvas(args, 2, 1, (11, 7), sharex=True, height_ratios=(3, 2))
    if figure is None:
        return
    top, bottom = axes
    days = [(number + 1) * WINDOW / DAY for number in range(len(hits["online"].means))]
    for name, color in (("same as last", GREY), ("frozen", ORANGE), ("online", BLUE)):
        top.plot(days, hits[name].means, color=color, linewidth=2.2 if name == "online" else 1.4)
    ends = sorted((hits[name].means[-1], name, color) for name, color in (("same as last", GREY), ("frozen", ORANGE), ("online", BLUE)))
    low, high = top.get_ylim()
    place = low
    for end, name, color in ends:
        place = max(place + (high - low) * 0.055, end)
        label_line(top, days[-1], place, f"{name}: {hits[name].share:.1%} in all", color)
    top.axvline(stop / DAY, color=ORANGE, linestyle=":", linewidth=1)
    top.annotate("from here on the frozen one\nlearns no more", (stop / DAY, high), xytext=(4, -2), textcoords="offset points",
                 color=ORANGE, fontsize=8.5, va="top")
    top.set(title="Accuracy in windows of 14 days, each half-hour predicted before it is learned", ylabel="share right")
    percent(top.yaxis)
    colors = (BLUE, ORANGE, GREEN, RED, GREY)
    ends = sorted((values[-1], name, color) for (name, values), color in zip(weights.items(), colors))
    for (name, values), color in zip(weights.items(), colors):
        bottom.plot(days, values, color=color)
    low, high = bottom.get_ylim()
    place = -1e9
    for end, name, color in ends:
        place = max(place + (high - low) * 0.085, end)
        label_line(bottom, days[-1], place, name, color)
    bottom.axhline(0, color="0.7", linewidth=0.8)
    bottom.set(title="The drift inside: weights of some features as they are learned, unlearned and learned again",
               xlabel="days since the beginning of the stream", ylabel="weight", xlim=(0, days[-1]))
    save(args, figure, f"Will the price rise? {len(rows):,} half-hours, one pass, {hits['online'].share:.1%} right"
         f" against {hits['same as last'].share:.1%} for the last label")


def main():
    args = command_line(__doc__, "elec.csv or elec.csv.gz of elec2")
    rows = read(args.data) if args.data else made_up(args.seed)
    online, hits, weights, stop = run(rows)
    tenths = len(hits["frozen"].means) // 10 or 1
    numbers = {"rows": len(rows), "accuracy": {name: hit.share for name, hit in hits.items()},
               "accuracy_of_the_last_tenth": {name: sum(hit.means[-tenths:]) / tenths for name, hit in hits.items()},
               "weights": len(online.weights), "crosses": CROSSES}
    tell(args, numbers, "Prequential accuracy: predict, score, then learn")
    draw(args, rows, hits, weights, stop)


if __name__ == "__main__":
    main()
