"""Writes the MLflow model directory that its server reads: `mlflow_save.py DIRECTORY`."""

from __future__ import annotations

import sys
from pathlib import Path

import mlflow

if __name__ == "__main__":
    script = Path(__file__).with_name("mlflow_model.py")
    mlflow.pyfunc.save_model(path=sys.argv[1], python_model=str(script), pip_requirements=["mlflow"])
