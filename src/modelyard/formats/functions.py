"""What kind of answer a model gives, from the name of its class or of its objective."""

from __future__ import annotations

from modelyard.domain.model import Function

CLASSIFIERS = frozenset({
    "LogisticRegression", "LogisticRegressionCV", "SVC", "NuSVC", "LinearSVC", "Perceptron", "GaussianNB",
    "BernoulliNB", "CategoricalNB", "ComplementNB", "MultinomialNB", "LinearDiscriminantAnalysis",
    "QuadraticDiscriminantAnalysis", "LabelPropagation", "LabelSpreading", "NearestCentroid",
    "ClassifierChain",
})  # fmt: skip
REGRESSORS = frozenset({
    "LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "LassoLars", "LassoLarsCV", "LassoLarsIC",
    "Lars",
    "LarsCV", "ElasticNet", "ElasticNetCV", "MultiTaskLasso", "MultiTaskLassoCV", "MultiTaskElasticNet",
    "MultiTaskElasticNetCV", "OrthogonalMatchingPursuit", "OrthogonalMatchingPursuitCV", "BayesianRidge",
    "SVR",
    "NuSVR", "LinearSVR", "KernelRidge", "IsotonicRegression", "PLSRegression", "PLSCanonical", "CCA",
    "RegressorChain",
})  # fmt: skip
CLUSTERERS = frozenset({
    "AffinityPropagation", "AgglomerativeClustering", "Birch", "BisectingKMeans", "DBSCAN", "HDBSCAN",
    "KMeans",
    "MeanShift", "MiniBatchKMeans", "OPTICS", "SpectralClustering", "GaussianMixture",
    "BayesianGaussianMixture",
})  # fmt: skip
CLASSIFYING_OBJECTIVES = ("binary", "multi", "softmax", "cross_entropy", "xentropy")
OTHER_OBJECTIVES = ("rank", "lambdarank", "survival", "custom", "none")


def of_class(module: str, name: str) -> Function:
    """Say what a class of scikit-learn, XGBoost or LightGBM answers; UNKNOWN for transformers."""
    if name in CLASSIFIERS or "Classifier" in name:
        return Function.CLASSIFICATION
    if name in REGRESSORS or "Regressor" in name or name.endswith("Regression"):
        return Function.REGRESSION
    if name in CLUSTERERS and module.startswith("sklearn."):
        return Function.CLUSTERING
    return Function.UNKNOWN


def of_objective(objective: str) -> Function:
    """Say what a booster trained for `objective` answers, such as `binary:logistic` or `regression_l1`."""
    name = objective.strip().lower()
    if not name or name.startswith(OTHER_OBJECTIVES) or name == "binary:logitraw":
        return Function.UNKNOWN
    if name.startswith(CLASSIFYING_OBJECTIVES):
        return Function.CLASSIFICATION
    return Function.REGRESSION
