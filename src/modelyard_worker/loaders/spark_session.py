"""A Spark of one process: no cluster, no web page, no port that others reach, few threads."""

from __future__ import annotations

import os
import tempfile
from typing import Any, Dict, Mapping, Tuple

from modelyard_worker import jvm
from modelyard_worker.config import threads
from modelyard_worker.failures import Failure

OPENED = (
    "java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.util",
    "java.util.concurrent", "java.util.concurrent.atomic", "sun.nio.ch", "sun.nio.cs", "sun.util.calendar",
)  # fmt: skip
"""Packages of Java that Spark looks into."""
LOGGING = """
rootLogger.level = error
rootLogger.appenderRef.stderr.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %p %c{1}: %m%n
"""
LOOPBACK = "127.0.0.1"


def start(config: Mapping[str, Any], jars: str) -> Tuple[Any, Any]:
    """Start Java and Spark; returns the bridge and the session."""
    scratch = tempfile.mkdtemp(prefix="spark-")
    logging = os.path.join(scratch, "log4j2.properties")
    with open(logging, "w", encoding="utf-8") as file:
        file.write(LOGGING)
    # Spark asks for the machine's name and address, which a place without network cannot answer.
    os.environ.update(SPARK_LOCAL_IP=LOOPBACK, SPARK_LOCAL_HOSTNAME="localhost")
    opened = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in OPENED]
    properties = [f"-Dlog4j2.configurationFile=file://{logging}", f"-Djava.io.tmpdir={scratch}"]
    bridge = jvm.start(config, [jars], jvm.QUICK, *opened, *properties)
    try:
        builder = bridge.JClass("org.apache.spark.sql.SparkSession").builder()
        for name, value in _settings(config, scratch).items():
            builder = builder.config(name, value)
        return bridge, builder.getOrCreate()
    except bridge.JException as error:
        kind, words = jvm.innermost(error)
        known = jvm.failure(error, loading=True)
        raise known or Failure("ModelLoadFailed", f"Spark does not start ({kind}: {words})") from error


def _settings(config: Mapping[str, Any], scratch: str) -> Dict[str, str]:
    return {
        "spark.app.name": "model",
        "spark.master": f"local[{threads(config) or 1}]",
        "spark.driver.host": LOOPBACK,
        "spark.driver.bindAddress": LOOPBACK,
        "spark.authenticate": "true",  # its port is on the loopback address, where others are too
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.local.dir": scratch,
        "spark.sql.warehouse.dir": os.path.join(scratch, "warehouse"),
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.artifact.isolation.enabled": "false",  # it would fetch classes over the network
        "spark.sql.codegen.wholeStage": "false",  # compiling takes longer than a small table
        "spark.sql.session.timeZone": "UTC",
    }
