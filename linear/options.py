"""A model's options on the command line: what `learn`, `serve` and `replay` call the parameters of HingeSVM."""
from linear.command import UserError

MODEL_OPTIONS = ("crosses", "rule", "lr", "loss", "l1", "l2", "C", "r", "phi", "lam", "floor", "power_t", "initial_t", "constant",
                 "engine", "dtype", "bits", "hash", "names", "adaptive", "normalized", "invariant", "initial_constant")
SWITCHES = ("adaptive", "normalized", "invariant")


def add_features(verb):
    """Options that say what the features are."""
    verb.add_argument("-q", dest="crosses", action="append", type=lambda letters: "-q " + letters, metavar="ab",
                      help="cross the fields whose names begin with a and b; : is any letter")
    verb.add_argument("--crosses", action="append", metavar="a*b,c*d", help="cross fields by their full names; ':*:' is all pairs")
    verb.add_argument("-b", "--bits", type=int, metavar="B", help="hash into 2^B slots, by VW's indices")
    verb.add_argument("--hash", metavar="KIND", help="with --bits: strings (default, digits stay numbers) or all")
    verb.add_argument("--noconstant", dest="constant", action="store_const", const=False, help="no bias")
    verb.add_argument("--constant", dest="initial_constant", type=float, metavar="C", help="the bias starts with this weight (0)")


def add_learning(verb):
    """Options that say how it learns."""
    verb.add_argument("--rule", metavar="NAME", help="adagrad (default) or another of linear.rules.RULES")
    verb.add_argument("-l", "--lr", "--learning_rate", dest="lr", type=float, metavar="X", help="learning rate")
    verb.add_argument("--loss", "--loss_function", dest="loss", metavar="NAME", help="hinge (default), squared_hinge, logistic; "
                      "with VW's update squared, too")
    for name in SWITCHES:
        verb.add_argument(f"--{name}", action="store_true", help="VW's update, with exactly the switches of the three that are named")
    verb.add_argument("--sgd", action="store_true", help="VW's update with none of the three, at VW's rates")
    for name, text in (("C", "price of the loss in pa1, pa2, scw2 (1)"), ("r", "arow: its r (1)"), ("phi", "scw2: its phi (1)"),
                       ("lam", "pegasos: its lambda (1e-4)"), ("floor", "arow, scw2: least variance (0)"),
                       ("l1", "pull to exact zeros (0)"), ("l2", "shrinking (0)"),
                       ("power_t", "the rate falls as t^-P"), ("initial_t", "t starts here")):
        verb.add_argument(f"--{name}", type=float, metavar="X", help=text)
    verb.add_argument("--engine", metavar="NAME", help="compiled or dict")
    verb.add_argument("--dtype", metavar="NAME", help="float32 or float64")
    verb.add_argument("--names", action="store_const", const=True, help="keep the features' names, for `inspect`; costs memory")


def given_options(args):
    """{parameter of HingeSVM: value} of the options that were given; UserError for two that contradict each other."""
    given = {name: value for name in MODEL_OPTIONS if (value := getattr(args, name, None)) is not None
             and (name not in SWITCHES)}
    if any(getattr(args, name, None) for name in ("sgd", *SWITCHES)):
        if given.get("rule", "nag") != "nag" or args.sgd and any(getattr(args, name) for name in SWITCHES):
            raise UserError(f"--sgd, and --{', --'.join(SWITCHES)}, are each VW's update: leave out "
                            + (f"--rule {given['rule']}" if given.get("rule", "nag") != "nag" else "the one or the others"))
        given.update(rule="nag", **{name: getattr(args, name) for name in SWITCHES})
    return given
