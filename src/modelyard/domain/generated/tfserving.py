"""TensorFlow Serving: one model by its base path, with monitoring, and GPUs used as they are needed."""

from __future__ import annotations

from modelyard.domain.generated.draft import FIRST_PORT, Draft, Subject, asked_at, quoted

_PLATFORM = """platform_configs {
  key: "tensorflow"
  value {
    source_adapter_config {
      [type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig] {
        legacy_config {
          session_config {
            gpu_options {
              allow_growth: true
            }
          }
        }
      }
    }
  }
}
"""
_MONITORING = """prometheus_config {
  enable: true
  path: "/metrics"
}
"""


def draft(subject: Subject) -> Draft:
    """Ports 8501 (REST) and 8500 (gRPC); metrics on the first."""
    name, version = subject.name, subject.version or "1"
    return Draft(
        executable="tensorflow_model_server",
        image="tensorflow/serving:2.19.1",
        command=f"""set -e
mkdir -p "$MODELYARD_WORK_DIR"/models/{name}
ln -sfn {quoted("")} "$MODELYARD_WORK_DIR"/models/{name}/{version}
exec {{{{MODELYARD_PROGRAM}}}} --rest_api_port={{{{MODELYARD_PORT}}}} --port={{{{MODELYARD_PORT_2}}}} \\
  --model_config_file="$MODELYARD_CONFIG_DIR"/models.config \\
  --monitoring_config_file="$MODELYARD_CONFIG_DIR"/monitoring.config \\
  --platform_config_file="$MODELYARD_CONFIG_DIR"/platform.config
""",
        ports=(8501, 8500),
        files={
            "models.config": _models(name, version),
            "monitoring.config": _MONITORING,
            "platform.config": _PLATFORM,
        },
        env={"TF_CPP_VMODULE": "http_server=1"},
        health=asked_at(f"/v1/models/{name}/versions/{version}/metadata"),
        metrics=f"{FIRST_PORT}:/metrics",
    )


def _models(name: str, version: str) -> str:
    return f"""model_config_list {{
  config {{
    name: "{name}"
    base_path: "{{{{MODELYARD_WORK_DIR}}}}/models/{name}"
    model_platform: "tensorflow"
    model_version_policy {{
      specific {{
        versions: {version}
      }}
    }}
  }}
}}
"""
