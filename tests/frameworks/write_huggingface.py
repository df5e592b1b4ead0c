"""Writes a small text classifier with transformers, and what transformers itself answers for some texts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification

TEXTS = ["a great warm film", "awful and dull", "", "great great great", "nobody knows these words"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "great", "warm", "film", "awful", "and", "dull"]
LABELS = {0: "negative", 1: "neutral", 2: "positive"}


def main(directory: Path) -> None:
    """Write the model to `directory/classifier`, and what it answers to `directory/models.json`."""
    home = directory / "classifier"
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        pad_token_id=0,
        num_labels=len(LABELS),
        initializer_range=1.0,  # far apart, so that texts differ in their labels
        id2label=LABELS,
    )
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(home)
    tokenizer.save(str(home / "tokenizer.json"))
    answers = []
    for text in TEXTS:
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.inference_mode():
            answers.append(model(input_ids=ids).logits.softmax(-1)[0].tolist())
    found = {"classifier": {"directory": str(home), "texts": TEXTS, "expected": answers}}
    (directory / "models.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
