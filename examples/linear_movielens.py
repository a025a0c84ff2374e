"""Who likes which film, over 22 years: a learner that goes on, one that stopped, and batches trained again and again.

    python examples/linear_movielens.py [--data ml-latest-small] [--picture linear_movielens.png] [--json]

--data is a directory with ratings.csv and movies.csv (or .gz) of MovieLens (Harper, Konstan 2015); a rating of 4 or more is
a yes. Ratings come in the order of time. Single features: user, film, its genres, words of its title, its decade. Crosses:
user x genre, user x word, user x decade, genre x word, which is some 25 features for a rating and more than 250,000 in all.
Without --data the script makes up viewers, whose taste changes in the middle.

Compared, each rating predicted before anyone learns it: the online learner; the same, frozen after 30 % of the stream;
scikit-learn's LinearSVC (where it is installed), trained again on the whole past at every tenth of the stream; and a
user's commonest answer so far. Users rate in bursts and most never return, so what is gained is gained within a burst.
"""
import csv
import gzip
import random
import re
import sys
import time

from common import BLUE, GREEN, GREY, ORANGE, RED, Hits, canvas, command_line, label_line, percent, save, tell

import linear
from linear.features import expand, fields_of, parse_crosses

CROSSES = "user*genre,user*word,user*decade,genre*word"
NAMES = {"online": BLUE, "batch LinearSVC": GREEN, "frozen": ORANGE, "user's commonest": GREY}
TENTHS, FROZEN_AT = 10, 3


def read(directory):
    """[(fields, yes or no, year)] of all ratings in the order of time."""
    def table(name):
        path = next((path for path in (directory / f"{name}.csv", directory / f"{name}.csv.gz") if path.exists()), None)
        if path is None:
            sys.exit(f"linear_movielens.py: {directory} holds neither {name}.csv nor {name}.csv.gz")
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    films = {}
    for row in table("movies"):
        title, year = re.fullmatch(r"(.*?)\s*(?:\((\d{4})\))?\s*", row["title"]).groups()
        films[row["movieId"]] = {"film": row["movieId"], "genre": row["genres"].split("|"), "decade": f"{year[:3]}0" if year else "?",
                                 "word": sorted(set(re.findall(r"\w+", title.lower())))}
    ratings = sorted(table("ratings"), key=lambda row: (int(row["timestamp"]), int(row["userId"]), int(row["movieId"])))
    return [({"user": row["userId"], **films[row["movieId"]]}, float(row["rating"]) >= 4, time.gmtime(int(row["timestamp"])).tm_year)
            for row in ratings]


def made_up(seed, count=8000):
    """Viewers who like two genres each; from the middle of the stream on most like two others."""
    chance = random.Random(seed)
    genres = ["Comedy", "Drama", "Horror", "Romance", "War", "Western"]
    words = "night love house blood city moon day king road star".split()
    films = [(chance.sample(genres, 2), chance.sample(words, 2), str(chance.randrange(195, 202)) + "0") for _ in range(300)]
    users = [f"{number}" for number in range(60)]
    taste = {user: chance.sample(genres, 2) for user in users}
    rows = []
    for number in range(count):
        if number == count // 2:
            taste = {user: chance.sample(genres, 2) if chance.random() < 0.7 else liked for user, liked in taste.items()}
        user, place = chance.choice(users), chance.randrange(len(films))
        genre, word, decade = films[place]
        yes = bool(set(genre) & set(taste[user])) ^ (chance.random() < 0.1)
        rows.append(({"user": user, "film": str(place), "genre": genre, "decade": decade, "word": word}, yes, 2000 + 10 * number // count))
    return rows


def batches(examples, rows):
    """Whether LinearSVC is right, rating by rating: trained at each tenth on all before it. None for the first tenth."""
    try:
        from sklearn.feature_extraction import FeatureHasher
        from sklearn.svm import LinearSVC
    except ImportError:
        return None
    X = FeatureHasher(n_features=1 << 20, input_type="string").transform(examples).tocsr()
    X.indices, X.indptr = X.indices.astype("int32"), X.indptr.astype("int32")
    y, right = [yes for _, yes, _ in rows], [None] * (len(rows) // TENTHS)
    for tenth in range(1, TENTHS):
        start, end = len(rows) * tenth // TENTHS, len(rows) * (tenth + 1) // TENTHS
        model = LinearSVC(C=0.05).fit(X[:start], y[:start])
        right += (model.predict(X[start:end]) == y[start:end]).tolist()
    return right


def run(rows):
    """({name: Hits}, {feature: [(place, weight), ...]}, model, numbers of the features)."""
    window = max(len(rows) // 40, 100)
    online, frozen = (linear.HingeSVM(crosses=CROSSES, engine="dict", dtype="float64") for _ in range(2))
    hits, often, active, texts, examples, history = {name: Hits(window) for name in NAMES}, {}, 0, {}, [], []
    crosses, stop = parse_crosses(CROSSES), len(rows) * FROZEN_AT // TENTHS
    for number, (x, yes, _) in enumerate(rows):
        names = [name for name, _ in expand(fields_of(x), crosses, constant=True)]
        texts.update(dict.fromkeys(names))
        active += len(names)
        examples.append(names)
        user = x["user"]
        hits["online"].add((online.margin_one(x) > 0) == yes)
        hits["frozen"].add((frozen.margin_one(x) > 0) == yes)
        hits["user's commonest"].add((often.get(user, 1) > 0) == yes)
        online.learn_one(x, yes)
        if number < stop:
            frozen.learn_one(x, yes)
        often[user] = often.get(user, 0) + (1 if yes else -1)
        if (number + 1) % window == 0:
            history.append({name: weight for name, weight in online.weights.items()
                            if name.startswith(("genre=", "decade=")) and "*" not in name})
    right = batches(examples, rows)
    for one in right or ():
        hits["batch LinearSVC"].add(one if one is not None else False)
    return hits, history, online, {"features_seen": len(texts), "features_a_rating": active / len(rows), "weights": len(online.weights)}


def movers(history, most=5):
    """The features whose weights moved most after the first fifth: {name: [weight at each window]}."""
    late = history[len(history) // 5:]
    spread = {name: max(row.get(name, 0.0) for row in late) - min(row.get(name, 0.0) for row in late) for name in history[-1]}
    chosen = sorted(spread, key=spread.get, reverse=True)[:most]
    return {name: [row.get(name, 0.0) for row in history] for name in chosen}


def spread_labels(ax, ends, x, gap):
    """Names at the ends of lines, moved apart."""
    low, high = ax.get_ylim()
    place = low
    for end, text, color in sorted(ends):
        place = max(place + (high - low) * gap, end)
        label_line(ax, x, place, text, color)


def draw(args, rows, hits, history, shares):
    figure, axes = canvas(args, 2, 1, (11.5, 7.4), sharex=True, height_ratios=(3, 2))
    if figure is None:
        return
    top, bottom = axes
    window, ends = hits["online"].window, []
    places = [(number + 1) * window for number in range(len(hits["online"].means))]
    for name, color in reversed(NAMES.items()):
        skip = len(places) // TENTHS if name.startswith("batch") else 0
        if len(hits[name].means) == len(places):
            top.plot(places[skip:], hits[name].means[skip:], color=color, linewidth=2.4 if name == "online" else 1.4)
            ends.append((hits[name].means[-1], f"{name}: {shares[name]:.1%}", color))
    spread_labels(top, ends, places[-1], 0.06)
    top.axvline(len(rows) * FROZEN_AT / TENTHS, color=ORANGE, linestyle=":", linewidth=1)
    top.annotate("the frozen one\nlearns no more", (len(rows) * FROZEN_AT / TENTHS, top.get_ylim()[1]), xytext=(4, -2),
                 textcoords="offset points", color=ORANGE, fontsize=8.5, va="top")
    top.set(title=f"Share right in windows of {window:,} ratings (beside the names: after the first 30 %)", ylabel="share right")
    percent(top.yaxis)
    ends = []
    for (name, values), color in zip(movers(history).items(), (BLUE, ORANGE, GREEN, RED, GREY)):
        bottom.plot(places, values, color=color)
        ends.append((values[-1], name.replace("decade=?", "no year known").replace("=", " "), color))
    spread_labels(bottom, ends, places[-1], 0.09)
    bottom.axhline(0, color="0.7", linewidth=0.8)
    bottom.set(title="Drift: the genre and decade weights that moved most", ylabel="weight", xlim=(0, places[-1]))
    ticks = [len(rows) * part // 8 for part in range(9)]
    bottom.set_xticks(ticks, [f"{tick:,}\n{rows[min(tick, len(rows) - 1)][2]}" for tick in ticks])
    bottom.set_xlabel("ratings, and the year they were given")
    save(args, figure, f"Four stars or more? {len(rows):,} ratings in the order of time")


def main():
    args = command_line(__doc__, "directory of ratings.csv and movies.csv")
    rows = read(args.data) if args.data else made_up(args.seed)
    hits, history, model, counts = run(rows)
    start = len(hits["online"].means) * FROZEN_AT // TENTHS
    shares = {name: sum(hit.means[start:]) / len(hit.means[start:]) for name, hit in hits.items() if len(hit.means) > start}
    numbers = {"ratings": len(rows), "share_of_yes": sum(yes for _, yes, _ in rows) / len(rows), **counts,
               "online_accuracy_of_all": hits["online"].share, "accuracy_after_the_first_30_percent": shares,
               "moved_most": {name: {"after a fifth": values[len(values) // 5], "at the end": values[-1]}
                              for name, values in movers(history).items()}}
    tell(args, numbers, "Four stars or more?")
    draw(args, rows, hits, history, shares)


if __name__ == "__main__":
    main()
