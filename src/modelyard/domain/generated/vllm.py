"""vLLM: a directory of a language model behind the interface of OpenAI."""

from __future__ import annotations

from modelyard.domain.generated.draft import FIRST_PORT, Draft, Subject, asked_at, quoted


def draft(subject: Subject) -> Draft:
    """Port 8000, with metrics on the same."""
    lines = [
        f"served-model-name: {subject.name}",
        'host: "{{MODELYARD_HOST}}"',
        "port: {{MODELYARD_PORT}}",
    ]
    if subject.gpus > 1:
        lines.append(f"tensor-parallel-size: {subject.gpus}")
    return Draft(
        executable="vllm",
        image="vllm/vllm-openai:v0.11.0",
        command=f"""exec {{{{MODELYARD_PROGRAM}}}} serve {quoted("")} \\
  --config "$MODELYARD_CONFIG_DIR"/vllm.yaml
""",
        ports=(8000,),
        files={"vllm.yaml": "\n".join(lines) + "\n"},
        env={"VLLM_NO_USAGE_STATS": "1"},
        health=asked_at("/health"),
        metrics=f"{FIRST_PORT}:/metrics",
    )
