"""TorchServe: a `.mar` archive as it is, or made of TorchScript when it starts."""

from __future__ import annotations

from modelyard.domain.generated.draft import Draft, Subject, asked_at, quoted

_PROPERTIES = """inference_address=http://{{MODELYARD_HOST}}:{{MODELYARD_PORT}}
management_address=http://{{MODELYARD_HOST}}:{{MODELYARD_PORT_2}}
metrics_address=http://{{MODELYARD_HOST}}:{{MODELYARD_METRICS_PORT}}
grpc_inference_port={{MODELYARD_PORT_7070}}
grpc_management_port={{MODELYARD_PORT_7071}}
disable_token_authorization=true
enable_metrics_api=true
metrics_mode=prometheus
job_queue_size=1000
default_response_timeout=120
max_request_size=67108864
max_response_size=67108864
cors_allowed_origin=*
cors_allowed_methods=GET, POST, PUT, OPTIONS
cors_allowed_headers=*
"""


def draft(subject: Subject) -> Draft:
    """Ports 8080 (inference) and 8081 (management), metrics on 8082."""
    name = subject.name
    return Draft(
        executable="torchserve",
        image="pytorch/torchserve:0.12.0-cpu" if not subject.gpus else "pytorch/torchserve:0.12.0-gpu",
        command=f"""set -e
store="$MODELYARD_WORK_DIR"/model-store
mkdir -p "$store"
{_archive(subject)}
exec {{{{MODELYARD_PROGRAM}}}} --start --foreground --model-store "$store" \\
  --models {name}={name}.mar --ts-config "$MODELYARD_CONFIG_DIR"/config.properties
""",
        ports=(8080, 8081),
        inner_ports=(7070, 7071),
        files={"config.properties": _PROPERTIES},
        health=asked_at("/ping"),
        metrics="8082:/metrics",
    )


def _archive(subject: Subject) -> str:
    name, source = subject.name, quoted(subject.entry)
    if subject.entry.endswith(".mar"):
        return f'ln -sfn {source} "$store"/{name}.mar'
    return (
        f"torch-model-archiver --force --model-name {name} --version {subject.version or '1'} \\\n"
        f'  --serialized-file {source} --handler base_handler --export-path "$store"'
    )
