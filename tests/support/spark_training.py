"""Trains two small pipelines with Spark and publishes the first as the object that it is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pyspark.ml import Pipeline
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.feature import IndexToString, StringIndexer, VectorAssembler
from pyspark.ml.linalg import Vectors
from pyspark.ml.regression import DecisionTreeRegressor
from pyspark.sql import SparkSession

from modelyard import Client
from modelyard.client import capture
from modelyard.domain.errors import Invalid

JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
QUIET = {
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.codegen.wholeStage": "false",
    "spark.driver.memory": "512m",
    "spark.driver.extraJavaOptions": JAVA,
    "spark.driver.bindAddress": "127.0.0.1",
}


def session() -> Any:
    """A Spark of this machine alone."""
    builder = SparkSession.builder.master("local[1]")
    for name, value in QUIET.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def classifier(spark: Any) -> tuple[Any, Any]:
    """A fitted pipeline from text and numbers to a text label, and rows to ask it."""
    rows = [
        (float(age), 100.0 * income, city, "yes" if age + income * 3 + (city == "Delft") * 9 > 45 else "no")
        for age in range(20, 60, 8)
        for income in range(8)
        for city in ("Aachen", "Delft")
    ]
    frame = spark.createDataFrame(rows, ["age", "income", "city", "buys"])
    label = StringIndexer(inputCol="buys", outputCol="label").fit(frame)
    stages = [
        label,
        StringIndexer(inputCol="city", outputCol="place"),
        VectorAssembler(inputCols=["age", "income", "place"], outputCol="features"),
        LogisticRegression(regParam=0.01, maxIter=4),
        IndexToString(inputCol="prediction", outputCol="decision", labels=label.labels),
    ]
    return Pipeline(stages=stages).fit(frame), frame.select("age", "income", "city")


def regressor(spark: Any) -> tuple[Any, Any]:
    """A single fitted model that reads vectors, and rows to ask it."""
    rows = [(Vectors.dense(float(a), float(b)), float(a * b)) for a in range(6) for b in range(6)]
    frame = spark.createDataFrame(rows, ["features", "label"])
    return DecisionTreeRegressor(maxDepth=3).fit(frame), frame.select("features")


def main(asked: dict[str, Any]) -> None:
    """Train, publish, write, and print what Spark itself answers."""
    directory = Path(asked["directory"])
    spark = session()
    pipeline, frame = classifier(spark)
    version = Client(asked["url"], token=asked["token"]).publish(pipeline, "buyers", x_test=frame)
    answers = [row.asDict() for row in pipeline.transform(frame).collect()]
    tree, vectors = regressor(spark)
    (directory / "tree").mkdir()
    written = capture.capture(tree, directory / "tree")
    try:
        capture.capture(LogisticRegression(), directory)
    except Invalid as error:
        unfitted = error.message
    found = {
        "ref": version.ref,
        "validation": version.validation,
        "requirements": version.requirements.packages,
        "inputs": {each.name: each.datatype for each in version.artifacts[0].signature.inputs},
        "rows": [{name: row[name] for name in ("age", "income", "city")} for row in answers],
        "decision": [row["decision"] for row in answers],
        "probability": [row["probability"].toArray().tolist() for row in answers],
        "files": sorted(written.files),
        "vectors": [row["features"].toArray().tolist() for row in vectors.collect()],
        "prediction": [row["prediction"] for row in tree.transform(vectors).collect()],
        "unfitted": unfitted,
    }
    print(json.dumps(found, default=str))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
