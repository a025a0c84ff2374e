"""The learner as a river classifier: `pip install river`, then it goes into pipelines, metrics and evaluations.

    from river import evaluate, metrics
    from linear.adapters.river import HingeClassifier
    evaluate.progressive_val_score(dataset, HingeClassifier(crosses="user*tags"), metrics.Accuracy())
"""
from river import base

from linear.calibrate import Platt
from linear.features import fields_of
from linear.formats import Example
from linear.svm import HingeSVM


class HingeClassifier(base.Classifier):
    """Online linear classifier with the hinge loss over named features and their crosses: `linear.HingeSVM` for river.

    Fields are taken in the order of their names, so that the order of a dictionary has no effect at all. Names that are
    no strings (river's own FeatureHasher gives integers) are taken as their text. Labels are False and True, or 0 and 1,
    and predictions are False and True. A margin has no probability: `predict_proba_one` raises NotImplementedError unless
    `calibrate=True` fits one (`linear.calibrate`).

    Parameters
    ----------
    crosses
        Products of fields: "a*b,c*d". A string, since river takes a tuple for a class and its arguments.
    rule
        How weights change: "adagrad", "sgd", "perceptron", "pa", "pa1", "pa2", ... (`linear.rules.RULES`).
    lr
        Learning rate, None for the rule's own.
    constant
        Whether there is a bias.
    calibrate
        Whether `predict_proba_one` gives probabilities (Platt's, fitted online).
    engine
        "dict" adds up in float64 and is exact to the bit wherever it runs; "compiled" is made for long examples.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics, preprocessing
    >>> model = preprocessing.StandardScaler() | HingeClassifier()
    >>> evaluate.progressive_val_score(datasets.Phishing(), model, metrics.Accuracy())
    Accuracy: 89.60%
    """

    def __init__(self, crosses="", rule="adagrad", lr=None, constant=True, calibrate=False, engine="dict"):
        self.crosses, self.rule, self.lr, self.constant = crosses, rule, lr, constant
        self.calibrate, self.engine = calibrate, engine
        self.model = HingeSVM(crosses=crosses or (), rule=rule, lr=lr, constant=constant, engine=engine, dtype="float64")
        self.platt = Platt() if calibrate else None

    @property
    def _multiclass(self):
        return False

    def learn_one(self, x, y, w=1.0):
        """Learn from one dictionary of features; w is the example's importance."""
        if y not in (False, True):
            raise ValueError(f"label {y!r} is not one of False and True; for more than two labels see river.multiclass")
        label = 1 if y else -1
        margin, _ = self.model.take(Example(label, float(w), 0.0, "", self._fields(x)))
        if self.platt and w > 0:
            self.platt.learn(margin, label, float(w))

    def margin_one(self, x):
        """The margin, above 0 for True."""
        return self.model.take(Example(None, 1.0, 0.0, "", self._fields(x)), learn=False)[0]

    def predict_one(self, x, **kwargs):
        """False or True."""
        return self.margin_one(x) > 0

    def predict_proba_one(self, x, **kwargs):
        """{False: p, True: 1 - p}, with `calibrate=True`."""
        if self.platt is None:
            raise NotImplementedError("a margin has no probability; HingeClassifier(calibrate=True) fits one")
        p = self.platt.probability(self.margin_one(x))
        return {False: 1.0 - p, True: p}

    @staticmethod
    def _fields(x):
        return fields_of(dict(sorted((str(name), value) for name, value in x.items())))

    @classmethod
    def _unit_test_params(cls):
        yield {}
        yield {"rule": "pa1", "calibrate": True}
