"""Really fitted models, small ones, of every kind that the platform promises to take."""

from __future__ import annotations

import io
import warnings
from functools import cache
from typing import Any

import lightgbm
import numpy
import pandas
import xgboost
from sklearn import cluster, ensemble, linear_model, naive_bayes, neighbors, preprocessing, svm, tree
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_iris
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.impute import SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.kernel_ridge import KernelRidge
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline

IRIS, SPECIES = load_iris(return_X_y=True)
DIABETES, PROGRESS = load_diabetes(return_X_y=True)
TEXTS = ["good film", "bad film", "great fun", "awful mess"] * 5
LIKED = ["yes", "no", "yes", "no"] * 5


def people() -> tuple[pandas.DataFrame, numpy.ndarray]:
    frame = pandas.DataFrame({"age": [20, 30, 40, 50] * 5, "city": ["Rome", "Oslo", "Rome", "Lima"] * 5})
    return frame, numpy.array([0, 1, 0, 1] * 5)


def _named_iris() -> pandas.DataFrame:
    return pandas.DataFrame(IRIS, columns=["sl", "sw", "pl", "pw"])


def _mixed() -> Any:
    frame, bought = people()
    columns = ColumnTransformer(
        [
            ("number", preprocessing.StandardScaler(), ["age"]),
            ("text", preprocessing.OneHotEncoder(), ["city"]),
        ]
    )
    return make_pipeline(columns, linear_model.LogisticRegression()).fit(frame, bought)


def _text() -> Any:
    return make_pipeline(TfidfVectorizer(), naive_bayes.MultinomialNB()).fit(TEXTS, LIKED)


def _log() -> Any:
    steps = make_pipeline(
        preprocessing.FunctionTransformer(numpy.log1p), linear_model.LogisticRegression(max_iter=500)
    )
    return steps.fit(IRIS, SPECIES)


def _union() -> Any:
    union = FeatureUnion([("pca", PCA(2)), ("best", SelectKBest(f_classif, k=1))])
    return make_pipeline(SimpleImputer(), union, svm.SVC(probability=False)).fit(IRIS, SPECIES)


def _voting() -> Any:
    members = [("tree", tree.DecisionTreeClassifier()), ("bayes", naive_bayes.GaussianNB())]
    return ensemble.VotingClassifier(members, voting="soft").fit(IRIS, SPECIES)


def _stacking() -> Any:
    members = [("tree", tree.DecisionTreeRegressor(max_depth=3)), ("ridge", linear_model.Ridge())]
    return ensemble.StackingRegressor(members, cv=2).fit(DIABETES, PROGRESS)


def _kernel() -> Any:
    return GaussianProcessRegressor(RBF() + WhiteKernel()).fit(DIABETES[:60], PROGRESS[:60])


CLASSIFIERS: dict[str, Any] = {
    "logistic": linear_model.LogisticRegression(max_iter=500),
    "sgd": linear_model.SGDClassifier(),
    "perceptron": linear_model.Perceptron(),
    "ridge-classifier": linear_model.RidgeClassifier(),
    "decision-tree": tree.DecisionTreeClassifier(),
    "random-forest": ensemble.RandomForestClassifier(n_estimators=5),
    "extra-trees": ensemble.ExtraTreesClassifier(n_estimators=5),
    "gradient-boosting": ensemble.GradientBoostingClassifier(n_estimators=5),
    "hist-gradient-boosting": ensemble.HistGradientBoostingClassifier(max_iter=5),
    "ada-boost": ensemble.AdaBoostClassifier(n_estimators=5),
    "bagging": ensemble.BaggingClassifier(n_estimators=3),
    "svc": svm.SVC(),
    "nu-svc": svm.NuSVC(),
    "linear-svc": svm.LinearSVC(),
    "neighbors": neighbors.KNeighborsClassifier(algorithm="kd_tree"),
    "ball-tree": neighbors.KNeighborsClassifier(algorithm="ball_tree"),
    "centroid": neighbors.NearestCentroid(),
    "gaussian-bayes": naive_bayes.GaussianNB(),
    "bernoulli-bayes": naive_bayes.BernoulliNB(),
    "lda": LinearDiscriminantAnalysis(),
    "qda": QuadraticDiscriminantAnalysis(),
    "mlp": MLPClassifier(hidden_layer_sizes=(4,), max_iter=20),
    "gaussian-process": GaussianProcessClassifier(),
    "dummy": DummyClassifier(),
    "calibrated": CalibratedClassifierCV(naive_bayes.GaussianNB(), cv=2),
    "one-vs-rest": OneVsRestClassifier(linear_model.LogisticRegression()),
    "grid-search": GridSearchCV(linear_model.LogisticRegression(max_iter=500), {"C": [0.1, 1.0]}, cv=2),
    "scaled": Pipeline([("scale", preprocessing.StandardScaler()), ("model", svm.SVC())]),
    "xgb-classifier": xgboost.XGBClassifier(n_estimators=3, max_depth=2),
    "xgbrf-classifier": xgboost.XGBRFClassifier(n_estimators=3, max_depth=2),
    "lgbm-classifier": lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, min_child_samples=5),
    "xgb-pipeline": make_pipeline(preprocessing.StandardScaler(), xgboost.XGBClassifier(n_estimators=2)),
}
REGRESSORS: dict[str, Any] = {
    "linear": linear_model.LinearRegression(),
    "lasso-cv": linear_model.LassoCV(cv=2),
    "elastic-net": linear_model.ElasticNet(),
    "huber": linear_model.HuberRegressor(max_iter=500),
    "bayesian-ridge": linear_model.BayesianRidge(),
    "poisson": linear_model.PoissonRegressor(),
    "svr": svm.SVR(),
    "forest-regressor": ensemble.RandomForestRegressor(n_estimators=3),
    "hist-regressor": ensemble.HistGradientBoostingRegressor(max_iter=3),
    "neighbors-regressor": neighbors.KNeighborsRegressor(),
    "mlp-regressor": MLPRegressor(hidden_layer_sizes=(4,), max_iter=20),
    "kernel-ridge": KernelRidge(),
    "target": TransformedTargetRegressor(linear_model.Ridge(), func=numpy.log1p, inverse_func=numpy.expm1),
    "multi-output": MultiOutputRegressor(linear_model.Ridge()),
    "xgb-regressor": xgboost.XGBRegressor(n_estimators=3, max_depth=2),
    "lgbm-regressor": lightgbm.LGBMRegressor(n_estimators=3, verbose=-1),
}
CLUSTERERS: dict[str, Any] = {
    "k-means": cluster.KMeans(3, n_init=1),
    "mini-batch": cluster.MiniBatchKMeans(3, n_init=1),
    "bisecting": cluster.BisectingKMeans(3),
    "dbscan": cluster.DBSCAN(),
    "birch": cluster.Birch(n_clusters=3),
    "mixture": GaussianMixture(2),
}
COMPOSED: dict[str, Any] = {
    "mixed-columns": _mixed,
    "text": _text,
    "numpy-function": _log,
    "union": _union,
    "voting": _voting,
    "stacking": _stacking,
    "gaussian-process-regressor": _kernel,
    "named-columns": lambda: linear_model.LogisticRegression(max_iter=500).fit(_named_iris(), SPECIES),
    "isotonic": lambda: IsotonicRegression().fit(DIABETES[:, 2], PROGRESS),
    "spline": lambda: make_pipeline(preprocessing.SplineTransformer(), linear_model.Ridge()).fit(
        IRIS, SPECIES
    ),
    "svd": lambda: TruncatedSVD(2).fit(IRIS),
    "single-precision": lambda: linear_model.LinearRegression().fit(IRIS.astype("float32"), SPECIES),
}
NAMES = (*CLASSIFIERS, *REGRESSORS, *CLUSTERERS, *COMPOSED)


@cache
def fitted(name: str) -> Any:
    """The fitted model of this name; the same object every time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name in CLASSIFIERS:
            return CLASSIFIERS[name].fit(IRIS, SPECIES)
        if name == "multi-output":
            return REGRESSORS[name].fit(DIABETES, numpy.c_[PROGRESS, PROGRESS])
        if name in REGRESSORS:
            return REGRESSORS[name].fit(DIABETES, PROGRESS)
        if name in CLUSTERERS:
            return CLUSTERERS[name].fit(IRIS)
        return COMPOSED[name]()


@cache
def booster(objective: str = "multi:softprob") -> xgboost.Booster:
    params: dict[str, Any] = {"objective": objective, "max_depth": 2}
    if objective.startswith("multi"):
        params["num_class"] = 3
    target = SPECIES if objective.startswith(("multi", "reg")) else (SPECIES > 0).astype(int)
    data = xgboost.DMatrix(IRIS, target, feature_names=["sl", "sw", "pl", "pw"])
    return xgboost.train(params, data, num_boost_round=3)


@cache
def lightgbm_text(objective: str = "multiclass") -> str:
    params: dict[str, Any] = {"objective": objective, "verbose": -1, "min_data_in_leaf": 5}
    if objective == "multiclass":
        params["num_class"] = 3
    target = SPECIES if objective == "multiclass" else (SPECIES > 0).astype(int)
    names = ["sl", "sw", "pl", "pw"]
    return lightgbm.train(params, lightgbm.Dataset(IRIS, target, feature_name=names), 3).model_to_string()


@cache
def catboost_bytes(form: str = "cbm", *, kind: str = "classifier") -> bytes:
    """A model in CatBoost's own form; the classifier has a column of text, the regressor has none."""
    import tempfile
    from pathlib import Path

    import catboost

    frame, bought = people()
    options: dict[str, Any] = {"iterations": 3, "depth": 2, "verbose": False, "allow_writing_files": False}
    if kind == "classifier":
        wanted = numpy.where(bought > 0, numpy.where(frame["city"] == "Lima", "yes", "no"), "perhaps")
        model = catboost.CatBoostClassifier(cat_features=["city"], **options).fit(frame, wanted)
    else:
        model = catboost.CatBoostRegressor(**options).fit(IRIS, SPECIES)
    with tempfile.TemporaryDirectory() as directory:
        model.save_model(f"{directory}/m", format=form)
        return Path(directory, "m").read_bytes()


@cache
def onnx_bytes(name: str = "logistic") -> bytes:
    from skl2onnx import to_onnx

    options = {"zipmap": False} if name in CLASSIFIERS else None
    model = to_onnx(fitted(name), IRIS[:1].astype("float32"), options=options, target_opset=17)
    data: bytes = model.SerializeToString()
    return data


@cache
def skops_bytes(name: str) -> bytes:
    import skops.io

    buffer = io.BytesIO()
    skops.io.dump(fitted(name), buffer)
    return buffer.getvalue()
