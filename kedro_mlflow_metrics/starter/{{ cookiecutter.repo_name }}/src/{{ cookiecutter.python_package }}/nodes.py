"""Plain functions that return plain dicts: nothing here knows of MLflow."""

from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, log_loss, recall_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier


def split(test_size):
    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        images / 16, labels, test_size=test_size, stratify=labels, random_state=0
    )
    return (train_x, train_y), (test_x, test_y)


def train_network(train, options):
    x, y = train
    model = MLPClassifier([options["hidden_units"]], learning_rate_init=0.005, random_state=0)

    def epochs():
        for _ in range(options["epochs"]):
            model.partial_fit(x, y, classes=range(10))
            yield {"loss": model.loss_, "accuracy": model.score(x, y)}

    # Kedro saves the outputs in this order: saving the metrics runs the epochs,
    # and the model is saved after them, trained.
    return epochs(), model


def grow_forest(train, trees):
    return RandomForestClassifier(trees, random_state=0).fit(*train)


def evaluate(model, test):
    x, y = test
    chances = model.predict_proba(x)
    guesses = chances.argmax(axis=1)
    recalls = recall_score(y, guesses, average=None)
    return {
        "accuracy": accuracy_score(y, guesses),
        "log_loss": log_loss(y, chances),
        "recall": {"mean": recalls.mean(), "worst_digit": recalls.min()},
    }


def compare(small, large):
    # Both come back from MLflow as the dicts that `evaluate` returned.
    return {"accuracy": large["accuracy"] - small["accuracy"]}
