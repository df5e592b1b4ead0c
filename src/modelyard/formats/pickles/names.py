"""The allow-list: what a pickled or skops model may import, as data.

A name is here because importing, constructing and calling it with any argument runs no code of the
file's author, opens no file and starts no process. Left out on purpose, although models could use them:
`functools.partial`, everything of `operator`, `scipy.stats` (its distributions compile source text from
their state), `numpy.memmap` and `numpy.load` (files), `numpy._core._ufunc_reconstruct` (imports any
module), `joblib.load`, `sklearn.datasets`.
"""

from __future__ import annotations

EXACT: dict[str, str] = {
    "builtins": "object int float complex bool str bytes bytearray list tuple dict set frozenset slice range",
    "collections": "OrderedDict defaultdict deque Counter",
    "copyreg": "_reconstructor",
    "_codecs": "encode",
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "numpy": (
        "ndarray dtype matrix bool bool_ int8 int16 int32 int64 intc intp int_ longlong uint8 uint16 "
        "uint32 uint64 uintc uintp uint ulonglong float16 float32 float64 longdouble double single half "
        "complex64 complex128 str_ bytes_ object_ void datetime64 timedelta64 number integer floating "
        "generic signedinteger unsignedinteger abs absolute add arccos arccosh arcsin arcsinh arctan "
        "arctanh cbrt ceil clip cos cosh deg2rad degrees divide exp exp2 expm1 fabs floor hypot isfinite "
        "isinf isnan log log10 log1p log2 logaddexp maximum mean median minimum multiply nan_to_num "
        "nanmax nanmean nanmedian nanmin negative power rad2deg radians ravel reciprocal rint round sign "
        "sin sinh sqrt square subtract sum tan tanh true_divide trunc"
    ),
    "numpy.core.multiarray": "_reconstruct scalar",
    "numpy._core.multiarray": "_reconstruct scalar",
    "numpy.core.numeric": "_frombuffer",
    "numpy._core.numeric": "_frombuffer",
    "numpy.ma.core": "_mareconstruct MaskedArray",
    "numpy.ma": "MaskedArray",
    "numpy.random": "RandomState",
    "numpy.random._pickle": "__randomstate_ctor __bit_generator_ctor __generator_ctor",
    "numpy.random.mtrand": "RandomState",
    "numpy.random._generator": "Generator",
    "numpy.random._mt19937": "MT19937",
    "numpy.random._pcg64": "PCG64 PCG64DXSM",
    "numpy.random._philox": "Philox",
    "numpy.random._sfc64": "SFC64",
    "numpy.random.bit_generator": "SeedSequence __pyx_unpickle_SeedSequence",
    "scipy.interpolate._bsplines": "BSpline",
    "scipy._lib.array_api_compat.numpy._aliases": "asarray",
    "scipy.special": "expit logit xlogy boxcox inv_boxcox",
    "scipy.special._ufuncs": "expit logit xlogy boxcox inv_boxcox",
    "joblib.numpy_pickle": "NumpyArrayWrapper",
    "pandas": "DataFrame Series Index RangeIndex MultiIndex",
    "pandas.core.frame": "DataFrame",
    "pandas.core.series": "Series",
    "pandas.core.indexes.base": "Index _new_Index",
    "pandas.core.indexes.range": "RangeIndex",
    "pandas.core.indexes.multi": "MultiIndex",
    "pandas.core.indexes.numeric": "Int64Index Float64Index UInt64Index",
    "pandas.core.indexes.category": "CategoricalIndex",
    "pandas.core.indexes.datetimes": "DatetimeIndex _new_DatetimeIndex",
    "pandas.core.internals.managers": "BlockManager SingleBlockManager",
    "pandas.core.internals.blocks": "new_block",
    "pandas._libs.internals": "BlockManager SingleBlockManager BlockPlacement _unpickle_block",
    "pandas._libs.arrays": "NDArrayBacked __pyx_unpickle_NDArrayBacked",
    "pandas._libs.missing": "NAType",
    "pandas.core.dtypes.dtypes": "CategoricalDtype DatetimeTZDtype IntervalDtype",
    "pandas.core.arrays.categorical": "Categorical",
    "pandas.core.arrays.string_": "StringDtype StringArray StringArrayNumpySemantics",
    "pandas.core.arrays.numpy_": "NumpyExtensionArray PandasArray",
    "pandas.core.arrays.integer": (
        "IntegerArray Int8Dtype Int16Dtype Int32Dtype Int64Dtype UInt8Dtype UInt16Dtype UInt32Dtype "
        "UInt64Dtype"
    ),
    "pandas.core.arrays.floating": "FloatingArray Float32Dtype Float64Dtype",
    "pandas.core.arrays.boolean": "BooleanArray BooleanDtype",
    "pandas.core.flags": "Flags",
    "xgboost.core": "Booster",
    "xgboost.sklearn": (
        "XGBModel XGBClassifier XGBRegressor XGBRanker XGBRFClassifier XGBRFRegressor XGBClassifierBase "
        "XGBRegressorBase XGBRankerMixIn"
    ),
    "xgboost.callback": "EarlyStopping EvaluationMonitor",
    "lightgbm.basic": "Booster",
    "lightgbm.sklearn": "LGBMModel LGBMClassifier LGBMRegressor LGBMRanker",
}
"""Module to the names that may be imported from it."""

_METRICS = (
    "BrayCurtis Canberra Chebyshev Dice Euclidean Hamming Haversine Jaccard Kulsinski Mahalanobis "
    "Manhattan Matching Minkowski RogersTanimoto RussellRao SEuclidean SokalMichener SokalSneath WMinkowski"
)
_DISTANCES = " ".join(f"{name}Distance{size}" for name in _METRICS.split() for size in ("", "32", "64"))
WITHIN: dict[str, str] = {
    "scipy.sparse": (
        "csr_matrix csc_matrix coo_matrix lil_matrix dok_matrix dia_matrix bsr_matrix csr_array csc_array "
        "coo_array lil_array dok_array dia_array bsr_array"
    ),
    "sklearn._loss": (
        "AbsoluteError CyAbsoluteError CyExponentialLoss CyHalfBinomialLoss CyHalfGammaLoss "
        "CyHalfMultinomialLoss CyHalfPoissonLoss CyHalfSquaredError CyHalfTweedieLoss "
        "CyHalfTweedieLossIdentity CyHuberLoss CyPinballLoss ExponentialLoss HalfBinomialLoss "
        "HalfGammaLoss HalfLogitLink HalfMultinomialLoss HalfPoissonLoss HalfSquaredError HalfTweedieLoss "
        "HalfTweedieLossIdentity HuberLoss IdentityLink Interval LogLink LogitLink MultinomialLogit "
        "PinballLoss NormalDistribution PoissonDistribution GammaDistribution TweedieDistribution "
        "InverseGaussianDistribution"
    ),
    "sklearn.calibration": (
        "CalibratedClassifierCV _CalibratedClassifier _SigmoidCalibration _TemperatureScaling"
    ),
    "sklearn.cluster": (
        "AffinityPropagation AgglomerativeClustering Birch BisectingKMeans DBSCAN FeatureAgglomeration "
        "HDBSCAN KMeans MeanShift MiniBatchKMeans OPTICS SpectralBiclustering SpectralClustering "
        "SpectralCoclustering _BisectingTree _CFNode _CFSubcluster _kmeans_single_lloyd "
        "_kmeans_single_elkan"
    ),
    "sklearn.compose": "ColumnTransformer TransformedTargetRegressor make_column_selector _RemainderColsList",
    "sklearn.covariance": (
        "EllipticEnvelope EmpiricalCovariance GraphicalLasso GraphicalLassoCV LedoitWolf MinCovDet OAS "
        "ShrunkCovariance _DictWithDeprecatedKeys"
    ),
    "sklearn.cross_decomposition": "CCA PLSCanonical PLSRegression PLSSVD",
    "sklearn.decomposition": (
        "DictionaryLearning FactorAnalysis FastICA IncrementalPCA KernelPCA LatentDirichletAllocation "
        "MiniBatchDictionaryLearning MiniBatchNMF MiniBatchSparsePCA NMF PCA SparseCoder SparsePCA "
        "TruncatedSVD"
    ),
    "sklearn.discriminant_analysis": "LinearDiscriminantAnalysis QuadraticDiscriminantAnalysis",
    "sklearn.dummy": "DummyClassifier DummyRegressor",
    "sklearn.ensemble": (
        "AdaBoostClassifier AdaBoostRegressor BaggingClassifier BaggingRegressor ExtraTreesClassifier "
        "ExtraTreesRegressor GradientBoostingClassifier GradientBoostingRegressor "
        "HistGradientBoostingClassifier HistGradientBoostingRegressor IsolationForest "
        "RandomForestClassifier RandomForestRegressor RandomTreesEmbedding StackingClassifier "
        "StackingRegressor VotingClassifier VotingRegressor TreePredictor _BinMapper BinomialDeviance "
        "MultinomialDeviance ExponentialLoss LeastSquaresError LeastAbsoluteError HuberLossFunction "
        "QuantileLossFunction LeastSquares LeastAbsoluteDeviation BinaryCrossEntropy "
        "CategoricalCrossEntropy Poisson"
    ),
    "sklearn.feature_extraction": (
        "CountVectorizer DictVectorizer FeatureHasher HashingVectorizer PatchExtractor TfidfTransformer "
        "TfidfVectorizer"
    ),
    "sklearn.feature_selection": (
        "GenericUnivariateSelect RFE RFECV SelectFdr SelectFpr SelectFromModel SelectFwe SelectKBest "
        "SelectPercentile SequentialFeatureSelector VarianceThreshold chi2 f_classif f_oneway "
        "f_regression mutual_info_classif mutual_info_regression r_regression"
    ),
    "sklearn.frozen": "FrozenEstimator",
    "sklearn.gaussian_process": (
        "CompoundKernel ConstantKernel DotProduct ExpSineSquared Exponentiation GaussianProcessClassifier "
        "GaussianProcessRegressor Hyperparameter Matern PairwiseKernel Product RBF RationalQuadratic Sum "
        "WhiteKernel _BinaryGaussianProcessClassifierLaplace"
    ),
    "sklearn.impute": "IterativeImputer KNNImputer MissingIndicator SimpleImputer _ImputerTriplet",
    "sklearn.isotonic": "IsotonicRegression",
    "sklearn.kernel_approximation": (
        "AdditiveChi2Sampler Nystroem PolynomialCountSketch RBFSampler SkewedChi2Sampler"
    ),
    "sklearn.kernel_ridge": "KernelRidge",
    "sklearn.linear_model": (
        "ARDRegression BayesianRidge ElasticNet ElasticNetCV EpsilonInsensitive GammaRegressor Hinge "
        "Huber HuberRegressor Lars LarsCV Lasso LassoCV LassoLars LassoLarsCV LassoLarsIC LinearModelLoss "
        "LinearRegression Log LogisticRegression LogisticRegressionCV ModifiedHuber MultiTaskElasticNet "
        "MultiTaskElasticNetCV MultiTaskLasso MultiTaskLassoCV OrthogonalMatchingPursuit "
        "OrthogonalMatchingPursuitCV PassiveAggressiveClassifier PassiveAggressiveRegressor Perceptron "
        "PoissonRegressor QuantileRegressor RANSACRegressor Ridge RidgeCV RidgeClassifier "
        "RidgeClassifierCV SGDClassifier SGDOneClassSVM SGDRegressor SquaredEpsilonInsensitive "
        "SquaredHinge SquaredLoss TheilSenRegressor TweedieRegressor _GeneralizedLinearRegressor "
        "_IdentityClassifier _IdentityRegressor _RidgeGCV"
    ),
    "sklearn.manifold": "ClassicalMDS Isomap LocallyLinearEmbedding MDS SpectralEmbedding TSNE",
    "sklearn.metrics": (
        "_MultimetricScorer _PassthroughScorer _PredictScorer _ProbaScorer _Scorer _ThresholdScorer "
        "_passthrough_scorer newObj accuracy_score additive_chi2_kernel adjusted_rand_score "
        "average_precision_score balanced_accuracy_score brier_score_loss chi2_kernel cohen_kappa_score "
        "cosine_distances cosine_similarity d2_absolute_error_score d2_pinball_score d2_tweedie_score "
        "euclidean_distances explained_variance_score f1_score fbeta_score hamming_loss "
        "haversine_distances hinge_loss jaccard_score laplacian_kernel linear_kernel log_loss "
        "manhattan_distances matthews_corrcoef max_error mean_absolute_error "
        "mean_absolute_percentage_error mean_gamma_deviance mean_pinball_loss mean_poisson_deviance "
        "mean_squared_error mean_squared_log_error mean_tweedie_deviance median_absolute_error "
        "nan_euclidean_distances ndcg_score polynomial_kernel precision_score r2_score rbf_kernel "
        "recall_score roc_auc_score root_mean_squared_error root_mean_squared_log_error sigmoid_kernel "
        "silhouette_score top_k_accuracy_score v_measure_score zero_one_loss " + _DISTANCES
    ),
    "sklearn.mixture": "BayesianGaussianMixture GaussianMixture",
    "sklearn.model_selection": (
        "FixedThresholdClassifier GridSearchCV GroupKFold GroupShuffleSplit HalvingGridSearchCV "
        "HalvingRandomSearchCV KFold LeaveOneGroupOut LeaveOneOut LeavePGroupsOut LeavePOut ParameterGrid "
        "ParameterSampler PredefinedSplit RandomizedSearchCV RepeatedKFold RepeatedStratifiedKFold "
        "ShuffleSplit StratifiedGroupKFold StratifiedKFold StratifiedShuffleSplit TimeSeriesSplit "
        "TunedThresholdClassifierCV _CVIterableWrapper _CurveScorer"
    ),
    "sklearn.multiclass": "OneVsOneClassifier OneVsRestClassifier OutputCodeClassifier _ConstantPredictor",
    "sklearn.multioutput": "ClassifierChain MultiOutputClassifier MultiOutputRegressor RegressorChain",
    "sklearn.naive_bayes": "BernoulliNB CategoricalNB ComplementNB GaussianNB MultinomialNB",
    "sklearn.neighbors": (
        "BallTree BallTree32 BallTree64 KDTree KDTree32 KDTree64 KNeighborsClassifier KNeighborsRegressor "
        "KNeighborsTransformer KernelDensity LocalOutlierFactor NearestCentroid NearestNeighbors "
        "NeighborhoodComponentsAnalysis RadiusNeighborsClassifier RadiusNeighborsRegressor "
        "RadiusNeighborsTransformer newObj EuclideanDistance ManhattanDistance MinkowskiDistance "
        "ChebyshevDistance HaversineDistance"
    ),
    "sklearn.neural_network": "AdamOptimizer BernoulliRBM MLPClassifier MLPRegressor SGDOptimizer",
    "sklearn.pipeline": "FeatureUnion Pipeline",
    "sklearn.preprocessing": (
        "Binarizer FunctionTransformer KBinsDiscretizer KernelCenterer LabelBinarizer LabelEncoder "
        "MaxAbsScaler MinMaxScaler MultiLabelBinarizer Normalizer OneHotEncoder OrdinalEncoder "
        "PolynomialFeatures PowerTransformer QuantileTransformer RobustScaler SplineTransformer "
        "StandardScaler TargetEncoder _identity"
    ),
    "sklearn.random_projection": "GaussianRandomProjection SparseRandomProjection",
    "sklearn.semi_supervised": "LabelPropagation LabelSpreading SelfTrainingClassifier",
    "sklearn.svm": "LinearSVC LinearSVR NuSVC NuSVR OneClassSVM SVC SVR",
    "sklearn.tree": (
        "DecisionTreeClassifier DecisionTreeRegressor ExtraTreeClassifier ExtraTreeRegressor Tree"
    ),
    "sklearn.utils": "Bunch MetadataRequest MethodMetadataRequest MethodMapping MethodPair",
}
"""Package to the names that may be imported from any of its modules, as classes move between versions."""

_NEVER = (
    "tests externals conftest _testing _joblib _build_utils estimator_checks experimental datasets "
    "parallel _mocking _show_versions testing f2py callback"
)
NEVER_IN_PATH = frozenset(_NEVER.split())
"""Parts of a module's path that no model needs, whatever the name."""
